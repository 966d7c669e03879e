"""The connector and the operations, over real SSH and SFTP, against the stand-in. Not proven here: PowerShell."""

from __future__ import annotations

import io
import json
import os
from dataclasses import replace

import pytest
from pyinfra.api import StringCommand
from pyinfra.api.exceptions import PyinfraError

from provision.settings.schedule import daily, weekly
from provision.windows import facts, operations
from provision.windows.acl import Private
from provision.windows.task import Action, Task, Trigger
from provision.winssh.connector import is_windows
from tests.windows.conftest import StandIn
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


def test_a_deploy_reaches_what_is_described_and_a_second_has_nothing_to_do(standin: StandIn):
    first = deploy(standin.data, _steps)
    assert not first.failed and first.changes == 3
    assert "\\MedAction\\MedAction Backup: is missing" in first.told
    assert standin.file("C:\\Été & Cie\\pgpass").read_text() == SECRET
    assert standin.file("C:\\Été & Cie\\scripts\\a b.ps1").stat().st_size == 40_000 * 8
    before = standin.scripts_run()

    again = deploy(standin.data, _steps)
    assert (again.failed, again.changes, again.told) == (False, 0, [])
    assert set(standin.scripts_run()[len(before) :]) <= {"host", "paths", "tasks"}


def test_an_edited_trigger_is_one_pending_change_in_words_and_a_deploy_mends_it(standin: StandIn):
    deploy(standin.data, _steps)
    task = standin.task("\\MedAction", "MedAction Backup")
    task.write_text(task.read_text().replace("T02:00:00", "T04:30:00"))

    plan = deploy(standin.data, _steps, dry=True)
    assert plan.changes == 1
    assert plan.told == ["\\MedAction\\MedAction Backup: starts daily at 04:30, should start daily at 02:00"]
    assert "T04:30:00" in task.read_text()

    assert not deploy(standin.data, _steps).failed
    assert "T02:00:00" in task.read_text()
    assert deploy(standin.data, _steps, dry=True).changes == 0


def test_an_opened_access_list_is_told_and_closed_again(standin: StandIn):
    deploy(standin.data, _steps)
    path = standin.file("C:\\Été & Cie\\pgpass")
    os.setxattr(path, "user.sddl", b"D:PAI(A;;FA;;;SY)(A;;FA;;;BA)(A;;0x1200a9;;;WD)")
    plan = deploy(standin.data, _steps, dry=True)
    assert plan.changes == 1
    assert plan.told == ["C:\\Été & Cie\\pgpass: Everyone has read and execute, and should not"]
    assert not deploy(standin.data, _steps).failed
    assert deploy(standin.data, _steps, dry=True).told == []


def test_a_private_file_is_private_before_it_has_a_content_and_all_by_one_script(standin: StandIn):
    deploy(standin.data, _steps)
    journal = (standin.root / "state" / "journal.jsonl").read_text().splitlines()
    (placed,) = [script for line in journal if (script := json.loads(line))["script"] == "place"]
    assert "pgpass.new" in placed["text"] and placed != json.loads(journal[-1])


def test_no_secret_is_in_any_command(standin: StandIn):
    deploy(standin.data, _steps)
    journal = (standin.root / "state" / "journal.jsonl").read_text()
    for line in journal.splitlines():
        assert "p@ss" not in json.loads(line)["text"]


def test_somebody_elses_task_of_that_name_is_said_and_left_and_fails_the_step(standin: StandIn):
    theirs = standin.task("\\MedAction", "MedAction Backup")
    theirs.parent.mkdir(parents=True)
    theirs.write_text(DAILY.to_xml().replace(MARK, "Jean"))
    before = theirs.read_text()

    plan = deploy(standin.data, _steps, dry=True)
    assert any("somebody else's and is left alone" in sentence for sentence in plan.told)
    assert deploy(standin.data, _steps).failed
    assert theirs.read_text() == before


