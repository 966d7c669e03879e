"""The bench's database server: booted, filled, deployed to, asked, removed."""

from __future__ import annotations

from pathlib import Path

from bench import fleet
from bench.backup import BENCH_DIR
from provision.engine import inventory
from provision.settings import Settings
from tests.sandbox.fleet import PREFIX

HOST = "benchdb"
CONTAINER = PREFIX + HOST
SOURCE = "large"
_FLEET = fleet.Fleet(Path(__file__).resolve().parent)

# What the contestants are: Debian's packages, so that all are of one age. Archiving is what pgBackRest needs.
_CONTESTANTS = """set -eu; export DEBIAN_FRONTEND=noninteractive
apt-get -q update >/dev/null
apt-get -q -y --no-install-recommends install borgbackup borgmatic pgbackrest >/dev/null
mkdir -p BENCH_DIR
cat > /etc/pgbackrest.conf <<'CONF'
[global]
repo1-path=BENCH_DIR/pgbackrest
repo1-retention-full=1
start-fast=y
process-max=2
compress-type=zst
compress-level=1
log-level-console=warn
log-level-file=off
[main]
pg1-path=/var/lib/postgresql/MAJOR/main
CONF
printf '%s\\n' 'archive_mode = on' "archive_command = 'pgbackrest --stanza=main archive-push %p'" \
    > /etc/postgresql/MAJOR/main/conf.d/bench.conf
install -d -o postgres -g postgres BENCH_DIR/pgbackrest BENCH_DIR/restored
systemctl restart postgresql@MAJOR-main
runuser -u postgres -- pgbackrest --stanza=main stanza-create
"""


def settings() -> Settings:
    return inventory.read(fleet.ENVIRONMENT)[0].settings


def prepare(scale: int) -> None:
    """Have the host as new, with this many times the sample data, its backups deployed, the contestants there."""
    _FLEET.boot()
    fleet.fill(HOST, SOURCE, scale)
    _FLEET.deploy()
    major = run("pg_lsclusters --no-header | cut -d ' ' -f 1").strip()
    run(_CONTESTANTS.replace("MAJOR", major).replace("BENCH_DIR", BENCH_DIR))


def remove() -> None:
    _FLEET.remove()


def postgres(database: str, sql: str) -> str:
    """What the server's superuser is answered."""
    return fleet.postgres(HOST, database, sql)


def run(script: str, stdin: str = "") -> str:
    """Run a shell script as root; return what it printed. Raise BenchError."""
    return fleet.run(HOST, script, stdin)


def seconds_of(script: str) -> float:
    """Run a bash script as root on a quiet disk; return how long it took, measured on the host. Raise BenchError."""
    postgres("postgres", "CHECKPOINT;")
    return fleet.seconds_of(HOST, script)


def bytes_in(path: str) -> int:
    return int(run(f"du --apparent-size --bytes --summarize {path} | cut -f 1"))
