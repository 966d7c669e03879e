"""Rarely walked ways of the Windows scripts, each found broken once, and run by PowerShell for Linux."""

from __future__ import annotations

import glob
import gzip
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from provision.commands.health import _of_run
from provision.windows import layout, snippets
from provision.winssh import powershell
from tests.limiter.waiting import until
from tests.scripts.cluster import ROLE, Cluster, bin_dir
from tests.windows import archives, relay
from tests.windows.host import BUSY, FAILED, GOOD, LEFT_UNDONE, USAGE, Host, dumped
from tests.windows.test_scripts_powershell import report_of

pytestmark = pytest.mark.skipif(archives.pwsh() is None, reason=f"not run: no PowerShell; {archives.HOW}")

WHOLE = {
    "encoding": "UTF8", "collate": "C", "ctype": "C", "provider": "c", "locale": None, "connection_limit": -1,
    "template": False, "comment": None, "settings": [], "grants": None,
}  # fmt: skip


def with_properties(path: Path, **changed: Any) -> None:
    """A manifest beside a dump, good but for these properties."""
    packed = path.read_bytes()
    whole = {"sha256": hashlib.sha256(packed).hexdigest(), "bytes": len(packed),
             "dump_bytes": len(gzip.decompress(packed)), "properties": WHOLE | changed}  # fmt: skip
    Path(f"{path}.json").write_text(json.dumps(whole))


@pytest.mark.fault
@pytest.mark.parametrize("where", ["settings", "comment", "collate"])
def test_a_command_in_a_planted_manifest_is_not_run(host: Host, cluster: Cluster, tmp_path: Path, where: str):
    """psql drops what follows a byte of zero in its line: the quote that would have ended there, too."""
    cluster.ask("postgres", f"ALTER ROLE {ROLE} CREATEDB")
    mark, path = tmp_path / "ran", Path(dumped(host))
    planted = f'\n" \\! touch {mark}\n'
    changed: dict[str, Any] = {
        "settings": {"settings": [{"role": "a\0", "setting": f"app.x=1{planted}"}]},
        "comment": {"grants": [{"what": "CONNECT", "again": True, "to": "a\0"}], "comment": f"comment=x\0{planted}"},
        "collate": {"provider": "i", "collate": "C\0", "ctype": f"C{planted}", "locale": f"\n' \\! touch {mark}\n"},
    }[where]
    with_properties(path, **changed)
    try:
        done = host.run("restore-database.ps1", "-Into", "planted", "-NoOwner", "-From", str(path))
        assert not mark.exists(), done.stderr
        assert done.returncode == FAILED and f"its manifest {path}.json is damaged" in done.stderr, done.stderr
        assert "planted" not in cluster.databases()
    finally:
        cluster.drop_database("planted")


def manifest_of(dump: Path) -> Path:
    return Path(f"{dump}.json")


@pytest.mark.fault
@pytest.mark.parametrize("tables", ['[{"x": 1}]', "null", '"text"', '[{"name": "public.t", "rows": "many"}]', "[null]"])
def test_a_manifest_with_damaged_counts_stops_no_later_dump(host: Host, tables: str):
    cluster = host.cluster
    cluster.ask(host.settings.postgres_database, "CREATE TABLE t AS SELECT 1 AS i", ROLE)
    assert host.run("backup-database.ps1").returncode == GOOD
    (dump,) = host.dumps()
    noted = json.loads(manifest_of(dump).read_text()) | {"tables": json.loads(tables)}
    manifest_of(dump).write_text(json.dumps(noted))
    done = host.run("backup-database.ps1")
    assert done.returncode == GOOD and len(host.dumps()) == 2, done.stderr


@pytest.mark.fault
def test_a_dump_of_somebody_elses_hides_no_loss(host: Host, cluster: Cluster):
    """One without a manifest says nothing of rows: the last one of ours does, as on Linux."""
    database = host.settings.postgres_database
    cluster.ask(database, "CREATE TABLE visits AS SELECT i FROM generate_series(1, 500) i", ROLE)
    assert host.run("backup-database.ps1").returncode == GOOD
    (dump,) = host.dumps()
    handbooks = host.backups / f"medaction_{time.strftime('%Y-%m-%d_%H-%M-%S', time.localtime(time.time() + 1))}.sql.gz"
    shutil.copy(dump, handbooks)
    time.sleep(2)
    cluster.ask(database, "DROP TABLE visits", ROLE)
    done = host.run("backup-database.ps1")
    assert done.returncode == LEFT_UNDONE and "the table public.visits is gone" in done.stderr, done.stderr


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
@pytest.mark.parametrize("fault", ["directory", "retention"])
def test_why_a_run_did_not_begin_is_in_its_log(host: Host, monkeypatch, fault: str):
    """A task has no console, and docs/windows.md sends whoever sees its code 2 to the log."""
    if fault == "directory":
        host.backups.rename(host.place / "elsewhere")
        done, told = host.run("backup-database.ps1"), "backups is missing: deploy again"
    else:
        done, told = host.run("backup-database.ps1", "-RetentionDays", "many"), "must be a number of days"
    assert done.returncode == USAGE and told in done.stderr
    assert told in (host.place / "logs" / "backup.log").read_text()


