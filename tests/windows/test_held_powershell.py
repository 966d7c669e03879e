"""What other programs hold, take away or leave there while the Windows scripts run, by PowerShell for Linux."""

from __future__ import annotations

import glob
import subprocess
from pathlib import Path

import pytest

from provision.windows import snippets
from provision.winssh import powershell
from tests.limiter.waiting import until
from tests.scripts.cluster import ROLE, Cluster, bin_dir
from tests.windows import archives, relay
from tests.windows.host import BUSY, FAILED, GOOD, LEFT_UNDONE, Host

pytestmark = pytest.mark.skipif(archives.pwsh() is None, reason=f"not run: no PowerShell; {archives.HOW}")


def alone(path: Path):
    """Somebody who has a file for himself alone: a scanner, a copying tool. Ends with the pipe."""
    program = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX);"
    program += "print('ours', flush=True); sys.stdin.read()"
    held = subprocess.Popen(["python3", "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert held.stdout and held.stdout.readline()
    return held


@pytest.mark.fault
def test_a_run_that_could_not_open_the_first_lock_is_not_passed_by(host: Host, tmp_path: Path):
    """As where a scanner has it for itself for a moment: a run that comes later finds it free."""
    slow = tmp_path / "bin" / "pg_dump"
    slow.parent.mkdir()
    (slow.parent / "psql").symlink_to(bin_dir() / "psql")
    begun, go_on = tmp_path / "begun", tmp_path / "go on"
    until_told = f"n=0; until [ -e '{go_on}' ] || [ $n = 600 ]; do n=$((n+1)); sleep 0.1; done"
    waits = f"mkdir '{begun}' 2>/dev/null && {{ {until_told}; }}"
    slow.write_text(f'#!/bin/sh\n[ "$1" = --version ] || {{ {waits}; }}\nexec {bin_dir()}/pg_dump "$@"\n')
    slow.chmod(0o755)
    host.write(pg_dump=slow)
    (host.backups / ".lock").mkdir()
    with subprocess.Popen(host.argv("backup-database.ps1"), stderr=subprocess.PIPE, text=True) as first:
        try:
            until(begun.exists, "it is at work", seconds=60)
            (host.backups / ".lock").rmdir()
            second = host.run("backup-database.ps1")
        finally:
            go_on.touch()
        said = first.communicate(timeout=60)[1]
    assert (first.returncode, second.returncode) == (GOOD, BUSY), said + second.stderr


@pytest.mark.fault
def test_only_what_our_runs_leave_is_swept(host: Host):
    """As on Linux: what others call their files is theirs, however much of our name it begins with."""
    theirs = [
        "medaction_handover.docx.part", "medaction_photos.part/a.jpg", "archive/.run-keeper/config.xml",
        "archive/medaction_2026-01-01_02-00-00.sql.gz.json", "archive/medaction_2026-01-01_02-00-00.sql.gz.part",
        ".run-by-hand/notes.txt",
    ]  # fmt: skip
    ours = [
        "medaction_2026-01-01_02-00-00.sql.gz.part", "weekly/medaction_2026-01-01_02-00-00.sql.gz.json.part",
        "medaction_latest.sql.gz.part", ".run-0123456789abcdef0123456789abcdef/dump.sql",
        "weekly/medaction_2026-01-02_02-00-00.sql.gz.json",
    ]  # fmt: skip
    for name in theirs + ours:
        path = host.backups / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    done = host.run("backup-database.ps1")
    assert done.returncode == GOOD, done.stderr
    assert [name for name in theirs if not (host.backups / name).exists()] == []
    assert [name for name in ours if (host.backups / name).exists()] == []


@pytest.mark.fault
@pytest.mark.parametrize("which", ["dump", "manifest"])
def test_what_another_program_holds_is_not_called_damaged(host: Host, which: str):
    assert host.run("backup-database.ps1").returncode == GOOD
    (dump,) = host.dumps()
    held = alone(dump if which == "dump" else Path(f"{dump}.json"))
    try:
        done = host.run("backup-database.ps1", "-Verify", "-File", str(dump))
        assert done.returncode == FAILED
        assert "damaged" not in done.stderr and "remove that file" not in done.stderr, done.stderr
        assert "being used by another process" in done.stderr and str(dump) in done.stderr
    finally:
        held.communicate()
    assert host.run("backup-database.ps1", "-Verify", "-File", str(dump)).returncode == GOOD


@pytest.mark.fault
def test_a_suspect_dump_whose_manifest_is_held_is_no_measure(host: Host, cluster: Cluster):
    """Else what the last good one had is forgotten, and the loss is never told again."""
    database = host.settings.postgres_database
    cluster.ask(database, "CREATE TABLE visits AS SELECT i FROM generate_series(1, 500) i", ROLE)
    assert host.run("backup-database.ps1").returncode == GOOD
    cluster.ask(database, "DROP TABLE visits", ROLE)
    assert host.run("backup-database.ps1").returncode == LEFT_UNDONE
    held = alone(Path(f"{host.dumps()[-1]}.json"))
    try:
        done = host.run("backup-database.ps1")
    finally:
        held.communicate()
    assert done.returncode == LEFT_UNDONE and "public.visits is gone" in done.stderr, done.stderr


@pytest.mark.fault
def test_a_new_dump_that_a_scanner_opens_again_and_again_is_published(host: Host):
    """docs/windows.md: the new dump is tried for 60 seconds."""
    program = f"""
import fcntl, glob, os, time
while True:
    for path in glob.glob({glob.escape(str(host.backups))!r} + "/medaction_2*.part"):
        try:
            with open(path) as f:
                if not os.path.getsize(path):  # .NET on Linux makes a file first, and takes it for itself then
                    continue
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
                time.sleep(0.1)
        except OSError:
            pass
    time.sleep(0.02)
"""
    with subprocess.Popen(["python3", "-c", program]) as scanner:
        try:
            done = [host.run("backup-database.ps1") for _ in range(3)]
        finally:
            scanner.kill()
    assert [each.returncode for each in done] == [GOOD] * 3, "".join(each.stderr for each in done)


@pytest.mark.fault
def test_a_log_that_is_taken_away_at_any_moment_stops_no_line(host: Host, tmp_path: Path):
    """A log shipper renames it between a look and the next."""
    log = tmp_path / "logs" / "backup.log"
    log.parent.mkdir()
    program = f"import os\np = {str(log)!r}\nwhile True:\n    open(p, 'w').close()\n    os.unlink(p)\n"
    text = f"""
    $ErrorActionPreference = 'Stop'
    Set-StrictMode -Version 2
    . {powershell.quote(str(host.place / "scripts" / "lib" / "base.ps1"))}
    $script:LogFile = {powershell.quote(str(log))}
    foreach ($i in 1..3000) {{ $script:Unlogged += 'x'; $null = Add-LogLines 1 }}
    'all'
    """
    with subprocess.Popen(["python3", "-c", program]) as shipper:
        try:
            code, output, errors = relay.powershell(host.warm, text)
        finally:
            shipper.kill()
    assert output.strip() == "all", (code, output, errors)


@pytest.mark.fault
@pytest.mark.parametrize("there", ["directory", "nothing", "file"])
def test_a_directory_in_the_way_of_a_new_file_is_named(host: Host, there: str):
    """The app may write where its .env lies: `.env.new` may be there, as anything."""
    path = host.place / ".env.new"
    if there == "directory":
        (path / "deep").mkdir(parents=True)
    elif there == "file":
        path.write_text("x")
    asked = snippets.script("place", {"entries": [{"kind": "file", "path": str(path), "sddl": None}]})
    code, _, errors = relay.powershell(host.warm, asked)
    if there == "directory":
        assert code == 1 and f"{path} is a directory, where a file is written" in errors and (path / "deep").is_dir()
    else:
        assert code == 0 and path.read_bytes() == b"", errors