def test_removing_leaves_somebody_elses_task(standin: StandIn):
    deploy(standin.data, _steps)
    theirs = standin.task("\\MedAction", "Other")
    theirs.write_text(DAILY.to_xml().replace(MARK, "Jean"))

    def absent():
        for name in ("MedAction Backup", "Other", "Never there"):
            operations.scheduled_task_absent(name=f"Remove {name}", folder="\\MedAction", task_name=name, mark=MARK)

    done = deploy(standin.data, absent)
    assert not done.failed and done.told == ["\\MedAction\\MedAction Backup: is there, should not be"]
    assert theirs.exists() and not standin.task("\\MedAction", "MedAction Backup").exists()


def test_a_task_for_a_user_whom_the_host_does_not_know_is_refused(standin: StandIn):
    result = deploy(standin.data, lambda: _steps((), (replace(DAILY, user="WIN1\\nobody"),)))
    assert result.failed and any("knows no account" in sentence for sentence in result.told)


def test_a_task_for_a_named_user_is_registered_once(standin: StandIn):
    def steps():
        _steps((), (replace(DAILY, user="WIN1\\sauvegarde"),))

    assert not deploy(standin.data, steps).failed
    task = standin.task("\\MedAction", "MedAction Backup")
    task.write_text(task.read_text().replace("WIN1\\sauvegarde", "S-1-5-21-11-22-33-1001"))
    assert deploy(standin.data, steps, dry=True).told == []


def test_access_denied_fails_the_step_and_the_next_deploy_completes(standin: StandIn):
    standin.set("faults", deny=["task-register"], code_page="cp850")
    assert deploy(standin.data, _steps).failed
    standin.set("faults")
    result = deploy(standin.data, _steps)
    assert not result.failed and result.changes == 2
    assert deploy(standin.data, _steps, dry=True).changes == 0


@pytest.mark.parametrize("code_page", ["cp850", "cp1252", "cp437"])
def test_a_host_that_answers_in_a_legacy_code_page_is_understood(standin: StandIn, code_page: str):
    standin.set("faults", code_page=code_page)
    assert not deploy(standin.data, _steps).failed
    assert deploy(standin.data, _steps, dry=True).changes == 0


def test_an_upload_cut_half_way_leaves_the_old_file(standin: StandIn):
    path = standin.file("C:\\Été & Cie\\scripts\\a b.ps1")
    deploy(standin.data, _steps)
    before = path.read_bytes()
    changed = (*ENTRIES[:3], replace(ENTRIES[3], content=b"\xef\xbb\xbf# y\r\n" * 40_000))
    standin.set("faults", cut_upload_after=60_000)
    assert deploy(standin.data, lambda: _steps(changed)).failed
    assert path.read_bytes() == before
    standin.set("faults")
    assert not deploy(standin.data, lambda: _steps(changed)).failed
    assert path.read_bytes() != before


def test_no_sftp_is_one_sentence(standin: StandIn):
    standin.set("faults", no_sftp=True)
    with pytest.raises(PyinfraError, match=r"offers no SFTP.*Subsystem sftp"), connected(standin.data):
        pass


def test_no_sftp_subsystem_is_one_sentence(standin_without_sftp: StandIn):
    with pytest.raises(PyinfraError, match=r"offers no SFTP.*Subsystem sftp"), connected(standin_without_sftp.data):
        pass


def test_a_host_that_is_not_windows_is_one_sentence(unix_host: StandIn):
    with (
        pytest.raises(PyinfraError, match=r"does not answer as a Windows host.*without @winssh/"),
        connected(unix_host.data),
    ):
        pass


def test_powershell_on_linux_is_not_windows(standin: StandIn):
    standin.set("host", platform="Unix")
    with pytest.raises(PyinfraError, match=r"is not a Windows host.*Unix"), connected(standin.data):
        pass