@pytest.mark.fault
@pytest.mark.parametrize("content", ["", "\0" * 200, "{damaged", "[1]", "null", "{}"])
def test_a_damaged_status_hides_no_dump_from_make_status(host: Host, content: str):
    (host.backups / "status-daily.json").write_text(content)
    dump = host.backups / "medaction_2026-01-02_02-00-00.sql.gz"
    dump.write_bytes(b"older")
    report = report_of(host)
    assert [each["dump"] for each in report.manifests["daily"]] == [dump.name] and not report.last_runs


@pytest.mark.fault
def test_without_a_name_the_newest_good_dump_is_restored_whatever_latest_is(host: Host, cluster: Cluster):
    """`latest` stays the dump before where another program holds it, and a copy of the dumps may lack it."""
    cluster.ask("postgres", f"ALTER ROLE {ROLE} CREATEDB")
    database = host.settings.postgres_database
    assert host.run("backup-database.ps1").returncode == GOOD
    before = host.latest()
    cluster.ask(database, "CREATE TABLE since AS SELECT 1 AS i", ROLE)
    assert host.run("backup-database.ps1").returncode == GOOD
    newest = host.dumps()[-1]
    latest = host.backups / "medaction_latest.sql.gz"
    time.sleep(2)  # of two runs in one second the second has the next one's name
    latest.unlink()
    for content in (before, None):
        if content:
            latest.write_bytes(content)
        else:
            latest.unlink()
        done = host.run("restore-database.ps1", "-Into", "there")
        try:
            assert done.returncode == GOOD and f"there is restored from {newest}" in done.stderr, done.stderr
        finally:
            cluster.drop_database("there")


@pytest.mark.fault
def test_a_pg_dump_without_its_psql_is_named(host: Host, tmp_path: Path):
    alone = tmp_path / "bin" / "pg_dump"
    alone.parent.mkdir()
    alone.write_text(f'#!/bin/sh\nexec {bin_dir()}/pg_dump "$@"\n')
    alone.chmod(0o755)
    host.write(pg_dump=alone)
    done = host.run("backup-database.ps1")
    assert done.returncode == USAGE and f"there is no {alone.parent}/psql" in done.stderr, done.stderr


@pytest.mark.fault
def test_what_was_accepted_is_the_latest_though_a_clock_was_ahead_once(host: Host, cluster: Cluster):
    database = host.settings.postgres_database
    cluster.ask(database, "CREATE TABLE visits AS SELECT i FROM generate_series(1, 500) i", ROLE)
    assert host.run("backup-database.ps1").returncode == GOOD
    (dump,) = host.dumps()
    for end in ("", ".json"):
        shutil.copy(f"{dump}{end}", host.backups / f"medaction_2099-01-01_02-00-00.sql.gz{end}")
    cluster.ask(database, "DROP TABLE visits", ROLE)
    assert host.run("backup-database.ps1").returncode == LEFT_UNDONE
    lacking = host.dumps()[1]
    assert host.latest() != lacking.read_bytes()
    done = host.run("backup-database.ps1", "-Accept", lacking.name)
    assert done.returncode == GOOD and host.latest() == lacking.read_bytes(), done.stderr


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


