"""What `make status` says of a Windows host, asked over the connector from a host of wine."""

from __future__ import annotations

import gzip
import json

import pytest

from provision.commands.health import Health
from provision.commands.status import NO_ANSWER, ask_backups, rows_of
from provision.engine.inventory import Member
from provision.windows.role import windows_backup
from tests.windows.conftest import WindowsHost
from tests.windows.runs import connected, deploy
from tests.windows.settings import default_settings

SETTINGS = default_settings()
pytestmark = pytest.mark.usefixtures("postgres")
MEMBER = Member("win1", ("backup",), SETTINGS, {}, is_windows=True)


def _row(win: WindowsHost) -> dict[str, str]:
    with connected(win.data) as host:
        (row,) = rows_of(Health(MEMBER, report=ask_backups(host, MEMBER)))
    return row


def test_dumps_of_each_tier_and_the_last_run_are_told(win: WindowsHost):
    deploy(win.data, lambda: windows_backup(SETTINGS))
    backups = win.file(SETTINGS.windows_backup_dir)
    for name in ("medaction_2026-01-01_02-00-00.sql.gz", "weekly/medaction_2026-01-04_01-00-00.sql.gz"):
        (backups / name).write_bytes(gzip.compress(b"older"))
    (backups / "medaction_latest.sql.gz").write_bytes(b"not counted")
    (backups / "somebody's.txt").write_bytes(b"not counted")
    newest = max(backups.glob("medaction_2*.sql.gz")).name
    row = _row(win)
    assert (row["last good backup"], row["kept"], row["last run"]) == (newest, "2 daily, 1 weekly", "ok")
    assert row["age"].startswith("0.") and row["next run"] and row["restore test"] == "never"


def test_of_two_runs_the_later_is_told(win: WindowsHost):
    deploy(win.data, lambda: windows_backup(SETTINGS))
    failed = {"state": "failed", "written": "2099-01-04T01:00:09+01:00", "reason": "wrong password"}
    win.file(f"{SETTINGS.windows_backup_dir}\\status-weekly.json").write_text(json.dumps(failed))
    assert _row(win)["last run"] == "failed"


def test_host_that_was_never_deployed_has_no_backup(win: WindowsHost):
    row = _row(win)
    assert (row["last good backup"], row["last run"], row["kept"]) == ("NONE", "never", "")


def test_host_that_refuses_is_told_as_such(win: WindowsHost):
    win.fail(deny=["backup-report"])
    assert _row(win)["last good backup"] == NO_ANSWER
