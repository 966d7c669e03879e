"""What `make status` says of a host, held against what the host said."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from argparse import Namespace
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from provision.backup.facts import BackupReport, Report
from provision.commands import status
from provision.commands.health import Health, Vault
from provision.commands.status import rows_of
from provision.engine.inventory import Member
from provision.record.history import LastDone
from provision.settings import Settings
from provision.settings.project import PROJECT


def manifest(day: str, size: int = 1000, database: str = "medaction", tier: str = "daily") -> dict[str, Any]:
    prefix = "medaction" if database == "medaction" else f"medaction-{database}"
    dump = f"{prefix}_{day}_02-00-01.sql.gz"
    return {"dump": dump, "database": database, "bytes": size, "started": f"{day}T01:00:01Z", "tier": tier}


@pytest.fixture
def rows(settings_of: Callable[..., Settings]):
    def told(report: Report | None, **changed: Any) -> list[dict[str, str]]:
        member = Member("db1", ("backup",), settings_of(**changed), {})
        return rows_of(Health(member, report=report) if report else Health(member, "it is paused"))

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
    assert (row["last good backup"], row["last run"], row["age"]) == ("NONE", "never", "NONE")


def test_host_that_could_not_be_asked_has_an_empty_row(rows):
    (row,) = rows(None)
    assert row["last good backup"] == row["last run"] == "" and row["state"] == "NO ANSWER"


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
        path.with_name(made["dump"]).touch()
        path.with_name(f"{made['dump']}.restore-test.json").write_text("{}")
    taken = manifest("2026-06-16")
    (tmp_path / "it's here" / f"{taken['dump']}.json").write_text(json.dumps(taken))
    path.with_name(f"{made['dump']}.accepted.json").write_text("{}")
    fact = BackupReport()
    tiers = {"daily": str(tmp_path / "it's here"), "weekly": str(tmp_path / "absent")}
    cron_files = (str(tmp_path / "backup cron"), str(tmp_path / "test cron"))
    command = fact.command(str(tmp_path / "state"), tiers, str(tmp_path / "gone"), "nobody", cron_files).get_raw_value()
    printed = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout
    report = fact.process(printed.splitlines())
    assert report.last_runs == (run,)
    assert report.restore_tests == (tested,)
    assert [each["started"][:10] for each in report.manifests["daily"]] == ["2026-06-15", "2026-06-14"]
    assert set(report.manifests) == {"daily"} and report.accepted == {"medaction_2026-06-15_02-00-01.sql.gz"}
    assert report.unread == {"daily": 1, "status": 1}
    assert report.gone == (taken,)
    assert [f"{file} is missing" for file in cron_files if f"{file} is missing" not in report.idle] == []
    assert f"{tmp_path}/gone/restore-database.sh cannot be started" in report.idle


@pytest.fixture
def health(settings_of: Callable[..., Settings]) -> Callable[..., Health]:
    def judged(report: Report | None = None, redis: str = "up", lost: str = "", **changed: Any) -> Health:
        member = Member("db1", ("backup", "redis"), settings_of(**changed), {})
        return Health(member, lost, redis, report)

    return judged


RUN = {"database": "medaction", "tier": "weekly", "state": "failed", "message": "cannot connect"}
TEST = {"database": "medaction", "verdict": "failed", "tested": "2026-06-14T04:00:00Z", "message": "no table"}
GOOD = {"daily": (manifest("2026-06-15"),)}
SUSPECT = {**manifest("2026-06-15"), "suspect": "table patients is gone"}
TROUBLE = [
    (Report(NOW, manifests=GOOD), {}, 0, []),
    (Report(NOW), {}, 2, ["there is no good backup; run backup-database.sh there, and read its log"]),
    (Report(NOW, manifests={"daily": (manifest("2026-06-13"),)}), {}, 2, ["the last good backup is 60 h old, allowed"
     " are 26; see that cron or the task runs, run backup-database.sh there, and read its log"]),
    (Report(NOW, last_runs=(RUN,), manifests=GOOD), {}, 1, ["the last weekly run failed: cannot connect; mend that, and"
     " run backup-database.sh there"]),
    (Report(NOW, last_runs=({**RUN, "state": "running", "started": "2026-06-13T02:00:00Z"},), manifests=GOOD), {}, 1, [
     "the last weekly run began 2 day(s) ago and has not ended; see whether it still is at work; where it was"
     " interrupted, run backup-database.sh there"]),
    (Report(NOW, last_runs=({**RUN, "state": "running", "started": "2026-06-14T23:00:00Z"},), manifests=GOOD), {}, 0,
     []),
    (Report(NOW, last_runs=({**RUN, "state": "running", "started": 7},), manifests=GOOD), {}, 0, []),
    (Report(NOW, manifests={"daily": (manifest("2026-06-15"),), "weekly": (manifest("2026-06-06"),)}), {}, 1, [
     "there is no weekly dump for 9 days; see that cron or the task runs, and its log"]),
    (Report(NOW, manifests={"daily": (manifest("2026-06-15"),), "weekly": (manifest("2026-06-07"),)}), {}, 0, []),
    (Report(NOW, restore_tests=(TEST,), manifests=GOOD), {}, 2, ["the restore test failed: no table; run"
     " restore-database.sh --test there"]),
    (Report(NOW, manifests={"daily": (manifest("2026-06-15"), manifest("2026-05-15")),
                            "weekly": (manifest("2026-06-14"),)}), {}, 1, ["no dump was restored"
     " as a test for 31 days, allowed are 15; run restore-database.sh --test there"]),
    (Report(NOW, manifests={"daily": (SUSPECT, manifest("2026-06-14", 1))}, unread={"daily": 2}), {}, 2, [
     "the last good backup is 36 h old, allowed are 26; see that cron or the task runs, run backup-database.sh there,"
     " and read its log",
     "2 file(s) beside the daily dumps cannot be understood; a damaged one of ours is written anew by the next run;"
     " move away what is not ours",
     f"{SUSPECT['dump']} is suspect: table patients is gone; if that was intended: backup-database.sh --accept"
     f" {SUSPECT['dump']}"]),
    (Report(NOW, manifests={"daily": (SUSPECT,)}, accepted=frozenset([SUSPECT["dump"]])), {}, 0, []),
    (Report(NOW, manifests=GOOD, gone=(manifest("2026-06-14"), manifest("2026-06-12"))), {}, 1, [
     f"{manifest('2026-06-14')['dump']} and 1 more are gone, with the manifest left behind; see who took it; run"
     " backup-database.sh there, and remove what is left of it"]),
    (Report(NOW, manifests=GOOD, idle=("cron does not run", "/etc/cron.d/x is missing")), {}, 1, ["the next run will"
     " not come: cron does not run; /etc/cron.d/x is missing; `make deploy` with LIMIT=db1 mends what it can"]),
    (Report(), {}, 3, ["its backups could not be asked for; the reason stands above"]),
    (None, {"redis": "DOWN"}, 2, ["Redis is down; `make deploy` with LIMIT=db1 mends what it can; else look at Redis'"
     " log there"]),
    (None, {"lost": "gave no sign of life for 45 s"}, 3, ["could not be asked: gave no sign of life for 45 s; see that"
     " it is up and that you reach it"]),
]  # fmt: skip


@pytest.mark.parametrize(("report", "how", "severity", "told"), TROUBLE)
def test_what_is_wrong_is_said_in_words_with_what_to_do(
    report: Report | None, how: dict[str, str], severity: int, told: list[str], health: Callable[..., Health]
) -> None:
    found = health(report, **how)
    assert (found.severity, [f"{each.what}; {each.do}" for each in found.findings]) == (severity, told)


def test_dumps_that_lie_encrypted_are_restored_by_a_vault_and_an_older_test_is_no_news(
    settings_of: Callable[..., Settings],
) -> None:
    member = Member("db1", ("backup",), settings_of(backup_encrypt_local=True), {})
    found = Health(member, report=Report(NOW, restore_tests=(TEST,), manifests=GOOD))
    assert [each.what for each in found.findings] == []
    (row,) = rows_of(found)
    assert row["restore test"] == "by a vault"
    assert status.document("production", [found])["hosts"][0]["backups"][0]["restore_test"] is None


@pytest.fixture
def fleet_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    def run(*healths: Health, json: bool = False) -> int:
        monkeypatch.setattr(status, "fleet", lambda _: sorted(healths, key=lambda each: -each.severity))
        return status.run(Namespace(env="production", json=json))

    return run


def test_table_has_what_matters_in_80_columns_the_worst_first(
    fleet_of: Callable[..., int], health: Callable[..., Health], capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    well = Report(NOW, (), ({**TEST, "verdict": "ok"},), GOOD)
    assert fleet_of(health(well), health(Report(NOW)), health(lost="it is paused")) == 3
    lines = capsys.readouterr().out.splitlines()
    table = lines[: lines.index("") - 1]
    assert max(map(len, table)) <= 80
    assert lines[0].split() == ["state", "host", "redis", "database", "age", "restore", "test", "last", "run", "size"]
    assert [line.split("  ")[0] for line in table[1:]] == ["NO ANSWER", "CRITICAL", "ok"]
    assert [line.split(":")[0] for line in lines[lines.index("") + 1 :]] == ["NO ANSWER db1", "CRITICAL db1 medaction"]
    assert table[3].split() == ["ok", "db1", "up", "medaction", "12.0", "h", "ok", "2026-06-14", "never", "1000", "B"]


def test_json_is_what_its_page_describes(
    fleet_of: Callable[..., int], health: Callable[..., Health], capsys: Any
) -> None:
    assert fleet_of(health(Report(NOW, manifests=GOOD)), health(lost="x\x1b[31m"), json=True) == 3
    text = capsys.readouterr().out
    document = json.loads(text)
    assert "\x1b" not in text and (document["version"], document["severity"]) == (1, 3)
    (lost, well) = document["hosts"]
    assert (lost["asked"], lost["backups"], lost["findings"][0]["severity"]) == (False, [], 3)
    (backup,) = well["backups"]
    assert (backup["made"], backup["age_seconds"], backup["bytes"]) == ("2026-06-15T02:00:01", 43200, 1000)
    page = (PROJECT / "docs/status.md").read_text(encoding="utf-8")
    for names in (document, well, backup, lost["findings"][0]):
        assert all(f"`{name}`" in page for name in names)


DEPLOYED = {"time": "2026-06-15T01:00:00Z", "who": "eve@laptop", "what": "deploy", "result": "ok"}
RESTORED = {**DEPLOYED, "time": "2026-06-15T03:00:00Z", "what": "restore", "database": "medaction", "who": "root@db1"}


def test_what_people_did_last_stands_below_the_newest_first(
    fleet_of: Callable[..., int], health: Callable[..., Health], capsys: Any
) -> None:
    well = health(Report(NOW, manifests=GOOD))
    fleet_of(*(dataclasses.replace(well, done=(last,)) for last in (DEPLOYED, RESTORED, DEPLOYED)))
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("last done")] == [
        "last done: 2026-06-15 03:00 UTC, restore medaction on db1 by root@db1: ok",
        "last done: 2026-06-15 01:00 UTC, deploy on db1, db1 by eve@laptop: ok",
    ]


@pytest.mark.parametrize(
    "odd", ["", "{", "[]", "7", '{"time": 1}', '{"time": "never", "who": "", "what": "", "result": ""}']
)
def test_the_newest_line_is_found_beside_damaged_ones(odd: str) -> None:
    lines = [json.dumps(RESTORED), odd, json.dumps(DEPLOYED)]
    assert LastDone().read(lines) == [RESTORED, DEPLOYED]


ODD = [None, True, -1, 0, 1.5, 2**70, "", "x", "\x1b[2J", "\u202e", "a" * 10_000, [], {}, [[]], {"a": 1},
       "_2026-13-99_", "medaction_2026-99-15_02-00-01.sql.gz", "medaction_2026-06-15_02-00-01.gz\x1b]0;"]  # fmt: skip


def test_no_file_of_a_host_takes_more_than_itself_down(
    chance: Any, health: Callable[..., Health], fleet_of: Any
) -> None:
    """A good manifest, run and verdict of one database, beside any number of odd ones."""
    good = [f"daily={json.dumps(manifest('2026-06-15'))}", f"restore-test={json.dumps({**TEST, 'verdict': 'ok'})}"]
    for _ in range(300):
        lines = [f"now={NOW.isoformat()}", *good]
        for kind, of_kind in (("daily", manifest("2026-06-14")), ("status", RUN), ("restore-test", TEST)):
            for name in chance.sample(sorted(of_kind), chance.randrange(3)):
                lines.append(f"{kind}={json.dumps({**of_kind, name: chance.choice(ODD)})}")
        lines += chance.choices(
            ["daily={", "daily=" + "[" * 20_000, "status=1", "restore-test=null", "x\x1b=1", "=", ""], k=2
        )
        report = BackupReport().read(lines)
        (row,) = rows_of(health(report))[:1]
        assert row["age"] == "12.0 h" and row["size"].startswith("1000 B")
        fleet_of(health(report), json=chance.random() < 0.5)


def test_what_a_host_calls_things_moves_no_terminal(fleet_of: Any, health: Callable[..., Health], capsys: Any) -> None:
    name = "a\x1b[2J\u202eb\r"
    report = Report(
        NOW,
        ({**RUN, "database": name, "message": name},),
        manifests={"daily": (manifest("2026-06-15", database=name),)},
    )
    fleet_of(health(report, backup_databases="all"))
    out = capsys.readouterr().out
    assert all(each.isprintable() or each == "\n" for each in out) and "\\x1b[2J\\u202eb\\r" in "".join(out.split())


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
def test_newest_copy_that_is_proven_off_site_is_told_for_each_vault_that_was_asked(settings_of, vaults, told):
    settings = settings_of(backup_databases=["medaction", "archive"])
    asked = tuple(
        Vault(vault, settings, {(host, database): hours for host, database, hours in entries})
        for vault, entries in vaults.items()
    )
    health = Health(Member("db1", ("backup",), settings, {}), report=Report(NOW, manifests={}), vaults=asked)
    assert [row["off-site"] for row in rows_of(health)] == told


def test_vault_that_gives_no_answer_is_not_one_that_has_nothing(
    settings_of: Callable[..., Settings], health: Callable[..., Health]
) -> None:
    found = health(Report(NOW, manifests=GOOD))
    silent = Vault("vault1", found.member.settings, None)
    assert [row["off-site"] for row in rows_of(dataclasses.replace(found, vaults=(silent,)))] == ["could not be asked"]
    assert dataclasses.replace(found, vaults=(silent,)).findings == found.findings
    (finding,) = Health(Member("vault1", ("vault",), found.member.settings, {}), vaults=(silent,)).findings
    assert (finding.severity, finding.what) == (3, "gave no answer of its copies")


@pytest.mark.parametrize(
    ("hours", "late"), [(3, []), (None, ["no copy that is proven"]), (31, ["no newer proven copy than one 31 h old"])]
)
def test_copy_that_is_late_off_site_is_a_warning(
    hours: int | None, late: list[str], health: Callable[..., Health]
) -> None:
    found = health(Report(NOW, manifests=GOOD))
    vault = Vault("vault1", found.member.settings, {("db1", "medaction"): hours})
    findings = dataclasses.replace(found, vaults=(vault,)).findings
    assert [each.what for each in findings] == [f"vault1 has {words}, allowed are 30 h" for words in late]


def test_a_redis_exporter_that_tells_nothing_is_a_warning_and_of_a_redis_that_is_down_no_second_line(settings_of):
    member = Member("redis1", ("redis",), settings_of(redis_exporter_bind="127.0.0.1"), {})
    why = "it does not reach Redis: WRONGPASS"
    (silent,) = Health(member, redis="up", exporter=f"{why} \x1b[2J").findings
    assert silent.severity == 1 and "\x1b" not in silent.what
    assert silent.what.startswith(f"redis_exporter tells Prometheus nothing of Redis: {why}")
    assert "LIMIT=redis1" in silent.do and "medaction-redis-exporter.service" in silent.do
    (down,) = Health(member, redis="DOWN", exporter=why).findings
    assert down.what == "Redis is down"
    assert Health(member, redis="up").findings == []
