"""Which hosts a command works on: those of ENV, narrowed by LIMIT and SKIP, and with PARTIAL=1 those that answer."""

from __future__ import annotations

import sys
from argparse import Namespace
from dataclasses import dataclass

from provision.engine import environments, inventory
from provision.engine import run as runs


@dataclass(frozen=True)
class Choice:
    """The hosts to work on, and those that were left out because they do not answer."""

    members: list[inventory.Member]
    left_out: tuple[str, ...]
    limits: tuple[str, ...]  # pyinfra's options; none where it is the whole environment


def hosts(environment: inventory.Environment, arguments: Namespace) -> Choice:
    """Choose. Raise InventoryError for names that match no host, and where no host answers."""
    members = environment.chosen(arguments.limit, arguments.skip)
    silent = runs.unreached(environment, [member.name for member in members]) if arguments.partial else []
    members = [member for member in members if member.name not in silent]
    if not members:
        raise environments.InventoryError(f"none of the hosts answers: {', '.join(silent)} (the reasons stand above)")
    if silent:
        print(f"without {', '.join(silent)}: no answer from there (PARTIAL=1)", file=sys.stderr)
    narrowed = arguments.limit or arguments.skip or silent
    limits = [option for member in members for option in ("--limit", member.name)] if narrowed else []
    return Choice(members, tuple(silent), tuple(limits))