def test_constrained_powershell_is_one_sentence(standin: StandIn):
    standin.set("host", language_mode="ConstrainedLanguage")
    with pytest.raises(PyinfraError, match="ConstrainedLanguage"), connected(standin.data):
        pass


@pytest.mark.parametrize("argument", ["_sudo", "_su_user", "_doas"])
def test_what_exists_only_on_unix_is_refused_with_a_sentence(standin: StandIn, argument: str):
    with (
        pytest.raises(PyinfraError, match=f"{argument} does not exist on Windows"),
        connected({**standin.data, argument: True}),
    ):
        pass
    with connected(standin.data) as host:
        done, output = host.run_shell_command(StringCommand("exit 0"), **{argument: "x"})
        assert not done and f"{argument} does not exist on Windows" in output.stderr
        assert host.put_file(io.BytesIO(b"x"), "C:\\x", **{argument: "x"}) is False


def test_another_shell_is_refused_with_a_sentence(standin: StandIn):
    with connected(standin.data) as host:
        done, output = host.run_shell_command("exit 0", _shell_executable="bash")
        assert not done and "commands there are PowerShell" in output.stderr
        assert host.run_shell_command("exit 0", _shell_executable="sh")[0]


def test_exit_codes_and_output_come_back(standin: StandIn):
    with connected(standin.data) as host:
        done, output = host.run_shell_command("Write-Output 'l''été'\nexit 3", _env={"A": "it's"}, _chdir="C:\\a b")
        assert not done and output.stdout == "l'été"
        assert host.run_shell_command("exit 3", _success_exit_codes=[0, 3])[0]


def test_a_long_script_travels_as_a_file_and_leaves_none(standin: StandIn):
    long = "\n".join(["Write-Output 'é 日本'"] * 900)
    with connected(standin.data) as host:
        done, output = host.run_shell_command(long)
    assert done and output.stdout_lines == ["é 日本"] * 900
    assert list(standin.file("C:\\Users\\Administrator").iterdir()) == []


def test_a_file_comes_back_as_it_went(standin: StandIn):
    content, back = bytes(range(256)) * 1000, io.BytesIO()
    with connected(standin.data) as host:
        assert host.put_file(io.BytesIO(content), "C:\\Users\\a b é.bin")
        assert host.get_file("C:\\Users\\a b é.bin", back)
    assert back.getvalue() == content
    assert [path.name for path in standin.file("C:\\Users").iterdir() if path.is_file()] == ["a b é.bin"]


def test_no_pg_dump_is_a_sentence_with_the_installer_and_the_setting(standin: StandIn):
    standin.set("postgres", **{"C:\\Program Files\\PostgreSQL\\17\\bin\\pg_dump.exe": None})
    (standin.root / "state/postgres.json").write_text('{"x": null}')
    standin.set("postgres", x=None, **{"C:\\Program Files\\PostgreSQL\\17\\bin\\pg_dump.exe": None})

    def steps(package=None):
        operations.postgres_client(name="Find pg_dump", pg_dump="", winget_package=package)

    result = deploy(standin.data, steps)
    assert result.failed
    assert any("EDB's installer" in told and "windows_pg_dump" in told for told in result.told)
    assert not deploy(standin.data, lambda: steps("PostgreSQL.PostgreSQL.17")).failed
    assert deploy(standin.data, steps).changes == 0


def test_facts_read_a_host(standin: StandIn):
    deploy(standin.data, _steps)
    with connected(standin.data) as host:
        assert is_windows(host)
        assert host.get_fact(facts.Host)["platform"] == "Win32NT"
        assert list(host.get_fact(facts.PostgresClients).values()) == [17]
        tasks = host.get_fact(facts.ScheduledTasks, folder="\\MedAction")
        assert sorted(tasks) == ["MedAction Backup", "MedAction Backup Weekly"]
        assert host.get_fact(facts.ScheduledTasks, folder="\\Nothing") == {}
