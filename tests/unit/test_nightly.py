"""The nightly job of docs/nightly.md, run as it stands there, with commands that end in each way."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from provision.__main__ import COMMANDS, parser
from provision.settings.project import PROJECT

PAGE = (PROJECT / "docs/nightly.md").read_text(encoding="utf-8")
PLAN = [{"host": "db1", "name": "Backup | Write the scripts", "changes": True, "differences": ["/x: differs"]}]
STATUS = {"hosts": [{"host": "db1", "findings": [{"database": "medaction", "what": "no good backup", "do": "run it"}]}]}
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def nightly(tmp_path: Path) -> Run:
    """`nightly(plan=2)`: the script, where the commands end with these codes and say what goes with them."""

    def run(plan: int = 0, status: int = 0, verify: int = 0) -> subprocess.CompletedProcess[str]:
        (script,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
        texts = {
            "plan": json.dumps(PLAN if plan == 2 else []), "status": json.dumps(STATUS) if status < 3 else "",
            "verify": "FAILED tests/verify/test_app.py::test_x" if verify else "",
        }  # fmt: skip
        cases = "".join(
            f"{name}) echo '{text}'; echo why-{name} >&2; exit {code} ;;\n"
            for (name, text), code in zip(texts.items(), (plan, status, verify), strict=True)
        )
        command = tmp_path / ".venv/bin/provision"
        command.parent.mkdir(parents=True, exist_ok=True)
        command.write_text(f"#!/bin/sh\ncase $1 in\n{cases}esac\n")
        command.chmod(0o755)
        (tmp_path / "nightly-job").write_text(script)
        return subprocess.run(
            ["sh", str(tmp_path / "nightly-job"), "production"], capture_output=True, text=True, check=False,
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PROVISION": str(tmp_path)},
        )  # fmt: skip

    return run


def test_a_good_night_says_nothing(nightly: Run):
    done = nightly()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("codes", "told"),
    [
        ({"plan": 2}, ["changes are pending", "db1: Backup | Write the scripts", "/x: differs"]),
        ({"plan": 1}, ["could not be planned", "why-plan"]),
        ({"status": 1}, ["status 1", "db1 medaction: no good backup; run it"]),
        ({"status": 2}, ["status 2", "no good backup"]),
        ({"status": 3}, ["status 3", "why-status"]),
        ({"verify": 1}, ["not verified", "FAILED tests/verify/test_app.py::test_x"]),
        ({"plan": 2, "status": 3, "verify": 1}, ["pending", "status 3", "not verified"]),
    ],
)
def test_what_is_to_be_done_is_said_and_the_code_tells(nightly: Run, codes: dict[str, int], told: list[str]):
    done = nightly(**codes)
    assert done.returncode == 1 and all(words in done.stdout for words in told), done.stdout + done.stderr
    assert done.stderr == ""


def test_each_command_of_the_page_is_one_of_ours():
    calls = re.findall(r"\.venv/bin/provision (.+?)(?: >.*)?$", PAGE, re.MULTILINE)
    assert len(calls) == 6
    for call in calls:
        arguments = parser().parse_args(call.replace('"', "").split())
        assert arguments.command in COMMANDS


def test_the_script_is_one_that_shellcheck_takes(tmp_path: Path):
    (script,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "nightly.sh").write_text(script)
    checker = PROJECT / ".venv/bin/shellcheck"
    if not checker.exists():
        pytest.skip("needs the .venv that make sets up")
    done = subprocess.run([checker, tmp_path / "nightly.sh"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
