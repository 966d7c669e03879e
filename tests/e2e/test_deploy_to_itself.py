"""A machine that deploys to itself: `make deploy ENV=local`, on a server that has PostgreSQL and nothing of ours."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from provision.engine.private import PrivateInput
from provision.settings.project import PROJECT
from tests.e2e.operator import Operator
from tests.sandbox import docker

pytestmark = pytest.mark.servers

HOST = "medaction-sandbox-db1"
IN_CLONE = "cd /srv/project && PIP_NO_INDEX=1 PIP_FIND_LINKS=/srv/wheels make -s "
NOT_CLONED = (".git", ".venv", ".secrets", ".sandbox", ".bench", "node_modules", "__pycache__")
# The generated password, given to the role; it is in no argument.
GIVE_PASSWORD = """
printf "ALTER ROLE medaction PASSWORD '%s';" "$(sed -n s/^postgres_password=//p /srv/project/.secrets/local.env)" |
    runuser -u postgres -- psql -q -v ON_ERROR_STOP=1
"""


def tar(directory: Path, *options: str) -> bytes:
    return subprocess.run(["tar", "-C", directory, "-c", *options, "."], check=True, capture_output=True).stdout


@pytest.fixture
def itself(operator: Operator, tmp_path: Path) -> Iterator[Operator]:
    """db1 as it was made, with a clone of the project, Debian's Python and make. Python's packages come from here."""
    operator.bare("db1")
    operator.read("db1", "apt-get -qq update && apt-get -qq -y install make python3-venv >/dev/null 2>&1")
    version = operator.read("db1", "python3 -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])'").strip()
    locks = [option for lock in ("", "-develop") for option in ("-r", f"requirements{lock}.lock")]
    operator.python("-m", "pip", "download", "-q", "-d", str(tmp_path), "--only-binary=:all:",
                    "--python-version", version, *locks)  # fmt: skip
    operator.read("db1", "mkdir /srv/project /srv/wheels")
    exclude = [f"--exclude={name}" for name in NOT_CLONED]
    docker.run("cp", "-", f"{HOST}:/srv/project", stdin=tar(PROJECT, *exclude))
    docker.run("cp", "-", f"{HOST}:/srv/wheels", stdin=tar(tmp_path))
    yield operator
    operator.bare("db1")


def test_machine_deploys_to_itself_and_proves_it(itself: Operator) -> None:
    assert "postgres_password is new" in itself.read("db1", f"{IN_CLONE} secrets ENV=local 2>&1")
    itself.read("db1", "bash", PrivateInput(GIVE_PASSWORD))
    said = itself.read("db1", f"{IN_CLONE} deploy ENV=local 2>&1")
    assert "@local  redis, app, backup" in said and " yes (" in said, said
    assert itself.read("db1", f"{IN_CLONE} plan ENV=local") == "local: nothing to do on 1 host(s)\n"
    assert "nothing to change on 1 host(s)" in itself.read("db1", f"{IN_CLONE} deploy ENV=local LIMIT=@local 2>&1")
    status = itself.read("db1", f"{IN_CLONE} status ENV=local")
    assert re.search(r"ok +@local +up +medaction +0\.0 h", status), status
    itself.read("db1", "cd /opt/medaction && ./scripts/restore-database.sh --test")
