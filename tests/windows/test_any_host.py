"""What holds on any Windows host: the same cases on wine's, and on a real one (`make test-windows HOST=...`).

A real host, HOST=Administrator@win1 or WINDOWS_HOST in the environment, needs Windows' OpenSSH server with SFTP, and a
key that logs an administrator in. What is made there lies in C:\\PyinfraWinsshTest and the task folder
\\PyinfraWinsshTest, and is removed again. With WINDOWS_POSTGRES=host:port:database:user and WINDOWS_POSTGRES_PASSWORD
(a database for trying, reachable from the host, where a pg_dump.exe of its major version is installed) the scripts make
and restore backups too.
"""

from __future__ import annotations

import io
import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from paramiko import AutoAddPolicy, SSHClient
from pyinfra.api import Host

from provision.settings import Settings
from provision.windows import facts, layout, operations
from provision.windows.acl import Private
from provision.windows.role import windows_backup
from provision.winssh import powershell
from tests.sandbox.windows import run
from tests.windows.conftest import WindowsHost, windows
from tests.windows.runs import connected, deploy
from tests.windows.settings import settings

ADDRESS = os.environ.get("WINDOWS_HOST", "")
POSTGRES = os.environ.get("WINDOWS_POSTGRES", "")
ROOT = "C:\\PyinfraWinsshTest"
FOLDER = "\\PyinfraWinsshTest"
HOSTILE = f"{ROOT}\\Été & l'Hôpital (1) $x"
STATUS, LOG, LOCK = f"{ROOT}\\backups\\status-daily.json", f"{ROOT}\\logs\\backup.log", f"{ROOT}\\backups\\.lock"
GOOD, FAILED, USAGE, LEFT_UNDONE, BUSY = 0, 1, 2, 3, 75


@dataclass
class Target:
    """A Windows host that is reached as a deploy reaches it, and by nothing else."""

    data: dict[str, Any]
    settings: Settings
    host: Host
    wine: WindowsHost | None = None

    def run(self, script: str) -> tuple[int, str]:
        """Run PowerShell text: its exit code, and all that it said."""
        done, output = self.host.run_shell_command(f"{script}\n", _success_exit_codes=[0])
        if done:
            return GOOD, output.output
        code = next((code for code in (USAGE, LEFT_UNDONE, BUSY) if f"code={code}." in output.output), FAILED)
        return code, output.output

    def done(self, script: str) -> str:
        code, said = self.run(script)
        assert code == GOOD, said
        return said

    def script(self, name: str, arguments: str = "") -> tuple[int, str]:
        """Run a deployed script: its exit code, and all that it said."""
        path = powershell.quote(f"{self.settings.windows_script_dir}\\{name}.ps1")
        return self.run(f'& {path} {arguments}\n[Console]::Out.WriteLine("code=$LASTEXITCODE."); exit $LASTEXITCODE')

    def read(self, path: str) -> str:
        content = io.BytesIO()
        assert self.host.get_file(path, content)
        return content.getvalue().decode("utf-8-sig")

    def status(self) -> dict[str, str]:
        return json.loads(self.read(STATUS))

    def dumps(self) -> list[str]:
        directory = powershell.quote(self.settings.windows_backup_dir)
        listed = f"foreach ($file in Get-ChildItem -LiteralPath {directory} -Filter '*_2*.sql.gz') {{ $file.Name }}"
        return sorted(self.done(listed).split())

    @contextmanager
    def held(self, path: str, share: str, then: str = "") -> Iterator[None]:
        """Another program has the file open, and lets others do what `share` says."""
        sharing = "[IO.FileShare]::ReadWrite -bor [IO.FileShare]::Delete" if then else f"[IO.FileShare]::{share}"
        access = "ReadWrite" if then else "Read"
        opened = f"$global:held = [IO.File]::Open('{path}', 'OpenOrCreate', '{access}', ({sharing})); {then}"
        with self._kept(opened):
            yield

    @contextmanager
    def _kept(self, script: str) -> Iterator[None]:
        """What the script has opened stays open. A PowerShell that runs already, or one of a connection of its own."""
        if self.wine:
            self.done(script)
            yield
            self.done("$global:held.Dispose()")
            return
        ready, go = f"{ROOT}\\ready", f"{ROOT}\\go"
        self.done(f"foreach ($mark in '{ready}', '{go}') {{ if (Test-Path $mark) {{ Remove-Item $mark }} }}")
        wait = f"while (-not (Test-Path '{go}')) {{ Start-Sleep -Milliseconds 200 }}; $global:held.Dispose()"
        holder = threading.Thread(target=self._beside, args=(f"{script}; Set-Content '{ready}' 'x'; {wait}",))
        holder.start()
        self.done(f"while (-not (Test-Path '{ready}')) {{ Start-Sleep -Milliseconds 200 }}")
        yield
        self.done(f"Set-Content '{go}' 'x'")
        holder.join(60)

    def _beside(self, script: str) -> None:
        with SSHClient() as client:
            client.load_system_host_keys()
            client.set_missing_host_key_policy(AutoAddPolicy())
            port, user = self.data.get("ssh_port", 22), self.data.get("ssh_user")
            client.connect(self.data["ssh_hostname"], port, user, key_filename=self.data.get("ssh_key"))
            _, output, _ = client.exec_command(str(powershell.command(script)))
            output.read()


