"""Who did what, and when: a line of JSON for each run, on this machine and on each host that it was about."""

from __future__ import annotations

import itertools
import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from pyinfra.api import QuoteString, StringCommand
from pyinfra.context import ctx_host
from typing_extensions import override

from provision.debian.programs import program
from provision.engine import run as runs
from provision.engine.facts import Fact, asked
from provision.engine.inside import arguments_of
from provision.engine.inventory import Environment
from provision.engine.private import PrivateInput
from provision.record import layout
from provision.settings import Settings
from provision.settings.project import PROJECT, commit, person, version

_LONGEST = 200  # characters of what is shown of a line


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
    return json.dumps({**head(environment), "host": host, **asdict(entry)}, ensure_ascii=False) + "\n"


def head(environment: str) -> dict[str, str]:
    """When, who, and from what."""
    return {
        "time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "who": f"{os.environ.get('SUDO_USER') or person()}@{socket.gethostname()}",
        "version": version(), "commit": commit(), "environment": environment,
    }  # fmt: skip


class LastDone(Fact[list[dict[str, str]]]):
    """Given files of such lines, return the last `most` of each, the newest first: time, who, what, result."""

    @override
    def command(self, files: Sequence[str], most: int = 1) -> StringCommand:
        quoted = [QuoteString(file) for file in files]
        # One of them lies in the backup user's directory, who may put a link there, or a pipe that never ends.
        return asked(
            "for f in", *quoted, '; do if [ -f "$f" ] && [ ! -L "$f" ]; then',
            f'timeout 5 tail -n {most} -- "$f" 2>/dev/null | tail -c 100000; echo; fi; done; true',
        )  # fmt: skip

    @staticmethod
    @override
    def default() -> list[dict[str, str]]:
        return []

    @override
    def read(self, lines: list[str]) -> list[dict[str, str]]:
        found = [told for told in map(_told, lines) if told]
        return sorted(found, key=lambda each: each["time"], reverse=True)


def _told(text: str) -> dict[str, str]:
    """What a line tells; a damaged one tells nothing."""
    try:
        whole = json.loads(text)
        told = {key: str(whole[key])[:_LONGEST] for key in ("time", "who", "what", "result")}
        datetime.fromisoformat(told["time"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return {}
    return told | ({"database": str(whole["database"])[:_LONGEST]} if "database" in whole else {})


def here(environment: str, host: str, most: int = 1) -> list[dict[str, str]]:
    """What this machine has kept of a host, the newest first: of one that keeps no such lines itself (Windows)."""
    try:
        lines = file_here(environment).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    # What names the host elsewhere than as the host is parsed, and passed over, too.
    found = (_told(line) for line in reversed(lines) if json.dumps(host) in line and _host_of(line) == host)
    return list(itertools.islice((told for told in found if told), most))


def _host_of(line: str) -> str:
    try:
        return str(json.loads(line)["host"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""


def files_of(settings: Settings) -> tuple[str, ...]:
    """Where a host has such lines: root's of deploys and removals, the backup user's of restores."""
    return layout.history(settings), f"{settings.backup_state_dir}/history.jsonl"


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
                    program("record/append.sh", path),
                    **(arguments_of(host) | {"_stdin": PrivateInput(lines[host.name])}),
                )
            if not done or not done[0]:
                print(f"warning: {host.name}: {path} was not written", file=sys.stderr)
