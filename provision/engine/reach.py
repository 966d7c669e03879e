"""A host that says nothing, takes too long or never ends is given up, by name and step; the others go on.

What this stands on in pyinfra 3.10 and paramiko 4 (`tests/deploy/test_reach.py` fails when an upgrade changes it):

Host            facts and operations reach a host by `connect`, `run_shell_command`, `put_file` and `get_file` of this
                class and by nothing else, with a step's `_timeout` among the arguments; pyinfra itself waits for ever
                where there is none, and for the end of a command also where there is one
SSHClient       the SSH connector makes its client by this name of its module
read_buffer     reads a command's output, by this name of `connectors.util`, and decodes it strictly: one byte that is
                no UTF-8 ends the output there, in a traceback, and the command has succeeded
getpass         asks by this name of `connectors.util` for the password that sudo wants, by that of
                `connectors.ssh_util` for the one that a private key wants, and fails without a terminal
transport       a command's output comes by `recv` and `recv_stderr` of a channel of `open_session`; whoever reads or
                waits is woken when the transport closes. sshd answers a global request that it does not know, and a
                paused host's kernel acknowledges every packet: only an answer tells that somebody is there
"""

from __future__ import annotations

import contextlib
import functools
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import gevent
from paramiko import BadHostKeyException, Channel, MissingHostKeyPolicy, SSHException, Transport
from paramiko.file import BufferedFile
from pyinfra import logger
from pyinfra.api import Host
from pyinfra.api.exceptions import ConnectError, PyinfraError
from pyinfra.api.state import StateStage
from pyinfra.connectors import ssh, ssh_util, util
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.connectors.sshuserclient import SSHClient
from pyinfra.connectors.sshuserclient.client import AcceptNewPolicy
from pyinfra.connectors.util import CommandOutput, OutputLine
from typing_extensions import override

from provision.engine import hostkeys, speed
from provision.engine.shown import of_pyinfra, shown
from provision.settings.deploy import DeploySettings

CONNECT_SECONDS = 120  # all of it: a name, TCP, keys, authentication, a Windows host's first PowerShell
OUTPUT_MB, OUTPUT_LINES = 8, 200_000  # of one command; a fleet's year of manifests is a tenth of it
SUDO = (
    "sudo wants a password there: let the user do without (NOPASSWD in a file of /etc/sudoers.d), or give the host"
    " _sudo_password; where it was given, its /tmp runs no program: give _temp_dir, too"
)
LONG = 10**9
"""As the `_timeout` of a step: what the host's settings allow a long one."""


class HostLostError(PyinfraError):
    """A host was lost before the first change on any; the run ends, and nothing was changed."""


class PasswordWantedError(Exception):
    """sudo or a private key wants a password, and nobody is there to be asked for it."""


_LATE = object()  # in place of what did not come in time
_limits: WeakKeyDictionary[Host, DeploySettings] = WeakKeyDictionary()
_lines: WeakKeyDictionary[Host, Line] = WeakKeyDictionary()
_questions: WeakKeyDictionary[Host, list[str]] = WeakKeyDictionary()


def watched() -> None:
    """Have pyinfra reach hosts in this way, and show what they print, from now on and in this process."""
    of_pyinfra()
    if ssh.SSHClient is Client:
        return
    # With nobody to take them Python prints paramiko's tracebacks and a host's words; what matters is told by us.
    logging.getLogger("paramiko").addHandler(logging.NullHandler())
    ssh.SSHClient = Client  # type: ignore[misc]
    util.read_buffer = _leniently(util.read_buffer)
    util.getpass, ssh_util.getpass = _at_a_terminal(util.getpass), _at_a_terminal(ssh_util.getpass)
    Host.connect = _connecting(Host.connect)  # type: ignore[method-assign]
    Host.get_fact = _asking(Host.get_fact)  # type: ignore[method-assign]
    for name in ("run_shell_command", "put_file", "get_file"):
        setattr(Host, name, _limited(getattr(Host, name)))


def limit(host: Host, settings: DeploySettings) -> None:
    """From now on these are a host's limits; before, the settings' defaults."""
    _limits[host] = settings
    if host not in _lines:
        _take_line(host)  # pyinfra's own command connects before it reads anything of this project


