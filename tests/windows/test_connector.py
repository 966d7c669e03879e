"""The connector and the operations, over real SSH and SFTP, with PowerShell for Windows at the other end."""

from __future__ import annotations

import io
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from pyinfra.api import StringCommand
from pyinfra.api.exceptions import PyinfraError

from provision.settings.schedule import daily, weekly
from provision.windows import facts, operations
from provision.windows.acl import Private
from provision.windows.task import Action, Task, Trigger
from provision.winssh.connector import is_windows
from tests.windows import archives
from tests.windows.conftest import SID, WindowsHost, serve
from tests.windows.runs import connected, deploy

MARK = "managed by the pyinfra project medaction"
DAILY = Task(
    folder="\\MedAction",
    name="MedAction Backup",
    description="The daily backup.",
    source=MARK,
    action=Action("powershell.exe", '-File "C:\\MedAction\\scripts\\backup-database.ps1"'),
    triggers=(Trigger(daily("02:00")),),
    time_limit_hours=36,
)
WEEKLY = replace(DAILY, name="MedAction Backup Weekly", triggers=(Trigger(weekly("sunday", "01:00")),))
SECRET = "p@ss:/?#[]!$&'()*+,;=% \"\\ `$(x) \u2019é日本"
ENTRIES = (
    operations.Directory("C:\\Été & Cie", Private(directory=True)),
    operations.File("C:\\Été & Cie\\pgpass", SECRET.encode(), Private()),
    operations.Directory("C:\\Été & Cie\\scripts"),
    operations.File("C:\\Été & Cie\\scripts\\a b.ps1", b"\xef\xbb\xbf# x\r\n" * 40_000),
)


def _steps(entries=ENTRIES, tasks=(DAILY, WEEKLY)):
    operations.placed(name="Place files", entries=entries)
    for task in tasks:
        operations.scheduled_task(name=f"Schedule {task.name}", wanted=task, mark=MARK)


def _edit(task: Path, old: str, new: str) -> None:
    """Somebody edits a task by hand."""
    task.write_text(task.read_text("utf-16").replace(old, new), "utf-16")


def test_a_deploy_reaches_what_is_described_and_a_second_has_nothing_to_do(win: WindowsHost):
    first = deploy(win.data, _steps)
    assert not first.failed and first.changes == 3
    assert "\\MedAction\\MedAction Backup: is missing" in first.told
    assert win.file("C:\\Été & Cie\\pgpass").read_text() == SECRET
    assert win.file("C:\\Été & Cie\\scripts\\a b.ps1").stat().st_size == 40_000 * 8
    before = len(win.sent())

    again = deploy(win.data, _steps)
    assert (again.failed, again.changes, again.told) == (False, 0, [])
    assert {sent["script"] for sent in win.sent()[before:]} <= {"host", "paths", "tasks"}


def test_an_edited_trigger_is_one_pending_change_in_words_and_a_deploy_mends_it(win: WindowsHost):
    deploy(win.data, _steps)
    task = win.task("\\MedAction", "MedAction Backup")
    _edit(task, "T02:00:00", "T04:30:00")

    plan = deploy(win.data, _steps, dry=True)
    assert plan.changes == 1
    assert plan.told == ["\\MedAction\\MedAction Backup: starts daily at 04:30, should start daily at 02:00"]
    assert "T04:30:00" in task.read_text("utf-16")

    assert not deploy(win.data, _steps).failed
    assert "T02:00:00" in task.read_text("utf-16")
    assert deploy(win.data, _steps, dry=True).changes == 0


def test_an_opened_access_list_is_told_and_closed_again(win: WindowsHost):
    deploy(win.data, _steps)
    path = win.file("C:\\Été & Cie\\pgpass")
    os.setxattr(path, "user.sddl", b"D:PAI(A;;FA;;;SY)(A;;FA;;;BA)(A;;0x1200a9;;;WD)")
    plan = deploy(win.data, _steps, dry=True)
    assert plan.changes == 1
    assert plan.told == ["C:\\Été & Cie\\pgpass: Everyone has read and execute, and should not"]
    assert not deploy(win.data, _steps).failed
    assert deploy(win.data, _steps, dry=True).told == []


def test_a_private_file_is_private_before_it_has_a_content_and_all_by_one_script(win: WindowsHost):
    deploy(win.data, _steps)
    sent = win.sent()
    (placed,) = [each for each in sent if each["script"] == "place"]
    assert "pgpass.new" in placed["text"] and placed != sent[-1]


