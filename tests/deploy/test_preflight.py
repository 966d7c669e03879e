"""What makes a deploy impossible is one sentence, said before the first operation on any host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from provision.__main__ import parser
from provision.commands import deploy, plan, verify
from provision.engine.run import Outcome
from provision.postgres import server as database
from tests.deploy.fake import KEYS, STARTED, Fleet, began, debian

Fleets = Callable[[str], Fleet]


def told(hosts: Fleet, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, *options: str) -> str:
    """What the run says last. It must have failed before the first operation on any host."""
    outcome: Outcome = hosts.run("-y", *options)
    assert outcome.exit_code == 1 and not began()
    said = capsys.readouterr()
    text = "\n".join([said.out, said.err, *(record.getMessage() for record in caplog.records)])
    assert "Traceback" not in text and "exception occurred" not in text
    return " ".join(text.split())


@pytest.fixture
def sentence(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Callable[..., str]:
    return lambda hosts, *options: told(hosts, capsys, caplog, *options)


LINUX = ["KERNEL=Linux", "USER_ID=0", "RELEASE=regular file"]


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        ([*LINUX, 'PRETTY_NAME="Alpine Linux v3.20"', "ID=alpine"], "Alpine Linux v3.20"),
        ([*LINUX, 'PRETTY_NAME="Fedora 41"', "ID=fedora", 'ID_LIKE="rhel centos"'], "Fedora 41"),
        (["KERNEL=FreeBSD", "USER_ID=0"], "FreeBSD"),
        (["KERNEL=Darwin", "USER_ID=501"], "Darwin"),
    ],
)
def test_a_platform_that_is_not_there_yet_is_named(answer: list[str], name: str, fleet: Fleets, sentence: Any):
    hosts = fleet("production")
    hosts.answers["app2.example.com"] = {"uname -s": answer}
    said = sentence(hosts)
    assert (
        f"@fake/app2.example.com: {name} is not supported yet, only Debian and its derivatives are; no host was changed"
        in said
    )


@pytest.mark.parametrize("release", ['ID=ubuntu\nID_LIKE=debian\nPRETTY_NAME="Ubuntu 24.04"\nVERSION_CODENAME=noble'])
def test_debians_family_is_supported(release: str, fleet: Fleets):
    hosts = fleet("production")
    hosts.answers["app2.example.com"] = {"uname -s": [*LINUX, *release.splitlines()]}
    assert hosts.run("--dry").exit_code == 0


@pytest.mark.parametrize(
    ("kind", "release", "said"),
    [
        ("", [], "is not there"),
        ("directory", [], "is a directory"),
        ("fifo", [], "is a fifo"),
        ("regular empty file", [], "has no line ID="),
        ("regular file", ["\x7fELF\x00\x00", "\ufffd=\ufffd'"], "has no line ID="),
        ("regular file", ['PRETTY_NAME="Debian', "ID='debian"], "has no line ID="),
        ("regular file", ["KERNEL=FreeBSD", "USER_ID=0", "RELEASE=", "ID="], "has no line ID="),
    ],
)
def test_rubbish_for_a_release_is_a_sentence_that_names_the_file(
    kind: str, release: list[str], said: str, fleet: Fleets, sentence: Any
):
    hosts = fleet("production")
    hosts.answers["app2.example.com"] = {"uname -s": ["KERNEL=Linux", "USER_ID=0", f"RELEASE={kind}", *release]}
    told = f"@fake/app2.example.com: which system this is cannot be told: /etc/os-release {said}; no host was changed."
    assert f"{told} On Debian it is a link of the package base-files: ln -sfn" in sentence(hosts)


@pytest.mark.parametrize("lines", [["ID=debian", 'HOME_URL="', "x"], ["ID=other", "ID_LIKE='debian'", "ID=debian\r"]])
def test_an_odd_line_beside_what_is_needed_is_no_fault(lines: list[str], fleet: Fleets):
    hosts = fleet("production")
    hosts.answers["app2.example.com"] = {"uname -s": [*LINUX, *lines]}
    assert hosts.run("--dry").exit_code == 0


def test_a_user_who_is_not_root_is_told_how_to_become_it(fleet: Fleets, sentence: Any):
    hosts = fleet("sandbox")
    told = [each.replace("USER_ID=0", "USER_ID=1000") for each in debian()["uname -s"]]
    hosts.answers["app2"] = {"uname -s": told}
    assert "@fake/app2: this user is not root; set _sudo = True in inventories/group_data/" in sentence(hosts)


def test_a_host_that_refuses_ssh_is_named(fleet: Fleets, sentence: Any):
    hosts = fleet("production")
    hosts.data["app2.example.com"] = {"ssh_hostname": "127.0.0.1", "ssh_port": 1, "ssh_connect_retries": 0}
    said = sentence(hosts)
    assert "app2.example.com: cannot be reached (the reason stands above); no host was changed" in said
    assert "go on without: PARTIAL=1" in said


def test_a_host_that_is_not_in_the_limit_need_not_answer(fleet: Fleets):
    hosts = fleet("production")
    hosts.data["app2.example.com"] = {"ssh_hostname": "127.0.0.1", "ssh_port": 1}
    outcome = hosts.run("--dry", "--limit", "@fake/app1.example.com", "--limit", "@fake/db1.example.com")
    assert outcome.exit_code == 0 and len({step.host for step in outcome.steps}) == 2


@pytest.mark.parametrize(
    "reason",
    [
        "postgres_password or postgres_user (medaction): 10.0.0.8:5432 refuses the login: wrong password",
        "postgres_database = 'medaction': 10.0.0.8:5432 has no such database: make it there, an empty one will do",
        "postgres_host, postgres_port: 10.0.0.8:5432 cannot be reached from there (Connection refused)",
    ],
)
def test_a_database_that_cannot_be_used_is_told_with_the_setting(
    reason: str, fleet: Fleets, sentence: Any, postgresql: Callable[[Exception], None]
):
    """The database is the stand-in of conftest.py: `@fake` carries no connection to a real one."""
    postgresql(database.DatabaseError(reason))
    assert f"@fake/db1.example.com: {reason}; no host was changed" in sentence(fleet("production"))


def test_a_server_newer_than_any_client_is_told_with_what_there_is(
    fleet: Fleets, sentence: Any, postgresql: Callable[[int], None]
):
    postgresql(99)
    hosts = fleet("production")
    hosts.answers["db1.example.com"]["apt-helper download-file"] = ["15", "16", "17", "18"]
    said = sentence(hosts)
    assert (
        "@fake/db1.example.com: the server at 10.0.0.8 is PostgreSQL 99, and postgresql-client-99 is not available:"
        " Debian GNU/Linux 12 (bookworm) does not provide it" in said
    )
    assert "has clients 15, 16, 17, 18; no host was changed" in said


def test_a_repository_that_cannot_be_read_is_told_as_such(
    fleet: Fleets, sentence: Any, postgresql: Callable[[int], None]
):
    postgresql(17)
    said = sentence(fleet("production"))
    assert "postgres_apt_repository = https://apt.postgresql.org/pub/repos/apt cannot be read from there" in said


def test_a_release_without_a_codename_is_told_where_one_is_needed(
    fleet: Fleets, sentence: Any, postgresql: Callable[[int], None]
):
    postgresql(17)
    hosts = fleet("production")
    hosts.answers["db1.example.com"]["uname -s"] = [*LINUX, "ID=debian"]
    assert "/etc/os-release has no VERSION_CODENAME=; no host was changed. Mend that file, or" in sentence(hosts)


def test_a_client_that_is_installed_already_needs_no_repository(fleet: Fleets, postgresql: Callable[[int], None]):
    postgresql(17)
    hosts = fleet("production")
    hosts.answers["db1.example.com"]["dpkg-query"] = ["postgresql-client-17 installed"]
    assert hosts.run("--dry").exit_code == 0


def test_a_host_without_the_backup_role_is_not_asked_for_the_database(
    fleet: Fleets, postgresql: Callable[[Exception], None]
):
    postgresql(database.DatabaseError("was asked"))
    assert fleet("production").run("--dry", "--limit", "app").exit_code == 0


def test_the_faults_of_all_settings_are_told_before_any_question(fleet: Fleets, sentence: Any):
    hosts = fleet("production")
    hosts.data["app2.example.com"] = {"redis_port": 70000}
    hosts.data["db1.example.com"] = {"backup_daily_at": "25:00", "redis_max_memroy_mb": 1}
    said = sentence(hosts)
    for part in (
        "@fake/app2.example.com: redis_port = 70000",
        "@fake/db1.example.com: backup_daily_at = '25:00'",
        "did you mean redis_max_memory_mb?",
        "no host was touched",
    ):
        assert part in said


def test_a_fault_of_a_host_outside_the_limit_stops_the_run_too(fleet: Fleets, sentence: Any):
    hosts = fleet("production")
    hosts.data["app2.example.com"] = {"redis_port": 70000}
    assert "redis_port = 70000" in sentence(hosts, "--limit", "@fake/app1.example.com")


def test_plan_never_asks_whether_to_go_on_without_a_lost_host(fleet: Fleets, monkeypatch: Any, capsys: Any):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("pyinfra asked"))
    production = fleet("production")
    production.data["app2.example.com"] = {"ssh_hostname": "127.0.0.1", "ssh_port": 1}
    production.write()
    assert plan.run(parser().parse_args(["plan", "--env", "production"])) == 1
    said = capsys.readouterr().err
    assert "app2.example.com: cannot be reached" in said and "{" not in said


@pytest.mark.parametrize("held", [KEYS["age"], f"age1other {KEYS['age']}"])
def test_vault_that_holds_an_offline_key_is_refused(held: str, fleet: Fleets, sentence: Any):
    hosts = fleet("sandbox")
    hosts.data["vault1"] = {"backup_encrypt_to": [KEYS["age"]]}
    hosts.answers["vault1"] = {**debian(), "vault/public-keys.sh": [f"ssh={KEYS['ssh']}", f"age={held}"]}
    said = sentence(hosts)
    assert "@fake/vault1: /etc/medaction-vault/age holds a key of backup_encrypt_to" in said, said
    assert "no host was changed" in said


def test_a_deploy_that_a_preflight_has_stopped_verifies_nothing(fleet: Fleets, monkeypatch: pytest.MonkeyPatch):
    production = fleet("production")
    monkeypatch.setattr(verify, "verdicts", lambda *_: pytest.fail("nothing was changed that could be verified"))
    production.answers["app2.example.com"] = {"uname -s": ["KERNEL=Plan9", "USER_ID=0"]}
    production.write()
    assert deploy.run(parser().parse_args(["deploy", "--env", "production"])) == 1


def test_a_variable_that_not_all_read_alike_is_told_by_name_and_the_deploy_goes_on(fleet: Fleets):
    hosts = fleet("production")
    hosts.data["app2.example.com"] = {"app_env": {"LOGDIR": "zq-hidden\\", "GREETING": "bonjour à tous"}}
    outcome: Outcome = hosts.run("--dry")
    (warning,) = [each for each in outcome.warnings if ".env" in each]
    assert outcome.exit_code == 0 and "zq-hidden" not in warning
    assert warning == (
        "@fake/app2.example.com: /opt/medaction/.env: LOGDIR is not what the settings say to all who may read it"
        " (bash's source, systemd: goes on into the next line)"
    )


@pytest.mark.parametrize(("databases", "told"), [("all", True), (["clinic"], False)])
def test_a_database_whose_dumps_names_would_be_too_long_is_told_in_a_plan(
    fleet: Fleets, monkeypatch: pytest.MonkeyPatch, databases: object, told: bool
):
    there = database.Server(15, "PostgreSQL 15.1", STARTED, ("clinic", "é" * 31, "short é"))
    monkeypatch.setattr(database, "ask", lambda *_: there)
    hosts = fleet("production")
    hosts.data["db1.example.com"] |= {
        "app_name": "clinic-of-saint-exupery", "postgres_database": "clinic", "backup_databases": databases
    }  # fmt: skip
    outcome = hosts.run("--dry")
    assert outcome.exit_code == 0
    lines = [line for line in outcome.warnings if "cannot have dumps of" in line]
    assert len(lines) == told and all("é" * 31 in line for line in lines)
