r"""The deployed scripts, whole, under PowerShell for Windows, with pg_dump.exe and psql.exe: what only Windows does.

Sharing violations, read-only files, hard links and drives are wine's; the server is a real one of the same major.
"""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from provision.settings import Settings
from provision.settings.render import render
from provision.windows import checks, layout
from provision.winssh import powershell
from tests.rules.test_rules import bash_answers
from tests.sandbox import docker
from tests.scripts.cluster import PASSWORD
from tests.windows.settings import settings
from tests.windows.wine import PG_DUMP, SERVER, Missing, Windows, started

GOOD, LEFT_UNDONE = 0, 3
TRAILER = b"-- PostgreSQL database dump complete"
DATABASE = "l'hôpital (2) été"
CONTENT = (
    "SELECT count(*), md5(string_agg(p::text, ',' ORDER BY i)), current_setting('TimeZone'),"
    " (SELECT prosrc FROM pg_proc WHERE proname = 'lines') FROM patients p"
)


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Windows]:
    place = tmp_path_factory.mktemp("medaction")
    try:
        machine = started(place)
    except Missing as missing:
        pytest.skip(f"not run: {missing}")
    try:
        _start_postgres(machine)
        _lay_out(machine)
        yield machine
    finally:
        docker.attempt("rm", "--force", machine.container)


@pytest.fixture
def host(windows: Windows) -> Windows:
    """The machine with one good backup that lies there, and nothing else."""
    for path in (*windows.file("backups").glob("*"), *windows.file("logs").glob("*")):
        if path.is_file():
            path.unlink()
    return windows


def _start_postgres(machine: Windows) -> None:
    quoted = PASSWORD.replace("'", "''")
    script = f"""
set -e
install -d -o postgres /var/lib/pg
run() {{ setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; }}
run {SERVER}/initdb --pgdata /var/lib/pg/data --username postgres --auth-local trust --auth-host scram-sha-256 \\
    --encoding UTF8 --locale C.UTF-8 --no-sync >/dev/null
run {SERVER}/pg_ctl --pgdata /var/lib/pg/data --wait --log /var/lib/pg/log \\
    -o "-c fsync=off -c unix_socket_directories=/var/lib/pg" start >/dev/null
"""
    docker.run("exec", machine.container, "sh", "-c", script, timeout_seconds=120)
    ask(machine, "postgres", f"CREATE ROLE medaction LOGIN CREATEDB PASSWORD '{quoted}'")
    ask(machine, "postgres", f'CREATE DATABASE "{DATABASE}" OWNER medaction')
    ask(machine, DATABASE, "CREATE TABLE patients AS SELECT i, 'é' || i AS name FROM generate_series(1, 500) i;"
        "ALTER TABLE patients OWNER TO medaction;"
        "CREATE FUNCTION lines() RETURNS text LANGUAGE sql AS $$SELECT 'one\r\ntwo'$$;"
        "ALTER FUNCTION lines() OWNER TO medaction")  # fmt: skip
    ask(machine, "postgres", f"ALTER DATABASE \"{DATABASE}\" SET TimeZone = 'Asia/Tokyo'")


def ask(machine: Windows, database: str, sql: str) -> str:
    argv = ["exec", machine.container, f"{SERVER}/psql", "-h", "/var/lib/pg", "-U", "postgres", "-d", database,
            "-qAt", "-v", "ON_ERROR_STOP=1", "-c", sql]  # fmt: skip
    return docker.run(*argv).strip()


def _settings() -> Settings:
    return settings(
        PASSWORD, postgres_host="127.0.0.1", postgres_database=DATABASE, backup_reserve_mb=1, windows_pg_dump=PG_DUMP,
        backup_daily_retention_days=3, backup_daily_minimum_kept=2,
    )  # fmt: skip


