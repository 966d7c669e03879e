"""A database server: the release's PostgreSQL, MedAction's sample data, an empty `medaction_test`."""

import os
import subprocess
import sys
from pathlib import Path

from tests.sandbox import docker, paths
from tests.sandbox.errors import SandboxError
from tests.sandbox.profiles import RECIPES, Profile

ROLE = "medaction"
SAMPLE_DATA = Path(__file__).resolve().parents[1] / "medaction.sql"
READY_SECONDS = 30


def set_password(container: str) -> None:
    """Give the app's role the password of the sandbox's secrets file, generating that file when it is missing."""
    if not paths.SECRETS_FILE.exists():
        _generate_secrets()
    password = value_of("postgres_password", paths.SECRETS_FILE.read_text(encoding="utf-8"))
    # The statement reaches psql on its standard input, and never the server's log, not even on an error.
    statements = "SET log_min_error_statement = panic;\n" + alter_role(ROLE, password)
    docker.run("exec", container, "pg_isready", "--timeout", str(READY_SECONDS))
    docker.run(
        "exec",
        "-i",
        "-e",
        "PGCLIENTENCODING=UTF8",
        "--user",
        "postgres",
        container,
        "psql",
        "--no-psqlrc",
        "--quiet",
        "--set",
        "ON_ERROR_STOP=1",
        stdin=statements.encode(),
    )


def value_of(name: str, secrets: str) -> str:
    """Return a value of a secrets file, verbatim up to the end of its line."""
    for line in secrets.splitlines():
        key, equals, value = line.partition("=")
        if equals and key.strip() == name:
            return value
    raise SandboxError(f"{paths.SECRETS_FILE} has no line {name}=...; remove the file to have it made anew")


def alter_role(role: str, password: str) -> str:
    """Return the SQL statement that sets a role's password, whatever characters it is made of."""
    # An ordinary literal: standard_conforming_strings is on, so that only the quote itself is special.
    literal = "'" + password.replace("'", "''") + "'"
    return f"ALTER ROLE {role} PASSWORD {literal};\n"


def _generate_secrets() -> None:
    command = [sys.executable, "-m", "provision", "secrets", "--env", "sandbox"]
    # A measurement boots hosts by inventories of its own, which know no sandbox.
    environment = {name: value for name, value in os.environ.items() if name != "INVENTORIES"}
    result = subprocess.run(
        command, cwd=paths.CHECKOUT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if result.returncode != 0 or not paths.SECRETS_FILE.exists():
        lines = result.stderr.strip().splitlines() or ["it made no file"]
        raise SandboxError(f"the sandbox's secrets could not be generated: {lines[-1]}")


PROFILE = Profile(recipe=(RECIPES / "postgresql.sh", SAMPLE_DATA), at_up=set_password)
