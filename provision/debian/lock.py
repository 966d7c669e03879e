"""One deploy or recovery at a time on a host: a lock that lives as long as the connection of whoever holds it."""

from __future__ import annotations

import getpass
import os
import re
import socket

from paramiko import SSHException
from pyinfra.api import Host

from provision.debian.programs import program
from provision.engine import kept
from provision.engine.preflight import PreflightError
from provision.engine.run import is_dry
from provision.winssh.connector import is_windows

PATH = "/run/provision-deploy.lock"  # root's directory: nobody else can hold it, or put a link there
_MARK = "==lock=="
_BEAT_SECONDS, _GIVEN_UP_AFTER_SECONDS = 20, "300"


def locked(host: Host) -> None:
    """From here to the end of this run no other deploy or recovery changes the host. Raise PreflightError while one
    does.

    Not on Windows, and not for a dry run, which changes nothing.
    """
    if is_dry() or is_windows(host):
        return
    command = program("debian/hold-lock.sh", PATH, _us(), _GIVEN_UP_AFTER_SECONDS, shell="bash -c")
    try:
        holding = kept.start(host, command, _BEAT_SECONDS)
        answer = holding.answer(_MARK) if holding else "ours"
    except (OSError, SSHException) as error:
        answer = f"({error})"
    verdict, _, holder = answer.partition("\t")
    if verdict == "held" and not holder.startswith(f"{_us()} since "):  # a host by two names is one machine
        raise PreflightError(
            f"{host.name}: {holder.strip() or 'somebody'} is at work on it: wait until that has ended;"
            " no host was changed"
        )
    if verdict not in ("held", "ours"):
        raise PreflightError(
            f"{host.name}: {PATH}, the lock against a second deploy, cannot be taken {answer}: see that bash and"
            " flock are there, and room in /run; no host was changed"
        )


def _us() -> str:
    """Who deploys: a person's or a machine's account, and which process of theirs."""
    name = re.sub(r"[^\w.@-]", "_", f"{getpass.getuser()}@{socket.gethostname()}")
    return f"{name} (process {os.getpid()})"
