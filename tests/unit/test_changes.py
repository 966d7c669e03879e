"""How differences are told to a person."""

from __future__ import annotations

import pytest

from provision.engine.changes import in_few_lines

PROGRAMS = [f"/usr/local/lib/app/lib/{name}.sh" for name in ("a", "b", "c", "d", "e")]


def test_many_files_of_one_directory_with_the_same_difference_are_one_line():
    told = [f"{path}: is missing" for path in PROGRAMS]
    assert in_few_lines(["/etc/app: is missing", *told, "/etc/app/pgpass: is missing"]) == [
        "/etc/app: is missing",
        "/usr/local/lib/app/lib/a.sh and 4 more beside it: is missing",
        "/etc/app/pgpass: is missing",
    ]
    windows = [rf"C:\MedAction\scripts\{number}.ps1: its content differs" for number in range(7)]
    assert in_few_lines(windows) == [r"C:\MedAction\scripts\0.ps1 and 6 more beside it: its content differs"]


@pytest.mark.parametrize(
    "told",
    [
        [f"{path}: is missing" for path in PROGRAMS[:4]],
        [f"/opt/{number}/file: is missing" for number in range(9)],
        [f"/opt/file: mode is {number:04o}, should be 0600" for number in range(9)],
        [f"{number} counters: are lost" for number in range(9)],
        [f"not installed: package{number}" for number in range(9)],
        [],
    ],
)
def test_what_differs_otherwise_or_elsewhere_has_a_line_of_its_own(told: list[str]):
    assert in_few_lines(told) == told
