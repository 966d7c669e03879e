"""The handbook's own commands, as they stand there, on a host that nobody touched by hand."""

from __future__ import annotations

from functools import partial

import pytest

from provision.engine.private import PrivateInput
from provision.settings import secrets
from tests.e2e.operator import Operator
from tests.e2e.tables import contents

pytestmark = pytest.mark.servers

IN_APP_DIR = "cd /opt/medaction && "


def test_list_the_backups(deployed: Operator) -> None:
    listed = deployed.read("db1", IN_APP_DIR + "ls -la backups/")
    assert "medaction_latest.sql.gz -> medaction_20" in listed and "weekly" in listed


def test_look_into_a_backup(deployed: Operator) -> None:
    named = deployed.read("db1", IN_APP_DIR + "ls backups/medaction_20*.sql.gz | tail -n 1").strip()
    assert "-- PostgreSQL database dump" in deployed.read("db1", f"{IN_APP_DIR} zcat {named} | head -100")


def test_restored_database_equals_the_source(deployed: Operator) -> None:
    _empty_test_database(deployed)
    # The handbook's line; the password that it would ask for comes from a file, as on any terminal with ~/.pgpass.
    restored = deployed.on(
        "db1",
        "umask 077; cat > /root/.pgpass;" + IN_APP_DIR + "gunzip -c backups/medaction_latest.sql.gz"
        " | psql -h localhost -U medaction -d medaction_test >/dev/null; s=$?; rm /root/.pgpass; exit $s",
        PrivateInput(f"localhost:*:*:medaction:{_password()}\n"),
    )
    assert (restored.returncode, restored.stderr) == (0, "")
    restored = contents(partial(deployed.postgres, database="medaction_test"))
    assert restored == contents(partial(deployed.postgres, database="medaction"))


@pytest.mark.parametrize("retention", ["", "BACKUP_RETENTION_DAYS=90 "], ids=["daily", "weekly"])
def test_cron_line_runs_by_hand_as_it_stands(deployed: Operator, retention: str) -> None:
    before = deployed.read("db1", "readlink /opt/medaction/backups/medaction_latest.sql.gz")
    deployed.read("db1", f"{IN_APP_DIR} {retention}./scripts/backup-database.sh >> /var/log/medaction/backup.log 2>&1")
    assert deployed.read("db1", "readlink /opt/medaction/backups/medaction_latest.sql.gz") != before


def test_cron_itself_makes_a_backup(deployed: Operator) -> None:
    """The installed lines, run by the real cron a minute from now instead of at night."""
    before = deployed.read("db1", "readlink /opt/medaction/backups/medaction_latest.sql.gz")
    deployed.read(
        "db1",
        r"sed -E 's/^[0-9]+ [0-9]+ \* \* [0-9*]+/* * * * */; /weekly/d' /etc/cron.d/medaction-backup"
        " > /etc/cron.d/e2e-soon",
    )
    try:
        deployed.read(
            "db1",
            "for _ in $(seq 300); do"
            f' [ "$(readlink /opt/medaction/backups/medaction_latest.sql.gz)" = {before.strip()} ] || exit 0;'
            " sleep 0.5; done; tail /var/log/medaction/backup.log; exit 1",
        )
    finally:
        deployed.read("db1", "rm /etc/cron.d/e2e-soon")


def _empty_test_database(operator: Operator) -> None:
    operator.postgres("drop database if exists medaction_test", "postgres")
    operator.postgres("create database medaction_test owner medaction", "postgres")


def _password() -> str:
    plain = secrets.read("postgres_password", None, "sandbox").get_secret_value()
    return plain.replace("\\", "\\\\").replace(":", "\\:")