def _settings(**values: Any) -> Settings:
    if ADDRESS and POSTGRES:
        host, port, database, user = POSTGRES.split(":")
        password = os.environ["WINDOWS_POSTGRES_PASSWORD"]
        values |= {"postgres_host": host, "postgres_port": int(port), "postgres_database": database,
                   "postgres_user": user}  # fmt: skip
        return settings(password, windows_name="PyinfraWinsshTest", **values)
    return settings(windows_name="PyinfraWinsshTest", backup_reserve_mb=1, **values)


def _data() -> dict[str, Any]:
    user, _, name = ADDRESS.rpartition("@")
    host, _, port = name.partition(":")
    key = os.environ.get("WINDOWS_KEY")
    return {"ssh_hostname": host, **({"ssh_user": user} if user else {}), **({"ssh_port": int(port)} if port else {}),
            **({"ssh_key": key, "ssh_strict_host_key_checking": "no"} if key else {})}  # fmt: skip


def _clean(target: Target) -> None:
    for path in (ROOT, f"C:\\ProgramData\\{_settings().windows_name}-deploy"):
        quoted = powershell.quote(path)
        target.done(f"if (Test-Path -LiteralPath {quoted}) {{ Remove-Item -LiteralPath {quoted} -Recurse -Force }}")
    target.done(
        "$service = New-Object -ComObject 'Schedule.Service'; $service.Connect()\n"
        f"try {{ $folder = $service.GetFolder({powershell.quote(FOLDER)}) }} catch {{ exit 0 }}\n"
        "foreach ($task in $folder.GetTasks(1)) { $folder.DeleteTask($task.Name, 0) }\n"
        f"$service.GetFolder('\\').DeleteFolder({powershell.quote(FOLDER.strip(chr(92)))}, 0)"
    )


@pytest.fixture(scope="module")
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The real host that WINDOWS_HOST names, or else wine's."""
    if ADDRESS:
        reached: Iterator[WindowsHost | None] = iter([None])
    else:
        warm = request.getfixturevalue("postgres") and request.getfixturevalue("warm")
        warm.wipe()
        reached = windows(request.getfixturevalue("sshd_program"), warm, tmp_path_factory.mktemp("host"))
    for wine in reached:
        data = wine.data if wine else _data()
        with connected(data) as host:
            target = Target(data, _settings(), host, wine)
            _clean(target)
            yield target
            _clean(target)


@pytest.fixture(scope="module")
def deployed(target: Target) -> Target:
    """A host that has the whole role, with a first backup."""
    if ADDRESS and not POSTGRES:
        pytest.skip("not run: no database for trying (WINDOWS_POSTGRES)")
    _clean(target)
    first = deploy(target.data, lambda: windows_backup(target.settings))
    assert not first.failed, first.told
    return target


@pytest.fixture(scope="module")
def impatient(deployed: Target) -> Target:
    """Whoever holds a file in these tests does not let it go: to wait for it shows nothing."""
    target = deployed
    base = f"{target.settings.windows_script_dir}\\lib\\base.ps1"
    short = target.read(base).replace("$HeldSeconds = 10 ", "$HeldSeconds = 1 ")
    assert "$HeldSeconds = 1 " in short
    target.host.put_file(io.BytesIO(powershell.file_bytes(short)), base)
    return target


def test_the_host_answers_and_we_are_an_administrator(target: Target):
    found = target.host.get_fact(facts.Host)
    print(found)
    assert found["platform"] == "Win32NT" and found["elevated"]


