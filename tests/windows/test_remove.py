"""A Windows host with both roles, which are taken away: it is what it was, but for what was told."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable

import pytest
from pyinfra.context import ctx_host

from provision.app import layout as app_layout
from provision.record.undo import Wanted
from provision.settings import Settings
from provision.windows import layout
from provision.windows.preflight import going
from provision.windows.role import windows_app, windows_backup, windows_record, windows_remove
from tests.windows.conftest import WindowsHost
from tests.windows.runs import Result, deploy
from tests.windows.settings import default_settings, hostile_settings
from tests.windows.test_role import lay_pg_dump

pytestmark = pytest.mark.usefixtures("postgres")
MINE = "O:S-1-5-21-0-0-0-1000D:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;0x1301bf;;;AU)"


def _deployed(found: Settings, *roles: str) -> Callable[[], None]:
    def steps() -> None:
        windows_record(found, roles, "production")
        if "app" in roles:
            windows_app(found, app_layout.variables(found))
        if "backup" in roles:
            windows_backup(found)

    return steps


def _remove(win: WindowsHost, found: Settings, role: str, *, with_data: bool = False) -> Result:
    def steps() -> None:
        there = going(ctx_host.get(), found, Wanted(role, found.app_name, with_data))
        if there:
            windows_remove(found, *there, role, with_data=with_data)

    done = deploy(win.data, steps)
    assert not done.failed, done.told
    return done


def _state(win: WindowsHost) -> dict[str, tuple[frozenset[str], str]]:
    """All that lies on the drives, with its access list and what it holds; but for what a running Windows writes."""
    found = {}
    for drive in ("C:", "D:"):
        for path in win.file(drive).rglob("*"):
            name = f"{drive}\\{path.relative_to(win.file(drive))}".replace("/", "\\")
            kept = os.getxattr(path, "user.sddl").decode() if "user.sddl" in os.listxattr(path) else ""
            access = frozenset(re.findall(r"O:[^GD]*|\([^)]*\)", kept))
            content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
            if "\\AppData\\" not in name and not name.lower().startswith("c:\\windows\\temp"):
                found[name] = (access, content)
    return found


def test_roles_taken_away_leave_a_windows_host_as_it_was_and_its_data_until_told_twice(win: WindowsHost):
    found = hostile_settings()
    lay_pg_dump(win, found)
    app_dir = win.file(found.windows_app_dir)
    app_dir.mkdir(parents=True, exist_ok=True)
    os.setxattr(app_dir, "user.sddl", MINE.encode())
    before = _state(win)
    assert not deploy(win.data, _deployed(found, "app", "backup")).failed
    (told,) = deploy(win.data, _deployed(found, "app"), dry=True).warned
    assert "still has what it had as backup: 12 files, 2 scheduled tasks. `make remove ENV=production" in told
    win.file(f"{found.windows_script_dir}\\restore-database.ps1").write_text("mine")
    dumps = {path.name for path in win.file(found.windows_backup_dir).glob("*.sql.gz*")}

    removed = _remove(win, found, "backup")
    assert not win.task(found.windows_task_folder, "").exists()
    assert not any(win.file(path).exists() for path in (found.windows_script_dir, found.windows_config_dir))
    assert {path.name for path in win.file(found.windows_backup_dir).iterdir() if path.is_file()} == dumps
    stays = f"{found.windows_backup_dir}: stays, it is data ({len(dumps)} file(s)"
    assert any(stays in each for each in removed.warned)
    assert any("changed by hand" in each for each in removed.warned)
    aside = win.file(layout.record(found)).parent / "changed"
    assert [path.read_text() for path in aside.rglob("*.ps1")] == ["mine"]
    assert win.file(found.windows_env_file).exists()
    assert _remove(win, found, "backup").told == []

    _remove(win, found, "app", with_data=True)
    assert not win.file(found.windows_env_file).exists()
    _remove(win, found, "backup", with_data=True)
    assert not win.file(layout.record(found)).exists()
    shutil.rmtree(aside.parent)
    assert _state(win) == before


@pytest.mark.parametrize(
    ("text", "told"),
    [("[]", "is not what a deploy has written"), ('{"version": "1.0.0", "files": ["x"]}', "Deploy once with this")],
)
def test_a_list_that_does_not_say_what_is_whose_takes_nothing_away(win: WindowsHost, text: str, told: str):
    found = default_settings()
    path = win.file(layout.record(found))
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(AssertionError, match=told):
        _remove(win, found, "backup")
    assert path.read_text() == text


@pytest.mark.fault
@pytest.mark.parametrize("whose", ["the directory", "the file", "a junction"])
def test_a_list_that_somebody_else_has_written_takes_nothing_away(win: WindowsHost, whose: str):
    """Anybody may make a directory in C:\\ProgramData, and a removal goes by what lies there, as an administrator."""
    found, victim = default_settings(), "C:\\Windows\\victim.dll"
    path = win.file(layout.record(found))
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"version": "1", "files": [victim], "of": {"backup": {"files": [victim]}}}))
    win.file(victim).write_text("Windows' own")
    if whose == "a junction":
        path.parent.rename(win.file("C:\\elsewhere"))
        path.parent.symlink_to("/srv/windows/C:/elsewhere")
    else:
        os.setxattr(path.parent if whose == "the directory" else path, "user.sddl", MINE.encode())
    told = "is a link or junction" if whose == "a junction" else "is owned by S-1-5-21-0-0-0-1000, who may have written"
    with pytest.raises(AssertionError, match=told):
        _remove(win, found, "backup")
    assert win.file(victim).read_text() == "Windows' own"
    win.file(victim).unlink()


@pytest.mark.fault
def test_nothing_is_taken_away_through_a_link_that_somebody_has_put_in_the_way(win: WindowsHost):
    found = default_settings()
    path = win.file(layout.record(found))
    path.parent.mkdir(parents=True)
    script = layout.backup_script(found)
    whole = {"version": "1", "files": [script], "directories": [found.windows_script_dir],
             "of": {"backup": {"files": [script], "directories": [found.windows_script_dir]}}}  # fmt: skip
    path.write_text(json.dumps(whole))
    elsewhere = win.file("C:\\elsewhere")
    elsewhere.mkdir()
    (elsewhere / "backup-database.ps1").write_text("theirs")
    win.file(found.windows_app_dir).mkdir()
    win.file(found.windows_script_dir).symlink_to("/srv/windows/C:/elsewhere")
    with pytest.raises(AssertionError, match="scripts: is a link or junction"):
        _remove(win, found, "backup")
    assert (elsewhere / "backup-database.ps1").read_text() == "theirs"
