"""The project's own deploy."""

from __future__ import annotations

import os
import sys

from bench.deploy import ENVIRONMENT
from bench.deploy.run import Run, timed

NAME = "project"


def deploy() -> Run:
    """Deploy all hosts, in a process of its own, Python's start included."""
    seconds, output = timed([sys.executable, "-m", "bench.deploy.once"], os.environ)
    return Run(seconds, int(output.splitlines()[-1]))


def verify_seconds() -> float:
    """How long `make verify` takes: what `make deploy` adds to the deploy."""
    seconds, _ = timed([sys.executable, "-m", "provision", "verify", "--env", ENVIRONMENT], os.environ)
    return seconds