def test_output_and_exit_codes_come_back_as_they_are(target: Target):
    done, output = target.host.run_shell_command("[Console]::Out.WriteLine('l''été \u65e5\u672c'); exit 3")
    assert not done and "t" in output.stdout
    assert target.host.run_shell_command("exit 3", _success_exit_codes=[3])[0]
    long = "\n".join(["[Console]::Out.WriteLine('x')"] * 2000)
    done, output = target.host.run_shell_command(long)
    assert (done, output.output_lines) == (True, ["x"] * 2000)


def test_files_and_access_lists_reach_what_is_described_and_stay(target: Target):
    entries = (
        operations.Directory(ROOT),
        operations.Directory(HOSTILE, Private(directory=True)),
        operations.File(f"{HOSTILE}\\private.txt", b"\x00\xff" * 100_000, Private()),
    )

    def steps():
        operations.placed(name="Place files", entries=entries)

    first = deploy(target.data, steps)
    assert not first.failed, first.told
    assert deploy(target.data, steps, dry=True).told == []
    back = io.BytesIO()
    assert target.host.get_file(f"{HOSTILE}\\private.txt", back) and back.getvalue() == entries[2].content


def test_a_junction_and_a_foreign_owner_are_refused(target: Target):
    real, junction = f"{ROOT}\\real", f"{ROOT}\\junction é"
    owned = (
        f"$null = New-Item -ItemType Directory -Force -Path {powershell.quote(real)}\n"
        f"$path = {powershell.quote(real)}; $acl = Get-Acl -LiteralPath $path\n"
        "$acl.SetOwner((New-Object Security.Principal.SecurityIdentifier 'S-1-5-32-545'))\n"
        "Set-Acl -LiteralPath $path -AclObject $acl"
    )
    target.done(owned)
    if target.wine:  # which shows a symbolic link as one of Windows', and makes none
        target.wine.file(junction).symlink_to(f"{run.ROOT}/C:/PyinfraWinsshTest/real")
    else:
        code, said = target.run(
            f"$null = New-Item -ItemType Junction -Path {powershell.quote(junction)} -Value '{real}'"
        )
        if "not supported" in said:
            pytest.skip("not run: wine's Windows makes no junction")
        assert code == GOOD, said
    for path, told in ((junction, "is a link or junction"), (real, "is owned by")):
        entries = [operations.Directory(path, Private(directory=True))]
        result = deploy(target.data, lambda entries=entries: operations.placed(name="Place", entries=entries), dry=True)
        assert any(told in sentence for sentence in result.told), result.told
    if target.wine:
        target.wine.file(junction).unlink()


def test_tasks_are_registered_read_back_without_a_difference_and_mended(target: Target):
    found = target.settings
    wanted = [replace(task, folder=FOLDER) for task in layout.tasks(found)]

    def steps(tasks=tuple(wanted)):
        for task in tasks:
            operations.scheduled_task(name=f"Schedule {task.name}", wanted=task, mark=layout.mark(found))

    first = deploy(target.data, steps)
    assert not first.failed, first.told
    assert deploy(target.data, steps, dry=True).told == []
    edited = tuple(replace(task, wake=True, time_limit_hours=1) for task in wanted)
    assert not deploy(target.data, lambda: steps(edited)).failed
    told = deploy(target.data, steps, dry=True).told
    assert len(told) == 4, told
    assert not deploy(target.data, steps).failed
    assert deploy(target.data, steps, dry=True).told == []


def test_its_own_parser_finds_no_error_in_a_script(target: Target):
    target.done(f"$null = New-Item -ItemType Directory -Force -Path '{ROOT}\\parsed'")
    for number, entry in enumerate(layout.scripts(target.settings)):
        path = f"{ROOT}\\parsed\\{number}.ps1"
        target.host.put_file(io.BytesIO(entry.content), path)
        target.done(
            f"$errors = $null; $path = '{path}'\n"
            "$null = [Management.Automation.Language.Parser]::ParseFile($path, [ref]$null, [ref]$errors)\n"
            "foreach ($item in $errors) { [Console]::Out.WriteLine($item.Message) }\nexit $errors.Count"
        )


@pytest.mark.parametrize(("name", "wrong"), [("backup-database", "-Tier hourly"), ("restore-database", "-Overwrite a")])
def test_a_script_has_its_words_and_refuses_wrong_ones(deployed: Target, name: str, wrong: str):
    code, said = deployed.script(name, "-Help")
    assert code == GOOD and f"{name}.ps1" in said
    assert deployed.script(name, wrong)[0] == USAGE


