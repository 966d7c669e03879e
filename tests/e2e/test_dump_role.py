"""The database role that makes the dumps: made by a deploy where the server is the host's own, asked for elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from provision.engine.private import PrivateInput
from provision.settings import secrets
from tests.e2e.operator import Operator

ROLE = "medaction_backup"
BACKUP = "/opt/medaction/scripts/backup-database.sh"
NEWEST = "cat $(readlink -f /opt/medaction/backups/medaction_latest.sql.gz).json"
HBA = "/etc/postgresql/*/main/pg_hba.conf"
RELOAD = "cd / && runuser -u postgres -- psql -XAtqc 'SELECT pg_reload_conf()'"


@pytest.fixture
def db1(deployed: Operator) -> Iterator[Operator]:
    yield deployed
    deployed.read("db1", f"sed -i '/e2e/d' {HBA}; {RELOAD}")
    deployed.deploy("db1")


def made_by(operator: Operator, host: str = "db1") -> str:
    return json.loads(operator.read(host, NEWEST))["role"]


@pytest.mark.parametrize(
    ("drift", "told"),
    [
        (f"ALTER ROLE {ROLE} NOBYPASSRLS", "it has no BYPASSRLS"),
        (f"ALTER ROLE {ROLE} NOLOGIN", "it may not log in"),
        (f"ALTER ROLE {ROLE} PASSWORD 'another'", "postgres_backup_password is not its password"),
        (f"DROP OWNED BY {ROLE}; DROP ROLE {ROLE}", f"there is no role {ROLE}"),
        ("REVOKE CONNECT ON DATABASE medaction_test FROM PUBLIC", "it may not connect to medaction_test"),
    ],
)
def test_drift_of_the_role_is_named_and_mended_and_then_there_is_nothing_to_do(db1: Operator, drift: str, told: str):
    db1.postgres(drift)
    planned = db1.plan("db1")
    assert planned.returncode == 2 and f"{ROLE}: {told}" in planned.stdout, planned.stdout
    db1.deploy("db1")
    assert db1.plan("db1").stdout == "sandbox: nothing to do on 1 host(s)\n"
    db1.read("db1", BACKUP)
    assert made_by(db1) == ROLE


def test_a_server_that_does_not_let_it_in_is_told_and_the_backup_still_made(db1: Operator):
    db1.read("db1", f"sed -i '1i host all {ROLE} all reject # e2e' {HBA}; {RELOAD}")
    planned = db1.plan("db1")
    assert planned.returncode == 0, planned.stdout
    assert (
        f"warning: db1: dumps are made by medaction, the app's own role, until {ROLE} can make them" in planned.stdout
    )
    assert f"let {ROLE} in: a line in the server's pg_hba.conf" in planned.stdout
    db1.read("db1", BACKUP)
    assert made_by(db1) == "medaction"


def test_a_role_of_somebody_elses_keeps_its_password(db1: Operator):
    db1.postgres(f"COMMENT ON ROLE {ROLE} IS 'mine'; ALTER ROLE {ROLE} PASSWORD 'mine'")
    before = db1.postgres(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{ROLE}'")
    deployed = db1.deploy("db1")
    assert "did not come from us" in deployed.stdout
    assert db1.postgres(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{ROLE}'") == before
    assert "did not come from us" in db1.plan("db1").stdout
    db1.read("db1", BACKUP)
    assert made_by(db1) == "medaction"
    db1.postgres(f"COMMENT ON ROLE {ROLE} IS 'Reads the dumps of medaction; made by its deploy'")


def test_elsewhere_an_administrator_runs_the_sql_once(project_copy: Operator, deployed: Operator):
    """The backups of a host that has no PostgreSQL: app2 dumps the server of db1, as a role that is not there yet."""
    project_copy.environ["SANDBOX"] = "elsewhere"
    inventory = project_copy.checkout / "inventories/sandbox.py"
    host = '("app2", {"sandbox_release": "trixie", "sandbox_address": "10.213.86.12", "sandbox_profile": "bare"'
    text = inventory.read_text() + f'\nbackup = [{host}, "postgres_backup_user": "elsewhere"}})]\n'
    inventory.write_text(text)
    try:
        said = project_copy.deploy("app2").stdout
        assert "an administrator of 10.213.86.31:5432 runs /etc/medaction/dump-role.sql of this host" in said
        assert made_by(deployed, "app2") == "medaction"
        sql = deployed.read("app2", "cat /etc/medaction/dump-role.sql")
        assert secrets.read("postgres_backup_password", None, "sandbox").get_secret_value() not in sql
        assert "elsewhere" in project_copy.plan("app2").stdout
        ran = deployed.on("db1", "cd / && runuser -u postgres -- psql -X -q -v ON_ERROR_STOP=1", PrivateInput(sql))
        assert ran.returncode == 0, ran.stderr
        assert project_copy.plan("app2").stdout == "sandbox: nothing to do on 1 host(s)\n"
        deployed.read("app2", BACKUP)
        assert made_by(deployed, "app2") == "elsewhere"
    finally:
        deployed.postgres("DROP OWNED BY elsewhere; DROP ROLE elsewhere")
        deployed.bare("app2")
        deployed.deploy("app2")
