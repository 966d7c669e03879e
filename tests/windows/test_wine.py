r"""The deployed scripts, whole, under PowerShell for Windows, with pg_dump.exe and psql.exe: what only Windows does.

Sharing violations, read-only files, hard links and drives are wine's; the server is a real one of the same major.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from provision.settings.render import render
from provision.windows import layout
from tests.sandbox import docker
from tests.scripts.cluster import PASSWORD
from tests.windows.settings import settings
from tests.windows.wine import PG_DUMP, SERVER, Missing, Windows, started

GOOD, LEFT_UNDONE = 0, 3
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


def _lay_out(machine: Windows) -> None:
    found = settings(PASSWORD, postgres_host="127.0.0.1", postgres_database=DATABASE, backup_reserve_mb=1).model_copy(
        update={
            "windows_pg_dump": PG_DUMP,
            "postgres_password": SecretStr(PASSWORD),
        }
    )
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