def limits_of(host: Host) -> DeploySettings:
    return _limits.get(host) or DeploySettings()


def why_lost(host: Host) -> str:
    """Why a connected host is asked no more; empty while it can be."""
    line = _lines.get(host)
    return (line.why_cut or "the connection ended") if line and line.is_cut else ""


def _leniently(read: Callable[..., None]) -> Callable[..., None]:
    """A byte that is no UTF-8 is shown as such: whoever has written it ends nobody's output."""

    def reading(name: str, io: Iterable[Any], *args: Any, **kwargs: Any) -> None:
        if isinstance(io, BufferedFile):
            io._flags |= BufferedFile.FLAG_BINARY  # type: ignore[attr-defined]
        lines = (each.decode("utf-8", "replace") if isinstance(each, bytes) else each for each in io)
        read(name, lines, *args, **kwargs)

    return reading


def _at_a_terminal(ask: Callable[..., str]) -> Callable[..., str]:
    def asking(prompt: str) -> str:
        if not sys.stdin or not sys.stdin.isatty():
            raise PasswordWantedError
        return ask(prompt)

    return asking


class Client(SSHClient):
    """pyinfra's client, which says what it accepts, and in one sentence what it does not."""

    @override
    def set_missing_host_key_policy(self, policy: type[MissingHostKeyPolicy] | MissingHostKeyPolicy) -> None:
        super().set_missing_host_key_policy(hostkeys.AcceptAndSay() if isinstance(policy, AcceptNewPolicy) else policy)

    @override
    def connect(self, hostname: str, **options: Any) -> None:  # type: ignore[override]
        try:
            super().connect(hostname, **options)  # type: ignore[no-untyped-call]
        except BadHostKeyException as error:
            file = str(self._host_keys_filename)
            raise ConnectError(hostkeys.changed(hostname, error.key, error.expected_key, file)) from None
        except (SSHException, EOFError, OSError) as error:
            self.close()
            if "protocol banner" in str(error):
                raise ConnectError("something listens there, and says nothing that SSH would: is it up?") from None
            raise


class Line:
    """The SSH connection to a host: how much came by it for the present command, and why it was cut."""

    def __init__(self, host: Host, transport: Transport) -> None:
        self.transport, self.why_cut = transport, ""
        self.received = self.line_breaks = 0
        self.is_at_work = False  # at a command of pyinfra's; what else goes by this line has bounds of its own
        self._open_session = transport.open_session
        transport.open_session = self._session  # type: ignore[method-assign]
        gevent.spawn(self._watch, host)

    @property
    def is_cut(self) -> bool:
        return not self.transport.is_active()

    def cut(self, reason: str) -> None:
        """Close it: whoever reads from it or waits for it comes to an end."""
        self.why_cut = self.why_cut or reason
        self.transport.close()

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """While a command of pyinfra's runs: what comes for it is counted."""
        before, self.is_at_work = self.is_at_work, True
        if not before:
            self.received = self.line_breaks = 0
        try:
            yield
        finally:
            self.is_at_work = before

    def _session(self, *args: Any, **kwargs: Any) -> Channel:
        channel = self._open_session(*args, **kwargs)
        if not self.is_at_work:
            return channel
        for name in ("recv", "recv_stderr"):
            setattr(channel, name, functools.partial(self._count, getattr(channel, name)))
        return channel

    def _count(self, receive: Callable[[int], bytes], amount: int) -> bytes:
        data = receive(amount)
        self.received += len(data)
        self.line_breaks += data.count(b"\n")
        if self.received <= OUTPUT_MB * 2**20 and self.line_breaks <= OUTPUT_LINES:
            return data
        self.cut(f"printed more than {OUTPUT_MB} MiB or {OUTPUT_LINES} lines: its shell, or what it runs, never ends")
        return b""

    def _watch(self, host: Host) -> None:
        """Ask now and then whether somebody is there; three questions without an answer are the host's silence."""
        while self.transport.is_active():
            gevent.sleep(limits_of(host).deploy_silence_seconds / 4)
            seconds = limits_of(host).deploy_silence_seconds
            if not any(self._answers(seconds / 4) for _ in range(3)) and not self.is_cut:
                self.cut(f"gave no sign of life for {seconds} s")

    def _answers(self, seconds: float) -> bool:
        ask = functools.partial(self.transport.global_request, "keepalive@openssh.com", wait=True)
        return gevent.with_timeout(seconds, ask, timeout_value=_LATE) is not _LATE


