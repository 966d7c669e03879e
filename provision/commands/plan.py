"""`make plan`: what a deploy would change, in words, changing nothing. Also the drift check."""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import sys
from argparse import Namespace

from provision.commands import choice
from provision.engine import changes, inventory
from provision.engine import run as runs

NOTHING, ERROR, PENDING = 0, 1, 2


def run(arguments: Namespace) -> int:
    environment = inventory.Environment(arguments.env)
    chosen = choice.hosts(environment, arguments)
    outcome, output = _quietly(environment, "--dry", "--json", *chosen.limits)
    if outcome.exit_code:
        print(output, file=sys.stderr, end="")
        print("plan failed: the reason stands above; nothing was changed", file=sys.stderr)
        return ERROR
    pending = [step for step in outcome.steps if step.changes]
    if arguments.json:
        print(json.dumps([vars(step) for step in pending], indent=2))
    elif pending:
        _tell(pending, arguments)
    else:
        print(f"{arguments.env}: nothing to do on {len(chosen.members)} host(s)")
    if not arguments.json:
        for sentence in outcome.warnings:
            print(f"warning: {sentence}")
    return ERROR if chosen.left_out else PENDING if pending else NOTHING


def _tell(pending: list[runs.Step], arguments: Namespace) -> None:
    # The same change on many hosts is told once.
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for step in pending:
        alike.setdefault((step.name, step.differences), []).append(step.host)
    for (name, differences), hosts in alike.items():
        print(f"{_shown(hosts)}: {name}")
        for sentence in changes.in_few_lines(differences):
            print(f"    {sentence}")
    print(f"{len(pending)} change(s) pending; `{_deploy(arguments)}` makes them")


def _shown(hosts: list[str]) -> str:
    return ", ".join(hosts) if len(hosts) <= 3 else f"{len(hosts)} hosts ({', '.join(hosts[:3])}, ...)"


def _deploy(arguments: Namespace) -> str:
    """The command that makes what was planned: without its ENV it would be another environment's."""
    partial = "1" if arguments.partial else None
    narrowed = {"ENV": arguments.env, "LIMIT": arguments.limit, "SKIP": arguments.skip, "PARTIAL": partial}
    return " ".join(["make deploy", *(f"{name}={shlex.quote(value)}" for name, value in narrowed.items() if value)])


def _quietly(environment: inventory.Environment, *options: str) -> tuple[runs.Outcome, str]:
    """Run pyinfra with its output kept, to be shown only when it failed or was interrupted."""
    kept = io.StringIO()
    # --json, not shown: it is the one way to have pyinfra never ask whether to go on without a lost host.
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(kept):
            return runs.pyinfra(environment, *options), kept.getvalue()
    except KeyboardInterrupt:
        print(kept.getvalue(), file=sys.stderr, end="")  # which host it waited for
        raise
