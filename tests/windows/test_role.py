"""The whole Windows role on the stand-in: once, again, after edits by hand, and by pyinfra's own command."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path, PureWindowsPath

import pytest

from provision.app import layout as app_layout
from provision.app.dotenv import differing
from provision.settings import Settings
from provision.settings.project import version
from provision.windows import layout as windows_layout
from provision.windows.role import windows_app, windows_backup, windows_record
from tests.windows.conftest import StandIn
from tests.windows.runs import deploy
from tests.windows.settings import PASSWORD, default_settings, hostile_settings, settings

PROJECT = Path(__file__).resolve().parent.parent.parent


def _role(found: Settings):
    def steps():
        windows_record(found, ["backup", "app"])
        windows_app(found, app_layout.variables(found))
        windows_backup(found)

    return steps


@pytest.mark.parametrize("found", [default_settings(), hostile_settings()], ids=["default", "hostile"])
def test_a_deploy_gives_a_windows_host_its_backups_and_a_second_changes_nothing(standin: StandIn, found: Settings):
    known = {"C:\\Program Files\\PostgreSQL\\17\\bin\\pg_dump.exe": "pg_dump (PostgreSQL) 17.4"}
    standin.set(
        "postgres", **known, **({found.windows_pg_dump: "pg_dump (PostgreSQL) 17.4"} if found.windows_pg_dump else {})
    )
    first = deploy(standin.data, _role(found))
    assert not first.failed, first.told
    assert PASSWORD.replace("\\", "\\\\").replace(":", "\\:") in standin.file(found.windows_pgpass_file).read_text()
    assert standin.file(f"{found.windows_script_dir}\\backup-database.ps1").read_bytes().startswith(b"\xef\xbb\xbf")
    assert standin.task(found.windows_task_folder, "MedAction Backup Weekly").exists()
    again = deploy(standin.data, _role(found))
    assert (again.failed, again.changes, again.told) == (False, 0, [])


def _listed(standin: StandIn, found: Settings) -> dict[str, list[str]]:
    return json.loads(standin.file(windows_layout.record(found)).read_text())


def _on_disk(standin: StandIn) -> set[str]:
    drives = {drive: standin.file(drive) for drive in ("C:", "D:")}
    return {
        f"{drive}\\{path.relative_to(root)}".replace("/", "\\")
        for drive, root in drives.items()
        for path in root.rglob("*")
    }


@pytest.mark.parametrize("found", [default_settings(), hostile_settings()], ids=["default", "hostile"])
def test_all_that_a_deploy_adds_is_listed_on_the_host_also_after_a_failure_half_way(standin: StandIn, found: Settings):
    known = {"C:\\Program Files\\PostgreSQL\\17\\bin\\pg_dump.exe": "pg_dump (PostgreSQL) 17.4"}
    standin.set(
        "postgres", **known, **({found.windows_pg_dump: "pg_dump (PostgreSQL) 17.4"} if found.windows_pg_dump else {})
    )
    standin.file("C:\\ProgramData").mkdir(parents=True, exist_ok=True)
    before = _on_disk(standin)
    in_the_way = standin.file(found.windows_pgpass_file)
    in_the_way.mkdir(parents=True)
    assert deploy(standin.data, _role(found)).failed
    in_the_way.rmdir()
    assert not deploy(standin.data, _role(found)).failed
    listed = _listed(standin, found)
    assert (listed["version"], listed["roles"]) == (version(), ["app", "backup"])
    new, ours = _on_disk(standin) - before, {*listed["files"], *listed["directories"]}
    made_by_this_test = {str(parent) for parent in PureWindowsPath(found.windows_pgpass_file).parents}
    made_by_a_run = {path for path in new if re.search(r"\\backups\\(medaction_|status-)", path)}
    assert ours - new == set()
    assert new - ours - made_by_this_test - made_by_a_run == set()
    assert listed["tasks"] == sorted(rf"{found.windows_task_folder}\{name}" for name in _tasks_of(found))
    for secret in (PASSWORD, PASSWORD.replace("\\", "\\\\")):
        assert secret not in standin.file(windows_layout.record(found)).read_text()


def _tasks_of(found: Settings) -> list[str]:
    return [f"{found.windows_name} Backup", f"{found.windows_name} Backup Weekly"]


def test_an_env_that_a_person_had_is_not_listed_as_ours(standin: StandIn):
    found = default_settings()
    path = standin.file(found.windows_env_file)
    path.parent.mkdir(parents=True)
    path.write_text("MY=1\r\n")
    assert not deploy(standin.data, _role(found)).failed
    assert found.windows_env_file not in _listed(standin, found)["files"]
    assert found.windows_app_dir not in _listed(standin, found)["directories"]


def test_a_host_of_a_version_without_a_list_is_known_by_its_tasks(standin: StandIn):
    found = default_settings()
    assert not deploy(standin.data, _role(found)).failed
    standin.file(windows_layout.record(found)).unlink()
    assert not deploy(standin.data, _role(found)).failed
    assert found.windows_backup_dir in _listed(standin, found)["directories"]


@pytest.mark.parametrize("text", ["", "x", "[]", '"a"', "{"])
def test_a_list_that_is_none_is_told_and_not_overwritten(standin: StandIn, text: str):
    found = default_settings()
    assert not deploy(standin.data, _role(found)).failed
    standin.file(windows_layout.record(found)).write_text(text)
    result = deploy(standin.data, _role(found))
    assert result.failed and any("host.json is not what a deploy has written" in told for told in result.told)
    assert standin.file(windows_layout.record(found)).read_text() == text


def test_a_persons_own_lines_in_env_stay_and_a_managed_value_is_put_back(standin: StandIn):
    found = default_settings()
    path = standin.file(found.windows_env_file)
    path.parent.mkdir(parents=True)
    path.write_bytes("# à moi\r\nMY=1\r\nREDIS_URL=edited\r\n".encode())
    result = deploy(standin.data, _role(found))
    assert not result.failed
    assert f"{found.windows_env_file}: REDIS_URL is not what the settings say" in result.told
    text = path.read_bytes().decode()
    assert text.startswith("# à moi\r\nMY=1\r\nREDIS_URL=") and "edited" not in text
    assert differing(text.replace("\r\n", "\n"), app_layout.variables(found)) == []
    assert deploy(standin.data, _role(found), dry=True).changes == 0


def test_an_account_that_may_read_env_is_named_by_its_sid(standin: StandIn):
    found = settings(windows_app_account="WIN1\\sauvegarde")
    assert not deploy(standin.data, _role(found)).failed
    sddl = os.getxattr(standin.file(found.windows_env_file), "user.sddl").decode()
    assert "S-1-5-21-11-22-33-1001" in sddl
    assert deploy(standin.data, _role(found), dry=True).changes == 0
    unknown = settings(windows_app_account="WIN1\\nobody")
    assert any("knows no account" in told for told in deploy(standin.data, _role(unknown), dry=True).told)


def test_tasks_of_a_named_user_can_read_the_scripts_and_write_the_backups(standin: StandIn):
    found, sid = settings(windows_task_user="WIN1\\sauvegarde"), "S-1-5-21-11-22-33-1001"
    assert not deploy(standin.data, lambda: windows_backup(found)).failed

    def rights(path: str) -> str:
        return os.getxattr(standin.file(path), "user.sddl").decode().partition(f";;;{sid})")[0].rpartition(";")[2]

    for path in (found.windows_script_dir, found.windows_config_dir):
        assert rights(path) == "0x1200a9", path
    assert rights(found.windows_pgpass_file) == "0x120089"
    for path in (found.windows_backup_dir, f"{found.windows_backup_dir}\\weekly", found.windows_log_dir):
        assert rights(path) == "0x1301bf", path
    assert deploy(standin.data, lambda: windows_backup(found), dry=True).changes == 0


def test_an_apps_directory_that_others_may_rename_is_told_and_mended(standin: StandIn):
    """As it is made below the root of a drive of Windows 11, which lets all users modify what inherits from it."""
    found = default_settings()
    assert not deploy(standin.data, _role(found)).failed
    as_inherited = b"D:AI(A;OICIID;FA;;;BA)(A;OICIID;FA;;;SY)(A;OICIID;0x1200a9;;;BU)(A;OICIID;0x1301bf;;;AU)"
    os.setxattr(standin.file(found.windows_app_dir), "user.sddl", as_inherited)
    result = deploy(standin.data, _role(found))
    assert not result.failed
    assert any("Authenticated Users has modify" in told and "should not" in told for told in result.told)
    assert deploy(standin.data, _role(found), dry=True).changes == 0


@pytest.mark.fault
@pytest.mark.parametrize("name", ["scripts", "backups", "logs", "config", "backups\\weekly", "scripts\\lib"])
@pytest.mark.parametrize("leads", ["to a directory", "nowhere"])
def test_a_junction_in_the_way_is_refused_and_seen_by_plan(standin: StandIn, tmp_path: Path, name: str, leads: str):
    found = default_settings()
    elsewhere = tmp_path / "elsewhere"
    if leads == "to a directory":
        elsewhere.mkdir()
    path = standin.file(f"{found.windows_app_dir}\\{name}")
    path.parent.mkdir(parents=True)
    path.symlink_to(elsewhere)
    for dry in (True, False):
        result = deploy(standin.data, lambda: windows_backup(found), dry=dry)
        assert dry or result.failed
        assert any(f"{name}: is a link or junction" in told for told in result.told), result.told
    assert not elsewhere.exists() or not list(elsewhere.iterdir())


@pytest.mark.fault
@pytest.mark.parametrize("name", ["scripts", "backups", "logs"])
def test_a_directory_that_somebody_else_made_first_is_refused_and_seen_by_plan(standin: StandIn, name: str):
    found = default_settings()
    path = standin.file(f"{found.windows_app_dir}\\{name}")
    path.mkdir(parents=True)
    os.setxattr(path, "user.owner", b"S-1-5-21-11-22-33-1001")
    for dry in (True, False):
        result = deploy(standin.data, lambda: windows_backup(found), dry=dry)
        assert (dry or result.failed) and any("is owned by S-1-5-21-11-22-33-1001" in told for told in result.told)
    os.setxattr(path, "user.owner", b"BA")
    assert not deploy(standin.data, lambda: windows_backup(found)).failed


def test_without_rights_nothing_is_changed_and_it_is_said(standin: StandIn):
    standin.set("host", elevated=False)
    result = deploy(standin.data, lambda: windows_backup(default_settings()))
    assert result.failed and any("is no administrator there" in told for told in result.told)
    assert list(standin.file("C:").iterdir()) != [] and not standin.file("C:\\MedAction").exists()


def test_a_pg_dump_that_is_not_where_the_setting_says_is_an_error(standin: StandIn):
    result = deploy(standin.data, lambda: windows_backup(settings(windows_pg_dump="C:\\nowhere\\pg_dump.exe")))
    assert result.failed and any("windows_pg_dump" in told for told in result.told)


def test_pyinfras_own_command_deploys_it_and_shows_no_secret(standin: StandIn, tmp_path: Path):
    """With the connector found by its entry point, as an installed project has it; with everything printed."""
    (tmp_path / "inventory.py").write_text(f"hosts = [('@winssh/win1', {standin.data!r})]\n")
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
    assert standin.task("\\MedAction", "MedAction Backup").exists()
    plan = json.loads(again.stdout[again.stdout.index("{") :])["plan"]
    assert plan and not [operation["name"] for operation in plan if operation["hosts_with_change"]]
