"""The same on servers of other major versions: each case of a backup and a restore, run against those as well."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .servers import RELEASES, other_server

CASES = [
    "backup",
    "contents",
    "restore",
    "restore_elsewhere",
    "restore_part",
    "restore_test",
    "properties",
    "verdicts",
    "losses",
    "exclude",
    "leftovers",
    "peer",
    "names",
    "preloaded",
    "disaster",
    "generated",
    "hostile_data",
]


@pytest.mark.prove
@pytest.mark.parametrize("major", RELEASES)
def test_each_case_on_another_major_version(major: int, proved: Callable[[str], None], tmp_path: Path) -> None:
    other_server(major)
    files = [f"tests/scripts/test_{case}.py" for case in CASES]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files],
        env={**os.environ, "POSTGRESQL_MAJOR": str(major)}, capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    (tmp_path / "said").write_text(done.stdout + done.stderr, encoding="utf-8")
    assert done.returncode == 0, done.stdout[-8000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    proved(f"PostgreSQL {major} ({RELEASES[major]}): {passed[1]} tests passed")
