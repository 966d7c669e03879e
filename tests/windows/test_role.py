"""The whole Windows role on a host of wine: once, again, after edits by hand, and by pyinfra's own command."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path, PureWindowsPath

import pytest
from pyinfra.context import ctx_host

from provision.app import layout as app_layout
from provision.app.dotenv import differing
from provision.settings import Settings
from provision.settings.project import version
from provision.windows import layout as windows_layout
from provision.windows.role import windows_app, windows_backup, windows_record
from provision.winssh.connector import ANSWERED
from tests.sandbox.windows import run
from tests.windows import wine
from tests.windows.conftest import SID, WindowsHost
from tests.windows.runs import deploy
from tests.windows.settings import PASSWORD, default_settings, hostile_settings, settings

pytestmark = pytest.mark.usefixtures("postgres")
PROJECT = Path(__file__).resolve().parent.parent.parent


def lay_pg_dump(win: WindowsHost, found: Settings) -> None:
    """PostgreSQL's programs lie where the settings say."""
    if found.windows_pg_dump:
        there = win.file(found.windows_pg_dump).parent
        shutil.copytree(win.file(wine.PG_DUMP).parent, there)


def _role(found: Settings):
    def steps():
        windows_record(found, ["backup", "app"], "production")
        windows_app(found, app_layout.variables(found))
        windows_backup(found)

    return steps


@pytest.mark.parametrize("found", [default_settings(), hostile_settings()], ids=["default", "hostile"])
def test_a_deploy_gives_a_windows_host_its_backups_and_a_second_changes_nothing(win: WindowsHost, found: Settings):
    lay_pg_dump(win, found)
    first = deploy(win.data, _role(found))
    assert not first.failed, first.told
    assert PASSWORD.replace("\\", "\\\\").replace(":", "\\:") in win.file(found.windows_pgpass_file).read_text()
    assert win.file(f"{found.windows_script_dir}\\backup-database.ps1").read_bytes().startswith(b"\xef\xbb\xbf")
    assert win.task(found.windows_task_folder, "MedAction Backup Weekly").exists()
    before, texts = len(win.sent()), win.texts()
    assert any("MedAction Backup Weekly" in text for text in texts) and any("$AppName" in text for text in texts)
    assert not [text for text in texts if "p@ss" in text or "日本" in text]
    again = deploy(win.data, _role(found), dry=True)
    assert (again.failed, again.changes, again.told) == (False, 0, [])
    # Each takes a second: one for the connector, and what lies there is asked for once.
    asked = [sent["script"] for sent in win.sent()[before:]]
    assert sorted(asked) == ["host", "newest-backup", "paths", "postgres", "tasks"]


def _listed(win: WindowsHost, found: Settings) -> dict[str, list[str]]:
    return json.loads(win.file(windows_layout.record(found)).read_text())


def _on_disk(win: WindowsHost) -> set[str]:
    drives = {drive: win.file(drive) for drive in ("C:", "D:")}
    return {
        f"{drive}\\{path.relative_to(root)}".replace("/", "\\")
        for drive, root in drives.items()
        for path in root.rglob("*")
    }


def test_all_that_a_deploy_adds_is_listed_on_the_host_also_after_a_failure_half_way(win: WindowsHost):
    found = default_settings()
    before = _on_disk(win)
    in_the_way = win.file(found.windows_pgpass_file)
    in_the_way.mkdir(parents=True)
    assert deploy(win.data, _role(found)).failed
    in_the_way.rmdir()
    assert not deploy(win.data, _role(found)).failed
    listed = _listed(win, found)
    assert (listed["version"], listed["roles"]) == (version(), ["app", "backup"])
    new, ours = _on_disk(win) - before, {*listed["files"], *listed["directories"]}
    made_by_this_test = {str(parent) for parent in PureWindowsPath(found.windows_pgpass_file).parents}
    of_a_run = r"\\backups\\(medaction_|status-|\.lock)|\\logs\\backup\.log$|\\system32\\Tasks\\"
    made_by_a_run = {path for path in new if re.search(of_a_run, path)}
    assert ours - new == set()
    assert new - ours - made_by_this_test - made_by_a_run == set()
    assert listed["tasks"] == sorted(rf"{found.windows_task_folder}\{name}" for name in _tasks_of(found))
    for secret in (PASSWORD, PASSWORD.replace("\\", "\\\\")):
        assert secret not in win.file(windows_layout.record(found)).read_text()


def _tasks_of(found: Settings) -> list[str]:
    return [f"{found.windows_name} Backup", f"{found.windows_name} Backup Weekly"]


