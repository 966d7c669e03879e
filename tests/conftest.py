"""For all tests: signals do what a test that sends them expects, faults are counted, proofs tell their figures."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from importlib import metadata

import pyinfra_cli  # noqa: F401  it has gevent take the place of sockets, before anything can hold on to the others
import pytest

# A shell starts what runs in the background with SIGINT ignored, nohup ignores SIGHUP, and every child would
# inherit that: bash can trap no signal that was ignored when it began.
for _number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

_PROVED = "proved"  # the name of a report's property


@pytest.fixture
def chance() -> random.Random:
    """Chance that comes out the same each time: another SEED in the environment makes another sample."""
    return random.Random(os.environ.get("SEED", "1"))


@pytest.fixture
def proved(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Has the run end with a sentence: a proof's figures, which docs/proofs.md quotes."""
    return lambda figures: record_property(_PROVED, figures)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many of the faults that were tried were survived, and what was proved."""
    reports = {
        outcome: [each for each in terminalreporter.getreports(outcome) if "fault" in getattr(each, "keywords", ())]
        for outcome in ("passed", "failed", "error", "skipped")
    }
    survived = len([each for each in reports["passed"] if each.when == "call"])
    tried = survived + len(reports["failed"] + reports["error"])
    if tried or reports["skipped"]:
        not_tried = f", {len(reports['skipped'])} could not be tried here" if reports["skipped"] else ""
        terminalreporter.write_line(f"faults: {tried} tried, {survived} survived{not_tried}")
    for report in terminalreporter.getreports("passed"):
        for name, figures in report.user_properties if report.when == "call" else ():
            if name == _PROVED:
                stamp = f"version {metadata.version('provision')}, {time.strftime('%Y-%m-%d')}"
                terminalreporter.write_line(f"proved: {report.nodeid.rpartition('::')[2]}: {figures} ({stamp})")
