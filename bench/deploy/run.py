"""One timed run of a program: its output kept, and shown only when it failed."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

from bench import BenchError
from bench.deploy.hosts import CHECKOUT


@dataclass(frozen=True)
class Run:
    """How long a run took, how many changes it made, all hosts together."""

    seconds: float
    changes: int


def timed(command: Sequence[str], environ: Mapping[str, str]) -> tuple[float, str]:
    """Run a program from the checkout's root; return its seconds and output. Raise BenchError."""
    started = perf_counter()
    done = subprocess.run(
        command, cwd=CHECKOUT, env=dict(environ), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    seconds = perf_counter() - started
    if done.returncode:
        raise BenchError(f"{' '.join(command[:4])} failed:\n" + "\n".join(done.stdout.splitlines()[-40:]))
    return seconds, done.stdout