def test_an_env_that_a_person_had_is_not_listed_as_ours(win: WindowsHost):
    found = default_settings()
    path = win.file(found.windows_env_file)
    path.parent.mkdir(parents=True)
    path.write_text("MY=1\r\n")
    assert not deploy(win.data, _role(found)).failed
    assert found.windows_env_file not in _listed(win, found)["files"]
    assert found.windows_app_dir not in _listed(win, found)["directories"]


def test_a_host_of_a_version_without_a_list_is_known_by_its_tasks(win: WindowsHost):
    found = default_settings()
    assert not deploy(win.data, _role(found)).failed
    win.file(windows_layout.record(found)).unlink()
    assert not deploy(win.data, _role(found)).failed
    assert found.windows_backup_dir in _listed(win, found)["directories"]


def test_a_list_that_is_none_is_told_and_not_overwritten(win: WindowsHost):
    found = default_settings()
    assert not deploy(win.data, _role(found)).failed
    for text in ("", "[]", "{"):
        win.file(windows_layout.record(found)).write_text(text)
        result = deploy(win.data, _role(found))
        assert result.failed and any("host.json is not what a deploy has written" in told for told in result.told)
        assert win.file(windows_layout.record(found)).read_text() == text


def test_a_persons_own_lines_in_env_stay_and_a_managed_value_is_put_back(win: WindowsHost):
    found = default_settings()
    path = win.file(found.windows_env_file)
    path.parent.mkdir(parents=True)
    path.write_bytes("# à moi\r\nMY=1\r\nREDIS_URL=edited\r\n".encode())
    result = deploy(win.data, _role(found))
    assert not result.failed
    assert f"{found.windows_env_file}: REDIS_URL is not what the settings say" in result.told
    text = path.read_bytes().decode()
    assert text.startswith("# à moi\r\nMY=1\r\nREDIS_URL=") and "edited" not in text
    assert differing(text.replace("\r\n", "\n"), app_layout.variables(found)) == []
    assert deploy(win.data, _role(found), dry=True).changes == 0


def test_an_account_that_may_read_env_is_named_by_its_sid(win: WindowsHost):
    found = settings(windows_app_account="WIN1\\root")
    assert not deploy(win.data, _role(found)).failed
    sddl = os.getxattr(win.file(found.windows_env_file), "user.sddl").decode()
    assert SID in sddl
    assert deploy(win.data, _role(found), dry=True).changes == 0
    unknown = settings(windows_app_account="WIN1\\nobody")
    assert any("knows no account" in told for told in deploy(win.data, _role(unknown), dry=True).told)


def test_tasks_of_a_named_user_can_read_the_scripts_and_write_the_backups(win: WindowsHost):
    found, sid = settings(windows_task_user="WIN1\\root"), SID
    assert not deploy(win.data, lambda: windows_backup(found)).failed

    def rights(path: str) -> str:
        return os.getxattr(win.file(path), "user.sddl").decode().partition(f";;;{sid})")[0].rpartition(";")[2]

    for path in (found.windows_script_dir, found.windows_config_dir):
        assert rights(path) == "0x1200a9", path
    assert rights(found.windows_pgpass_file) in ("0x120089", "FR")
    for path in (found.windows_backup_dir, f"{found.windows_backup_dir}\\weekly", found.windows_log_dir):
        assert rights(path) == "0x1301bf", path
    assert deploy(win.data, lambda: windows_backup(found), dry=True).changes == 0


def test_an_apps_directory_that_others_may_rename_is_told_and_mended(win: WindowsHost):
    """As it is made below the root of a drive of Windows 11, which lets all users modify what inherits from it."""
    found = default_settings()
    assert not deploy(win.data, _role(found)).failed
    as_inherited = b"D:AI(A;OICIID;FA;;;BA)(A;OICIID;FA;;;SY)(A;OICIID;0x1200a9;;;BU)(A;OICIID;0x1301bf;;;AU)"
    os.setxattr(win.file(found.windows_app_dir), "user.sddl", as_inherited)
    result = deploy(win.data, _role(found))
    assert not result.failed
    assert any("Authenticated Users has modify" in told and "should not" in told for told in result.told)
    assert deploy(win.data, _role(found), dry=True).changes == 0


