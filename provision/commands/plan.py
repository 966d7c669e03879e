"""`make plan`: what a deploy would change, in words, changing nothing. Also the drift check."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from argparse import Namespace

from provision.engine import inventory
from provision.engine import run as runs

NOTHING, ERROR, PENDING = 0, 1, 2


def run(arguments: Namespace) -> int:
    path = inventory.path_of(arguments.env)
    members = inventory.read(arguments.env, arguments.limit)
    limits = [option for member in members for option in ("--limit", member.name)] if arguments.limit else []
    outcome, output = _quietly(path, "--dry", "--json", *limits)
    if outcome.exit_code:
        print(output, file=sys.stderr, end="")
        print("plan failed: the reason stands above; nothing was changed", file=sys.stderr)
        return ERROR
    pending = [step for step in outcome.steps if step.changes]
    if arguments.json:
        print(json.dumps([vars(step) for step in pending], indent=2))
    elif pending:
        _tell(pending)
    else:
        print(f"{arguments.env}: nothing to do on {len(members)} host(s)")
    return PENDING if pending else NOTHING


def _tell(pending: list[runs.Step]) -> None:
    for step in pending:
        print(f"{step.host}: {step.name}")
        for sentence in step.differences:
            print(f"    {sentence}")
    print(f"{len(pending)} change(s) pending; `make deploy` makes them")


def _quietly(path: object, *options: str) -> tuple[runs.Outcome, str]:
    """Run pyinfra with its output kept, to be shown only when it failed."""
    kept = io.StringIO()
    # --json, not shown: it is the one way to have pyinfra never ask whether to go on without a lost host.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(kept):
        return runs.pyinfra(path, *options), kept.getvalue()
