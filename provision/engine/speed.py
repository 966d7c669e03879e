"""What makes pyinfra wait for nothing, taken out of its way. Each gain measured by `python -m bench deploy`.

Nagle       paramiko leaves the socket's Nagle algorithm on. A command is several small packets each way; each
            waits for the other side's delayed acknowledgement: 48 ms for `true` on a bridge, 4 without
the stack   pyinfra orders operations by the caller's line number, and has inspect look up the source around
            every frame to get it: 1,300 lookups for nine operations on eight hosts
the end     taking a process with gevent, paramiko and pydantic apart costs it 0.2 s of computing
"""

from __future__ import annotations

import functools
import inspect
import os
import socket
import sys
from typing import NoReturn

from pyinfra.api import Host, util

from provision.engine.inside import transport_of


def send_at_once(host: Host) -> None:
    """Have a host's SSH connection send small packets as they come; any other connection is left alone."""
    transport = transport_of(host)
    # Through a proxy it is a pipe or a channel: nothing to set, or somebody else's.
    if transport and isinstance(transport.sock, socket.socket):
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def look_up_no_source() -> None:
    """Have pyinfra read line numbers without the source around them, of which it uses nothing."""
    util.stack = functools.partial(inspect.stack, 0)
    util.getframeinfo = functools.partial(inspect.getframeinfo, context=0)


def leave(code: int) -> NoReturn:
    """End the process at once. Nothing may be left for `atexit` to do."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        pass  # who reads has seen enough
    except OSError as error:
        print(f"error: what is printed: {error.strerror}", file=sys.stderr)
        code = code or 1
    sys.stderr.flush()
    os._exit(code)
