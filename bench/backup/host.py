"""The bench's database server: booted, filled, deployed to, asked, removed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bench import BenchError
from bench.backup import BENCH_DIR, ENVIRONMENT
from provision.commands import secrets
from provision.engine import inventory
from provision.settings import Settings
from tests.sandbox import fleet, lifecycle, paths
from tests.sandbox.profiles import postgresql

_INVENTORY = Path(__file__).resolve().parent / "inventories" / f"{ENVIRONMENT}.py"
SOURCE = "large"

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
    return inventory.read(ENVIRONMENT)[0].settings


def container() -> str:
    return fleet.read(_INVENTORY)[0].container


def prepare(scale: int) -> None:
    """Have the host as new, with this many times the sample data, its backups deployed, the contestants there."""
    remove()
    lifecycle.up(_INVENTORY, report=lambda line: None)
    secrets.complete(inventory.Environment(ENVIRONMENT))
    password = settings().postgres_password.get_secret_value()
    postgres("postgres", "SET log_min_error_statement = panic;\n" + postgresql.alter_role(postgresql.ROLE, password))
    postgres("postgres", f"CREATE DATABASE {SOURCE} OWNER {postgresql.ROLE};")
    filling = f"SET SESSION AUTHORIZATION {postgresql.ROLE};\n{postgresql.SAMPLE_DATA.read_text(encoding='utf-8')}"
    postgres(SOURCE, f"\\set scale {scale}\n{filling}")
    postgres(SOURCE, "VACUUM ANALYZE;")
    deploy = subprocess.run(
        [sys.executable, "-m", "provision", "deploy", "--env", ENVIRONMENT],
        cwd=paths.CHECKOUT, env=os.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if deploy.returncode:
        raise BenchError("the deploy failed:\n" + "\n".join((deploy.stdout + deploy.stderr).splitlines()[-30:]))
    major = run("pg_lsclusters --no-header | cut -d ' ' -f 1").strip()
    run(_CONTESTANTS.replace("MAJOR", major).replace("BENCH_DIR", BENCH_DIR))


def remove() -> None:
    lifecycle.down(_INVENTORY, report=lambda line: None)


def postgres(database: str, sql: str) -> str:
    """What the server's superuser is answered."""
    return run(f"runuser -u postgres -- psql -X -q -At -v ON_ERROR_STOP=1 -d {database}", sql)


def run(script: str, stdin: str = "") -> str:
    """Run a shell script as root; return what it printed. Raise BenchError."""
    done = subprocess.run(
        ["ssh", "-F", str(paths.SSH_CONFIG), "benchdb", script],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
        raise BenchError(f"benchdb: {script.splitlines()[0]}: " + "\n".join(said[-5:]))
    return done.stdout


def seconds_of(script: str) -> float:
    """Run a bash script as root on a quiet disk; return how long it took, measured on the host. Raise BenchError."""
    timed = (
        'sync; started=$EPOCHREALTIME; bash -euo pipefail -c "$(cat)" </dev/null >/dev/null;'
        ' printf "%s %s" "$started" "$EPOCHREALTIME"'
    )
    postgres("postgres", "CHECKPOINT;")
    started, ended = run(f"bash -euc '{timed}'", script).split()
    return float(ended) - float(started)


def bytes_in(path: str) -> int:
    return int(run(f"du --apparent-size --bytes --summarize {path} | cut -f 1"))