def alone(path: Path):
    """Somebody who has a file for himself alone: a scanner, a copying tool. Ends with the pipe."""
    program = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX);"
    program += "print('ours', flush=True); sys.stdin.read()"
    held = subprocess.Popen(["python3", "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert held.stdout and held.stdout.readline()
    return held


@pytest.mark.fault
@pytest.mark.parametrize("which", ["dump", "manifest"])
def test_what_another_program_holds_is_not_called_damaged(host: Host, which: str):
    assert host.run("backup-database.ps1").returncode == GOOD
    (dump,) = host.dumps()
    held = alone(dump if which == "dump" else manifest_of(dump))
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
    held = alone(manifest_of(host.dumps()[-1]))
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
def test_a_run_that_was_interrupted_is_told_by_make_status(host: Host):
    began = (datetime.now().astimezone() - timedelta(days=5)).isoformat(timespec="seconds")
    status = {"state": "running", "tier": "daily", "began": began, "written": began, "file": None, "reason": ""}
    (host.backups / "status-daily.json").write_text(json.dumps(status))
    report = report_of(host)
    assert report.now and len(report.last_runs) == 1
    (told,) = _of_run(report.last_runs[0], report.now, "the backup task")
    assert "began 5 day(s) ago and has not ended" in told[1]


@pytest.mark.fault
def test_a_dump_of_a_clock_that_was_ahead_hides_no_old_backups_from_make_verify(host: Host):
    now = time.time()
    for stamp, made in (("2099-01-01_02-00-00", 4.07e9), ("2020-01-01_02-00-00", now - 9e6)):
        dump = host.backups / f"medaction_{stamp}.sql.gz"
        dump.write_bytes(gzip.compress(b"-- PostgreSQL database dump complete\n"))
        os.utime(dump, (made, made))
    asked = snippets.script("newest-backup", {
        "places": [str(host.backups)], "pattern": layout.dump_pattern(host.settings),
        "script": str(host.place / "scripts" / "backup-database.ps1"),
    })  # fmt: skip
    _, output, errors = relay.powershell(host.warm, asked)
    found = powershell.answer(output.splitlines())
    assert isinstance(found, dict) and found["age_hours"] > 2000 and found["complete"], errors


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


@pytest.mark.fault
def test_a_name_of_a_database_tells_the_terminal_nothing(host: Host, cluster: Cluster):
    name = "x\x1b]0;owned\x07_before_2026-01-01_02-00-00"
    cluster.ask("postgres", f'CREATE DATABASE "{name}"')
    try:
        done = host.run("restore-database.ps1", "-List")
        assert "_before_2026-01-01_02-00-00: kept by" in done.stdout and "\x1b" not in done.stdout
    finally:
        cluster.ask("postgres", f'DROP DATABASE "{name}"')


@pytest.mark.fault
def test_nobody_who_reads_the_console_stops_a_run(host: Host):
    argv = " ".join(map(shlex.quote, host.argv("backup-database.ps1")))
    for ending in ("2>&1 | true; echo ${PIPESTATUS[0]}", ">&- 2>&-; echo $?"):
        done = subprocess.run(["bash", "-c", f"{argv} {ending}"], capture_output=True, text=True, check=False)
        assert done.stdout.strip() == "0", (ending, done)
    assert len(host.dumps()) == 2


@pytest.mark.fault
def test_without_owners_no_constraint_is_lost(host: Host, cluster: Cluster):
    cluster.ask("postgres", f"ALTER ROLE {ROLE} CREATEDB")
    database = host.settings.postgres_database
    cluster.ask(database, "CREATE TABLE said (word text); ALTER TABLE said ADD CONSTRAINT c"
                " CHECK (word <> 'x OWNER TO bob') NOT VALID", ROLE)  # fmt: skip
    try:
        for way in (["-NoOwner"], []):
            done = host.run("restore-database.ps1", "-Into", "there", "-From", dumped(host), *way)
            assert done.returncode == GOOD, done.stderr
            assert cluster.ask("there", "SELECT count(*) FROM pg_constraint WHERE conname = 'c'") == "1"
            cluster.drop_database("there")
    finally:
        cluster.drop_database("there")


@pytest.mark.fault
@pytest.mark.parametrize("changed", [{"settings": None}, {"settings": [None]}, {"grants": [None]}, {"grants": None}])
def test_damaged_members_of_properties_are_said_before_anything_is_made(host: Host, cluster: Cluster, changed: dict):
    cluster.ask("postgres", f"ALTER ROLE {ROLE} CREATEDB")
    path = Path(dumped(host))
    with_properties(path, **changed)
    try:
        done = host.run("restore-database.ps1", "-Into", "there", "-NoOwner", "-From", str(path))
        if changed == {"grants": None}:
            assert done.returncode == GOOD, done.stderr
        elif changed == {"grants": [None]}:
            assert done.returncode in (GOOD, FAILED) and "property" not in done.stderr, done.stderr
        else:
            assert done.returncode == FAILED and f"its manifest {path}.json is damaged" in done.stderr, done.stderr
            assert "there" not in cluster.databases()
    finally:
        cluster.drop_database("there")


@pytest.mark.fault
def test_roles_that_differ_by_case_alone_are_two(host: Host, cluster: Cluster):
    cluster.ask("postgres", f"ALTER ROLE {ROLE} CREATEDB")
    for name in ('"Lecteur"', "lecteur"):
        cluster.ask("postgres", f"CREATE ROLE {name}")
    database = host.settings.postgres_database
    cluster.ask(database, 'CREATE TABLE seen (i int); GRANT SELECT ON seen TO lecteur, "Lecteur"', ROLE)
    path = dumped(host)
    try:
        for gone in ('"Lecteur"', "lecteur"):
            cluster.ask(database, f"DROP OWNED BY {gone}; DROP ROLE {gone}")
            done = host.run("restore-database.ps1", "-Into", "there", "-From", path)
            assert "there" not in cluster.databases()
            assert done.returncode == USAGE and "the server lacks the roles" in done.stderr, done.stderr
            cluster.ask("postgres", f"CREATE ROLE {gone}")
    finally:
        cluster.drop_database("there")
        for name in ('"Lecteur"', "lecteur"):
            cluster.ask(database, f"DROP OWNED BY {name}")
            cluster.ask("postgres", f"DROP ROLE {name}")


@pytest.mark.fault
def test_a_long_row_takes_no_more_memory_to_restore_than_to_back_up(host: Host, tmp_path: Path):
    """As lib/rows.ps1 has it: a row may have a gigabyte. Here one of 96 MB, and .NET has 256."""
    big, out = tmp_path / "big.sql", tmp_path / "big.out"
    with big.open("wb") as file:
        file.write(b"COPY public.t (a) FROM stdin;\n")
        for length in (96 << 20, 3 << 20, (1 << 20) - 30, 5):
            file.write(b"x" * (length - 2) + b"\\.\n")  # the rest of a row is no end of the rows
        file.write(b"\\.\n\nSELECT 1;\n\n-- PostgreSQL database dump complete\n")
    lib = host.place / "scripts" / "lib"
    text = f"""
    $ErrorActionPreference = 'Stop'
    Set-StrictMode -Version 2
    foreach ($part in 'settings', 'base', 'rules', 'sift') {{ . "{lib}/$part.ps1" }}
    $sift = Copy-Restricted '{big}' '{out}' $false @()
    $sift.Rows
    """
    argv = [str(archives.pwsh()), "-NoProfile", "-NonInteractive", "-Command", text]
    env = {**os.environ, "DOTNET_GCHeapHardLimit": hex(256 << 20)}
    done = subprocess.run(argv, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0 and done.stdout.strip() == "False", done.stderr
    word = out.read_bytes().split(b"\n", 1)[0]
    assert out.read_bytes() == (word + b"\nSET default_transaction_read_only = off; " + big.read_bytes()
                                + b"\n\\un" + word[1:] + b"\n")  # fmt: skip


@pytest.mark.fault
def test_brackets_in_a_path_are_no_pattern(host: Host, cluster: Cluster):
    cluster.ask("postgres", f"ALTER ROLE {ROLE} CREATEDB")
    place = host.place / "b[1] [a-z]"
    (place / "weekly").mkdir(parents=True)
    host.write(windows_backup_dir=str(place))
    for _ in range(2):
        done = host.run("backup-database.ps1")
        assert done.returncode == GOOD, done.stderr
    dumps = sorted(place.glob("medaction_2*.gz"))
    assert len(dumps) == 2 and (place / "medaction_latest.sql.gz").read_bytes() == dumps[1].read_bytes()
    assert (place / "medaction_latest.sql.gz").stat().st_ino == dumps[1].stat().st_ino
    done = host.run("restore-database.ps1", "-Into", "there")
    cluster.drop_database("there")
    assert done.returncode == GOOD and str(dumps[1]) in done.stderr, done.stderr
    done = host.run("restore-database.ps1", "-List")
    assert str(dumps[1]) in done.stdout


@pytest.mark.fault
def test_the_backup_of_a_new_hosts_empty_database_is_not_taken_for_the_newest(host: Host, cluster: Cluster):
    """All was lost: a deploy has backed up an empty database, and the old dumps are copied back beside it."""
    cluster.ask("postgres", f"ALTER ROLE {ROLE} CREATEDB")
    assert host.run("backup-database.ps1").returncode == GOOD
    (dump,) = host.dumps()
    old = host.place / "old"
    old.mkdir()
    for end in ("", ".json"):
        shutil.move(f"{dump}{end}", old / f"medaction_2026-01-01_02-00-00.sql.gz{end}")
    bare = cluster.new_database("bare", template="template0")
    try:
        host.write(postgres_database=bare)
        assert host.run("backup-database.ps1").returncode == GOOD
        for path in old.iterdir():
            shutil.copy(path, host.backups)
        done = host.run("restore-database.ps1", "-Into", "there")
        assert done.returncode == GOOD and "2026-01-01_02-00-00.sql.gz" in done.stderr, done.stderr
    finally:
        cluster.drop_database("there")
        cluster.drop_database(bare)


@pytest.mark.fault
def test_a_run_through_the_hour_that_autumn_repeats_takes_no_less_than_nothing(host: Host, tmp_path: Path):
    fake = tmp_path / "bin" / "pg_dump"
    fake.parent.mkdir()
    (fake.parent / "psql").symlink_to(bin_dir() / "psql")
    fake.write_text(
        f'#!/bin/sh\nunset LD_PRELOAD FAKETIME\n[ "$1" = --version ] || sleep 5\nexec {bin_dir()}/pg_dump "$@"\n'
    )
    fake.chmod(0o755)
    host.write(pg_dump=fake)
    before = int(time.time()) - 1792889995  # 00:59:55 in UTC, 2026-10-25: five seconds later it is 02:00 again there
    argv = ["faketime", "-f", f"{-before:+}", *host.argv("backup-database.ps1")]
    env = {**os.environ, "TZ": "Europe/Berlin"}
    done = subprocess.run(argv, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == GOOD, done.stderr
    (dump,) = host.dumps()
    assert 5 <= json.loads(manifest_of(dump).read_text())["seconds"] < 60, done.stderr


@pytest.mark.fault
def test_a_restore_on_a_full_disk_says_what_to_do(host: Host, cluster: Cluster):
    path = dumped(host)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(host.backups)], check=True)
    try:
        done = host.run("restore-database.ps1", "-Into", "there", "-From", path)
        assert done.returncode == FAILED and "make room" in done.stderr, done.stderr
    finally:
        subprocess.run(["umount", str(host.backups)], check=True)


@pytest.mark.fault
def test_a_restore_at_work_is_not_swept_and_a_killed_one_is(host: Host, cluster: Cluster, tmp_path: Path):
    """Its directory holds all rows in plain; a large database loads for longer than any two days."""
    cluster.ask("postgres", f"ALTER ROLE {ROLE} CREATEDB")
    path, begun, go_on = dumped(host), tmp_path / "begun", tmp_path / "go on"
    slow = tmp_path / "bin" / "psql"
    slow.parent.mkdir()
    (slow.parent / "pg_dump").symlink_to(bin_dir() / "pg_dump")
    waits = f"touch '{begun}'; n=0; until [ -e '{go_on}' ] || [ $n = 600 ]; do n=$((n+1)); sleep 0.1; done"
    slow.write_text(f'#!/bin/sh\ncase "$*" in *restricted.sql*) {waits};; esac\nexec {bin_dir()}/psql "$@"\n')
    slow.chmod(0o755)
    host.write(pg_dump=slow.parent / "pg_dump")
    argv = host.argv("restore-database.ps1", "-Into", "there", "-From", path)
    old = time.time() - 3 * 86400

    def begin():
        begun.unlink(missing_ok=True)
        started = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
        until(begun.exists, "it is at work", seconds=60)
        (place,) = host.backups.glob(".restore-*")
        os.utime(place, (old, old))
        return started, place

    try:
        restore, place = begin()
        assert host.run("backup-database.ps1").returncode == GOOD
        assert (place / "restricted.sql").exists()
        go_on.touch()
        said = restore.communicate(timeout=60)[1]
        assert restore.returncode == GOOD, said
        cluster.drop_database("there")
        go_on.unlink()
        restore, place = begin()
        restore.kill()
        restore.communicate()
        os.utime(place, (time.time() - 300,) * 2)  # not two days
        done = host.run("backup-database.ps1")
        assert done.returncode == GOOD and not place.exists(), (done.stderr, list(place.iterdir()))
    finally:
        go_on.touch()
        time.sleep(1)
        cluster.drop_database("there")


@pytest.mark.fault
def test_a_dump_that_windows_keeps_from_being_written_is_no_matter_of_grants(host: Host, tmp_path: Path):
    fake = tmp_path / "bin" / "pg_dump"
    fake.parent.mkdir()
    (fake.parent / "psql").symlink_to(bin_dir() / "psql")
    said = 'pg_dump: error: could not open output file "dump.sql": Permission denied'
    fake.write_text(
        f"#!/bin/sh\n[ \"$1\" = --version ] && exec {bin_dir()}/pg_dump --version\necho '{said}' >&2; exit 1\n"
    )
    fake.chmod(0o755)
    host.write(pg_dump=fake)
    done = host.run("backup-database.ps1")
    assert done.returncode == FAILED and "pg_read_all_data" not in done.stderr and "virus scanner" in done.stderr
