"""What came from us is put into the journal before it is made, and what was there before is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

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
    hosts.run("-y")
    assert any("host.json is not what a deploy has written" in command for command in commands())
