"""What `make test` says at its end and how it ends, shown by runs of pytest on small levels of tests."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location("run_tests", Path(__file__).parents[2] / "tools/run_tests.py")
assert spec and spec.loader
run_tests = importlib.util.module_from_spec(spec)
sys.modules["run_tests"] = run_tests
spec.loader.exec_module(run_tests)

GOOD = "def test_good(): pass\n"
BAD = "def test_bad(): assert 1 == 2\n"
SKIPPED = "import pytest\ndef test_away(): pytest.skip('there is no such thing here')\n"
HANGS = "import time\ndef test_hangs(): time.sleep(60)\n"
DIES = "import os\ndef test_dies(): os._exit(9)\n"


@pytest.fixture
def closing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """`closing(first, *lane)`: run levels of these texts; return the exit code and what was said."""

    def run(first: str, *lane: str, options: tuple[str, ...] = ()) -> tuple[int, str]:
        levels = []
        for number, text in enumerate((first, *lane)):
            (tmp_path / f"test_{number}.py").write_text(text)
            levels.append(
                run_tests.Level(
                    f"level {number}",
                    (str(tmp_path / f"test_{number}.py"), "-ra", "-p", "no:cacheprovider"),
                    counted=number == 0,
                )
            )
        monkeypatch.setattr(run_tests, "COVERAGE", tmp_path / "coverage")
        monkeypatch.setattr(run_tests, "COUNTING", {"COUNTED": "yes"})
        monkeypatch.setattr(run_tests, "coverage", lambda *_: True)
        monkeypatch.setattr(run_tests, "levels", lambda: (levels[:1], [levels[1::2], levels[2::2]]))
        return run_tests.main([*options]), capsys.readouterr().out

    return run


def last_line(said: str) -> str:
    counted = re.fullmatch(r"=+ (.*) in [\d.]+s \(\d+ min\) =+", said.splitlines()[-1])
    assert counted, said
    return counted[1]


def test_all_levels_are_counted_in_one_line(closing) -> None:
    code, said = closing(GOOD + SKIPPED, GOOD)
    assert (code, last_line(said)) == (0, "2 passed, 1 skipped")
    assert "there is no such thing here" in said


def test_level_that_counts_is_told_so(closing) -> None:
    told = "import os\ndef test_told(): assert os.environ.get('COUNTED') == {}\n"
    assert closing(told.format("'yes'"), told.format(None))[0] == 0


def test_the_levels_that_are_quick_have_their_lines_counted() -> None:
    first, lanes = run_tests.levels()
    assert all(level.counted for level in first) and run_tests.COUNTING["COVERAGE_DIR"] == str(run_tests.COVERAGE)
    assert not any(level.counted for lane in lanes for level in lane)


def test_failure_is_shown_and_named_at_the_end_and_other_levels_run(closing) -> None:
    code, said = closing(GOOD, BAD, DIES)
    assert (code, last_line(said)) == (1, "1 errors, 1 failed, 1 passed")
    assert "assert 1 == 2" in said and re.search(r"^level 1: FAILED .*test_bad", said, re.MULTILINE)


def test_a_test_that_hangs_is_named_and_ends_its_level_alone(closing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_tests, "HUNG_SECONDS", 1)
    code, said = closing(GOOD, HANGS, GOOD)
    assert (code, last_line(said)) == (1, "1 errors, 2 passed")
    assert "in test_hangs" in said


def test_nothing_else_runs_where_the_pure_tests_fail(closing) -> None:
    code, said = closing(BAD, GOOD)
    assert (code, last_line(said)) == (1, "1 failed")


def test_level_without_tests_fails_unless_an_option_selects(closing) -> None:
    assert closing(GOOD, "")[0] == 1
    assert closing(GOOD, "", options=("-k", "good"))[0] == 0


def test_faults_are_added_up() -> None:
    levels = [run_tests.Level("a", ()), run_tests.Level("b", ())]
    levels[0].lines = ["faults: 3 tried, 2 survived", "= 3 passed in 1.0s ="]
    levels[1].lines = ["faults: 4 tried, 4 survived, 1 could not be tried here", "= 4 passed in 1.0s ="]
    assert "faults: 7 tried, 6 survived, 1 could not be tried here" in run_tests.closing(levels, 1)


def test_every_level_of_tests_is_run() -> None:
    first, lanes = run_tests.levels()
    run = {level.arguments[0] for lane in (first, *lanes) for level in lane}
    tests = Path(__file__).parents[1]
    # verify is for servers that are deployed: each deploy runs it.
    assert run == {f"tests/{path.parent.name}" for path in tests.glob("*/test_*.py")} - {"tests/verify"}


def test_each_e2e_test_is_in_exactly_one_level() -> None:
    _, lanes = run_tests.levels()
    selections = [level.arguments[-1] for lane in lanes for level in lane if level.arguments[0] == "tests/e2e"]
    for mark in ("servers", "docker1", "neither"):
        chosen = [
            each for each in selections if eval(each, {name: name == mark for name in ("servers", "docker1", "prove")})
        ]
        assert len(chosen) == 1, mark
