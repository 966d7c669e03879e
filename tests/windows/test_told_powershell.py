"""What the Windows scripts make of odd dumps, names and clocks, and what they say of it, by PowerShell for Linux."""

from __future__ import annotations

import gzip
import json
import os
import shlex
import shutil
import subprocess
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from provision.commands.health import _of_run
from provision.windows import layout, snippets
from provision.winssh import powershell
from tests.limiter.waiting import until
from tests.scripts.cluster import ROLE, Cluster, bin_dir
from tests.windows import archives, relay
from tests.windows.host import FAILED, GOOD, LEFT_UNDONE, USAGE, Host
from tests.windows.test_scripts_powershell import report_of

pytestmark = pytest.mark.skipif(archives.pwsh() is None, reason=f"not run: no PowerShell; {archives.HOW}")


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
    until(lambda: f"{datetime.now():medaction_%Y-%m-%d_%H-%M-%S}" > handbooks.name[:29], "its second is over")
    cluster.ask(database, "DROP TABLE visits", ROLE)
    done = host.run("backup-database.ps1")
    assert done.returncode == LEFT_UNDONE and "the table public.visits is gone" in done.stderr, done.stderr


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
    until(lambda: f"{datetime.now():medaction_%Y-%m-%d_%H-%M-%S}" >= lacking.name[:29], "its second has come")
    done = host.run("backup-database.ps1", "-Accept", lacking.name)
    assert done.returncode == GOOD and host.latest() == lacking.read_bytes(), done.stderr


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
