"""Standard streams that are closed or read by nobody: the command does what it was told, and its exit code says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from provision.settings.project import PROJECT

SCRIPT = Path(sys.executable).with_name("provision")


def in_shell(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", command], cwd=PROJECT, capture_output=True, text=True)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_command_with_a_closed_stream_ends_with_its_own_code(closed: str) -> None:
    done = in_shell(f"{SCRIPT} settings {closed}")
    assert (done.returncode, done.stderr) == (0, "")


OPENED = """
import os, subprocess, provision.engine.streams
told = os.open("/dev/null", 0) > 2, subprocess.call("true <&0 >&1 2>&2", shell=True)
print(told, file=open("/dev/fd/3", "w"))
"""


def test_nothing_that_is_opened_gets_the_number_of_a_closed_stream_and_children_have_all_three() -> None:
    done = in_shell(f"exec 3>&1; {sys.executable} -c '{OPENED}' <&- >&- 2>&-")
    assert done.stdout == "(True, 0)\n", done


CHILD = """
import provision.engine.streams as streams, sys
from pathlib import Path
print("x" * 100_000)
code = streams.run([sys.executable, "-c", "print('y' * 100_000); raise SystemExit(5)"], cwd=Path.cwd(), environ={})
print("z" * 100_000)
print("went on", code, file=sys.stderr)
"""


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_what_prints_where_nobody_reads_any_more_goes_on_to_its_end(unbuffered: str) -> None:
    # A pipeline of the shell's: what os.close leaves is closed later where pyinfra has brought gevent, or never,
    # and a pipe of this process' own would have a reader.
    argv = ["bash", "-c", '"$@" | true; exit "${PIPESTATUS[0]}"', "bash", sys.executable, "-c", CHILD]
    environ = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(argv, cwd=PROJECT, env=environ, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "went on 5\n")


def test_what_a_pipe_is_given_is_all_there_and_in_order() -> None:
    done = subprocess.run([sys.executable, "-c", CHILD], cwd=PROJECT, capture_output=True, text=True)
    assert done.stdout == "".join(f"{each * 100_000}\n" for each in "xyz")