@pytest.mark.fault
@pytest.mark.parametrize("name", ["scripts", "backups", "config", "backups\\weekly"])
def test_a_junction_in_the_way_is_refused_and_seen_by_plan(win: WindowsHost, name: str):
    found = default_settings()
    elsewhere = win.file("C:\\elsewhere")
    elsewhere.mkdir()
    path = win.file(f"{found.windows_app_dir}\\{name}")
    path.parent.mkdir(parents=True)
    path.symlink_to(f"{run.ROOT}/C:/elsewhere")
    for dry in (True, False):
        result = deploy(win.data, lambda: windows_backup(found), dry=dry)
        assert dry or result.failed
        assert any(f"{name}: is a link or junction" in told for told in result.told), result.told
    assert not list(elsewhere.iterdir())


@pytest.mark.fault
@pytest.mark.parametrize("name", ["scripts", "logs"])
def test_a_directory_that_somebody_else_made_first_is_refused_and_seen_by_plan(win: WindowsHost, name: str):
    found = default_settings()
    path = win.file(f"{found.windows_app_dir}\\{name}")
    path.mkdir(parents=True)
    os.setxattr(path, "user.sddl", b"O:" + SID.encode())
    for dry in (True, False):
        result = deploy(win.data, lambda: windows_backup(found), dry=dry)
        assert (dry or result.failed) and any(f"is owned by {SID}" in told for told in result.told)
    os.setxattr(path, "user.sddl", b"O:BA")
    assert not deploy(win.data, lambda: windows_backup(found)).failed


def test_without_rights_nothing_is_changed_and_it_is_said(win: WindowsHost):
    def by_nobody():
        ctx_host.get().connector_data[ANSWERED]["elevated"] = False
        windows_backup(default_settings())

    result = deploy(win.data, by_nobody)
    assert result.failed and any("is no administrator there" in told for told in result.told)
    assert not win.file("C:\\MedAction").exists()


@pytest.mark.fault
@pytest.mark.parametrize("value", ["'ExecutionPolicy', 'AllSigned'", "'EnableScripts', 0"])
def test_a_policy_that_forbids_scripts_is_told_before_anything_is_changed(win: WindowsHost, value: str):
    policy = r"SOFTWARE\Policies\Microsoft\Windows\PowerShell"
    assert win.machine
    win.machine.at_once(f"[Microsoft.Win32.Registry]::SetValue('HKEY_LOCAL_MACHINE\\{policy}', {value})")
    try:
        result = deploy(win.data, lambda: windows_backup(default_settings()), dry=True)
    finally:
        win.machine.at_once(f"[Microsoft.Win32.Registry]::LocalMachine.DeleteSubKeyTree('{policy}')")
    assert result.failed and any("no backup would ever run" in told for told in result.told)


def test_a_pg_dump_that_is_not_where_the_setting_says_is_an_error(win: WindowsHost):
    result = deploy(win.data, lambda: windows_backup(settings(windows_pg_dump="C:\\nowhere\\pg_dump.exe")))
    assert result.failed and any("windows_pg_dump" in told for told in result.told)


def test_pyinfras_own_command_deploys_it_and_shows_no_secret(win: WindowsHost, tmp_path: Path):
    """With the connector found by its entry point, as an installed project has it; with everything printed."""
    (tmp_path / "inventory.py").write_text(f"hosts = [('@winssh/win1', {win.data!r})]\n")
    (tmp_path / "deploy.py").write_text(
        textwrap.dedent("""
        from provision.app import layout as app_layout
        from provision.windows.role import windows_app, windows_backup, windows_record
        from tests.windows.settings import default_settings
        windows_app(default_settings(), app_layout.variables(default_settings()))
        windows_backup(default_settings())
    """)
    )
    installed = tmp_path / "site" / "winssh_for_test-1.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: winssh-for-test\nVersion: 1\n")
    (installed / "entry_points.txt").write_text(
        "[pyinfra.connectors]\nwinssh = provision.winssh.connector:WinSSHConnector\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{PROJECT}:{tmp_path / 'site'}"}

    def pyinfra(*arguments: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "pyinfra", "-y", *arguments, "inventory.py", "deploy.py"]
        return subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)

    first = pyinfra("-vvv", "--diff", "--debug")
    assert first.returncode == 0, first.stderr[-3000:]
    for secret in (PASSWORD, PASSWORD.replace(":", "\\:"), "p%40ss", "p@ss"):
        assert secret not in first.stdout + first.stderr
    again = pyinfra("--dry", "--json")
    assert again.returncode == 0, again.stderr[-3000:]
    assert win.task("\\MedAction", "MedAction Backup").exists()
    plan = json.loads(again.stdout[again.stdout.index("{") :])["plan"]
    assert plan and not [operation["name"] for operation in plan if operation["hosts_with_change"]]
