"""Everything on a real Windows host: `make test-windows HOST=Administrator@win1`, or WINDOWS_HOST in the environment.

The host needs Windows' OpenSSH server with SFTP, and a key that logs an administrator in. What is made there
lies in C:\\PyinfraWinsshTest and the task folder \\PyinfraWinsshTest, and is removed again. With
WINDOWS_POSTGRES=host:port:database:user and WINDOWS_POSTGRES_PASSWORD (a database for trying, reachable from the
host, where a pg_dump.exe of its major version is installed) the scripts make and restore a backup too.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from pyinfra.api import Host

from provision.settings import Settings
from provision.windows import facts, layout, operations
from provision.windows.acl import Private
from provision.windows.role import windows_backup
from provision.winssh import powershell
from tests.windows.runs import connected, deploy
from tests.windows.settings import settings

ADDRESS = os.environ.get("WINDOWS_HOST", "")
POSTGRES = os.environ.get("WINDOWS_POSTGRES", "")
pytestmark = pytest.mark.skipif(not ADDRESS, reason="not run: no real Windows host (make test-windows HOST=user@host)")

ROOT = "C:\\PyinfraWinsshTest"
FOLDER = "\\PyinfraWinsshTest"
HOSTILE = f"{ROOT}\\Été & l'Hôpital (1) $x"


def _data() -> dict[str, Any]:
    user, _, name = ADDRESS.rpartition("@")
    host, _, port = name.partition(":")
    return {"ssh_hostname": host, **({"ssh_user": user} if user else {}), **({"ssh_port": int(port)} if port else {})}


def _settings(**values: Any) -> Settings:
    if POSTGRES:
        host, port, database, user = POSTGRES.split(":")
        password = os.environ["WINDOWS_POSTGRES_PASSWORD"]
        values |= {
            "postgres_host": host,
            "postgres_port": int(port),
            "postgres_database": database,
            "postgres_user": user,
        }
        return settings(password, windows_name="PyinfraWinsshTest", **values)
    return settings(windows_name="PyinfraWinsshTest", **values)


def _clean(host: Host) -> None:
    remove = "if (Test-Path -LiteralPath {0}) {{ Remove-Item -LiteralPath {0} -Recurse -Force }}".format(
        powershell.quote(ROOT)
    )
    unschedule = (
        "$service = New-Object -ComObject 'Schedule.Service'; $service.Connect()\n"
        f"try {{ $folder = $service.GetFolder({powershell.quote(FOLDER)}) }} catch {{ exit 0 }}\n"
        "foreach ($task in $folder.GetTasks(1)) { $folder.DeleteTask($task.Name, 0) }\n"
        f"$service.GetFolder('\\').DeleteFolder({powershell.quote(FOLDER.strip(chr(92)))}, 0)"
    )
    for script in (remove, unschedule):
        done, output = host.run_shell_command(script)
        assert done, output.stderr


@pytest.fixture
def host() -> Iterator[Host]:
    with connected(_data()) as host:
        _clean(host)
        yield host
        _clean(host)


def test_the_host_answers_and_we_are_an_administrator(host: Host):
    found = host.get_fact(facts.Host)
    print(found)
    assert found["platform"] == "Win32NT" and found["elevated"]


def test_output_and_exit_codes_come_back_as_they_are(host: Host):
    done, output = host.run_shell_command("[Console]::Out.WriteLine('l''été \u65e5\u672c'); exit 3")
    assert not done and "t" in output.stdout
    assert host.run_shell_command("exit 3", _success_exit_codes=[3])[0]
    long = "\n".join(["[Console]::Out.WriteLine('x')"] * 2000)
    done, output = host.run_shell_command(long)
    assert done and output.stdout_lines == ["x"] * 2000


def test_files_and_access_lists_reach_what_is_described_and_stay(host: Host):
    entries = (
        operations.Directory(ROOT),
        operations.Directory(HOSTILE, Private(directory=True)),
        operations.File(f"{HOSTILE}\\private.txt", b"\x00\xff" * 100_000, Private()),
    )

    def steps():
        operations.placed(name="Place files", entries=entries)

    first = deploy(_data(), steps)
    assert not first.failed, first.told
    assert deploy(_data(), steps, dry=True).told == []
    back = io.BytesIO()
    assert host.get_file(f"{HOSTILE}\\private.txt", back) and back.getvalue() == entries[2].content


def test_a_junction_and_a_foreign_owner_are_refused(host: Host):
    make = (
        f"$null = New-Item -ItemType Directory -Force -Path {powershell.quote(ROOT + chr(92) + 'real')}\n"
        f"$null = New-Item -ItemType Junction -Path {powershell.quote(HOSTILE)} -Value {powershell.quote(ROOT)}\n"
        f"$path = {powershell.quote(ROOT + chr(92) + 'real')}; $acl = Get-Acl -LiteralPath $path\n"
        "$acl.SetOwner((New-Object Security.Principal.SecurityIdentifier 'S-1-5-32-545'))\n"
        "Set-Acl -LiteralPath $path -AclObject $acl"
    )
    done, output = host.run_shell_command(make)
    assert done, output.stderr
    for path, told in ((HOSTILE, "is a link or junction"), (f"{ROOT}\\real", "is owned by S-1-5-32-545")):
        entries = [operations.Directory(path, Private(directory=True))]
        result = deploy(_data(), lambda entries=entries: operations.placed(name="Place", entries=entries), dry=True)
        assert any(told in sentence for sentence in result.told), result.told


def test_tasks_are_registered_read_back_without_a_difference_and_mended(host: Host):
    found = _settings()
    wanted = [replace(task, folder=FOLDER) for task in layout.tasks(found)]

    def steps(tasks=tuple(wanted)):
        for task in tasks:
            operations.scheduled_task(name=f"Schedule {task.name}", wanted=task, mark=layout.mark(found))

    first = deploy(_data(), steps)
    assert not first.failed, first.told
    assert deploy(_data(), steps, dry=True).told == []
    edited = tuple(replace(task, wake=True, time_limit_hours=1) for task in wanted)
    assert not deploy(_data(), lambda: steps(edited)).failed
    told = deploy(_data(), steps, dry=True).told
    assert len(told) == 4, told
    assert not deploy(_data(), steps).failed
    assert deploy(_data(), steps, dry=True).told == []


@pytest.mark.parametrize("name", ["backup-database.ps1", "restore-database.ps1"])
def test_windows_own_parser_finds_no_error_in_a_script(host: Host, name: str):
    host.run_shell_command(
        f"$null = New-Item -ItemType Directory -Force -Path {powershell.quote(ROOT + chr(92) + 'lib')}"
    )
    for entry in layout.scripts(_settings()):
        path = entry.path.replace(_settings().windows_script_dir, ROOT)
        host.put_file(io.BytesIO(entry.content), path)
        done, output = host.run_shell_command(
            f"$errors = $null; $path = {powershell.quote(path)}\n"
            "$null = [Management.Automation.Language.Parser]::ParseFile($path, [ref]$null, [ref]$errors)\n"
            "foreach ($item in $errors) { [Console]::Out.WriteLine($item.Message) }\nexit $errors.Count"
        )
        assert done, output.stdout
    path = f"{ROOT}\\{name}"
    assert host.run_shell_command(f"& {powershell.quote(path)} -Help; exit $LASTEXITCODE")[0]
    wrong = "-Tier hourly" if name.startswith("backup") else "-Overwrite a"
    code, output = host.run_shell_command(
        f"& {powershell.quote(path)} {wrong}; exit $LASTEXITCODE", _success_exit_codes=[2]
    )
    assert code, output.output


@pytest.mark.skipif(not POSTGRES, reason="not run: no database for trying (WINDOWS_POSTGRES)")
def test_the_whole_role_backs_up_and_restores(host: Host):
    found = _settings()
    first = deploy(_data(), lambda: windows_backup(found))
    assert not first.failed, first.told
    assert deploy(_data(), lambda: windows_backup(found), dry=True).told == []
    restore = powershell.quote(f"{found.windows_script_dir}\\restore-database.ps1")
    target = "pyinfra_winssh_test"
    done, output = host.run_shell_command(f"& {restore} -Into {target} -Overwrite {target}; exit $LASTEXITCODE")
    assert done, output.output
