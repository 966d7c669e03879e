"""A password of every awkward kind works through Redis, `.env`, pgpass, the scripts and the verification."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from provision.settings import secrets
from provision.settings.project import PROJECT
from tests.e2e.operator import Operator

AWKWARD = "p@ss:/?#[]!$&'()*+,;=% \"\\é漢`$(id)"


@pytest.fixture
def awkward(deployed: Operator) -> Iterator[Operator]:
    """The sandbox with other passwords, in its database too; its own ones come back afterwards."""
    file = secrets.file_of("sandbox")
    kept = file.read_text(encoding="utf-8")
    names = [line.partition("=")[0] for line in kept.splitlines()]
    try:
        file.write_text("".join(f"{name}={index}{AWKWARD}\n" for index, name in enumerate(names)), encoding="utf-8")
        deployed.python("-m", "tests.sandbox", "up")
        yield deployed
    finally:
        file.write_text(kept, encoding="utf-8")
        deployed.python("-m", "tests.sandbox", "up")
        deployed.deploy()


def test_awkward_passwords_work_everywhere(awkward: Operator) -> None:
    awkward.deploy()  # logs into the database from db1, and verifies Redis with each app host's own REDIS_URL
    awkward.read("db1", "cd /opt/medaction && ./scripts/backup-database.sh")
    assert awkward.plan().returncode == 0
    assert (PROJECT / ".secrets/sandbox.env").stat().st_mode & 0o777 == 0o600
