"""A TCP connection as a host sees the network, opened through the connection that pyinfra already has.

What must be true from a host (the database answers there, with that password) can so be asked before
anything is installed on it, with nothing but its sshd.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any

from paramiko import ChannelException, SSHException
from pyinfra.api import Host

from provision.engine.inside import is_this_machine, transport_of

TIMEOUT_SECONDS = 15


class TunnelError(Exception):
    """The host cannot reach that address; the text says why."""


def connect(host: Host, address: str, port: int) -> socket.socket:
    """Given a connected host, return a socket to address:port as seen from it. Raise TunnelError."""
    if is_this_machine(host):
        try:
            return socket.create_connection((address, port), TIMEOUT_SECONDS)
        except OSError as error:
            raise TunnelError(f"{address}:{port} cannot be reached: {error.strerror or error}") from None
    transport = transport_of(host)
    assert transport is not None, "an operation runs on a host that is connected"
    try:
        channel = transport.open_channel("direct-tcpip", (address, port), ("127.0.0.1", 0), timeout=TIMEOUT_SECONDS)
    except ChannelException as error:
        raise TunnelError(f"{address}:{port} cannot be reached from there: {_why(error)}") from None
    except (SSHException, EOFError) as error:
        raise TunnelError(f"{address}:{port} cannot be reached from there ({error})") from None
    # A real socket in between: TLS needs one, and a channel is none.
    ours, theirs = socket.socketpair()
    ours.settimeout(TIMEOUT_SECONDS)
    for read, write, end in ((theirs.recv, channel.sendall, channel), (channel.recv, theirs.sendall, theirs)):
        threading.Thread(target=_pump, args=(read, write, end), daemon=True).start()
    return ours


def _why(error: ChannelException) -> str:
    """What sshd says of a connection that it does not make (RFC 4254, section 5.1), and what to do."""
    if error.code == 1:
        return "its sshd forbids forwarding: allow it for this user (AllowTcpForwarding local in sshd_config)"
    if error.code == 2:
        return "nothing answers there. Does the server listen on that address (ss -ltn), and does a firewall refuse?"
    return f"its sshd says {error}"


def _pump(read: Callable[[int], bytes], write: Callable[[bytes], Any], end: Any) -> None:
    try:
        while data := read(65536):
            write(data)
    except OSError:
        pass  # one side went away; the other is told by the shutdown below
    with contextlib.suppress(OSError, EOFError):
        end.shutdown(socket.SHUT_WR)