def _connecting(connect: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(connect)
    def connecting(host: Host, *args: Any, **kwargs: Any) -> None:
        try:
            connected = gevent.with_timeout(CONNECT_SECONDS, connect, host, *args, **kwargs, timeout_value=_LATE)
        except PyinfraError as error:  # a key file that is not there, or that nobody can read
            if isinstance(error, ConnectError):
                raise
            logger.error(f"{host.print_prefix}cannot be connected to: {shown(str(error))}")
            return
        except PasswordWantedError:
            key = shown(str(host.data.get("ssh_key")))
            logger.error(f"{host.print_prefix}cannot be connected to: {key} is encrypted: give ssh_key_password")
            return
        if connected is not _LATE:
            _take_line(host)
            return
        if isinstance(host.connector, SSHConnector) and host.connector.client is not None:
            host.connector.client.close()
        logger.error(f"{host.print_prefix}cannot be connected to in {CONNECT_SECONDS} s")

    return connecting


def _take_line(host: Host) -> None:
    if host.connected and isinstance(host.connector, SSHConnector) and host.connector.client is not None:
        transport = host.connector.client.get_transport()
        if transport is not None:
            speed.send_at_once(host)
            _lines[host] = Line(host, transport)


def _asking(get_fact: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(get_fact)
    def asking(host: Host, fact: Any, *args: Any, **kwargs: Any) -> Any:
        asked = _questions.setdefault(host, [])
        asked.append(fact.__name__)
        try:
            return get_fact(host, fact, *args, **kwargs)
        finally:
            asked.pop()

    return asking


def _limited(work: Callable[..., Any]) -> Callable[..., Any]:
    """Given one of the ways to reach a host, return it with an end: one that is reached is told as a failure."""

    @functools.wraps(work)
    def limited(host: Host, *args: Any, _timeout: float | None = None, **arguments: Any) -> Any:
        line = _lines.get(host)
        over = gevent.Timeout(_seconds(host, _timeout))
        try:
            with over, line.at_work() if line else contextlib.nullcontext():
                result = work(host, *args, **arguments)
        except gevent.Timeout as error:
            if error is not over:
                raise
            return _lost(host, work, f"takes longer than {over.seconds:g} s")
        except PasswordWantedError:
            return _lost(host, work, SUDO)
        except (OSError, EOFError, SSHException) as error:
            if not line or not line.is_cut:
                raise
            return _lost(host, work, f"the connection ended ({error or type(error).__name__})")
        failed = not (result[0] if isinstance(result, tuple) else result)
        if failed and line and line.is_cut:
            return _lost(host, work, "the connection ended")
        return result

    return limited


def _seconds(host: Host, given: float | None) -> float:
    limits = limits_of(host)
    return limits.deploy_long_command_seconds if given == LONG else given or limits.deploy_command_seconds


def _lost(host: Host, work: Callable[..., Any], reason: str) -> Any:
    """Cut the line to a host, so that nothing more goes there. Before the first change on any host, end the run."""
    line = _lines.get(host)
    if line:
        line.cut(reason)
        reason = line.why_cut
    sentence = shown(f"{host.name}: {_step(host)}: {reason}")
    if host.state.current_stage == StateStage.Prepare:
        raise HostLostError(f"{sentence}; no host was changed. Look at it, or go on without it: SKIP={host.name}")
    if work.__name__ == "run_shell_command":
        return False, CommandOutput([OutputLine("stderr", sentence)])
    logger.error(f"{host.print_prefix}{sentence}")
    return False


def _step(host: Host) -> str:
    operation = host.nested_executing_op_hash or host.executing_op_hash
    if operation:
        return f"step {', '.join(sorted(host.state.op_meta[operation].names))!r}"
    asked = _questions.get(host)
    return f"question {asked[-1]}" if asked else "a command"
