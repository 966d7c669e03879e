"""`make deploy`: bring the hosts to what the settings describe, verify them, print a summary."""

from __future__ import annotations

import sys
from argparse import Namespace
from time import monotonic

from provision.commands import choice, hooks, secrets, table, verify
from provision.engine import environments, inventory
from provision.engine import run as runs
from provision.record import history
from provision.settings.project import version
from provision.vault import keys

# These generate their own secrets; for any other environment that is a person's decision.
SELF_SERVED = ("sandbox", "local")
COLUMNS = ("host", "roles", "changed", "failed", "verified")


def run(arguments: Namespace) -> int:
    started = monotonic()
    environment = inventory.Environment(arguments.env)
    if arguments.env in SELF_SERVED:
        secrets.complete(environment)
    chosen = choice.hosts(environment, arguments)
    members = chosen.members
    with hooks.told(environment.name, members) as tell:
        return _deploy(environment, chosen, tell, started)


def _deploy(environment: inventory.Environment, chosen: choice.Choice, tell: hooks.Tell, started: float) -> int:
    members = chosen.members
    made = _keys_first(environment, members)
    if made and made.exit_code:
        return _failed(made)
    outcome = runs.pyinfra(environment, "-y", *chosen.limits)
    if not outcome.began:
        return _failed(outcome)
    verdicts = verify.verdicts(environment.name, [m.name for m in members if m.name not in outcome.failed_hosts])
    entries = _entries(outcome, members, verdicts)
    history.keep(environment, entries)
    tell(entries)
    _summary(outcome, chosen, verdicts, monotonic() - started)
    if outcome.exit_code:
        return _failed(outcome)
    return 0 if verdicts.passed and not chosen.left_out else 1


def _keys_first(environment: inventory.Environment, members: list[inventory.Member]) -> runs.Outcome | None:
    """Have keys made where some are lacking, before anything is rendered that holds them."""
    names = {member.name for member in members}
    lacking = [each for each in keys.lacking(environment.name, environment.members) if each.name in names]
    if not lacking:
        return None
    limits = [option for member in lacking for option in ("--limit", member.name)]
    return runs.pyinfra(environment, "-y", *limits, script="vault-keys.py")


def _entries(
    outcome: runs.Outcome, members: list[inventory.Member], verdicts: verify.Verdicts
) -> dict[str, history.Entry]:
    """What is worth a line: a run that changed nothing, on a host that is as it should be, is none."""
    entries = {}
    for member in members:
        steps = [step for step in outcome.steps if step.host == member.name]
        failed, changed = [step.name for step in steps if step.failed], [step.name for step in steps if step.changes]
        result = f"failed: {', '.join(failed)}" if failed else "ok"
        if not failed and member.name in outcome.failed_hosts:
            result = "failed: the connection or a question"
        elif not failed and verdicts.bad[member.name]:
            result = f"not verified: {verdicts.bad[member.name]} check(s)"
        if changed or result != "ok":
            entries[member.name] = history.Entry("deploy", result, changed)
    return entries


def _summary(outcome: runs.Outcome, chosen: choice.Choice, verdicts: verify.Verdicts, seconds: float) -> None:
    print()
    table.show([_row(member, outcome, verdicts) for member in chosen.members], COLUMNS, ("roles", "failed"))
    changed = sum(step.changes for step in outcome.steps)
    said = f"{changed} change(s)" if changed else "nothing to change"
    without = f", without {', '.join(chosen.left_out)} (no answer)" if chosen.left_out else ""
    print(f"{said} on {len(chosen.members)} host(s){without}, {seconds:.0f} s, version {version()}")
    for sentence in outcome.warnings:
        print(f"warning: {sentence}")
    print()


def _row(member: inventory.Member, outcome: runs.Outcome, verdicts: verify.Verdicts) -> dict[str, str]:
    steps = [step for step in outcome.steps if step.host == member.name]
    return {
        "host": member.name,
        "roles": ", ".join(role for role in environments.ROLES if role in member.groups),
        "changed": str(sum(step.changes for step in steps)),
        "failed": str(sum(step.failed for step in steps)),
        "verified": verdicts.of(member.name),
    }


def _failed(outcome: runs.Outcome) -> int:
    for step in outcome.steps:
        if step.failed:
            print(f"failed: {step.host}: {step.name}: the reason stands above, under that step", file=sys.stderr)
    lost = set(outcome.failed_hosts) - {step.host for step in outcome.steps if step.failed}
    for host in sorted(lost):
        print(f"failed: {host}: the connection or a question to it failed; see above", file=sys.stderr)
    print("deploy failed; fix the cause and run it again: it continues from here", file=sys.stderr)
    return outcome.exit_code or 1
