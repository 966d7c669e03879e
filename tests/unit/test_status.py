"""What `make status` says of a host, held against what the host said."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from provision.backup.facts import BackupReport, Report
from provision.commands.status import add_off_site, rows_of
from provision.engine.inventory import Member
from provision.settings import Settings


def manifest(day: str, size: int = 1000, database: str = "medaction", tier: str = "daily") -> dict[str, Any]:
    prefix = "medaction" if database == "medaction" else f"medaction-{database}"
    dump = f"{prefix}_{day}_02-00-01.sql.gz"
    return {"dump": dump, "database": database, "bytes": size, "started": f"{day}T01:00:01Z", "tier": tier}


@pytest.fixture
def rows(settings_of: Callable[..., Settings]):
    def told(report: Report | None, **changed: Any) -> list[dict[str, str]]:
        member = Member("db1", ("backup",), settings_of(**changed), {})
        return rows_of(member, "", report)

    return told


NOW = datetime(2026, 6, 15, 14, 0, 1)


def test_newest_good_backup_its_age_size_and_trend(rows):
    manifests = (manifest("2026-06-15", 1500), *(manifest(f"2026-06-{day}") for day in range(14, 9, -1)))
    (row,) = rows(Report(NOW, manifests={"daily": manifests}))
    assert row["last good backup"] == "medaction_2026-06-15_02-00-01.sql.gz"
    assert (row["age"], row["size"]) == ("12.0 h", "1 KiB (+50 %)")
    assert row["next run"] == "Tue 02:00"


def test_dump_with_a_second_name_in_a_longer_tier_counts_there_and_once_in_the_trend(rows):
    first, second, third = manifest("2026-06-02", 6000), manifest("2026-06-01", 1000), manifest("2026-05-31", 3000)
    (row,) = rows(Report(NOW, manifests={"daily": (first, second, third), "monthly": (second,)}))
    assert row["kept"] == "3 daily, 1 monthly"
    assert row["size"].endswith("(+100 %)")


def test_each_database_has_a_row_of_its_own(rows):
    report = Report(
        NOW,
        last_runs=(
            {"database": "medaction", "state": "ok"},
            {"database": "archive", "state": "failed"},
        ),
        restore_tests=({"database": "archive", "verdict": "ok", "tested": "2026-06-14T04:00:00Z"},),
        manifests={"daily": (manifest("2026-06-15"),), "weekly": (manifest("2026-06-14", database="archive"),)},
    )
    for databases in (["medaction", "archive"], "all"):
        own, other = rows(report, backup_databases=databases)
        assert (own["database"], own["last run"], own["restore test"]) == ("medaction", "ok", "never")
        assert (other["database"], other["last run"], other["restore test"]) == ("archive", "failed", "ok 2026-06-14")
        assert other["kept"] == "1 weekly"


def test_failure_of_one_tier_is_not_made_good_by_another(rows):
    runs = [
        {"database": "medaction", "tier": tier, "state": state}
        for tier, state in (("daily", "ok"), ("weekly", "failed"))
    ]
    for told in (runs, runs[::-1]):
        (row,) = rows(Report(NOW, last_runs=tuple(told)))
        assert row["last run"] == "failed"


def test_database_without_any_backup_is_told(rows):
    (row,) = rows(Report(NOW))
    assert (row["last good backup"], row["last run"], row["age"]) == ("NONE", "never", "")


def test_host_that_could_not_be_asked_has_an_empty_row(rows):
    (row,) = rows(None)
    assert row["last good backup"] == row["last run"] == ""


def test_what_the_host_prints_is_read_back(tmp_path: Path):
    """The fact's own command, run here."""
    (tmp_path / "state").mkdir()
    (tmp_path / "it's here").mkdir()
    run = {"database": "back\\slash", "state": "failed", "message": "two\nlines"}
    (tmp_path / "state/status.json").write_text(json.dumps(run, indent=2))
    (tmp_path / "state/status.weekly.json").write_text("")
    tested = {"database": "medaction", "verdict": "ok", "tested": "2026-06-14T04:00:00Z"}
    (tmp_path / "state/restore-test.json").write_text(json.dumps(tested))
    (tmp_path / "it's here/somebody-elses.json").write_text('{"a": 1}')
    for day in ("2026-06-14", "2026-06-15"):
        made = manifest(day)
        path = tmp_path / "it's here" / f"{made['dump']}.json"
        path.write_text(json.dumps(made, indent=2))
        path.with_name(f"{made['dump']}.restore-test.json").write_text("{}")
    fact = BackupReport()
    tiers = {"daily": str(tmp_path / "it's here"), "weekly": str(tmp_path / "absent")}
    command = fact.command(state_dir=str(tmp_path / "state"), tiers=tiers).get_raw_value()
    printed = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout
    report = fact.process(printed.splitlines())
    assert report.last_runs == (run,)
    assert report.restore_tests == (tested,)
    assert [each["started"][:10] for each in report.manifests["daily"]] == ["2026-06-15", "2026-06-14"]
    assert set(report.manifests) == {"daily"}


@pytest.mark.parametrize(
    ("vaults", "told"),
    [
        ({}, ["", ""]),
        ({"vault1": []}, ["NONE", "NONE"]),
        ({"vault1": [("db1", "medaction", 3)]}, ["3 h", "NONE"]),
        ({"vault1": [("db2", "medaction", 3), ("db1", "archive", 73)]}, ["NONE", "3 d"]),
        (
            {"vault1": [("db1", "medaction", 0), ("db1", "archive", None)], "vault2": [("db1", "medaction", 47)]},
            ["vault1 0 h, vault2 47 h", "vault1 NONE, vault2 NONE"],
        ),
    ],
)
def test_newest_copy_that_is_proven_off_site_is_told_for_each_vault_that_was_asked(rows, vaults, told):
    found = rows(Report(NOW, manifests={}), backup_databases=["medaction", "archive"])
    reports = {
        vault: [dict(zip(("host", "database", "proven_hours"), entry, strict=True)) for entry in entries]
        for vault, entries in vaults.items()
    }
    add_off_site(found, reports)
    assert [row["off-site"] for row in found] == told
