"""How a check asks a host: bounded in time, and what goes wrong is a sentence."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from provision.engine.inventory import Member
from provision.settings import Settings
from tests.sandbox import packages
from tests.verify.target import Target, ssh_config

ValidSettings = Callable[..., Settings]


@pytest.fixture
def here(settings_of: ValidSettings, tmp_path: Path) -> Target:
    settings = settings_of(redis_port=1, deploy_command_seconds=1, deploy_long_command_seconds=2)
    return Target(Member("@local", ("redis",), settings, {}), tmp_path / "config")


@pytest.mark.parametrize(("is_long", "seconds"), [(False, 1), (True, 2)])
def test_command_that_takes_too_long_is_ended_and_named(is_long: bool, seconds: int, here: Target) -> None:
    with pytest.raises(pytest.fail.Exception, match=rf"@local: gives no answer in {seconds} s to: .*sleep 4321"):
        here.run("sleep 4321", is_long=is_long)
    assert subprocess.run(["pgrep", "-f", "^sleep 4321"], capture_output=True).stdout == b""


@pytest.mark.parametrize("command", ["echo a >&2; echo the reason >&2; exit 3", "echo the reason; exit 1"])
def test_command_that_fails_is_told_by_its_last_words(command: str, here: Target) -> None:
    with pytest.raises(pytest.fail.Exception, match=r": the reason$"):
        here.text(command)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Could not connect to Redis at 127.0.0.1:1: Connection refused", "connection refused"),
        ("Could not connect to Redis at 127.0.0.1:1: No route to host", "no route to host"),
    ],
)
def test_redis_that_is_not_reached_is_told_once(
    said: str, told: str, here: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "redis-cli"
    program.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(pytest.fail.Exception, match=f"Redis at 127.0.0.1:1 is not reached from here: {told}"):
        here.redis("PING")
    with pytest.raises(pytest.skip.Exception, match="as told above"):
        here.redis("PING")


def test_host_without_an_answer_fails_one_check_and_the_others_are_not_made(
    settings_of: ValidSettings, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.write_text("Host *\n  HostName 127.0.0.1\n  Port 1\n  BatchMode yes\n")
    target = Target(Member("gone", ("redis",), settings_of(), {}), config)
    with pytest.raises(pytest.fail.Exception, match=r"gone: cannot be verified: .*refused"):
        target.require_answer()
    with pytest.raises(pytest.skip.Exception, match=r"gone is not asked: .*refused"):
        target.require_answer()


def test_what_a_host_says_is_shown_in_the_sentence(here: Target) -> None:
    with pytest.raises(pytest.fail.Exception, match=r"@local: .*\\x1b\[2J\\u202e"):
        here.text("printf '\\033[2J\\342\\200\\256' >&2; exit 1")


PLACES = ("plain", "My Documents", "it's mine", 'so "called"', "50% done", "back\\slash", "a[b]*?")


@pytest.mark.parametrize("place", PLACES)
def test_ssh_reads_every_path_as_it_is_wherever_the_clone_lies(
    place: str, settings_of: ValidSettings, tmp_path: Path
) -> None:
    if not shutil.which("ssh"):
        packages.install("openssh-client")
    home = tmp_path / place
    home.mkdir()
    (home / "config").write_text("Host *\n  Ciphers aes256-ctr\n")
    data = {"ssh_hostname": "fe80::1%eth0", "ssh_user": "o'brien", "ssh_port": 2222, "ssh_key": f"{home}/key",
            "ssh_known_hosts_file": f"{home}/known", "ssh_config_file": f"{home}/config"}  # fmt: skip
    config = tmp_path / "made"
    config.write_text(ssh_config([Member("db1", (), settings_of(), data)], home))
    done = subprocess.run(["ssh", "-G", "-F", config, "db1"], capture_output=True, text=True)
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert said["identityfile"].replace("%%", "%") == f"{home}/key", done.stderr
    assert said["userknownhostsfile"].replace("%%", "%").replace("\\\\", "\\") == f"{home}/known"
    assert said["controlpath"].startswith(str(home)) and said["ciphers"] == "aes256-ctr"
    assert (said["hostname"], said["user"], said["port"]) == ("fe80::1%eth0", "o'brien", "2222")
