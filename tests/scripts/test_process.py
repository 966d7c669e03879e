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
    said = _pipeline(tmp_path, f"start neighbour {neighbour} cat; start failing {failing} cat", "neighbour failing")
    assert "failing ended with exit code 2" in said and str(tmp_path) in said


# A setpriv for one stage, told by its last word, that does what is put here; all others have the real one.
SETPRIV = """#!/bin/sh
for last; do :; done
case $last in
    *odd) %s ;;
esac
exec /usr/bin/setpriv "$@"
"""


def _pipeline(tmp_path: Path, starts: str, names: str, odd: str = "exit 9", ends: str = "!") -> str:
    """What `why_failed` says, where `ends` is "!", of stages of which one is started oddly."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/setpriv").write_text(SETPRIV % odd)
    (tmp_path / "bin/setpriv").chmod(0o755)
    program = f"""
        set -euo pipefail
        . {FILES}/backup/lib/process.sh
        . {FILES}/backup/lib/encrypted.sh
        run_dir=$1 PATH=$1/bin:$PATH
        reason_in() {{ cat "$1"; }}
        mkfifo "$run_dir"/{{pipe,second,third}}
        {starts}
        {ends} all_ended_well {names}
        [[ -z "{ends}" ]] || why_failed {names}
    """
    done = subprocess.run(
        ["bash", "-c", program, "-", tmp_path], capture_output=True, text=True, timeout=30, check=True
    )
    assert not [line for line in processes() if str(tmp_path) in line], "somebody is left"
    return done.stdout


FROM_NULL, TO_NULL = '/dev/null "$run_dir/pipe"', '"$run_dir/pipe" /dev/null'


@pytest.mark.fault
@pytest.mark.parametrize("odd", ["exit 9", "kill -KILL $$", 'kill -KILL "$$" & wait', "sleep 0.3; exit 9"])
@pytest.mark.parametrize("place", ["first", "last", "in the middle", "that spreads"])
def test_child_that_ends_before_it_has_opened_its_pipes_leaves_nobody_there(
    tmp_path: Path, place: str, odd: str
) -> None:
    starts = {
        "first": f"start odd {FROM_NULL} echo odd; start b {TO_NULL} cat",
        "last": f"start b {FROM_NULL} cat; start odd {TO_NULL} echo odd",
        "in the middle": 'start b /dev/null "$run_dir/pipe" cat; start c "$run_dir/second" /dev/null cat;'
        ' start odd "$run_dir/pipe" "$run_dir/second" echo odd',
        "that spreads": 'start_spreading odd /dev/null "$run_dir/pipe" "$run_dir/second" "$run_dir/third" echo odd;'
        ' for name in pipe second third; do start "$name" "$run_dir/$name" /dev/null cat; done',
    }[place]
    names = {"that spreads": "pipe third odd second", "in the middle": "c b odd"}.get(place, "b odd")
    said = _pipeline(tmp_path, starts, names, odd)
    assert said.startswith(f"odd ended with exit code {9 if 'exit' in odd else 137}:"), said


def test_program_that_cannot_begin_leaves_nobody_at_what_it_was_to_spread(tmp_path: Path) -> None:
    starts = (
        'PERL5OPT=-MGone start_spreading spread /dev/null "$run_dir/pipe" "$run_dir/second" "" perl -e'
        ' "$spread_program" -- - 3; start a "$run_dir/pipe" /dev/null cat; start b "$run_dir/second" /dev/null cat'
    )
    said = _pipeline(tmp_path, starts, "b a spread")
    assert said.startswith("spread ended with exit code 2: ") and "Gone" in said, said


def test_child_that_is_slow_to_begin_is_waited_for(tmp_path: Path) -> None:
    """Its neighbour's neighbour has ended well by then, whose few bytes lie in the pipe."""
    starts = (
        'start a /dev/null "$run_dir/pipe" echo rows; start b "$run_dir/pipe" "$run_dir/second" cat;'
        ' start late "$run_dir/second" "$run_dir/came" sh -c cat odd'
    )
    _pipeline(tmp_path, starts, "late b a", "sleep 1", ends="")
    assert (tmp_path / "came").read_text() == "rows\n"


def test_reason_of_a_child_whose_pipes_were_open_is_its_own(tmp_path: Path) -> None:
    starts = f"start b {FROM_NULL} sh -c 'cat; echo mine >&2; exit 5'; start c {TO_NULL} sh -c 'exit 4'"
    assert _pipeline(tmp_path, starts, "b c").startswith("b ended with exit code 5: mine")


@pytest.mark.fault
@pytest.mark.parametrize("odd", ["echo mine >&2; exit 9", "kill -KILL $$", "sleep 0.3; echo mine >&2; exit 9"])
def test_session_that_ends_before_it_has_begun_is_not_waited_for(tmp_path: Path, odd: str) -> None:
    starts = f"""
        . {FILES}/backup/lib/snapshot.sh
        use_tool() {{ tool=(psql); }}
        conninfo() {{ echo odd; }}
        psql_options=()
        session_is_gone() {{ echo "gone: $(cat "$run_dir/session.err")"; exit 0; }}
        trap : PIPE
        open_session odd
        ask "SELECT 1"
        hear line
        exit 1
    """
    said = _pipeline(tmp_path, starts, "session", odd)
    assert said.startswith("gone: mine" if "mine" in odd else "gone: "), said


def test_session_that_is_slow_to_begin_is_spoken_to(tmp_path: Path) -> None:
    starts = f"""
        . {FILES}/backup/lib/snapshot.sh
        use_tool() {{ tool=(sh -c 'cat; echo "end of $0" >&2'); }}
        conninfo() {{ echo odd; }}
        psql_options=()
        open_session odd
        ask "SELECT 1"
        hear line
        echo "heard: $line"
        close_session
    """
    assert _pipeline(tmp_path, starts, "session", "sleep 0.5", ends="exit 0;") == "heard: SELECT 1\n"
    assert "end of" in (tmp_path / "session.err").read_text()
