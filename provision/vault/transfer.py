"""Bytes over SSH through this machine: what a command prints on one host, into a file that arrives whole on another."""

from __future__ import annotations

import contextlib
import hashlib
import posixpath
import shlex
from collections.abc import Iterator
from typing import Protocol

from paramiko import Channel, SSHException
from pyinfra.api import Host

from provision.settings.render import plain

CHUNK_BYTES = 1 << 20


class RecoveryError(Exception):
    """The dumps could not be brought back; the text says why, and that nothing half is left under a dump's name."""


class Sink(Protocol):
    """Where a stream goes, piece by piece."""

    def write(self, data: bytes, /) -> int: ...


def program(name: str, *arguments: str) -> list[str]:
    return ["sh", "-c", plain(f"vault/{name}.sh"), name, *arguments]


def as_user(user: str) -> list[str]:
    """The directory is this user's, who may have put anything into it: root writes nothing there."""
    return ["setpriv", "--reuid", user, "--regid", user, "--init-groups", "--"]


class _Arriving:
    """A stream to a file of a host, whose sum is taken on the way."""

    def __init__(self, channel: Channel) -> None:
        self.channel, self.digest, self.was_cut = channel, hashlib.sha256(), False

    def write(self, data: bytes, /) -> int:
        self.digest.update(data)
        try:
            self.channel.sendall(data)
        except OSError:
            self.was_cut = True  # whoever reads the source may take this for an error of that
            raise
        return len(data)


@contextlib.contextmanager
def arriving(host: Host, path: str, user: str, sha256: str) -> Iterator[Sink]:
    """A file of a host, to be written; one whose sum is wrong is not left there. Raise RecoveryError."""
    aside = f"{posixpath.dirname(path)}/.arriving"  # one at a time; with its own name it could be too long for a file's
    into = _Arriving(_open(host, [*as_user(user), *program("receive", aside)]))
    try:
        yield into
    except BaseException:
        why = _why_it_ended(into.channel) if into.was_cut else ""
        into.channel.close()  # the rest of it is not there: nothing gets its name
        if why:
            raise RecoveryError(f"{host.name}: {path}: {why}: nothing half has its name; run this again") from None
        raise
    into.channel.shutdown_write()
    _finish(host, into.channel)
    if into.digest.hexdigest() != sha256:
        run(host, [*as_user(user), "rm", "-f", "--", aside])
        raise RecoveryError(f"{path}: what arrived is not what the manifest says: it was removed; take another dump")
    run(host, [*as_user(user), "mv", "-fT", "--", aside, path])


def run(host: Host, argv: list[str]) -> None:
    for _ in output(host, argv):
        pass


def output(host: Host, argv: list[str]) -> Iterator[bytes]:
    """What a command prints on a host, in pieces. Raise RecoveryError when it fails."""
    channel = _open(host, argv)
    channel.shutdown_write()
    while chunk := channel.recv(CHUNK_BYTES):
        yield chunk
    _finish(host, channel)


def _open(host: Host, argv: list[str]) -> Channel:
    client = getattr(host.connector, "client", None)
    transport = client.get_transport() if client else None
    if transport is None:
        raise RecoveryError(f"{host.name}: is not reached over SSH: recovery goes over SSH")
    try:
        channel: Channel = transport.open_session()
    except (OSError, EOFError, SSHException):
        raise RecoveryError(f"{host.name}: the connection was cut: run this again") from None
    channel.exec_command(shlex.join([*(["sudo", "-n", "--"] if host.data.get("_sudo") else []), *argv]))
    return channel


def _finish(host: Host, channel: Channel) -> None:
    said, code = _said(channel), channel.recv_exit_status()
    channel.close()
    if code == -1:  # paramiko's own, where there is none
        raise RecoveryError(f"{host.name}: {said or 'the connection was cut'}: run this again")
    if code:
        raise RecoveryError(f"{host.name}: exit code {code}: {said or 'it gave no reason'}")


def _why_it_ended(channel: Channel) -> str:
    return _said(channel) or "the connection was cut"


def _said(channel: Channel) -> str:
    # A command that says this much on stderr has ended; its reason is at the beginning.
    return channel.makefile_stderr("rb").read(4096).decode(errors="replace").strip()
