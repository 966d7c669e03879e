"""No secret shows, however loudly pyinfra is told to speak."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.deploy.fake import Fleet, commands

Fleets = Callable[[str], Fleet]

LOUD = [
    ("-y", "-vvv", "--diff"),
    ("-y", "-vvv", "--debug", "--debug-all"),
    ("--dry", "-vvv", "--diff"),
    ("--dry", "-vvv", "--debug-all", "--debug-operations"),
    ("--dry", "-vvv", "--debug-facts"),
    ("--dry", "--json"),
    ("--dry", "--json", "--debug-operations"),
    ("-y", "--json"),
]


@pytest.mark.parametrize("options", LOUD, ids=" ".join)
@pytest.mark.parametrize("is_deployed", [False, True], ids=["fresh", "changed by hand"])
def test_no_secret_is_printed_or_sent_as_an_argument(
    options: tuple[str, ...],
    is_deployed: bool,
    fleet: Fleets,
    secret_texts: list[str],
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
):
    hosts = fleet("staging")
    if is_deployed:
        hosts.deploy_already()
        answers = hosts.answers["staging.example.com"]
        answers["stat $1 --printf"] = [line for line in answers["stat $1 --printf"] if "  /" not in line]
        # The operator is let in, and everything else differs: the most that there can be to say.
        answers["redis-cli -h 127.0.0.1"] = ["OK", "--8<--", "port", "1", "--8<--", "user default on nopass +@all"]
    outcome = hosts.run(*options)
    out, err = capfd.readouterr()
    printed = "\n".join([out, err, *(record.getMessage() for record in caplog.records), *commands()])
    assert outcome.exit_code == 0 and len(printed) > 1000
    assert not [text for text in secret_texts if text in printed]


def test_a_host_that_fails_shows_no_secret(
    fleet: Fleets, secret_texts: list[str], capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    hosts = fleet("staging")
    hosts.answers["staging.example.com"]["debian/write.sh"] = {"success": False, "stderr": "no space left"}
    outcome = hosts.run("-y", "-vvv", "--debug-all")
    out, err = capfd.readouterr()
    printed = "\n".join([out, err, *(record.getMessage() for record in caplog.records)])
    assert outcome.exit_code == 1 and "no space left" in printed
    assert not [text for text in secret_texts if text in printed]
