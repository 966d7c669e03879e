"""What systemd knows of unit files: it reads one when it needs it first, and a changed one when it is told."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

from pyinfra.api import QuoteString, StringCommand, operation
from pyinfra.context import host, state
from pyinfra.operations import systemd
from typing_extensions import override

from provision.debian.packages import Packages
from provision.engine.changes import note
from provision.engine.facts import YesOrNo, asked
from provision.engine.inside import commands_of


class Unread(YesOrNo):
    """Given units, return whether the file or a drop-in of one is newer than what systemd has read."""

    @override
    def command(self, units: Sequence[str]) -> StringCommand:
        return asked("systemctl show --value -p NeedDaemonReload --", *(QuoteString(unit) for unit in units))


@operation()
def read_anew(units: Sequence[str]) -> Generator[StringCommand, None, None]:
    """systemd has read these units as they lie there."""
    if host.get_fact(Unread, units=tuple(units)):
        note(host, f"systemd has not read what {', '.join(units)} say now")
        yield StringCommand("systemctl daemon-reload")


@operation()
def run(service: str, package: str) -> Generator[Any, None, None]:
    """The service runs, now and after every boot. Debian starts one that it installs: a plan counts that once."""
    is_there = host.get_fact(Packages, names=(package,)).get(package) == "installed"
    if is_there or state.is_executing:
        yield from commands_of(systemd.service, service, running=True, enabled=True)
