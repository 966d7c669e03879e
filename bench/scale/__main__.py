"""`python -m bench.scale [--quick]`: measure, print the table, remove the hosts."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import BenchError, command, fleet, machine, say
from bench.scale import ENVIRONMENT
from bench.table import aim, markdown
from provision.engine import inventory
from tests.sandbox import paths

FAKES, REAL = (40, 120, 200), (10, 20, 40)
FLEET = fleet.Fleet(Path(__file__).resolve().parent)
HEAD = ("hosts", "to do", "seconds", "processor, s", "a host, s", "MB", "lines")
WHAT = {"deployed": "nothing", "new": "everything"}


@dataclass(frozen=True)
class Run:
    """One plan: its hosts, what there was to do, and what it took."""

    hosts: int
    of: str
    to_do: str
    seconds: float
    processor: float
    mb: float
    lines: int

    @property
    def cells(self) -> list[str]:
        each = self.processor / self.hosts
        figures = [f"{self.seconds:.1f}", f"{self.processor:.1f}", f"{each:.3f}", f"{self.mb:.0f}", str(self.lines)]
        return [f"{self.hosts} {self.of}", self.to_do, *figures]


def main(quick: bool) -> None:
    described = machine.description()
    fakes = [of_fakes(count, kind) for count in (FAKES[:1] if quick else FAKES) for kind in WHAT]
    real = of_real_ones((2,) if quick else REAL)
    print(f"\n{described}\n\n{markdown([HEAD, *(run.cells for run in (*fakes, *real))])}\n\nOf the most hosts:")
    most = [run for runs in (fakes, real) for run in runs if run.hosts == runs[-1].hosts]
    dearest, largest = max(run.processor / run.hosts for run in most), max(run.mb for run in most)
    print(aim("seconds of the controller's processor, a host", dearest, "under 0.1", dearest < 0.1))
    print(aim("megabytes of the controller", largest, "under 200", largest < 200))
    growth = max(growths(fakes, real))
    print(aim("seconds a host, times those with the fewest hosts", growth, "at most 1.1", growth <= 1.1))
    longer = fakes[-1].lines / fakes[1].lines
    print(aim("lines, times those with the fewest hosts", longer, "1", longer == 1))


def growths(*kinds: list[Run]) -> Iterator[float]:
    """How much more seconds a host takes among the most hosts than among the fewest: 1 or less is linear."""
    for runs in kinds:
        for to_do in {run.to_do for run in runs}:
            alike = [run.seconds / run.hosts for run in runs if run.to_do == to_do]
            yield alike[-1] / alike[0]


def of_fakes(count: int, kind: str) -> Run:
    with tempfile.TemporaryDirectory() as directory:
        environ = {**os.environ, "INVENTORIES": directory}
        words = [sys.executable, "-m", "bench.scale.fakes"]
        made = subprocess.run([*words, str(count), kind], env=environ, capture_output=True, text=True, check=False)
        if made.returncode:
            raise BenchError(f"{count} fakes, {kind}: " + "\n".join(made.stderr.splitlines()[-10:]))
        return measured(count, "fakes", WHAT[kind], words, environ)


def of_real_ones(sizes: tuple[int, ...]) -> list[Run]:
    """Boot the most of them and deploy; plan ever more. The first plan ends what the deploy could not yet know."""
    os.environ["BENCH_HOSTS"] = str(max(sizes))
    FLEET.boot()
    say(f"{max(sizes)} hosts are up")
    FLEET.deploy()
    names = [member.name for member in inventory.read(ENVIRONMENT)]
    words = [sys.executable, "-m", "provision", "plan", "--env", ENVIRONMENT]
    return [measured(size, "real", WHAT["deployed"], [*words, "--limit", ",".join(names[:size])]) for size in sizes]


def measured(count: int, of: str, to_do: str, command: list[str], environ: Mapping[str, str] = os.environ) -> Run:
    """Run a plan, with what the kernel says of its process in the end. Raise BenchError where it found another thing
    to do than was meant."""
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, cwd=paths.CHECKOUT, env=dict(environ), stdout=output, stderr=output)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - started
        output.seek(0)
        lines = output.read().splitlines()
    if process.returncode != (0 if to_do == WHAT["deployed"] else 2):
        raise BenchError(f"plan of {count} {of}: exit code {process.returncode}:\n" + "\n".join(lines[-20:]))
    run = Run(count, of, to_do, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, len(lines))
    say(" ".join(run.cells))
    return run


if __name__ == "__main__":
    sys.exit(command.run("scale", f"{FAKES[0]} fakes and 2 hosts", main, FLEET.remove))
