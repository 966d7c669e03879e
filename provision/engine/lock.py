"""One deploy, removal or recovery at a time on a host: a lock that lives as long as the connection of its holder."""

from __future__ import annotations

import os
import re
import socket

from paramiko import SSHException
from pyinfra.api import Host, StringCommand

from provision.engine import kept
from provision.engine.preflight import PreflightError
from provision.settings.project import person

GIVEN_UP_AFTER_SECONDS = 300
_MARK = "==lock=="
_BEAT_SECONDS = 20


def hold(host: Host, command: StringCommand, advice: str) -> None:
    """Have a command hold the host's lock to the end of this run: it says "ours", or "held" and by whom.

    Raise PreflightError where somebody else holds it, and, with `advice`, where it can be held by nobody.
    """
    try:
        holding = kept.start(host, command, _BEAT_SECONDS)
        answer = holding.answer(_MARK) if holding else "ours"
    except (OSError, SSHException) as error:
        answer = f"({error})"
    verdict, _, holder = answer.partition("\t")
    if verdict == "held" and not holder.startswith(f"{us()} since "):  # a host by two names is one machine
        raise PreflightError(
            f"{host.name}: {holder.strip() or 'somebody'} is at work on it: wait until that has ended;"
            " no host was changed"
        )
    if verdict not in ("held", "ours"):
        raise PreflightError(
            f"{host.name}: the lock against a second deploy cannot be taken {answer}: {advice}; no host was changed"
        )


def us() -> str:
    """Who deploys: a person's or a machine's account, and which process of theirs."""
    name = re.sub(r"[^\w.@-]", "_", f"{person()}@{socket.gethostname()}")
    return f"{name} (process {os.getpid()})"
