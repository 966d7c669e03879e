"""`make remove`: take a role away from hosts that had it, by the list that deploys have left on them."""

from __future__ import annotations

import re
import sys
from argparse import Namespace

from provision.commands import choice
from provision.engine import environments, inventory
from provision.engine import run as runs
from provision.engine.environments import InventoryError
from provision.engine.inventory import Member
from provision.record import history, undo
from provision.record.removal import UNUSED

ROLES = (*environments.ROLES, UNUSED)


def run(arguments: Namespace) -> int:
    """Remove, and say what stays and why. Exit 1 where something could not be taken away, or a host does not answer."""
    environment = inventory.Environment(arguments.env)
    chosen = choice.hosts(environment, _checked(arguments))
    with_data = _told_twice(arguments, chosen.members)
    apps = {arguments.app or member.settings.app_name for member in chosen.members}
    if len(apps) > 1:
        raise InventoryError(f"the hosts have different apps ({', '.join(sorted(apps))}): LIMIT= to those of one")
    undo.wanted = undo.Wanted(arguments.role, apps.pop(), with_data)
    outcome = runs.pyinfra(environment, "-y", *chosen.limits, script="remove.py")
    if outcome.began:
        history.keep(environment, _entries(outcome, chosen.members, undo.wanted))
    _tell(outcome, chosen.members, arguments)
    return 1 if outcome.exit_code or chosen.left_out else 0


def _checked(arguments: Namespace) -> Namespace:
    if arguments.role not in ROLES:
        what = f"ROLE={arguments.role} is none" if arguments.role else "ROLE= names what is to be removed: one"
        raise InventoryError(f"{what} of {', '.join(ROLES)}")
    if not arguments.limit:
        raise InventoryError(f"LIMIT= must name the hosts that {arguments.role} is taken away from")
    if not re.fullmatch(r"[a-z][a-z0-9-]*", arguments.app or "app"):
        raise InventoryError(f"APP={arguments.app} is no app_name: small letters, digits and hyphens")
    return arguments


def _told_twice(arguments: Namespace, members: list[Member]) -> bool:
    """Whether the data goes too: DATA=delete, and the hosts by their names once more."""
    if arguments.data not in ("", "delete"):
        raise InventoryError(f"DATA={arguments.data}: only DATA=delete has a meaning; without it the data is kept")
    names = ",".join(sorted(member.name for member in members))
    if arguments.data and ",".join(sorted(arguments.host.split(","))) != names:
        raise InventoryError(
            f"DATA=delete deletes the data of {arguments.role} on {names} for good: say so twice, with HOST={names}"
        )
    return bool(arguments.data)


def _entries(outcome: runs.Outcome, members: list[Member], wanted: undo.Wanted) -> dict[str, history.Entry]:
    entries = {}
    what = f"remove {wanted.role}" + (f" of {wanted.app}" if wanted.app else "")
    for member in members:
        steps = [step for step in outcome.steps if step.host == member.name]
        failed, changed = [step.name for step in steps if step.failed], [step.name for step in steps if step.changes]
        if failed or changed or member.name in outcome.failed_hosts:
            result = f"failed: {', '.join(failed) or 'the connection or a question'}"
            ok = "ok, with its data" if wanted.delete_data else "ok"
            is_bad = failed or member.name in outcome.failed_hosts
            entries[member.name] = history.Entry(what, result if is_bad else ok, changed)
    return entries


def _tell(outcome: runs.Outcome, members: list[Member], arguments: Namespace) -> None:
    for sentence in outcome.warnings:
        print(sentence)
    for member in members:
        steps = [step for step in outcome.steps if step.host == member.name]
        changes, failed = sum(step.changes for step in steps), [step.name for step in steps if step.failed]
        if failed or member.name in outcome.failed_hosts or not outcome.began:
            why = f" at {', '.join(failed)}" if failed else ""
            said = f"{member.name}: failed{why}; the reason stands above. Run it again: it goes on from there"
            print(said, file=sys.stderr)
        elif not changes:
            print(f"{member.name}: nothing to remove of {arguments.role}")
        else:
            print(f"{member.name}: {arguments.role} is removed")
            _tell_of_the_inventory(member, arguments.role)


def _tell_of_the_inventory(member: Member, role: str) -> None:
    if role in member.groups:
        print(f"{member.name}: take it out of {role} in the inventory too, or the next deploy brings it back")