def test_no_secret_is_in_any_command(win: WindowsHost):
    deploy(win.data, _steps)
    assert win.sent() and not [sent for sent in win.sent() if "p@ss" in sent["text"]]


def test_somebody_elses_task_of_that_name_is_said_and_left_and_fails_the_step(win: WindowsHost):
    theirs = win.task("\\MedAction", "MedAction Backup")
    theirs.parent.mkdir(parents=True)
    before = DAILY.to_xml().replace(MARK, "Jean")
    theirs.write_text(before, "utf-16")

    plan = deploy(win.data, _steps, dry=True)
    assert any("somebody else's and is left alone" in sentence for sentence in plan.told)
    assert deploy(win.data, _steps).failed
    assert theirs.read_text("utf-16") == before


def test_removing_leaves_somebody_elses_task(win: WindowsHost):
    deploy(win.data, _steps)
    theirs = win.task("\\MedAction", "Other")
    theirs.write_text(DAILY.to_xml().replace(MARK, "Jean"), "utf-16")

    def absent():
        for name in ("MedAction Backup", "Other", "Never there"):
            operations.scheduled_task_absent(name=f"Remove {name}", folder="\\MedAction", task_name=name, mark=MARK)

    done = deploy(win.data, absent)
    assert not done.failed and done.told == ["\\MedAction\\MedAction Backup: is there, should not be"]
    assert theirs.exists() and not win.task("\\MedAction", "MedAction Backup").exists()


def test_a_task_for_a_user_whom_the_host_does_not_know_is_refused(win: WindowsHost):
    result = deploy(win.data, lambda: _steps((), (replace(DAILY, user="WIN1\\nobody"),)))
    assert result.failed and any("knows no account" in sentence for sentence in result.told)


def test_a_task_for_a_named_user_is_registered_once(win: WindowsHost):
    def steps():
        _steps((), (replace(DAILY, user="WIN1\\root"),))

    assert not deploy(win.data, steps).failed
    task = win.task("\\MedAction", "MedAction Backup")
    _edit(task, "WIN1\\root", SID)
    assert deploy(win.data, steps, dry=True).told == []


def test_access_denied_fails_the_step_and_the_next_deploy_completes(win: WindowsHost):
    win.fail(deny=["task-register"], code_page="cp850")
    assert deploy(win.data, _steps).failed
    win.fail()
    result = deploy(win.data, _steps)
    assert not result.failed and result.changes == 2
    assert deploy(win.data, _steps, dry=True).changes == 0


@pytest.mark.parametrize("code_page", ["cp850", "cp1252"])
def test_a_host_that_answers_in_a_legacy_code_page_is_understood(win: WindowsHost, code_page: str):
    win.fail(code_page=code_page)
    assert not deploy(win.data, _steps).failed
    assert deploy(win.data, _steps, dry=True).changes == 0


def test_an_upload_cut_half_way_leaves_the_old_file(win: WindowsHost):
    path = win.file("C:\\Été & Cie\\scripts\\a b.ps1")
    deploy(win.data, _steps)
    before = path.read_bytes()
    changed = (*ENTRIES[:3], replace(ENTRIES[3], content=b"\xef\xbb\xbf# y\r\n" * 40_000))
    win.fail(cut_upload_after=60_000)
    assert deploy(win.data, lambda: _steps(changed)).failed
    assert path.read_bytes() == before
    win.fail()
    assert not deploy(win.data, lambda: _steps(changed)).failed
    assert path.read_bytes() != before


def test_no_sftp_is_one_sentence(win: WindowsHost):
    win.fail(no_sftp=True)
    with pytest.raises(PyinfraError, match=r"offers no SFTP.*Subsystem sftp"), connected(win.data):
        pass


def test_no_sftp_subsystem_is_one_sentence(win_without_sftp: WindowsHost):
    with (
        pytest.raises(PyinfraError, match=r"offers no SFTP.*Subsystem sftp"),
        connected(win_without_sftp.data),
    ):
        pass


def test_a_host_that_is_not_windows_is_one_sentence(unix_host: WindowsHost):
    with (
        pytest.raises(PyinfraError, match=r"does not answer as a Windows host.*without @winssh/"),
        connected(unix_host.data),
    ):
        pass


@pytest.mark.skipif(archives.pwsh() is None, reason=f"not run: no PowerShell; {archives.HOW}")
def test_powershell_on_linux_is_not_windows(sshd_program: Path, tmp_path: Path):
    (tmp_path / "powershell").symlink_to(str(archives.pwsh()))
    for linux in serve(sshd_program, tmp_path, f'ForceCommand PATH={tmp_path}:$PATH sh -c "$SSH_ORIGINAL_COMMAND"'):
        with pytest.raises(PyinfraError, match=r"is not a Windows host.*Unix"), connected(linux.data):
            pass