def _lay_out(machine: Windows) -> None:
    found = _settings()
    for name in ("backups", "logs", "config", "scripts\\lib"):
        machine.file(name).mkdir(parents=True, exist_ok=True)
    machine.file("config\\pgpass.conf").write_text(render("backup/pgpass.j2", found), encoding="utf-8")
    for entry in layout.scripts(found):
        machine.file(entry.path).write_bytes(entry.content)


def _dumps(machine: Windows) -> list[Path]:
    return sorted(path for path in machine.file("backups").glob("*.sql.gz") if "latest" not in path.name)


def _status(machine: Windows) -> dict[str, str]:
    return json.loads(machine.file("backups\\status-daily.json").read_text(encoding="utf-8"))


@contextmanager
def _held(machine: Windows, path: str, share: str) -> Iterator[None]:
    """Another program has the file open, and lets others do what `share` says."""
    ready, go = machine.file("ready"), machine.file("go")
    for mark in (ready, go):
        mark.unlink(missing_ok=True)
    text = f"""
$file = [IO.File]::Open('{path}', 'OpenOrCreate', 'Read', '{share}')
[IO.File]::WriteAllText('C:\\MedAction\\ready', 'x')
while (-not [IO.File]::Exists('C:\\MedAction\\go')) {{ Start-Sleep -Milliseconds 200 }}
$file.Dispose()
"""
    holder = machine.start(text)
    try:
        deadline = time.monotonic() + 120
        while not ready.exists():
            assert time.monotonic() < deadline and holder.poll() is None, "the holder did not start"
            time.sleep(0.1)
        yield
    finally:
        go.touch()
        holder.wait(120)


def test_a_backup_is_made_and_restores_equal(host: Windows):
    done = host.script("backup-database")
    assert done.code == GOOD, done.errors
    (dump,) = _dumps(host)
    text = gzip.decompress(dump.read_bytes())
    assert b"-- PostgreSQL database dump complete" in text[-4096:] and b"\r\n" not in text.replace(b"one\r\ntwo", b"")
    assert host.file("backups\\medaction_latest.sql.gz").read_bytes() == dump.read_bytes()
    for way in ([], ["-Overwrite", "restored é"]):
        done = host.script("restore-database", "-Into", "restored é", *way)
        assert done.code == GOOD, done.errors
        assert ask(host, "restored é", CONTENT) == ask(host, DATABASE, CONTENT)
    (kept,) = ask(host, "postgres", "SELECT datname FROM pg_database WHERE datname ~ 'é_before_'").splitlines()
    assert kept.removeprefix("restored é") in done.errors  # the rest is in the OEM code page
    for name in ("restored é", kept):
        ask(host, "postgres", f'DROP DATABASE "{name}"')


@pytest.mark.fault
@pytest.mark.parametrize("share", ["Read", "ReadWrite", "None"])
@pytest.mark.parametrize("name", ["backups\\status-daily.json", "logs\\backup.log", "backups\\.lock"])
def test_a_file_that_another_program_holds_costs_no_dump(host: Windows, name: str, share: str):
    with _held(host, f"C:\\MedAction\\{name}", share):
        done = host.script("backup-database")
    assert len(_dumps(host)) == 1, done.errors
    assert done.code in (GOOD, LEFT_UNDONE), done.errors
    if done.code == LEFT_UNDONE:
        assert "could not be written" in done.errors
    else:
        assert _status(host)["state"] == "ok"
        assert "started, keeping" in host.file("logs\\backup.log").read_text(encoding="utf-8")
    assert host.script("backup-database").code == GOOD and len(_dumps(host)) == 2


@pytest.mark.fault
def test_files_that_were_made_read_only_are_written(host: Windows):
    assert host.script("backup-database").code == GOOD
    for name in (
        "backups\\status-daily.json",
        "logs\\backup.log",
        "backups\\.lock",
        "backups\\medaction_latest.sql.gz",
    ):
        host.file(name).chmod(0o444)
    done = host.script("backup-database")
    assert done.code == GOOD, done.errors
    assert len(_dumps(host)) == 2 and _status(host)["state"] == "ok"


