"""What came from us is put into the journal before it is made, and what was there before is not."""

from __future__ import annotations

import contextlib
import getpass
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyinfra.connectors.fake import FakeConnector

from provision.__main__ import parser
from provision.commands import deploy, verify
from provision.engine import run as runs
from provision.record import history
from provision.settings.project import version
from tests.deploy.fake import Fleet, commands

JOURNAL = "/var/lib/medaction-deploy/journal"


@pytest.fixture
def hosts(fleet: Callable[[str], Fleet]) -> Fleet:
    hosts = fleet("staging")
    hosts.data["staging.example.com"] = {}
    return hosts


def journalled() -> list[str]:
    """The lines that went into the journal in the last run."""
    sent = [command for command in commands() if f">> {JOURNAL}" in command]
    return [line for command in sent for line in command.split("'")[1].splitlines()]


def test_what_is_missing_is_in_the_journal_before_it_is_made(hosts: Fleet):
    assert hosts.run("-y").exit_code == 0
    sent = commands()
    for line, making in (("packages\tredis-server", "install redis-server"), ("users\tmedaction\n", "useradd")):
        at = next(i for i, each in enumerate(sent) if JOURNAL in each and line in each)
        assert at < next(i for i, each in enumerate(sent) if making in each)
    assert "directories\t/opt/medaction" in journalled()


def test_a_package_and_a_user_that_were_there_are_not_ours(hosts: Fleet):
    hosts.answers["staging.example.com"] |= {
        "dpkg-query": ["redis-tools installed", "cron installed"],
        "id -nG -- medaction ": ["medaction"],
    }
    assert hosts.run("-y").exit_code == 0
    assert "packages\tredis-server" in journalled() and "users\tmedaction-backup" in journalled()
    assert {"packages\tredis-tools", "packages\tcron", "users\tmedaction"}.isdisjoint(journalled())


def test_a_list_that_is_broken_stops_that_host_with_a_sentence(hosts: Fleet, capfd: pytest.CaptureFixture[str]):
    hosts.answers["staging.example.com"]["cat -- /var/lib/medaction-deploy/host.json"] = ["{", "==journal=="]
    outcome = hosts.run("--dry")
    assert outcome.exit_code == 0 and outcome.steps[-1].changes
    (told,) = outcome.steps[-1].differences
    assert told.startswith("/var/lib/medaction-deploy/host.json is not what a deploy has written: fix it, or remove it")
    hosts.run("-y")
    assert any("host.json is not what a deploy has written" in command for command in commands())


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[dict[str, object]]]:
    """The lines that the machine that deploys has kept."""
    file = tmp_path / "kept/staging.jsonl"
    monkeypatch.setattr(history, "file_here", lambda _: file)
    monkeypatch.setattr(verify, "verdicts", lambda *_: verify.Verdicts(0))
    return lambda: [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_a_deploy_that_changes_something_is_a_line_here_and_on_the_host(
    hosts: Fleet, kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, connected_to = runs.connected, []

    @contextlib.contextmanager
    def connected(*arguments):
        with connect(*arguments) as found:
            connected_to.extend(found)
            yield found

    monkeypatch.setattr(runs, "connected", connected)
    hosts.write()
    assert deploy.run(parser().parse_args(["deploy", "--env", "staging"])) == 0
    (entry,) = kept()
    assert (entry["what"], entry["result"], entry["host"]) == ("deploy", "ok", "@fake/staging.example.com")
    assert "Redis | Install Redis from the distribution" in entry["changes"] and entry["version"] == version()
    assert entry["who"] == f"{getpass.getuser()}@{socket.gethostname()}"
    (there,) = [each for host in connected_to for each in host.connector.executed_commands]
    assert "record/append.sh /var/lib/medaction-deploy/history.jsonl" in there


def test_an_administrator_with_sudo_writes_that_line_as_root(
    hosts: Fleet, kept, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, asked_by_root = FakeConnector.run_shell_command, []

    def listening(self: FakeConnector, command: Any, *flags: bool, **arguments: Any) -> Any:
        if "record/append.sh" in str(command):
            asked_by_root.append(arguments.get("_sudo"))
        return run(self, command, *flags, **arguments)

    monkeypatch.setattr(FakeConnector, "run_shell_command", listening)
    hosts.data["staging.example.com"]["_sudo"] = True
    hosts.write()
    assert deploy.run(parser().parse_args(["deploy", "--env", "staging"])) == 0
    assert asked_by_root == [True] and "was not written" not in capsys.readouterr().err


def test_a_deploy_that_changes_nothing_is_no_line(hosts: Fleet, kept) -> None:
    hosts.deploy_already()
    hosts.write()
    assert deploy.run(parser().parse_args(["deploy", "--env", "staging"])) == 0
    assert kept() == []


def test_a_deploy_that_fails_is_a_line_with_the_step(hosts: Fleet, kept) -> None:
    hosts.answers["staging.example.com"]["cat -- /var/lib/medaction-deploy/host.json"] = ["{", "==journal=="]
    hosts.answers["staging.example.com"]["printf"] = (False, [])
    hosts.write()
    deploy.run(parser().parse_args(["deploy", "--env", "staging"]))
    (entry,) = kept()
    assert str(entry["result"]).startswith("failed: ")
