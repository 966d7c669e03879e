r"""The deployed scripts, whole, under PowerShell for Windows, with pg_dump.exe and psql.exe: what only Windows does.

Sharing violations, read-only files, hard links and drives are wine's; the server is a real one of the same major.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from provision.settings import Settings
from provision.settings.render import render
from provision.windows import checks, layout
from provision.winssh import powershell
from tests.rules.test_rules import bash_answers
from tests.sandbox import docker
from tests.windows.settings import PASSWORD, settings
from tests.windows.wine import PG_DUMP, Windows, ask, new_database

GOOD, LEFT_UNDONE = 0, 3
TRAILER = b"-- PostgreSQL database dump complete"
DATABASE = "l'hôpital (2) été"
CONTENT = (
    "SELECT count(*), md5(string_agg(p::text, ',' ORDER BY i)), current_setting('TimeZone'),"
    " (SELECT prosrc FROM pg_proc WHERE proname = 'lines') FROM patients p"
)


@pytest.fixture(scope="module")
def windows(warm: Windows, postgres: Windows) -> Iterator[Windows]:
    machine = warm
    machine.wipe()
    new_database(machine, DATABASE, "medaction")
    ask(machine, DATABASE, "CREATE TABLE patients AS SELECT i, 'é' || i AS name FROM generate_series(1, 500) i;"
        "ALTER TABLE patients OWNER TO medaction;"
        "CREATE FUNCTION lines() RETURNS text LANGUAGE sql AS $$SELECT 'one\r\ntwo'$$;"
        "ALTER FUNCTION lines() OWNER TO medaction")  # fmt: skip
    ask(machine, "postgres", f"ALTER DATABASE \"{DATABASE}\" SET TimeZone = 'Asia/Tokyo'")
    _lay_out(machine)
    yield machine
    machine.wipe()


@pytest.fixture
def host(windows: Windows) -> Windows:
    """The machine with the scripts that were deployed, and nothing that they have made."""
    for path in (*windows.file("backups").glob("**/*"), *windows.file("logs").glob("*")):
        if path.is_file():
            path.unlink()
    return windows


def _settings() -> Settings:
    return settings(
        postgres_host="127.0.0.1", postgres_database=DATABASE, backup_reserve_mb=1, windows_pg_dump=PG_DUMP,
        backup_daily_retention_days=3, backup_daily_minimum_kept=2,
    )  # fmt: skip


def _lay_out(machine: Windows) -> None:
    found = _settings()
    for name in ("backups", "logs", "config", "scripts\\lib"):
        machine.file(name).mkdir(parents=True, exist_ok=True)
    machine.file("config\\pgpass.conf").write_text(render("backup/pgpass.j2", found), encoding="utf-8")
    for entry in layout.scripts(found):
        # Whoever holds a file in these tests does not let it go: to wait for it shows nothing.
        machine.file(entry.path).write_bytes(entry.content.replace(b"$HeldSeconds = 10 ", b"$HeldSeconds = 1 "))


def _dumps(machine: Windows) -> list[Path]:
    return sorted(path for path in machine.file("backups").glob("*.sql.gz") if "latest" not in path.name)


def _status(machine: Windows) -> dict[str, str]:
    return json.loads(machine.file("backups\\status-daily.json").read_text(encoding="utf-8"))


@contextmanager
def _held(machine: Windows, path: str, share: str, access: str = "Read") -> Iterator[None]:
    """Another program has the file open, and lets others do what `share` says."""
    done = machine.at_once(f"$global:held = [IO.File]::Open('{path}', 'OpenOrCreate', '{access}', '{share}')")
    assert done.code == 0, done.errors
    try:
        yield
    finally:
        machine.at_once("$global:held.Dispose()")


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


LATEST = "backups\\medaction_latest.sql.gz"
# Nothing of it stops a dump; NEWEST and OLDEST stand for the names of dumps that lie there.
MAY_BE_HELD = [
    "backups\\status-daily.json", "backups\\status-daily.json.part", "logs\\backup.log", "logs\\backup.log.1",
    "backups\\.lock", "backups\\.lock-2", LATEST, f"{LATEST}.part", "backups\\NEWEST", "backups\\NEWEST.json",
    "backups\\OLDEST", "backups\\OLDEST.json",
]  # fmt: skip
# Without it there is no dump, when it can be read by nobody else.
IS_NEEDED = [
    "config\\pgpass.conf",
    "scripts\\backup-database.ps1",
    "scripts\\lib\\settings.ps1",
    "scripts\\lib\\store.ps1",
]


@pytest.mark.fault
def test_a_runtime_library_that_is_missing_is_told_with_what_to_install(host: Windows):
    there = host.file(PG_DUMP).with_name("libpq.dll")
    there.rename(there.with_name("away.dll"))
    try:
        done = host.script("backup-database")
    finally:
        there.with_name("away.dll").rename(there)
    assert done.code == 1 and "-1073741515: a DLL is missing: install the Microsoft Visual C++" in done.errors


def test_what_powershell_records_of_a_run_holds_no_secret(host: Windows):
    policy = "HKLM\\Software\\Policies\\Microsoft\\PowerShellCore"
    for value in (["EnableTranscripting", "/t", "REG_DWORD", "/d", "1"], ["OutputDirectory", "/d", "C:\\written"]):
        _reg(host, "add", f"{policy}\\Transcription", "/v", *value)
    try:
        assert host.script("backup-database").code == GOOD
    finally:
        _reg(host, "delete", policy)
    (record,) = (path.read_text(errors="replace") for path in host.file("C:\\written").rglob("*.txt"))
    assert "backup-database.ps1" in record
    assert not [word for word in (PASSWORD, PASSWORD.replace("\\", "\\\\"), "p@ss") if word in record]


def _reg(machine: Windows, *arguments: str) -> None:
    docker.run("exec", machine.container, "wine", "reg", *arguments, "/f")


@pytest.fixture
def made(host: Windows) -> tuple[bytes, bytes]:
    """A dump that the machine has made, and its manifest."""
    assert host.script("backup-database").code == GOOD
    (dump,) = _dumps(host)
    return dump.read_bytes(), Path(f"{dump}.json").read_bytes()


@pytest.mark.fault
def test_a_manifest_that_is_held_keeps_no_other_old_dump_and_goes_with_the_next_run(host: Windows, made):
    assert _one_run_held(host, made, "backups\\OLDEST.json", "None", "Read") == LEFT_UNDONE


@pytest.mark.prove
@pytest.mark.fault
def test_each_of_our_files_held_by_another_program_for_a_whole_run_costs_no_dump(host: Windows, made, proved):
    cases = [(name, share) for name in MAY_BE_HELD for share in ("Read", "ReadWrite", "None")]
    codes = [
        _one_run_held(host, made, name, share, "ReadWrite" if number % 2 else "Read")
        for number, (name, share) in enumerate([*((name, "None") for name in IS_NEEDED), *cases])
    ]
    proved(f"{len(codes)} runs: {codes.count(GOOD)} good, {codes.count(LEFT_UNDONE)} told what was left undone,"
           f" {len(IS_NEEDED)} without what no dump can be without")  # fmt: skip


def _one_run_held(host: Windows, made: tuple[bytes, bytes], name: str, share: str, access: str) -> int:
    """A run while another program holds that file, and one after it: no dump is lost or half, and all is mended."""
    _lay_history(host, *made)
    before = {dump: dump.read_bytes() for dump in _dumps(host)}
    path = name.replace("NEWEST", max(before).name).replace("OLDEST", min(before).name)
    with _held(host, f"C:\\MedAction\\{path}", share, access):
        done = host.script("backup-database")
    told = (path, share, done.code, done.errors)
    new = set(_dumps(host)) - set(before)
    assert bool(new) == (done.code in (GOOD, LEFT_UNDONE)) == (name in MAY_BE_HELD), told
    # `latest` is another name of the newest, so whoever holds the one holds the other.
    shown = LATEST if name.endswith("NEWEST") else path.removesuffix(".part").removesuffix(".gz.json")
    assert done.code == GOOD or f"C:\\MedAction\\{shown}" in done.errors, told
    _is_whole(host, before, told)
    after = host.script("backup-database")
    assert after.code == GOOD and _status(host)["state"] == "ok", (*told, after.errors)
    _is_whole(host, before, told)
    assert host.file(LATEST).read_bytes() == _dumps(host)[-1].read_bytes(), told
    assert len(_dumps(host)) == len(before) + (2 if new else 1) - 2, told  # the two oldest are pruned
    lying = {path.name for path in host.file("backups").glob("**/*")}
    assert not [name for name in lying if name.endswith(".part")], told
    assert not [name for name in lying if name.endswith(".gz.json") and name.removesuffix(".json") not in lying], told
    return done.code


def _lay_history(machine: Windows, dump: bytes, manifest: bytes) -> None:
    """A dump of each of the last five nights, of which two are too old."""
    for path in machine.file("backups").glob("*"):
        if path.is_file():
            path.unlink()
    for days in range(1, 6):
        stamp = f"{datetime.now(UTC) - timedelta(days=days, hours=-1):%Y-%m-%d_%H-%M-%S}"
        path = machine.file(f"backups\\medaction_{stamp}.sql.gz")
        path.write_bytes(dump)
        Path(f"{path}.json").write_bytes(manifest)
        if days == 1:
            machine.file(LATEST).hardlink_to(path)


def _is_whole(machine: Windows, before: dict[Path, bytes], told: object) -> None:
    """None of the dumps that are to be kept is lost, and none that lies there is half."""
    kept = sorted(before)[2:]
    assert all(path.exists() and path.read_bytes() == before[path] for path in kept), told
    for dump in _dumps(machine):
        noted = json.loads(Path(f"{dump}.json").read_text(encoding="utf-8"))
        assert noted["sha256"] == hashlib.sha256(dump.read_bytes()).hexdigest(), (dump, told)


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
