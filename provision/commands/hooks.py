"""`deploy_hook`: a person's program is told, before and after a deploy, what happens. No deploy fails by it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict

from provision.engine.inventory import Member
from provision.record.history import Entry, head

SECONDS = 60
Tell = Callable[[Mapping[str, Entry]], None]


@contextlib.contextmanager
def told(environment: str, members: list[Member]) -> Iterator[Tell]:
    """Tell before, and after what came of it: give what was done to each host to what this yields."""
    commands = sorted({member.settings.deploy_hook for member in members} - {""})
    done: dict[str, Entry] = {}
    hosts = [member.name for member in members]
    _call(commands, {**head(environment), "event": "before", "hosts": hosts})
    ended = "interrupted"
    try:
        yield done.update
        ended = "ended"
    finally:
        results = {name: asdict(entry) for name, entry in done.items()}
        _call(commands, {**head(environment), "event": "after", "run": ended, "hosts": hosts, "done": results})


def _call(commands: list[str], happened: Mapping[str, object]) -> None:
    for command in commands:
        if why := _failure(command, json.dumps(happened)):
            print(f"warning: deploy_hook {why}, {happened['event']} the deploy", file=sys.stderr)


def _failure(command: str, text: str) -> str:
    """Run a command with a text on its standard input. Why it failed, without the command: it may hold a secret."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as happened:  # gevent's communicate forgets its timeout
        happened.write(text)
        happened.seek(0)
        process = subprocess.Popen(command, shell=True, stdin=happened, stdout=sys.stderr, start_new_session=True)
        try:
            process.wait(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # its shell, and what that has begun
            return f"takes longer than {SECONDS} s"
    return f"ended with {process.returncode}" if process.returncode else ""