CONSTRAINED = """#!/bin/sh
for encoded; do :; done
script=$(printf %%s "$encoded" | base64 -d | iconv -f UTF-16LE -t UTF-8)
exec %s -NoProfile -Command "\\$ExecutionContext.SessionState.LanguageMode = 'ConstrainedLanguage'
$script"
"""


@pytest.mark.skipif(archives.pwsh() is None, reason=f"not run: no PowerShell; {archives.HOW}")
def test_constrained_powershell_is_one_sentence(sshd_program: Path, tmp_path: Path):
    (tmp_path / "powershell").write_text(CONSTRAINED % archives.pwsh())
    (tmp_path / "powershell").chmod(0o755)
    for held in serve(sshd_program, tmp_path, f'ForceCommand PATH={tmp_path}:$PATH sh -c "$SSH_ORIGINAL_COMMAND"'):
        with pytest.raises(PyinfraError, match="ConstrainedLanguage"), connected(held.data):
            pass


@pytest.mark.parametrize("argument", ["_sudo", "_su_user", "_doas"])
def test_what_exists_only_on_unix_is_refused_with_a_sentence(win: WindowsHost, argument: str):
    with (
        pytest.raises(PyinfraError, match=f"{argument} does not exist on Windows"),
        connected({**win.data, argument: True}),
    ):
        pass
    with connected(win.data) as host:
        done, output = host.run_shell_command(StringCommand("exit 0"), **{argument: "x"})
        assert not done and f"{argument} does not exist on Windows" in output.stderr
        assert host.put_file(io.BytesIO(b"x"), "C:\\x", **{argument: "x"}) is False


def test_another_shell_is_refused_with_a_sentence(win: WindowsHost):
    with connected(win.data) as host:
        done, output = host.run_shell_command("exit 0", _shell_executable="bash")
        assert not done and "commands there are PowerShell" in output.stderr
        assert host.run_shell_command("exit 0", _shell_executable="sh")[0]


def test_exit_codes_and_output_come_back(win: WindowsHost):
    win.file("C:\\a b").mkdir()
    with connected(win.data) as host:
        done, output = host.run_shell_command("Write-Output 'l''été'\nexit 3", _env={"A": "it's"}, _chdir="C:\\a b")
        assert not done and output.stdout == "l'été"
        assert host.run_shell_command("exit 3", _success_exit_codes=[0, 3])[0]


def test_a_long_script_travels_as_a_file_and_leaves_none(win: WindowsHost):
    long = "\n".join(["Write-Output 'é 日本'"] * 900)
    with connected(win.data) as host:
        done, output = host.run_shell_command(long)
    assert done and output.stdout_lines == ["é 日本"] * 900
    assert list(win.file("C:\\Users\\Administrator").glob("*.ps1")) == []


def test_a_file_comes_back_as_it_went(win: WindowsHost):
    content, back = bytes(range(256)) * 1000, io.BytesIO()
    with connected(win.data) as host:
        assert host.put_file(io.BytesIO(content), "C:\\users\\a b é.bin")
        assert host.get_file("C:\\users\\a b é.bin", back)
    assert back.getvalue() == content
    assert [path.name for path in win.file("C:\\Users").iterdir() if path.is_file()] == ["a b é.bin"]


def test_no_pg_dump_is_a_sentence_with_the_installer_and_the_setting(win: WindowsHost):
    shutil.rmtree(win.file("C:\\Program Files\\PostgreSQL"))

    def steps(package=None):
        operations.postgres_client(name="Find pg_dump", pg_dump="", winget_package=package)

    result = deploy(win.data, steps)
    assert result.failed
    assert any("EDB's installer" in told and "windows_pg_dump" in told for told in result.told)
    assert not deploy(win.data, lambda: steps("PostgreSQL.PostgreSQL.18")).failed
    assert deploy(win.data, steps).changes == 0


def test_facts_read_a_host(win: WindowsHost):
    deploy(win.data, _steps)
    with connected(win.data) as host:
        assert is_windows(host)
        assert host.get_fact(facts.Host)["platform"] == "Win32NT"
        assert list(host.get_fact(facts.PostgresClients).values()) == [18]
        tasks = host.get_fact(facts.ScheduledTasks, folder="\\MedAction")
        assert sorted(tasks) == ["MedAction Backup", "MedAction Backup Weekly"]
        assert host.get_fact(facts.ScheduledTasks, folder="\\Nothing") == {}
