"""`deploy_hook`: told before and after, and no deploy's business."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from provision.commands import hooks
from provision.engine.inventory import Member
from provision.record.history import Entry
from provision.settings import Settings

DONE = {"db1": Entry("deploy", "ok", ["Backup | Make a backup"])}


@pytest.fixture
def hooked(settings_of: Callable[..., Settings]) -> Callable[[str], list[Member]]:
    return lambda command: [Member(name, ("app",), settings_of(deploy_hook=command), {}) for name in ("app1", "db1")]


def test_it_is_told_once_before_and_once_after_with_what_was_done(hooked, tmp_path: Path):
    with hooks.told("staging", hooked(f"cat >>{tmp_path}/told; echo >>{tmp_path}/told")) as tell:
        (before,) = (tmp_path / "told").read_text().splitlines()
        tell(DONE)
    after = (tmp_path / "told").read_text().splitlines()[1:]
    assert json.loads(before).items() >= {"event": "before", "environment": "staging", "hosts": ["app1", "db1"]}.items()
    (whole,) = map(json.loads, after)
    assert whole["done"]["db1"]["changes"] == ["Backup | Make a backup"] and whole["run"] == "ended"


def test_a_deploy_that_is_interrupted_is_told_too(hooked, tmp_path: Path):
    with pytest.raises(KeyboardInterrupt), hooks.told("staging", hooked(f"cat >{tmp_path}/told")):
        raise KeyboardInterrupt
    assert json.loads((tmp_path / "told").read_text())["run"] == "interrupted"


@pytest.mark.parametrize("command", ["exit 3", "/nowhere/at/all", "sleep 9", "exec <&-; exit 1", "kill -9 $$"])
def test_no_deploy_fails_by_it(
    hooked, command: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(hooks, "SECONDS", 0.3)
    with hooks.told("staging", hooked(command)) as tell:
        tell({})
    told = capfd.readouterr().err
    assert told.count("warning: deploy_hook") == 2 and "Traceback" not in told
