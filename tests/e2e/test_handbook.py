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


def test_plan_names_the_handbooks_lines_in_crontabs_and_is_content(deployed: Operator) -> None:
    """Whoever followed the handbook has them in root's crontab, or in the app's; a password in one is shown nowhere."""
    line = "0 2 * * * cd /opt/medaction && PGPASSWORD=hunter2 ./scripts/backup-database.sh >> /var/log/x.log 2>&1"
    old = "@daily pg_dump -h localhost -U medaction medaction | gzip > /root/x.sql.gz"
    deployed.read("db1", "crontab -", PrivateInput(f"# backups\nMAILTO=root\n\n{line}\n#{line}\n5 5 * * * true\n"))
    deployed.read("db1", "useradd --system medaction-x; crontab -u medaction-x -", PrivateInput(f"{old}\n"))
    try:
        done = deployed.plan("db1")
        assert done.returncode == 0, done.stdout
        assert "root's crontab, line 4 (0 2 * * *) runs backup-database.sh beside these backups" in done.stdout
        assert "medaction-x's crontab, line 1 (@daily) runs pg_dump" in done.stdout and "hunter2" not in done.stdout
        assert done.stdout.count("beside these backups") == 2, done.stdout
    finally:
        deployed.read("db1", "crontab -r; crontab -u medaction-x -r; userdel medaction-x")
    assert "beside these backups" not in deployed.plan("db1").stdout


def test_root_restores_as_the_servers_administrator_by_peer(deployed: Operator) -> None:
    """On the server itself, as Debian sets it up: postgres comes in by its socket, all others by password."""
    deployed.postgres("create role reporting; create schema reports authorization reporting", "medaction")
    deployed.postgres("grant pg_read_all_data to medaction", "medaction")
    restore = IN_APP_DIR + "./scripts/restore-database.sh --into medaction_peer"
    try:
        deployed.read("db1", IN_APP_DIR + "./scripts/backup-database.sh")
        refused = deployed.on("db1", restore)
        assert refused.returncode == 2 and "--as-administrator" in refused.stderr, refused.stderr
        deployed.read("db1", restore + " --as-administrator peer")
        assert deployed.postgres("select nspowner::regrole from pg_namespace where nspname = 'reports'",
                                 "medaction_peer") == "reporting"  # fmt: skip
        assert contents(partial(deployed.postgres, database="medaction_peer")) == contents(
            partial(deployed.postgres, database="medaction"))  # fmt: skip
        assert deployed.postgres("select count(*) from pg_roles where rolname ~ '_(administrator|restore)_'") == "0"
    finally:
        deployed.postgres("drop database if exists medaction_peer", "postgres")
        deployed.postgres("drop schema reports; drop role reporting; revoke pg_read_all_data from medaction")
        deployed.read("db1", IN_APP_DIR + "./scripts/backup-database.sh")


def _empty_test_database(operator: Operator) -> None:
    operator.postgres("drop database if exists medaction_test", "postgres")
    operator.postgres("create database medaction_test owner medaction", "postgres")


def _password() -> str:
    plain = secrets.read("postgres_password", None, "sandbox").get_secret_value()
    return plain.replace("\\", "\\\\").replace(":", "\\:")