def test_the_whole_role_has_backed_up_and_a_second_has_nothing_to_do(deployed: Target):
    assert deploy(deployed.data, lambda: windows_backup(deployed.settings), dry=True).told == []
    assert len(deployed.dumps()) == 1 and deployed.status()["state"] == "ok"


def test_a_backup_restores_into_a_new_database_and_in_place_of_it(deployed: Target):
    name = "pyinfra_winssh_test"
    for way in (f"-Into {name} -Overwrite {name}", f"-Into {name} -Overwrite {name}"):
        code, said = deployed.script("restore-database", way)
        assert code == GOOD, said
    code, said = deployed.script("restore-database", "-List")
    assert code == GOOD and deployed.dumps()[-1] in said


@pytest.mark.fault
@pytest.mark.parametrize(
    ("path", "share", "expected"),
    [(STATUS, "Read", LEFT_UNDONE), (LOG, "Read", LEFT_UNDONE), (LOG, "ReadWrite", GOOD), (LOCK, "None", GOOD)],
)
def test_a_file_that_another_program_holds_costs_no_dump(impatient: Target, path: str, share: str, expected: int):
    before = impatient.dumps()
    with impatient.held(path, share):
        code, said = impatient.script("backup-database")
    assert len(impatient.dumps()) == len(before) + 1 and code == expected, said
    if expected == LEFT_UNDONE:
        assert "could not be written" in said
    else:
        assert impatient.status()["state"] == "ok"
        assert impatient.dumps()[-1] in impatient.read(LOG)


@pytest.mark.fault
def test_a_password_file_that_nobody_else_may_read_is_named(impatient: Target):
    with impatient.held(impatient.settings.windows_pgpass_file, "None"):
        code, said = impatient.script("backup-database")
    assert code == FAILED and f"the password file {impatient.settings.windows_pgpass_file} cannot be read" in said
    assert impatient.status()["state"] == "failed" and "pgpass.conf" in impatient.status()["reason"]


@pytest.mark.fault
def test_a_second_run_at_the_same_moment_gives_way(impatient: Target):
    before = impatient.dumps()
    with impatient.held(LOCK, "", "$global:held.Lock(0, 1)"):
        code, said = impatient.script("backup-database")
    assert code == BUSY and "another backup is running" in said and impatient.dumps() == before


@pytest.mark.fault
def test_files_that_were_made_read_only_are_written(impatient: Target):
    assert impatient.script("backup-database")[0] == GOOD
    before = impatient.dumps()
    for path in (STATUS, LOG, LOCK, f"{ROOT}\\backups\\medaction_latest.sql.gz"):
        impatient.done(f"(Get-Item -LiteralPath '{path}' -Force).IsReadOnly = $true")
    code, said = impatient.script("backup-database")
    assert code == GOOD and len(impatient.dumps()) == len(before) + 1, said
    assert impatient.status()["state"] == "ok"


@pytest.mark.fault
def test_a_part_of_the_scripts_that_is_gone_is_named_by_the_script_and_by_verification(impatient: Target):
    path = f"{impatient.settings.windows_script_dir}\\lib\\store.ps1"
    impatient.done(f"[IO.File]::Move('{path}', '{path}.away')")
    try:
        code, said = impatient.script("backup-database")
        told = deploy(impatient.data, lambda: windows_backup(impatient.settings), dry=True).told
    finally:
        impatient.done(f"[IO.File]::Move('{path}.away', '{path}')")
    assert code == USAGE and "store.ps1 is missing" in said and "quarantine" in said
    assert f"{path}: is missing" in told


@pytest.mark.fault
def test_the_free_space_is_that_of_the_directorys_own_volume(impatient: Target):
    path = f"{impatient.settings.windows_script_dir}\\lib\\settings.ps1"
    before = impatient.read(path)
    full = re.sub(r"\$ReserveBytes = \d+", "$ReserveBytes = 100000000", before)
    impatient.host.put_file(io.BytesIO(powershell.file_bytes(full)), path)
    try:
        code, said = impatient.script("backup-database")
    finally:
        impatient.host.put_file(io.BytesIO(powershell.file_bytes(before)), path)
    assert code == FAILED and "make room" in said
    assert "the free space is that of the drive's root" not in said