@pytest.mark.fault
def test_a_second_run_at_the_same_moment_gives_way(host: Windows):
    script = "$ErrorActionPreference='Stop'; $share=[IO.FileShare]::ReadWrite -bor [IO.FileShare]::Delete\n"
    script += (
        "$file=[IO.File]::Open('C:\\MedAction\\backups\\.lock','OpenOrCreate','ReadWrite',$share); $file.Lock(0,1)\n"
    )
    script += "[IO.File]::WriteAllText('C:\\MedAction\\ready','x')\n"
    script += "while (-not [IO.File]::Exists('C:\\MedAction\\go')) { Start-Sleep -Milliseconds 200 }\n"
    for mark in ("ready", "go"):
        host.file(mark).unlink(missing_ok=True)
    holder = host.start(script)
    try:
        while not host.file("ready").exists():
            assert holder.poll() is None
            time.sleep(0.1)
        done = host.script("backup-database")
        assert done.code == 75 and "another backup is running" in done.errors and _dumps(host) == []
    finally:
        host.file("go").touch()
        holder.wait(120)


@pytest.mark.fault
def test_the_free_space_is_that_of_the_directorys_own_volume(host: Windows):
    settings_file = host.file("scripts\\lib\\settings.ps1")
    before = settings_file.read_bytes()
    settings_file.write_bytes(before.replace(b"$ReserveBytes = 1 *", b"$ReserveBytes = 100000000 *"))
    try:
        done = host.script("backup-database")
        assert done.code == 1 and "make room" in done.errors
        assert "the free space is that of the drive's root" not in done.errors
    finally:
        settings_file.write_bytes(before)


@pytest.mark.prove
@pytest.mark.fault
def test_a_backup_killed_at_forty_moments_loses_no_dump_and_the_next_run_mends_it(host: Windows, proved):
    chance, met = random.Random(16), 0
    assert host.script("backup-database").code == GOOD
    for number in range(40):
        before = {dump: dump.read_bytes() for dump in _dumps(host)}
        met += _killed(host, chance.uniform(0.5, 5))
        assert all(dump.exists() and dump.read_bytes() == content for dump, content in before.items()), number
        for dump in _dumps(host):
            assert TRAILER in gzip.decompress(dump.read_bytes())[-4096:], (number, dump)
        done = host.script("backup-database")
        assert done.code == GOOD and _status(host)["state"] == "ok", (number, done.errors)
        newest = _dumps(host)[-1]
        assert (
            newest not in before and host.file("backups\\medaction_latest.sql.gz").read_bytes() == newest.read_bytes()
        )
        assert not [path for path in host.file("backups").glob("**/*") if ".part" in path.name], number
    proved(f"40 kills, {met} of them while it ran")


def _killed(machine: Windows, seconds: float) -> bool:
    """Kill a backup and what it has started after so long; return whether it still ran."""
    line = "wine powershell.exe -NoProfile -ExecutionPolicy Bypass -File 'C:\\MedAction\\scripts\\backup-database.ps1'"
    argv = ["docker", "exec", "--tty", machine.container, "sh", "-c", line]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as running:
        time.sleep(seconds)  # a moment of chance, not a condition
        ran = running.poll() is None
        docker.attempt("exec", machine.container, "pkill", "-KILL", "-f", "[b]ackup-database|[p]g_dump")
        running.wait(60)
    return ran


SCHEDULER = "Import-Module 'Z:\\usr\\local\\lib\\windows\\scheduler.psm1'\n"
SUNDAY = datetime(2026, 11, 1)


