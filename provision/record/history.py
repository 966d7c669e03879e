"""Who did what, and when: a line of JSON for each run, on this machine and on each host that it was about."""

from __future__ import annotations

import getpass
import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from pyinfra.context import ctx_host

from provision.debian.programs import program
from provision.engine import run as runs
from provision.engine.inventory import Environment
from provision.engine.private import PrivateInput
from provision.record import layout
from provision.settings.project import PROJECT, commit, version


@dataclass(frozen=True)
class Entry:
    """What one run did to one host."""

    what: str  # the command
    result: str  # "ok", or what went wrong, in words
    changes: Sequence[str]  # the steps that changed something, by name


def file_here(environment: str) -> Path:
    """The lines of an environment on the machine that deploys."""
    return PROJECT / ".history" / f"{environment}.jsonl"


def line(entry: Entry, host: str, environment: str) -> str:
    """One line of JSON: time in UTC, person, machine, version, commit, environment, host, and the entry."""
    whole = {
        "time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "who": f"{os.environ.get('SUDO_USER') or getpass.getuser()}@{socket.gethostname()}",
        "version": version(), "commit": commit(), "environment": environment, "host": host, **asdict(entry),
    }  # fmt: skip
    return json.dumps(whole, ensure_ascii=False) + "\n"


def keep(environment: Environment, entries: Mapping[str, Entry]) -> None:
    """Write these, by host, here and there. What cannot be written is said, and is no failure of the run."""
    lines = {host: line(entry, host, environment.name) for host, entry in entries.items()}
    if not lines:
        return
    here = file_here(environment.name)
    try:
        here.parent.mkdir(mode=0o700, exist_ok=True)
        with here.open("a", encoding="utf-8") as file:
            file.writelines(lines.values())
    except OSError as error:
        print(f"warning: {here} cannot be written: {error.strerror}", file=sys.stderr)
    members = {each.name: each for each in environment.members if each.name in lines and not each.is_windows}
    with runs.connected(environment, members) as hosts:
        for host in hosts:
            path = layout.history(members[host.name].settings)
            with ctx_host.use(host):
                done = host.connected and host.run_shell_command(
                    program("record/append.sh", path), _stdin=PrivateInput(lines[host.name])
                )
            if not done or not done[0]:
                print(f"warning: {host.name}: {path} was not written", file=sys.stderr)
