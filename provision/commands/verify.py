"""`make verify`: tests/verify against an inventory, and its verdict for each host."""

from __future__ import annotations

import os
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from argparse import Namespace
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from provision.engine import environments, inventory, streams
from provision.settings.project import PROJECT


@dataclass(frozen=True)
class Verdicts:
    """How many checks passed and failed on each host."""

    exit_code: int
    good: Counter[str] = field(default_factory=Counter)
    bad: Counter[str] = field(default_factory=Counter)

    @property
    def passed(self) -> bool:
        return self.exit_code == 0 and not self.bad

    def of(self, host: str) -> str:
        if self.bad[host]:
            return f"NO: {self.bad[host]} of {self.good[host] + self.bad[host]} checks failed"
        return f"yes ({self.good[host]} checks)" if self.good[host] else "not verified"


def run(arguments: Namespace) -> int:
    members = inventory.read(arguments.env, arguments.limit, arguments.skip)
    options = ["--write-test"] if arguments.write_test else []
    return verdicts(arguments.env, [m.name for m in members], arguments.junit, options).exit_code


def verdicts(environment: str, hosts: list[str], junit: str = "", options: list[str] | None = None) -> Verdicts:
    """Run tests/verify on these hosts of an environment; it prints as it goes."""
    if not hosts:
        return Verdicts(1)
    with tempfile.TemporaryDirectory() as directory:
        report = Path(junit) if junit else Path(directory) / "verify.xml"
        command = [
            sys.executable, "-m", "pytest", "tests/verify", "-q", "-rN", "--no-header", "-p", "no:cacheprovider",
            "--inventory", str(environments.path_of(environment)),
            f"--limit={','.join(hosts)}",  # in one word: pytest takes one that begins with "@" for a file's name
            f"--junitxml={report.absolute()}", *(options or []),
        ]  # fmt: skip
        environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        code = streams.run(command, cwd=PROJECT, environ=environ)
        return _read(report, code)


def _read(report: Path, code: int) -> Verdicts:
    result = Verdicts(code)
    if not report.exists():
        return result
    for case in ElementTree.parse(report).iter("testcase"):
        bad = case.find("failure") is not None or case.find("error") is not None
        for entry in case.iterfind("properties/property[@name='host']"):
            if case.find("skipped") is None:
                (result.bad if bad else result.good)[entry.get("value", "")] += 1
    return result