@pytest.fixture
def scheduled(host: Windows) -> Windows:
    """The machine with its tasks registered, as a deploy registers them."""
    folder = _settings().windows_task_folder
    text = f"{SCHEDULER}$folder = (Get-StandInScheduler).GetFolder('\\').CreateFolder('{folder}')\n"
    for task in layout.tasks(_settings()):
        named, xml = powershell.quote(task.name), powershell.quote(task.to_xml())
        text += f"$null = $folder.RegisterTask({named}, {xml}, 6, $null, $null, 5)\n"
    done = host.powershell(text)
    assert done.code == 0, done.errors
    return host


def _due(machine: Windows, at: datetime, after: datetime) -> list[str]:
    """Run what is due at a moment, by its command line as registered; each task's name and exit code."""
    text = f"{SCHEDULER}Start-DueTask '{_settings().windows_task_folder}' ([datetime]'{after:%Y-%m-%dT%H:%M:%S}')"
    done = machine.powershell(text, at=at)
    assert done.code == 0, done.errors
    return [line for line in done.output.splitlines() if line.startswith("MedAction")]


def _stamps(machine: Windows, tier: str) -> set[str]:
    dumps = machine.file("backups" if tier == "daily" else "backups\\weekly").glob("medaction_2*.sql.gz")
    return {dump.name.removeprefix("medaction_").removesuffix(".sql.gz") for dump in dumps}


def _nights(machine: Windows, place: Path, count: int, lost: set[int]) -> None:
    """Nights from a Sunday on, the lost ones without a password; what lies there is what bash would have kept."""
    pgpass = machine.file("config\\pgpass.conf")
    password, before = pgpass.read_text(encoding="utf-8"), SUNDAY - timedelta(hours=3)
    wanted: dict[str, set[str]] = {"daily": set(), "weekly": set()}
    for night in range(count):
        for tier, hour in [*([("weekly", 1)] if night % 7 == 0 else []), ("daily", 2)]:
            is_lost = night in lost and tier == "daily"
            pgpass.write_text("" if is_lost else password, encoding="utf-8")
            # A minute later each night: whether a dump of exactly three days goes would hang on the second.
            at = SUNDAY + timedelta(days=night, hours=hour, minutes=night, seconds=4)
            (ended,) = _due(machine, at, before)
            before, there = at, _stamps(machine, tier)
            name = "MedAction Backup Weekly" if tier == "weekly" else "MedAction Backup"
            assert ended == f"{name} {1 if is_lost else GOOD}", (night, tier)
            if is_lost:
                _is_reported(machine, name, at)
                continue
            (new,) = [stamp for stamp in there if stamp.startswith(f"{at:%Y-%m-%d_%H}")]
            wanted[tier] |= {new}
            (pruned,) = bash_answers({"names": [], "prune": [_case(tier, new, wanted[tier])]}, place)["prune"]
            wanted[tier] -= set(pruned)
            assert there == wanted[tier], (night, tier)
    pgpass.write_text(password, encoding="utf-8")


def _case(tier: str, now: str, dumps: set[str]) -> dict[str, Any]:
    """A store as tests/rules asks of it, with the numbers of _settings."""
    days, minimum = (3, 2) if tier == "daily" else (90, 3)
    return {"tier": tier, "now": now, "days": days, "minimum": minimum, "dumps": sorted(dumps, reverse=True)}


def _is_reported(machine: Windows, name: str, at: datetime) -> None:
    told = checks.tasks(lambda command: machine.command(command, at=at), _settings())
    assert any(name in each and f"its last run, at {at:%Y-%m-%dT%H}" in each and "code 1" in each for each in told), (
        told
    )


def test_a_week_of_nights_runs_as_registered_keeps_what_linux_keeps_and_tells_of_the_lost(scheduled, tmp_path):
    _nights(scheduled, tmp_path, 7, lost={3, 5})


@pytest.mark.prove
def test_a_month_of_nights_runs_as_registered_keeps_what_linux_keeps_and_tells_of_the_lost(scheduled, tmp_path, proved):
    _nights(scheduled, tmp_path, 30, lost={11, 12})
    proved("30 nights, 2 of them lost and reported")
