"""A host that is silent, slow or endless is given up in time and by name: what that stands on in pyinfra and paramiko.

The server is a process of its own that speaks SSH: it can be paused as a host can. Whole hosts: tests/e2e.
"""

from __future__ import annotations

import re
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyinfra
import pytest
from paramiko import SSHException
from pyinfra.api import Config, FactBase, Host, Inventory, State, StringCommand
from pyinfra.api.connect import connect_all
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.state import StateStage
from pyinfra.connectors import ssh
from pyinfra.context import ctx_config, ctx_state

from provision.engine import hostkeys, kept, reach
from provision.settings.deploy import DeploySettings
from tests.deploy.ssh_server import server

LIMITS = DeploySettings(deploy_command_seconds=20, deploy_long_command_seconds=30, deploy_silence_seconds=4)


class Greeting(FactBase[str]):
    command = "echo hello"


def make_key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


@pytest.fixture
def port(tmp_path: Path) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    with server(make_key(tmp_path / "hostkey")) as (number, process):
        yield number, process


@pytest.fixture
def connect(tmp_path: Path, port: tuple[int, object]) -> Iterator[Callable[..., Host]]:
    make_key(tmp_path / "key")
    data = {"ssh_hostname": "127.0.0.1", "ssh_port": port[0], "ssh_user": "root", "ssh_key": str(tmp_path / "key"),
            "ssh_known_hosts_file": str(tmp_path / "known/hosts")}  # fmt: skip
    reach.watched()
    state, config = State(), Config()

    def connected(**changed: object) -> Host:
        state.init(Inventory((["app1"], data | changed)), config)
        host = state.inventory.get_host("app1")
        reach.limit(host, LIMITS)
        connect_all(state)
        return host

    with ctx_state.use(state), ctx_config.use(config):
        yield connected
        kept.end_all()


def said(host: Host, command: str, **arguments: float) -> tuple[bool, str]:
    status, output = host.run_shell_command(StringCommand(command), **arguments)
    return status, output.output


def test_what_a_host_says_comes_as_it_always_did(connect: Callable[[], Host]) -> None:
    host = connect()
    assert said(host, "echo out; echo err >&2; exit 3")[0] is False
    assert said(host, "echo out") == (True, "out") and host.get_fact(Greeting) == "hello"


@pytest.mark.parametrize("where", ["", " >&2"])
def test_a_byte_that_is_no_text_ends_no_output(where: str, connect: Callable[[], Host], capsys) -> None:
    assert said(connect(), f"printf 'before\\n\\377 caf\\303\\251\\nafter\\n'{where}") == (
        True, "before\n\ufffd café\nafter"
    )  # fmt: skip
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("stage", "end"), [(StateStage.Prepare, "raised"), (StateStage.Execute, "failed")], ids=["before", "after"]
)
def test_a_sudo_that_wants_a_password_is_one_sentence(
    stage: StateStage, end: str, connect: Callable[[], Host], tmp_path: Path, capsys
) -> None:
    host = connect()
    host.state.current_stage = stage
    wants = StringCommand("echo 'sudo: a password is required' >&2; exit 1")
    sentence = r"app1: .*: sudo wants a password there: let the user do without \(NOPASSWD"
    if end == "raised":
        with pytest.raises(reach.HostLostError, match=sentence):
            host.run_shell_command(wants)
    else:
        status, output = host.run_shell_command(wants)
        assert not status and re.match(sentence, output.output)
    assert reach.why_lost(host) == reach.SUDO, "status says so, too"
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"ssh_key": "/nowhere/key"}, "No such private key file: /nowhere/key"),
        ({"ssh_key": "rubbish"}, "Invalid private key file: .*/rubbish"),
        ({"ssh_key": "locked"}, "/locked is encrypted: give ssh_key_password"),
        ({"ssh_key": "", "ssh_password": "zq-wrong"}, "Authentication error .username=root"),
        ({"ssh_port": 1}, "Unable to connect to port 1 on 127.0.0.1"),
    ],
    ids=["no key", "rubbish", "locked key", "password", "port"],
)
def test_a_way_in_that_there_is_not_is_one_sentence(
    changed: dict[str, object], told: str, connect: Callable[..., Host], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(pyinfra, "is_cli", True)  # as in a run of ours: it would ask for a password
    (tmp_path / "rubbish").write_text("rubbish")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "locked", "-f", tmp_path / "locked"], check=True)
    if (tmp_path / str(changed.get("ssh_key"))).is_file():
        changed = {"ssh_key": str(tmp_path / str(changed["ssh_key"]))}
    with pytest.raises(PyinfraError, match="No hosts remaining"):
        connect(**changed, ssh_allow_agent=False, ssh_look_for_keys=False)
    said_there = capsys.readouterr()
    everything = said_there.out + said_there.err + caplog.text
    assert re.search(told, everything) and "zq-wrong" not in everything and "Traceback" not in everything


