"""The disposable hosts of a measurement: booted, deployed to, asked, removed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench import BenchError
from provision.commands import secrets
from provision.engine import inventory
from tests.sandbox import lifecycle, paths
from tests.sandbox.profiles import postgresql

ENVIRONMENT = "bench"


@dataclass(frozen=True)
class Fleet:
    """What stands in a measurement's own inventory."""

    directory: Path
    """Of the measurement: its inventory is `inventories/bench.py` there."""

    @property
    def inventory(self) -> Path:
        return self.directory / "inventories" / f"{ENVIRONMENT}.py"

    def boot(self) -> None:
        """Have every host as new."""
        self.remove()
        lifecycle.up(self.inventory, report=lambda line: None)
        secrets.complete(inventory.Environment(ENVIRONMENT))

    def deploy(self) -> None:
        deploy = subprocess.run(
            [sys.executable, "-m", "provision", "deploy", "--env", ENVIRONMENT],
            cwd=paths.CHECKOUT, env=os.environ, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if deploy.returncode:
            raise BenchError("the deploy failed:\n" + "\n".join((deploy.stdout + deploy.stderr).splitlines()[-30:]))

    def remove(self) -> None:
        shutil.rmtree(self.inventory.parent / "keys", ignore_errors=True)  # of a vault that is no more
        lifecycle.down(self.inventory, report=lambda line: None)


def run(host: str, script: str, stdin: str = "") -> str:
    """Run a shell script as root; return what it printed. Raise BenchError."""
    done = subprocess.run(
        ["ssh", "-F", str(paths.SSH_CONFIG), host, script], input=stdin, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
        raise BenchError(f"{host}: {script.splitlines()[0]}: " + "\n".join(said[-5:]))
    return done.stdout


def postgres(host: str, database: str, sql: str) -> str:
    """What the server's superuser is answered."""
    return run(host, f"runuser -u postgres -- psql -X -q -At -v ON_ERROR_STOP=1 -d {database}", sql)


def fill(host: str, database: str, scale: int) -> None:
    """Make a database with this many times the sandbox's sample data, owned by the app's role."""
    password = inventory.read(ENVIRONMENT, host)[0].settings.postgres_password.get_secret_value()
    role = postgresql.alter_role(postgresql.ROLE, password)
    postgres(host, "postgres", f"SET log_min_error_statement = panic;\n{role}")
    postgres(host, "postgres", f"CREATE DATABASE {database} OWNER {postgresql.ROLE};")
    filling = f"SET SESSION AUTHORIZATION {postgresql.ROLE};\n{postgresql.SAMPLE_DATA.read_text(encoding='utf-8')}"
    postgres(host, database, f"\\set scale {scale}\n{filling}")
    postgres(host, database, "VACUUM ANALYZE;")


def seconds_of(host: str, script: str) -> float:
    """Run a bash script as root on a quiet disk; return how long it took, measured on the host. Raise BenchError."""
    timed = (
        'sync; started=$EPOCHREALTIME; bash -euo pipefail -c "$(cat)" </dev/null >/dev/null;'
        ' printf "%s %s" "$started" "$EPOCHREALTIME"'
    )
    started, ended = run(host, f"bash -euc '{timed}'", script).split()
    return float(ended) - float(started)
