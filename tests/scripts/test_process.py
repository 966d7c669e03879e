"""Processes that a script starts, and its own end: none is left, wherever that comes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from provision.settings.render import FILES

from .host import processes, until

# A script as ours are, with a lock, whose child waits at a pipe to whose other end nobody comes.
PROGRAM = f"""
set -euo pipefail
. {FILES}/backup/lib/process.sh
run_dir=$1
mkfifo "$run_dir/pipe"
exec 9>"$run_dir/lock"; flock 9
start waiting %s cat
"""


@pytest.mark.fault
@pytest.mark.parametrize("ends", ['/dev/null "$run_dir/pipe"', '"$run_dir/pipe" /dev/null'], ids=["output", "input"])
def test_child_that_waits_at_a_pipe_dies_with_its_script_and_holds_no_lock(tmp_path: Path, ends: str) -> None:
    program = PROGRAM % ends + 'until [[ -n $(ps -o wchan= -p "${children[waiting]}" | grep partner) ]]; do :; done\n'
    script = subprocess.Popen(
        ["bash", "-c", program + 'echo ready; mkfifo "$run_dir/own"; read -r <>"$run_dir/own"', "-", tmp_path],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert script.stdout is not None and script.stdout.readline() == "ready\n"
    script.kill()
    until(lambda: not [line for line in processes() if str(tmp_path) in line], "the child has ended")
    subprocess.run(["flock", "--nonblock", tmp_path / "lock", "true"], check=True)


def test_child_whose_script_has_ended_before_it_began_does_nothing(tmp_path: Path) -> None:
    """Its death was not to be followed yet: who its parent is tells."""
    program = f'. {FILES}/backup/lib/process.sh; sh -c "$open_and_become" sh 1 /dev/null "$1/written" echo it'
    done = subprocess.run(["bash", "-c", program, "-", tmp_path], check=False)
    assert done.returncode == 143 and not (tmp_path / "written").exists()


def test_child_has_its_files_and_arguments_letter_by_letter(tmp_path: Path) -> None:
    (tmp_path / "in put").write_text("rows")
    program = f"""
        . {FILES}/backup/lib/process.sh; run_dir=$1
        start a "$1/in put" "$1/out put" sh -c 'cat; printf "<%s>" "$@"' - "two words" '*' '$x' ''
        wait "${{children[a]}}"
    """
    subprocess.run(["bash", "-euc", program, "-", tmp_path], check=True)
    assert (tmp_path / "out put").read_text() == "rows<two words><*><$x><>"


@pytest.mark.fault
@pytest.mark.parametrize(
    ("failing", "neighbour"),
    [
        ('"$run_dir/gone" "$run_dir/pipe"', '"$run_dir/pipe" "$run_dir/read"'),
        ('"$run_dir/pipe" "$run_dir/none/written"', '/dev/null "$run_dir/pipe"'),
        ('"$run_dir/gone" "$run_dir/none/written"', "/dev/null /dev/null"),
    ],
    ids=["input gone", "output that cannot be", "both"],
)
def test_child_that_cannot_open_a_file_leaves_nobody_at_its_pipe(tmp_path: Path, failing: str, neighbour: str) -> None:
    program = f"""
        set -euo pipefail
        . {FILES}/backup/lib/process.sh
        run_dir=$1
        reason_in() {{ cat "$1"; }}
        mkfifo "$run_dir/pipe"
        start neighbour {neighbour} cat
        start failing {failing} cat
        ! all_ended_well neighbour failing
        why_failed neighbour failing
    """
    done = subprocess.run(
        ["bash", "-c", program, "-", tmp_path], capture_output=True, text=True, timeout=30, check=True
    )
    assert "failing ended with exit code 1" in done.stdout and str(tmp_path) in done.stdout
