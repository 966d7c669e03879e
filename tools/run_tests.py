"""Everything that proves the project, level by level, in lanes: most of it waits, so another one works meanwhile.

While it runs, pytest's line for each file; when a level is through, what it says at its end (all of it where
something failed); at last one line that counts all, as pytest's does. Exit code: 0 when all passed, else 1.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

PROGRESS = re.compile(r"^tests/\S+ .*\[ *\d+%\]$")
COUNTED = re.compile(r"^=+ (.*) in [\d.]+s.* =+$")
FAULTS = re.compile(r"^faults: (\d+) tried, (\d+) survived(?:, (\d+) could not be tried here)?$")
END = re.compile(r"^(faults: |proved: |=+ (slowest|short test summary|\d+ ))")
VERDICT = re.compile(r"^(FAILED|ERROR) ")
COVERAGE = Path(".coverage").resolve()
# With these each Python process of .venv counts the lines of the package that it runs (its a1_coverage.pth reads them).
COUNTING = {"COVERAGE_DIR": str(COVERAGE), "COVERAGE_PROCESS_START": str(Path("pyproject.toml").resolve())}
DURATIONS = ("--durations=8", "--durations-min=20")
HUNG_SECONDS = 1200  # for one test: several times what the longest takes on a busy machine
NOTHING_SELECTED = 5  # pytest's exit code; no fault where somebody selects by an option
_speaking = threading.Lock()


@dataclass
class Level:
    """One run of pytest; it begins when the levels that it follows are through."""

    name: str
    arguments: tuple[str, ...]
    follows: tuple[Level, ...] = ()
    before: tuple[str, ...] = ()
    counted: bool = False  # whether it has the lines of the package counted that it runs; that costs time
    code: int = 0
    lines: list[str] = field(default_factory=list)
    through: threading.Event = field(default_factory=threading.Event)

    def run(self, options: list[str]) -> None:
        for other in self.follows:
            other.through.wait()
        try:
            self._pytest(options)
        finally:
            self.through.set()
        say(*self.report())

    def _pytest(self, options: list[str]) -> None:
        bounded = ("-o", f"faulthandler_timeout={HUNG_SECONDS}", "-o", "faulthandler_exit_on_timeout=true")
        argv = [*self.before, sys.executable, "-u", "-m", "pytest", *DURATIONS, *bounded, *self.arguments, *options]
        with subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, **(COUNTING if self.counted else {})},
        ) as process:
            assert process.stdout
            for line in map(str.rstrip, process.stdout):
                self.lines.append(line)
                if PROGRESS.match(line):
                    say(line)
        self.code = 0 if process.returncode == NOTHING_SELECTED and options else process.returncode

    def report(self) -> list[str]:
        """What a person wants of a level that is through: all that it said where it failed, else its end."""
        said = [line for line in self.lines if not PROGRESS.match(line)]
        end = [number for number, line in enumerate(said) if END.match(line)]
        return ["", f"##### {self.name}", *(said if self.code or not end else said[end[0] :])]

    def counts(self) -> Counter[str]:
        """How many passed, failed, and so on; a run that died before it could count is an error."""
        counted = COUNTED.match(self.lines[-1]) if self.lines else None
        found = re.findall(r"(\d+) ([a-z]+)", counted[1] if counted else "")
        counts = Counter({_plural(word): int(number) for number, word in found})
        if self.code and not counts["failed"] + counts["errors"]:
            counts["errors"] += 1
        return counts


def levels() -> tuple[list[Level], list[list[Level]]]:
    """What comes first, alone, since all else is in vain without it; then the lanes, side by side."""
    first = [Level("unit", ("tests/unit",), counted=True), Level("deploy", ("tests/deploy",), counted=True)]
    everywhere = Level("e2e, all hosts", ("tests/e2e", "-m", "not servers and not docker1 and not prove"))
    kept = ("tests/e2e", "--keep-hosts", "-m")
    servers = Level("e2e, all but docker1", (*kept, "servers and not prove"))
    windows = Level("windows", ("tests/windows",), follows=(everywhere,))  # its wine is in an image of the sandbox's
    scripts, rules = Level("scripts", ("tests/scripts",)), Level("rules", ("tests/rules",))
    # It measures milliseconds, so nobody beside it may keep it waiting. Who has no right to that runs it as it is.
    report = Level("report", ("tests/report",))
    limiter = Level("limiter", ("tests/limiter",), before=("nice", "-n", "-10"))
    # Its host is its own, so it can go beside the others' once nobody measures any more.
    docker1 = Level("e2e, docker1", (*kept, "docker1 and not prove"), follows=(everywhere, limiter))
    return first, [[everywhere, servers], [scripts, rules, report, limiter, windows], [docker1]]


def main(options: list[str]) -> int:
    started = time.monotonic()
    shutil.rmtree(COVERAGE, ignore_errors=True)
    COVERAGE.mkdir()
    first, lanes = levels()
    done = list(first)
    run_in_turn(first, options)
    if not any(level.code for level in first):
        with ThreadPoolExecutor(len(lanes)) as pool:
            list(pool.map(lambda lane: run_in_turn(lane, options), lanes))
        done += [level for lane in lanes for level in lane]
    failed = any(level.code for level in done)
    # A part of the tests, or tests that broke off, say nothing of how much all of them run.
    enough = coverage("combine", "-q") and coverage("report", *(["--fail-under=0"] if options or failed else []))
    say(*closing(done, time.monotonic() - started))
    return 0 if enough and not failed else 1


def coverage(*arguments: str) -> bool:
    """Print what coverage says; return whether it is content."""
    argv = [sys.executable, "-m", "coverage", *arguments]
    done = subprocess.run(argv, env={**os.environ, "COVERAGE_DIR": str(COVERAGE)}, capture_output=True, text=True)
    said = done.stdout + done.stderr
    if said.strip():
        say("", said.rstrip())
    return done.returncode == 0


def run_in_turn(lane: list[Level], options: list[str]) -> None:
    for level in lane:
        level.run(options)


def closing(done: list[Level], seconds: float) -> list[str]:
    counts = sum((level.counts() for level in done), Counter[str]())
    faults = [FAULTS.match(line) for level in done for line in level.lines]
    tried, survived, untried = (sum(int(each[n] or 0) for each in faults if each) for n in (1, 2, 3))
    order = sorted(counts, key=lambda word: (word not in ("failed", "errors"), word != "passed", word))
    counted = ", ".join(f"{counts[word]} {word}" for word in order if counts[word])
    return [
        "",
        *(f"{level.name}: {line}" for level in done for line in level.lines if VERDICT.match(line)),
        f"faults: {tried} tried, {survived} survived" + (f", {untried} could not be tried here" if untried else ""),
        f"{'=' * 12} {counted} in {seconds:.2f}s ({seconds / 60:.0f} min) {'=' * 12}",
    ]


def say(*lines: str) -> None:
    """Print lines in one piece, though two lanes report at the same time."""
    with _speaking:
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()


def _plural(word: str) -> str:
    return f"{word}s" if word in ("error", "warning") else word


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
