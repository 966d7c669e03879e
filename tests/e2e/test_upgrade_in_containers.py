"""A host of version 1.0.0 whose PostgreSQL is in a container: the backup user leaves the group docker, and goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.operator import Operator
from tests.e2e.test_backups_in_containers import IN_CONTAINERS, backs_up, require_equal_to_the_source, start_database
from tests.e2e.test_upgrade import DUMPS, STORE, lost, version_1

__all__ = ["version_1"]  # a fixture of that module
pytestmark = [pytest.mark.docker1, pytest.mark.prove]


@pytest.fixture
def fresh(project_copy: Operator) -> Iterator[Operator]:
    """docker1 with nothing but the sample database in its container."""
    project_copy.bare("docker1")
    start_database(project_copy)
    yield project_copy
    project_copy.bare("docker1")


@pytest.mark.parametrize("mode", IN_CONTAINERS)
def test_backups_of_a_container_go_on(version_1: Operator, fresh: Operator, mode: str) -> None:
    inventory = version_1.checkout / "inventories/sandbox.py"
    as_it_was = inventory.read_text()
    try:
        backs_up(version_1, mode)
        version_1.deploy("docker1")
        version_1.read("docker1", "cd /opt/medaction && ./scripts/backup-database.sh --tier weekly")
    finally:
        inventory.write_text(as_it_was)
    before = version_1.read("docker1", DUMPS)
    assert before.count(".sql.gz\n") >= 2 and "./weekly/" in before
    oldest = version_1.read("docker1", f"ls {STORE}/medaction_2*.sql.gz | head -n 1").strip()
    assert "docker" in version_1.read("docker1", "id -nG medaction-backup").split()
    server = "docker inspect -f '{{.Id}} {{.State.StartedAt}}' medaction-postgres-1"
    started = version_1.read("docker1", server)

    backs_up(fresh, mode)
    planned = fresh.plan("docker1")
    assert planned.returncode == 2 and "medaction-backup is in the group docker" in planned.stdout, planned.stdout
    fresh.deploy("docker1")
    # What only a person can change is a warning.
    assert fresh.plan("docker1").stdout.startswith("sandbox: nothing to do on 1 host(s)\n")
    assert "docker" not in fresh.read("docker1", "id -nG medaction-backup").split()
    assert fresh.read("docker1", server) == started, "PostgreSQL was stopped"
    fresh.read(
        "docker1", "/opt/medaction/scripts/backup-database.sh && /opt/medaction/scripts/backup-database.sh --check"
    )
    assert lost(before, fresh.read("docker1", DUMPS)) == []
    tested = fresh.read("docker1", f"/opt/medaction/scripts/restore-database.sh --test --from {oldest} 2>&1")
    assert oldest.rpartition("/")[2] in tested
    fresh.read("docker1", f"/opt/medaction/scripts/restore-database.sh --into upgraded --from {oldest}")
    require_equal_to_the_source(fresh, "upgraded")
