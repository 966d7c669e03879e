"""`make remove` on hosts that answer as after a deploy: what is asked first, what is sent, what is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from provision.__main__ import main, parser
from provision.commands import remove
from provision.record import history
from tests.deploy.fake import Fleet, commands

HOST = "@fake/db1.example.com"
LIST = "/var/lib/medaction-deploy/host.json"
BACKUPS = "/opt/medaction/backups"


@pytest.fixture
def hosts(fleet: Callable[[str], Fleet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    monkeypatch.setattr(history, "file_here", lambda _: tmp_path / "kept/history.jsonl")
    hosts = fleet("production")
    hosts.deploy_already()
    answers = hosts.answers["db1.example.com"]
    listed = json.loads("\n".join(answers[f"cat -- {LIST}"][:-1]))
    # As on a host where nothing was before the first deploy.
    for kind in ("directories", "users", "packages"):
        listed[kind] = sorted({*listed[kind], *listed["of"]["backup"].get(kind, ())})
    answers[f"cat -- {LIST}"] = [*json.dumps(listed).splitlines(), "==journal=="]
    hosts.answers["db1.example.com"] = {  # the first that is in a command answers it
        "record/removable.sh": ["isal"],
        "stat $1 --printf": answers.pop("stat $1 --printf"),
        "record/remains.sh": [f"{BACKUPS}\t12\t3000000\tmedaction_2026.sql.gz"],
        "record/owned.sh user medaction-backup": [f"file {BACKUPS}/medaction_2026.sql.gz"],
        "record/owned.sh user medaction-restore-test": ["free"],
        **answers,
    }
    hosts.write()
    return hosts


def run(*words: str) -> int:
    return remove.run(parser().parse_args(["remove", "--env", "production", *words]))


def removing(*words: str) -> int:
    return run("--limit", HOST, "--role", "backup", *words)


def test_a_role_is_taken_away_and_its_data_stays(hosts: Fleet, capsys: pytest.CaptureFixture[str]):
    assert removing() == 0
    sent, told = commands(), capsys.readouterr().out
    assert any(each.startswith("rm -f -- /etc/cron.d/medaction-backup") for each in sent)
    assert any("userdel -- medaction-restore-test" in each for each in sent)
    assert not any(each.startswith(("rm -rf", "userdel -- medaction-backup")) and BACKUPS in each for each in sent)
    assert f"{HOST}: {BACKUPS}: stays, it is data (12 file(s), 3.0 MB)" in told
    assert f"{HOST}: the user medaction-backup stays: {BACKUPS}/medaction_2026.sql.gz is its own" in told
    assert "take it out of backup in the inventory too, or the next deploy brings it back" in told


def test_what_starts_by_itself_goes_first_and_the_list_last(hosts: Fleet):
    removing()
    sent = commands()
    at = [
        next(n for n, each in enumerate(sent) if words in each and "echo ==answer==" not in each)
        for words in (
            "rm -f -- /etc/cron.d",
            "systemctl stop 'medaction-restore-test@*",
            "backup-database.sh",
            "userdel",
        )
    ]
    assert at == sorted(at)
    assert f"debian/write.sh {LIST}" in sent[-2] + sent[-1] or any("rm -f -- " + LIST in each for each in sent[-3:])


def test_a_removal_is_a_line_here_and_there(hosts: Fleet, tmp_path: Path):
    removing()
    (line,) = [json.loads(each) for each in (tmp_path / "kept/history.jsonl").read_text().splitlines()]
    assert (line["what"], line["result"], line["host"]) == ("remove backup of medaction", "ok", HOST)
    assert "Remove | Take away its cron files" in line["changes"]


def test_what_was_changed_by_hand_is_told_and_kept(hosts: Fleet, capsys: pytest.CaptureFixture[str]):
    lines = hosts.answers["db1.example.com"]["stat $1 --printf"]
    at = next(n for n, line in enumerate(lines) if line.endswith("  /etc/cron.d/medaction-backup"))
    lines[at] = f"{'0' * 64}  /etc/cron.d/medaction-backup"
    hosts.write()
    assert removing() == 0
    kept = "/var/lib/medaction-deploy/changed"
    assert any(f"keep-aside.sh /etc/cron.d/medaction-backup {kept}" in each for each in commands())
    told = capsys.readouterr().out
    assert "/etc/cron.d/medaction-backup: was changed by hand since a deploy wrote it, and is kept as" in told
    assert "/etc/cron.d/medaction-restore-test: was changed" not in told


def test_data_goes_when_it_was_told_twice(hosts: Fleet):
    assert removing("--data", "delete", "--host", HOST) == 0
    assert any(each.startswith("rm -rf --one-file-system") and BACKUPS in each for each in commands())


def test_a_role_that_the_host_has_not_is_nothing_to_remove(hosts: Fleet, capsys: pytest.CaptureFixture[str]):
    assert run("--limit", HOST, "--role", "redis") == 0
    assert f"{HOST}: nothing to remove of redis" in capsys.readouterr().out
    assert not any(each.startswith("rm -f") for each in commands())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--limit", HOST], "ROLE= names what is to be removed: one of redis, app, backup, vault, unused"),
        (["--limit", HOST, "--role", "db"], "ROLE=db is none of redis"),
        (["--role", "backup"], "LIMIT= must name the hosts"),
        (["--limit", HOST, "--role", "backup", "--data", "delete"], f"say so twice, with HOST={HOST}"),
        (["--limit", HOST, "--role", "backup", "--data", "delete", "--host", "db2"], "say so twice"),
        (["--limit", HOST, "--role", "backup", "--data", "yes"], "DATA=yes: only DATA=delete"),
        (["--limit", HOST, "--role", "backup", "--app", "../x"], "APP=../x is no app_name"),
    ],
)
def test_what_is_not_said_clearly_removes_nothing(
    hosts: Fleet, words: list[str], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("sys.argv", ["provision", "remove", "--env", "production", *words])
    assert main() == 1
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("listed", ["{", '{"of": []}'])
def test_a_list_that_cannot_be_read_stops_it_before_any_change(
    hosts: Fleet, listed: str, capsys: pytest.CaptureFixture[str]
):
    hosts.answers["db1.example.com"][f"cat -- {LIST}"] = [listed, "==journal=="]
    hosts.write()
    assert removing() == 1
    assert "is not a list of what came from us; no host was changed" in capsys.readouterr().err


def test_a_list_of_an_older_version_says_to_deploy_once(hosts: Fleet, capsys: pytest.CaptureFixture[str]):
    old = json.dumps({"version": "1.1.0", "files": ["/etc/cron.d/medaction-backup"]})
    hosts.answers["db1.example.com"][f"cat -- {LIST}"] = [old, "==journal=="]
    hosts.write()
    assert removing() == 1
    assert "Deploy once with this version, then remove" in capsys.readouterr().err


def test_a_plan_tells_of_a_role_that_a_host_left(hosts: Fleet):
    hosts.groups["backup"].remove("db1.example.com")
    hosts.groups["app"].append("db1.example.com")
    (told,) = [each for each in hosts.run("--dry").warnings if "still has" in each]
    assert told.startswith(f"{HOST}: still has what it had as backup: ")
    assert f"`make remove ENV=production LIMIT={HOST} ROLE=backup` takes it away" in told


def test_a_plan_tells_of_an_app_that_was_renamed(hosts: Fleet):
    answers = hosts.answers["db1.example.com"]
    former = json.dumps({"environment": "production", "files": ["/x"], "of": {"backup": {"files": ["/x"]}}})
    answers[f"cat -- {LIST}"] += ["==other==/var/lib/former-deploy/host.json", former]
    (told,) = [each for each in hosts.run("--dry").warnings if "too: " in each]
    assert "has the role backup of an app 'former' too: 1 file." in told
    assert "If that was this one's app_name before" in told and "ROLE=backup APP=former` takes it away" in told
    answers[f"cat -- {LIST}"][-1] = former.replace("production", "staging")
    assert not [each for each in hosts.run("--dry").warnings if "too: " in each], "that is another environment's"


def test_a_plan_tells_of_what_a_setting_asked_for_once(hosts: Fleet):
    answers = hosts.answers["db1.example.com"]
    listed = json.loads(answers[f"cat -- {LIST}"][0])
    listed["files"].append("/etc/cron.d/medaction-metrics")
    answers[f"cat -- {LIST}"] = [json.dumps(listed), "==journal=="]
    answers["stat $1 --printf"].append("regular file\t644\troot\troot\t/etc/cron.d/medaction-metrics")
    (told,) = [each for each in hosts.run("--dry").warnings if "still has" in each]
    assert "what no setting asks for any more: 1 file, 1 cron file (/etc/cron.d/medaction-metrics" in told


def test_a_plan_tells_where_dumps_stay_when_backup_dir_changes(hosts: Fleet):
    hosts.data["db1.example.com"]["backup_dir"] = "/srv/dumps"
    (told,) = [each for each in hosts.run("--dry").warnings if "had its data" in each]
    assert told.startswith(f"{HOST}: {BACKUPS} is where backup had its data before")


def test_a_plan_offers_to_move_the_dumps_by_one_command_and_says_it_once(hosts: Fleet):
    answers = hosts.answers["db1.example.com"]
    answers[f"find {BACKUPS} -maxdepth 2 -regextype"] = ["12", "3000000000"]
    hosts.data["db1.example.com"]["backup_dir"] = "/srv/dumps"
    (told,) = [each for each in hosts.run("--dry").warnings if BACKUPS in each]
    assert f"{BACKUPS} was backup_dir before, and 12 dump(s) lie there (3.0 GB)" in told
    moves = f"`/usr/local/lib/medaction/move-dumps.sh {BACKUPS} && rmdir {BACKUPS}` moves them to /srv/dumps"
    assert told.endswith(moves)


def test_a_plan_tells_of_the_dumps_of_a_tier_that_was_turned_off(hosts: Fleet):
    hosts.answers["db1.example.com"][f"find {BACKUPS}/monthly -maxdepth 2 -regextype"] = ["12", "3000000000"]
    assert not [each for each in hosts.run("--dry").warnings if "monthly" in each]
    hosts.data["db1.example.com"]["backup_monthly_retention_days"] = 0
    (told,) = [each for each in hosts.run("--dry").warnings if "monthly" in each]
    assert told.startswith(
        f"{HOST}: {BACKUPS}/monthly: 12 dump(s) stay there, though backup_monthly_retention_days = 0"
    )


def test_of_a_former_place_that_is_gone_nobody_is_told(hosts: Fleet):
    hosts.data["db1.example.com"]["backup_dir"] = "/srv/dumps"
    answers = hosts.answers["db1.example.com"]
    answers["stat $1 --printf"] = [line for line in answers["stat $1 --printf"] if f"\t{BACKUPS}" not in line]
    assert not [each for each in hosts.run("--dry").warnings if "had its data" in each]
