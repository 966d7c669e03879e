"""How long a backup and a restore take on a database of over 1 GB, beside what else one could use.

    pg_dump >/dev/null   the limit: what PostgreSQL's own program needs to read the database, keeping nothing
    guide                the handbook's `pg_dump | gzip`, and its `gunzip | psql`
    script               the deployed scripts as they run at night, with everything on: snapshot, row counts,
                         checksum, checks, manifest, roles, publication, retention
    borgmatic            into an empty repository, and again into one that has yesterday's dump
    pgBackRest           a full backup of the cluster's files, two processes

What is done for a fair race: one disposable server with the database and the backup role deployed to it; all
reach PostgreSQL over the same loopback connection but pgBackRest, which reads files. Everything is in the page
cache before the first turn, the disk is quiet before each run, the contestants take turns, and ratios are taken
turn by turn. What was stored is compared in bytes. Each tool's choices that cost time are made in its favour.

    host            the server: booted, filled, deployed to, asked
    contestants     each contestant's commands
    report          the tables, and the aims beside the figures
"""

import os
from pathlib import Path

BENCH_DIR = "/var/tmp/bench"
"""Where the contestants keep their things, on the disposable host."""

# Set before anything imports `provision.inventory`, which looks once, and inherited by every process started.
os.environ["INVENTORIES"] = str(Path(__file__).resolve().parent / "inventories")
