"""What `make status` says of a Windows host, asked over the connector from a host of wine."""

from __future__ import annotations

import gzip
import json

import pytest

from provision.commands.health import Health
from provision.commands.pictures import dumps, of
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


def test_what_the_manifests_say_of_each_dump_is_told_and_a_damaged_one_says_nothing(win: WindowsHost):
    deploy(win.data, lambda: windows_backup(SETTINGS))
    backups = win.file(SETTINGS.windows_backup_dir)
    said = {
        "medaction_2026-01-01_02-00-00.sql.gz": '{"seconds": 41, "suspect": null}',
        "medaction_2026-01-02_02-00-00.sql.gz": '{"seconds": 43, "suspect": "the dump has 1 B"}',
        "medaction_2026-01-03_02-00-00.sql.gz": "{damaged",
        "medaction_2026-01-04_02-00-00.sql.gz": "[1, 2]",
    }
    for name, manifest in said.items():
        (backups / name).write_bytes(gzip.compress(b"older"))
        (backups / f"{name}.json").write_text(manifest)
    failed = {"state": "failed", "written": "2099-01-04T01:00:09+01:00", "reason": "the disk is full"}
    (backups / "status-daily.json").write_text(json.dumps(failed))
    with connected(win.data) as host:
        health = Health(MEMBER, report=ask_backups(host, MEMBER))
    assert health.report and health.report.now
    kept = {
        each.made.day: (each.seconds, each.is_good)
        for each in dumps("medaction", health.report)
        if each.made.year == 2026 and each.made.month == 1
    }
    assert kept == {1: (41, True), 2: (43, False), 3: (None, True), 4: (None, True)}
    assert "Duration" in [picture.name for picture in of(dumps("medaction", health.report), health.report.now, 26, str)]
    assert "the last daily run failed: the disk is full" in [finding.what for finding in health.findings]


def test_host_that_was_never_deployed_has_no_backup(win: WindowsHost):
    row = _row(win)
    assert (row["last good backup"], row["last run"], row["kept"]) == ("NONE", "never", "")


def test_host_that_refuses_is_told_as_such(win: WindowsHost):
    win.fail(deny=["backup-report"])
    assert _row(win)["last good backup"] == NO_ANSWER
