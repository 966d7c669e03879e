"""`python -m bench.deploy [--quick]`: measure, print the table, remove the hosts."""

from __future__ import annotations

import sys

from bench import BenchError, command, machine, say
from bench.deploy import ENVIRONMENT, ansible_core, bare, end_state, hosts, project, report
from bench.deploy.run import Run
from provision.commands import secrets
from provision.engine import inventory

SIZES = (1, 4, hosts.MOST)
TURNS = 3
FIRST_DEPLOYS = 2


def main(quick: bool) -> None:
    secrets.complete(inventory.Environment(ENVIRONMENT))
    ansible_core.ensure()
    compare((1,), 1, 1) if quick else compare(SIZES, FIRST_DEPLOYS, TURNS)


def compare(sizes: tuple[int, ...], first_deploys: int, turns: int) -> None:
    """Measure with each number of hosts; print the table."""
    described, rows = machine.description(), []
    for size in sizes:
        hosts.select(size)
        # Eight hosts are noise enough among themselves, and take minutes.
        rows += measure(size, first_deploys if size == 1 else 1, turns)
    print(f"\n{described}\n\n{report.table(rows, project.NAME, ansible_core.NAME, bare.NAME)}\n\n{report.AIMS}")
    print(f"`make deploy` also verifies: {project.verify_seconds():.1f} s for {sizes[-1]} host(s).")


def measure(size: int, first_deploys: int, turns: int) -> list[report.Row]:
    """Deploy this many hosts, by each tool, first and again."""
    first: dict[str, list[float]] = {"project": [], "ansible": []}
    for _ in range(first_deploys):
        left = {}
        for name, tool in (("project", project), ("ansible", ansible_core)):
            hosts.recreate()
            seconds = tool.deploy().seconds
            first[name].append(seconds)
            say(f"{size} host(s), first, {name}: {seconds:.1f} s")
            left[name] = end_state.of_hosts()
        end_state.require_equal(left["project"], left["ansible"])
    project.deploy()  # what only the project keeps on a host: the list of what came from it
    sent = bare.capture()
    again: dict[str, list[float]] = {"project": [], "ansible": [], "bare": []}
    for _ in range(turns):
        again["project"].append(idle("project", project.deploy()))
        again["ansible"].append(idle("ansible", ansible_core.deploy()))
        again["bare"].append(bare.replay(sent))
        say(f"{size} host(s), nothing to do: " + ", ".join(f"{k} {v[-1]:.2f} s" for k, v in again.items()))
    return [report.Row(size, "first", **first), report.Row(size, "nothing to do", **again)]


def idle(tool: str, run: Run) -> float:
    if run.changes:
        raise BenchError(f"{tool} changed {run.changes} thing(s) where there was nothing to do")
    return run.seconds


if __name__ == "__main__":
    sys.exit(command.run("deploy", "one host, one turn", main, hosts.remove))
