"""The database role that makes the dumps: made where the server is the host's own, else told until it is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from provision.postgres import server as database
from provision.postgres.server import Refusal
from tests.deploy.fake import STARTED, Fleet

Fleets = Callable[[str], Fleet]
DB1 = "db1.example.com"
STEP = "Backup | Make the database role that makes the dumps"


@pytest.fixture
def asked(fleet: Fleets, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[list[str], list[str]]]:
    """Given what the host's own server says, and why the role cannot log in: what is mended, and what is warned of."""

    def run(own: list[str], refusal: Refusal | None = None) -> tuple[list[str], list[str]]:
        hosts = fleet("production")
        hosts.deploy_already()
        hosts.answers[DB1]["dump-role-lacks.sh"] = own
        hosts.answers[DB1]["apt-helper"] = ["13"]
        monkeypatch.setattr(database, "cannot_dump", lambda *_: refusal)
        outcome = hosts.run("--dry")
        assert outcome.exit_code == 0
        mended = [each for step in outcome.steps if step.name == STEP for each in step.differences]
        return mended, list(outcome.warnings)

    return run


OWN = f"started={STARTED}"
HBA = Refusal('10.0.0.8:5432 refuses the login: no pg_hba.conf entry for host "10.0.0.8"')
WRONG = Refusal("10.0.0.8:5432 refuses the login: password authentication failed", password=True)


def test_where_all_is_well_nothing_is_done_or_said(asked: Any):
    assert asked([OWN]) == ([], [])


@pytest.mark.parametrize("lack", ["there is no role medaction_backup", "it may not log in", "it has no BYPASSRLS"])
def test_what_it_lacks_on_the_hosts_own_server_is_mended(asked: Any, lack: str):
    assert asked([OWN, f"lacks={lack}"], WRONG) == ([f"medaction_backup: {lack}"], [])


def test_another_password_on_the_hosts_own_server_is_set(asked: Any):
    mended, warned = asked([OWN], WRONG)
    assert mended == ["medaction_backup: postgres_backup_password is not its password"] and warned == []


def test_a_role_of_somebody_elses_is_left_alone_and_told(asked: Any):
    mended, (warned,) = asked([OWN, "foreign=yes", "lacks=it has no BYPASSRLS"], WRONG)
    assert mended == []
    assert warned.startswith(f"@fake/{DB1}: dumps are made by medaction, the app's own role: PostgreSQL has a role")


def test_pg_hba_that_refuses_it_is_told_and_nothing_is_changed(asked: Any):
    mended, (warned,) = asked([OWN], HBA)
    assert mended == [] and "let medaction_backup in: a line in the server's pg_hba.conf" in warned


@pytest.mark.parametrize("own", [[], ["started=1.5"], ["started=1.5", "lacks=there is no role medaction_backup"]])
def test_elsewhere_the_sql_to_run_is_told_until_it_was_run(asked: Any, own: list[str]):
    """No server on the host that lets root in, or another one than the backups dump."""
    mended, (warned,) = asked(own, WRONG)
    assert mended == []
    assert "an administrator of 10.0.0.8:5432 runs /etc/medaction/dump-role.sql of this host" in warned


def test_elsewhere_nothing_is_said_once_it_was_run(asked: Any):
    assert asked([]) == ([], [])


def test_an_old_server_is_told(asked: Any, postgresql: Callable[[int], None]):
    postgresql(13)
    mended, (warned,) = asked([OWN, "lacks=it is not in pg_read_all_data"])
    assert mended == [] and "PostgreSQL 13 has no pg_read_all_data" in warned


def test_of_a_server_in_a_container_the_last_run_tells(fleet: Fleets):
    """The preflight does not reach it; what the backup user has written is shown as text."""
    hosts = fleet("production")
    hosts.data[DB1]["postgres_mode"] = "compose"
    hosts.deploy_already()
    hosts.answers[DB1][".role_reason"] = ["password authentication failed \x1b[31m"]
    (warned,) = hosts.run("--dry").warnings
    assert "until medaction_backup can make them: password authentication failed ?[31m" in warned
    assert "an administrator of that server runs /etc/medaction/dump-role.sql of this host" in warned