def test_a_paused_host_is_given_up_and_asked_no_more(connect: Callable[[], Host], port) -> None:
    host = connect()
    port[1].send_signal(signal.SIGSTOP)
    began = time.monotonic()
    try:
        assert said(host, "echo hi") == (False, "app1: a command: gave no sign of life for 4 s")
        assert time.monotonic() - began < 10
        assert said(host, "echo hi")[1] == "app1: a command: gave no sign of life for 4 s"
    finally:
        port[1].send_signal(signal.SIGCONT)
    assert time.monotonic() - began < 11


def test_a_host_that_is_busy_with_a_command_is_not_silent(connect: Callable[[], Host]) -> None:
    assert said(connect(), "sleep 6; echo done") == (True, "done")


@pytest.mark.parametrize(("given", "seconds"), [({"_timeout": 1}, 1), ({}, 2), ({"_timeout": reach.LONG}, 3)])
def test_a_command_has_its_limit_or_the_hosts_or_that_of_long_ones(
    given: dict[str, float], seconds: int, connect: Callable[[], Host]
) -> None:
    host = connect()
    reach.limit(host, DeploySettings(deploy_command_seconds=2, deploy_long_command_seconds=3))
    began = time.monotonic()
    assert said(host, "sleep 60", **given) == (False, f"app1: a command: takes longer than {seconds} s")
    assert seconds <= time.monotonic() - began < seconds + 3


@pytest.mark.parametrize("endless", ["yes", "yes | tr -d '\\n'", "yes >&2", "cat /dev/zero"])
def test_a_host_that_prints_without_end_fills_no_memory(endless: str, connect: Callable[[], Host]) -> None:
    host = connect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status, sentence = said(host, endless)
    assert not status and sentence.startswith("app1: a command: printed more than 8 MiB or 200000 lines")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150 * 1024


def test_a_fact_is_named_and_before_the_first_change_its_host_ends_the_run(connect: Callable[[], Host]) -> None:
    host = connect()
    reach.limit(host, DeploySettings(deploy_command_seconds=1))

    class Sleepy(FactBase[str]):
        command = "sleep 60"

    host.state.set_stage(StateStage.Prepare)
    with pytest.raises(PyinfraError, match="app1: question Sleepy: takes longer than 1 s; no host was changed"):
        host.get_fact(Sleepy)


def test_a_file_that_cannot_be_sent_in_time_is_a_failed_step(connect: Callable[[], Host], port, caplog) -> None:
    host = connect()
    port[1].send_signal(signal.SIGSTOP)
    try:
        assert host.put_file(__file__, "/nowhere/x") is False
    finally:
        port[1].send_signal(signal.SIGCONT)
    assert "app1: a command: gave no sign of life for 4 s" in caplog.text


def test_pyinfras_client_is_ours_and_says_what_it_accepts(connect: Callable[[], Host], tmp_path: Path, port) -> None:
    hostkeys.accepted()
    assert isinstance(connect().connector.client, reach.Client) and ssh.SSHClient is reach.Client
    (told,) = hostkeys.accepted()
    expected = subprocess.run(
        ["ssh-keygen", "-lf", tmp_path / "hostkey.pub"], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    assert expected in told and "accepted unseen" in told
    assert (tmp_path / "known/hosts").read_text().count("ssh-ed25519") == 1


def test_a_pinned_file_admits_nobody_else(connect: Callable[[], Host], tmp_path: Path, caplog) -> None:
    (tmp_path / "known").mkdir()
    (tmp_path / "known/hosts").write_text(hostkeys.PINNED)
    with pytest.raises(PyinfraError):
        connect()
    assert "which is not among those pinned in" in caplog.text and "make known-hosts" in caplog.text
    assert (tmp_path / "known/hosts").read_text() == hostkeys.PINNED


def test_a_changed_key_is_one_sentence_with_what_to_do(
    connect: Callable[[], Host], tmp_path: Path, port, caplog
) -> None:
    (tmp_path / "known").mkdir()
    other = make_key(tmp_path / "other").with_suffix(".pub").read_text()
    (tmp_path / "known/hosts").write_text(f"[127.0.0.1]:{port[0]} {other}")
    with pytest.raises(PyinfraError):
        connect()
    (line,) = {each for each in caplog.messages if "host key" in each}  # run alone, the root's logger hears it, too
    assert "either somebody answers in its place, or it was made anew" in line and "make known-hosts" in line


def test_a_kept_command_answers_and_ends_with_its_input(connect: Callable[[], Host]) -> None:
    held = kept.start(connect(), StringCommand("sh -c", "'echo a banner; echo ==x==mine; cat >/dev/null; true'"), 1)
    assert held is not None and held.answer("==x==") == "mine"
    held.end()
    assert held.answer("==x==") == ""


def test_an_error_of_ssh_that_is_none_of_ours_stays_as_it_was(connect: Callable[[], Host], monkeypatch) -> None:
    host = connect()
    monkeypatch.setattr(host.connector, "run_shell_command", lambda *_, **__: (_ for _ in ()).throw(SSHException("x")))
    with pytest.raises(SSHException, match="x"):
        host.run_shell_command(StringCommand("true"))
