"""A command that runs on a host for as long as this process lives and is connected, beside all others.

pyinfra has no such thing. This goes beside its connectors: `exec_command` of the SSH connector's client, a process of
our own for the machine itself; both with the shell, sudo and the like that pyinfra's own commands have
(`tests/deploy/test_reach.py`), on Windows with PowerShell.
"""

from __future__ import annotations

import contextlib
from typing import Any

import gevent
from gevent.subprocess import PIPE, Popen
from paramiko import SSHException
from pyinfra.api import Host, StringCommand
from pyinfra.connectors.local import LocalConnector
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.connectors.util import extract_control_arguments, make_unix_command_for_host

from provision.engine.inside import arguments_of
from provision.engine.reach import limits_of
from provision.winssh import powershell
from provision.winssh.connector import is_windows

_LINES, _LONGEST_LINE = 1000, 4096  # a login banner comes before the answer
_END_SECONDS = 5

# Those that run now; a process that ends takes them with it.
_running: list[Kept] = []


class Kept:
    """A running command: what it says first, and the lines it is sent so that it knows that we live."""

    def __init__(self, stdin: Any, stdout: Any, seconds: float) -> None:
        self._stdin, self._stdout = stdin, stdout
        self._heart = gevent.spawn(self._beat, seconds)
        _running.append(self)

    def answer(self, mark: str) -> str:
        """The first line that begins with this mark, without it; empty when there is none."""
        for _ in range(_LINES):
            line = self._stdout.readline(_LONGEST_LINE)
            text = line.decode(errors="replace") if isinstance(line, bytes) else line
            if not text or text.startswith(mark):
                return text.removeprefix(mark).strip()
        return ""

    def end(self) -> None:
        """Close its standard input, of which it ends, and wait for that."""
        self._heart.kill()
        with contextlib.suppress(OSError, SSHException):  # it may be gone already
            self._stdin.close()
            gevent.with_timeout(_END_SECONDS, self._stdout.read, timeout_value=None)

    def _beat(self, seconds: float) -> None:
        with contextlib.suppress(OSError, SSHException, ValueError):  # the connection is gone: so is the command
            while True:
                gevent.sleep(seconds)
                self._stdin.write(b"\n")
                self._stdin.flush()


def start(host: Host, command: StringCommand, beat_seconds: float) -> Kept | None:
    """Start a command that gets a line every so often. None for a host that no command can be kept running on."""
    arguments: Any = arguments_of(host)
    extract_control_arguments(arguments)
    with gevent.Timeout(limits_of(host).deploy_silence_seconds, TimeoutError("no answer")):
        raw = _line(host, command, arguments)
        if isinstance(host.connector, LocalConnector):
            process = Popen(raw, shell=True, stdin=PIPE, stdout=PIPE)
            return Kept(process.stdin, process.stdout, beat_seconds)
        if isinstance(host.connector, SSHConnector) and host.connector.client is not None:
            stdin, stdout, _ = host.connector.client.exec_command(raw)
            return Kept(stdin, stdout, beat_seconds)
    return None


def _line(host: Host, command: StringCommand, arguments: Any) -> str:
    if is_windows(host):
        return powershell.command_that_reads(command.get_raw_value())
    return str(make_unix_command_for_host(host.state, host, command, **arguments).get_raw_value())


def end_all() -> None:
    """End what this process keeps running."""
    while _running:
        _running.pop().end()
