"""For all tests: signals do what a test that sends them expects, and faults are counted."""

from __future__ import annotations

import signal

import pytest

# A shell starts what runs in the background with SIGINT ignored, nohup ignores SIGHUP, and every child would
# inherit that: bash can trap no signal that was ignored when it began.
for _number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many of the faults that were tried were survived."""
    reports = {
        outcome: [each for each in terminalreporter.getreports(outcome) if "fault" in getattr(each, "keywords", ())]
        for outcome in ("passed", "failed", "error", "skipped")
    }
    survived = len([each for each in reports["passed"] if each.when == "call"])
    tried = survived + len(reports["failed"] + reports["error"])
    if tried or reports["skipped"]:
        not_tried = f", {len(reports['skipped'])} could not be tried here" if reports["skipped"] else ""
        terminalreporter.write_line(f"faults: {tried} tried, {survived} survived{not_tried}")
