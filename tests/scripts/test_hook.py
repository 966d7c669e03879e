"""`backup_hook` is told before and after each backup, and no backup is stopped by it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .host import Host


@pytest.fixture
def told(host: Host) -> Path:
    """What the hook was told, a line each."""
    path = host.app_dir / "told-hook"
    host.configure(backup_hook=f"jq -c . >>{path}")
    return path


def states(path: Path) -> list[tuple[str, str | None]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [(each["state"], each["dump"]) for each in lines]


def test_it_is_told_before_and_after_with_the_dump_that_was_made(host: Host, told: Path) -> None:
    dump = host.good_backup()
    assert states(told) == [("running", None), ("ok", str(dump))]


def test_it_is_told_of_a_run_that_failed(host: Host, told: Path) -> None:
    assert host.backup("--database", "nowhere").returncode != 0
    assert [state for state, _ in states(told)] == ["running", "failed"]
    assert "nowhere" in json.loads(told.read_text().splitlines()[-1])["message"]


@pytest.mark.fault
@pytest.mark.parametrize("hook", ["exit 3", "/nowhere/at/all", "kill -9 $PPID", "cat >/dev/full", "exec 2>&-; exit 1"])
def test_no_backup_is_stopped_by_it(host: Host, hook: str) -> None:
    host.configure(backup_hook=hook)
    assert host.good_backup().exists()
