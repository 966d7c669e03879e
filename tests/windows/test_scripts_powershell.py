"""The scripts whole, under PowerShell for Linux, against a real PostgreSQL."""

from __future__ import annotations

import gzip
import json
import os
import re
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from provision.backup.facts import Report
from provision.windows import layout
from provision.windows.facts import BackupReport
from provision.winssh import powershell
from tests.limiter.waiting import until
from tests.rules import dumps
from tests.scripts.cluster import PASSWORD, ROLE, Cluster, bin_dir, fingerprint
from tests.windows import archives, relay
from tests.windows.host import BUSY, FAILED, GOOD, LEFT_UNDONE, USAGE, Host, dumped

pytestmark = pytest.mark.skipif(archives.pwsh() is None, reason=f"not run: no PowerShell; {archives.HOW}")


def _assert_nothing_published(
    host: Host, done: subprocess.CompletedProcess[str], latest: bytes | None, before: list[Path]
):
    assert done.returncode != GOOD
    assert host.dumps() == before and host.latest() == latest
    assert not list(host.backups.glob("**/*.part*")) and not list(host.backups.glob(".run-*"))
    assert host.status()["state"] == "failed" and host.status()["reason"]


def test_a_backup_is_complete_and_restores_equal(host: Host, cluster: Cluster):
    """Each script in a PowerShell of its own, as a task and a person start it."""
    done = host.run_alone("backup-database.ps1")
    assert done.returncode == GOOD, done.stderr
    (dump,) = host.dumps()
    assert b"-- PostgreSQL database dump complete" in gzip.decompress(dump.read_bytes())[-4096:]
    assert host.latest() == dump.read_bytes() and host.status()["state"] == "ok"
    assert json.loads(Path(f"{dump}.json").read_text())["bytes"] == dump.stat().st_size
    assert host.run("backup-database.ps1", "-Verify").returncode == GOOD
    cluster.ask("postgres", f"ALTER ROLE {ROLE} CREATEDB")
    restored = 'réstauré "2"'
    done = host.run_alone("restore-database.ps1", "-Into", restored)
    assert done.returncode == GOOD, done.stderr
    assert fingerprint(cluster, restored) == fingerprint(cluster, host.settings.postgres_database)
    cluster.drop_database(restored)


def report_of(host: Host) -> Report:
    """What `make status` asks a Windows host, asked by the same script."""
    fact, places = BackupReport(), {"daily": str(host.backups), "weekly": str(host.backups / "weekly")}
    pattern = layout.dump_pattern(host.settings)
    asked = fact.command(str(host.backups), places, pattern, host.settings.postgres_database).get_raw_value()
    argv = [str(archives.pwsh()), "-NoProfile", "-NonInteractive", "-Command", asked]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120)
    return fact.process(done.stdout.splitlines())


def test_status_is_told_what_the_manifests_say_and_why_a_run_failed(host: Host):
    assert host.run("backup-database.ps1").returncode == GOOD
    (dump,) = host.dumps()
    made = json.loads(Path(f"{dump}.json").read_text())
    suspect = json.dumps(made | {"seconds": 41, "suspect": "the dump has 1 B"})
    for day, manifest in enumerate((suspect, "{damaged", "[1, 2]", "", "null", '"text"'), start=1):
        older = host.backups / f"medaction_2026-01-0{day}_02-00-00.sql.gz"
        older.write_bytes(b"older")
        Path(f"{older}.json").write_text(manifest)
    host.write(postgres_port=1)
    assert host.run("backup-database.ps1").returncode == FAILED
    report = report_of(host)
    newest, *damaged, told = report.manifests["daily"]
    assert (newest["dump"], newest["seconds"], newest["suspect"]) == (dump.name, made["seconds"], None)
    assert (told["bytes"], told["seconds"], told["suspect"]) == (5, 41, "the dump has 1 B")
    assert len(damaged) == 5 and all(
        each["bytes"] == 5 and not {"seconds", "suspect"} & each.keys() for each in damaged
    )
    (run,) = report.last_runs
    assert run["state"] == "failed" and "see that PostgreSQL runs" in run["reason"] and run["tier"] == "daily"


@pytest.mark.fault
def test_status_is_told_of_a_dump_that_was_deleted_behind_its_manifest(host: Host):
    weekly = host.backups / "weekly"
    weekly.mkdir(exist_ok=True)
    there, gone, old = (f"medaction_2026-01-0{day}_02-00-00.sql.gz" for day in (1, 2, 3))
    for path in (host.backups / there, host.backups / f"{there}.json", host.backups / f"{gone}.json",
                 weekly / f"{old}.json", host.backups / "notes_2026-01-04_02-00-00.sql.gz.json",
                 host.backups / "medaction_2026-01-05.json"):  # fmt: skip
        path.write_text("{}")
    report = report_of(host)
    assert [each["dump"] for each in report.manifests["daily"]] == [there] and not report.manifests["weekly"]
    assert {each["dump"] for each in report.gone} == {gone, old}
    assert {each["database"] for each in report.gone} == {host.settings.postgres_database}


@pytest.mark.fault
@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"password": "wrong"}, "password authentication failed"),
        ({"postgres_port": 1}, "see that PostgreSQL runs"),
        ({"postgres_database": "nowhere"}, "does not exist"),
        ({"pg_dump": Path("/nowhere/pg_dump")}, "windows_pg_dump"),
        ({"backup_reserve_mb": 100_000_000}, "make room"),
    ],
)
def test_a_fault_publishes_nothing_and_the_next_run_recovers(host: Host, changed: dict[str, Any], told: str):
    assert host.run("backup-database.ps1").returncode == GOOD
    latest, before = host.latest(), host.dumps()
    host.write(**changed)
    done = host.run("backup-database.ps1")
    assert told in done.stderr
    _assert_nothing_published(host, done, latest, before)
    host.write()
    assert host.run("backup-database.ps1").returncode == GOOD


@pytest.mark.fault
@pytest.mark.parametrize("behaviour", ["kill -9 $$", "printf 'CREATE TABLE' > dump.sql"])
def test_a_pg_dump_that_dies_or_is_cut_short_publishes_nothing(host: Host, tmp_path: Path, behaviour: str):
    fake = tmp_path / "bin" / "pg_dump"
    fake.parent.mkdir()
    (fake.parent / "psql").symlink_to(bin_dir() / "psql")
    fake.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exec {bin_dir()}/pg_dump --version\n{behaviour}\n')
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    host.write(pg_dump=fake)
    _assert_nothing_published(host, host.run("backup-database.ps1"), None, [])


@pytest.mark.fault
def test_a_pg_dump_of_another_major_is_said(host: Host, tmp_path: Path):
    fake = tmp_path / "bin" / "pg_dump"
    fake.parent.mkdir()
    (fake.parent / "psql").symlink_to(bin_dir() / "psql")
    fake.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.1'\n")
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    host.write(pg_dump=fake)
    done = host.run("backup-database.ps1")
    assert done.returncode == USAGE and "9.6.1" in done.stderr


@pytest.mark.fault
def test_a_second_run_at_the_same_moment_gives_way(host: Host, tmp_path: Path):
    slow = tmp_path / "bin" / "pg_dump"
    slow.parent.mkdir()
    (slow.parent / "psql").symlink_to(bin_dir() / "psql")
    begun, go_on = tmp_path / "begun", tmp_path / "go on"
    waits = f"touch '{begun}'; until [ -e '{go_on}' ]; do sleep 0.1; done"
    slow.write_text(f'#!/bin/sh\n[ "$1" = --version ] || {{ {waits}; }}\nexec {bin_dir()}/pg_dump "$@"\n')
    slow.chmod(slow.stat().st_mode | stat.S_IXUSR)
    host.write(pg_dump=slow)
    with subprocess.Popen(host.argv("backup-database.ps1"), stderr=subprocess.DEVNULL) as first:
        try:
            until(begun.exists, "the first run dumps", 60)
            assert host.run("backup-database.ps1").returncode == BUSY
        finally:
            go_on.touch()
        assert first.wait(60) == GOOD


@pytest.mark.fault
def test_stale_partial_files_are_swept_and_other_peoples_stay(host: Host):
    (host.backups / "medaction_2020-01-01_02-00-00.sql.gz.part").touch()
    (host.backups / ".run-dead").mkdir()
    (host.backups / "notes.part").touch()
    assert host.run("backup-database.ps1").returncode == GOOD
    assert (host.backups / "notes.part").exists()
    assert not list(host.backups.glob("medaction_*.part")) and not (host.backups / ".run-dead").exists()


def test_what_is_too_old_goes_and_the_minimum_stays(host: Host):
    for day in range(1, 29):
        for end in ("", ".json"):
            (host.backups / f"medaction_2020-01-{day:02}_02-00-00.sql.gz{end}").touch()
    assert host.run("backup-database.ps1").returncode == GOOD
    assert len(host.dumps()) == 29  # a leap of years: nothing is removed
    now = time.time()
    for path in host.dumps()[:-1]:
        path.unlink()
    for day in range(1, 60):
        stamp = time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(now - day * 86400))
        for end in ("", ".json"):
            (host.backups / f"medaction_{stamp}.sql.gz{end}").touch()
    assert host.run("backup-database.ps1").returncode == GOOD
    assert 28 <= len(host.dumps()) <= 33


def test_the_dumps_are_listed(host: Host):
    assert host.run("backup-database.ps1").returncode == GOOD
    done = host.run("restore-database.ps1", "-List")
    assert done.returncode == GOOD, done.stderr
    assert "TIER" in done.stdout and host.dumps()[0].name in done.stdout


def test_a_database_that_was_lost_is_restored(host: Host, cluster: Cluster):
    assert host.run("backup-database.ps1").returncode == GOOD
    database = host.settings.postgres_database
    before = fingerprint(cluster, database)
    cluster.drop_database(database)
    cluster.ask("postgres", f"ALTER ROLE {ROLE} CREATEDB")
    done = host.run("restore-database.ps1", "-Into", database)
    assert done.returncode == GOOD, done.stderr
    assert fingerprint(cluster, database) == before


def test_a_live_database_is_not_overwritten_unless_named_twice(host: Host):
    assert host.run("backup-database.ps1").returncode == GOOD
    assert host.run("restore-database.ps1", "-Into", host.settings.postgres_database).returncode == USAGE


@pytest.mark.fault
def test_a_full_disk_publishes_nothing(host: Host):
    """On a file system of its own. The free space is asked of the root, for Windows' own call is not there on Linux."""
    if os.geteuid() != 0:
        pytest.skip("not run: a file system of its own needs root")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(host.backups)], check=True)
    try:
        (host.backups / "ballast").write_bytes(b"x" * (64 * 2**20 - 16 * 4096))
        done = host.run("backup-database.ps1")
        assert "No space left" in done.stderr and "make room" in done.stderr
        _assert_nothing_published(host, done, None, [])
        (host.backups / "ballast").unlink()
        assert host.run("backup-database.ps1").returncode == GOOD
    finally:
        subprocess.run(["umount", str(host.backups)], check=True)


@pytest.mark.fault
@pytest.mark.parametrize("name", ["2026-11-24_24-00-00", "2026-02-30_02-00-00", "9999-99-99_99-99-99"])
def test_a_name_of_a_time_that_is_none_is_nobodys(host: Host, name: str):
    name = f"medaction_{name}"
    (host.backups / f"{name}.sql.gz").touch()
    done = host.run("backup-database.ps1")
    assert done.returncode == GOOD, done.stderr
    done = host.run("restore-database.ps1", "-List")
    assert done.returncode == GOOD and name not in done.stdout
    assert (host.backups / f"{name}.sql.gz").exists()


@pytest.mark.fault
@pytest.mark.parametrize("content", ["x", "[]", "", "{}", "null"])
def test_a_damaged_manifest_is_said_with_its_name_and_what_to_do(host: Host, content: str):
    assert host.run("backup-database.ps1").returncode == GOOD
    (dump,) = host.dumps()
    manifest = Path(f"{dump}.json")
    manifest.write_text(content)
    done = host.run("backup-database.ps1", "-Verify", "-File", str(dump))
    assert done.returncode == FAILED
    assert f"its manifest {manifest} is damaged" in done.stderr and "remove that file" in done.stderr
    manifest.unlink()
    assert host.run("backup-database.ps1", "-Verify", "-File", str(dump)).returncode == GOOD


@pytest.mark.parametrize("sql", ["DROP SCHEMA public", "CREATE EXTENSION pg_trgm", "COMMENT ON SCHEMA public IS 'x'"])
def test_an_empty_database_is_filled(host: Host, cluster: Cluster, sql: str):
    """What is empty: tests/scripts/test_restore_elsewhere.py asks it of both shells."""
    target, path = cluster.new_database("bare", template="template0"), dumped(host)
    try:
        cluster.ask(target, sql)
        done = host.run("restore-database.ps1", "-Into", target, "-From", path)
        assert done.returncode == GOOD, done.stderr
        assert fingerprint(cluster, target) == fingerprint(cluster, host.settings.postgres_database)
        schema = "SELECT nspowner::regrole, nspacl FROM pg_namespace WHERE nspname = 'public'"
        assert cluster.ask(target, schema) == cluster.ask(host.settings.postgres_database, schema)
        assert "holds data" in host.run("restore-database.ps1", "-Into", target, "-From", path).stderr
    finally:
        cluster.drop_database(target)


@pytest.mark.fault
def test_a_command_in_a_dump_is_not_run(host: Host, cluster: Cluster, tmp_path: Path):
    cluster.ask("postgres", f"ALTER ROLE {ROLE} CREATEDB")
    mark, planted, refused = tmp_path / "ran", tmp_path / "planted.sql.gz", {}
    for number, command in enumerate(dumps.COMMANDS):
        text = f"{command.format(mark)}\n\n-- PostgreSQL database dump complete\n"
        planted.write_bytes(gzip.compress(text.encode()))
        way = ["-NoOwner"] if number % 2 else []
        done = host.run("restore-database.ps1", "-Into", "planted", "-From", str(planted), *way)
        assert not mark.exists(), command
        loads = re.search("the restore into planted failed|holds a byte of zero", done.stderr)
        refused[command] = done.returncode if loads else done.stderr
        cluster.drop_database("planted")
    assert refused == dict.fromkeys(dumps.COMMANDS, FAILED)


def test_a_database_that_was_emptied_is_told_and_is_not_the_latest_until_it_is_accepted(host: Host, cluster: Cluster):
    database = host.settings.postgres_database
    cluster.ask(database, "CREATE TABLE bulk AS SELECT md5(i::text) AS word FROM generate_series(1, 400000) i", ROLE)
    assert host.run("backup-database.ps1").returncode == GOOD
    assert not host.status()["reason"]
    good = host.latest()
    cluster.ask(database, "TRUNCATE bulk", ROLE)
    for _ in range(2):  # it does not become usual
        done = host.run("backup-database.ps1")
        assert done.returncode == LEFT_UNDONE and "see whether that is right" in done.stderr
        assert "the median of the last ones" in host.status()["reason"]
        assert host.latest() == good
    emptied = host.dumps()[-1]
    assert f"-Accept {emptied.name}" in done.stderr
    done = host.run("backup-database.ps1", "-Accept", emptied.name)
    assert done.returncode == GOOD and host.latest() == emptied.read_bytes(), done.stderr
    assert host.run("backup-database.ps1", "-Accept", emptied.name).returncode == USAGE
    assert host.run("backup-database.ps1", "-Verify").returncode == GOOD


def test_a_table_that_lost_its_rows_or_is_gone_is_told_however_large_the_database(host: Host, cluster: Cluster):
    """The size of the dump does not show it."""
    database = host.settings.postgres_database
    host.write(backup_volatile_tables=["sessions"])
    odd = [
        '"Visits"',
        '"VISITS"',
        '"vis its"',
        '"a""b.c"',
        '"Besøg"',
        '"two\nlines"',
        "odd.sessions",
        "sessions",
        "none",
    ]
    sql = "CREATE SCHEMA odd; CREATE TABLE bulk AS SELECT md5(i::text) AS word FROM generate_series(1, 400000) i;"
    sql += "".join(f"CREATE TABLE {name} AS SELECT i FROM generate_series(1, 200) i;" for name in odd)
    # What looks like a table's rows and is none, and rows that look like their end.
    sql += r"""
        CREATE FUNCTION told() RETURNS text LANGUAGE sql AS $$ SELECT '
COPY public."Visits" (i) FROM stdin;
1
\.
' $$; CREATE TABLE ends (word text); INSERT INTO ends SELECT E'\\\\.\\n\\\\.' FROM generate_series(1, 150);
        TRUNCATE none; CREATE TABLE bare (); INSERT INTO bare SELECT FROM generate_series(1, 120);
        CREATE TABLE wide AS SELECT repeat('x', 3000000) AS word FROM generate_series(1, 2);"""
    cluster.ask(database, sql, ROLE)
    assert host.run("backup-database.ps1").returncode == GOOD
    asked = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname IN ('public', 'odd')"
    names = json.loads(cluster.ask(database, f"SELECT json_agg(format) FROM ({asked}) each", ROLE))
    counted = {name: int(cluster.ask(database, f"SELECT count(*) FROM {name}", ROLE)) for name in names}
    good = host.dumps()[-1]
    noted = json.loads(Path(f"{good}.json").read_text())["tables"]
    assert {each["name"]: each["rows"] for each in noted} == counted and len(noted) == len(counted)

    lost = ['public."Visits"', 'public."Besøg"', "odd.sessions", "public.ends", "public.bare"]
    cluster.ask(database, f'TRUNCATE {", ".join(lost)}, sessions; DROP TABLE "a""b.c", none', ROLE)
    done = host.run("backup-database.ps1")
    assert done.returncode == LEFT_UNDONE
    told = [f"the table {name} has 0 rows, it had {counted[name]}" for name in lost]
    told.append('the table public."a""b.c" is gone, it had 200 rows')
    reason = host.status()["reason"]
    assert [each for each in told if each not in reason] == [] and reason.count("the table ") == len(told)
    assert host.latest() == good.read_bytes()


def test_a_table_that_may_be_emptied_explains_a_small_dump(host: Host, cluster: Cluster):
    host.write(backup_volatile_tables=["bulk"])
    database = host.settings.postgres_database
    cluster.ask(database, "CREATE TABLE bulk AS SELECT md5(i::text) AS word FROM generate_series(1, 400000) i", ROLE)
    assert host.run("backup-database.ps1").returncode == GOOD
    cluster.ask(database, "TRUNCATE bulk", ROLE)
    done = host.run("backup-database.ps1")
    assert done.returncode == GOOD and host.latest() == host.dumps()[-1].read_bytes(), done.stderr
    assert "the median of the last ones" in host.status()["reason"]


def test_rows_that_cannot_be_counted_stop_no_dump(host: Host):
    part = host.place / "scripts/lib/rows.ps1"
    part.write_text("function Read-RowCounts([string]$Path) { throw 'out of memory' }\n")
    for _ in range(2):
        done = host.run("backup-database.ps1")
        assert done.returncode == GOOD and "rows could not be counted" in done.stderr, done.stderr
    assert "tables" not in json.loads(Path(f"{host.dumps()[-1]}.json").read_text())
    host.write()
    assert host.run("backup-database.ps1").returncode == GOOD


def test_a_database_that_grew_is_the_latest(host: Host, cluster: Cluster):
    assert host.run("backup-database.ps1").returncode == GOOD
    sql = "CREATE TABLE bulk AS SELECT md5(i::text) AS word FROM generate_series(1, 400000) i"
    cluster.ask(host.settings.postgres_database, sql, ROLE)
    assert host.run("backup-database.ps1").returncode == GOOD
    assert "see whether that is right" in host.status()["reason"] and host.latest() == host.dumps()[-1].read_bytes()


RULES = Path(dumps.__file__).parent


def test_no_row_is_in_what_a_server_says_in_any_language(host: Host):
    """What psql printed, with PostgreSQL 15 and its lc_messages: the rows of these errors have "Secret" in them."""
    table = json.loads((RULES / "errors.json").read_text(encoding="utf-8"))
    text = f"""
    . {powershell.quote(str(host.place / "scripts" / "lib" / "settings.ps1"))}
    foreach ($part in 'base', 'postgres') {{ . "{host.place}/scripts/lib/$part.ps1" }}
    $table = ConvertFrom-Json -InputObject ([IO.File]::ReadAllText({powershell.quote(str(RULES / "errors.json"))}))
    foreach ($language in $table.PSObject.Properties) {{
        foreach ($case in $language.Value.PSObject.Properties) {{
            "$($language.Name), $($case.Name)=$(Select-Errors @{{ Code = 3; Errors = $case.Value }})"
        }}
    }}
    """
    code, output, errors = relay.powershell(host.warm, text)
    assert code == GOOD, errors
    said = dict(line.split("=", 1) for line in output.splitlines())
    assert said.keys() == {f"{language}, {case}" for language, cases in table.items() for case in cases}
    assert not {case: told for case, told in said.items() if "Secret" in told}
    assert all(re.fullmatch(r"line [35]: \S.* \(\w{5}\)", told) for told in said.values()), said
    assert said["English, foreign"].endswith('violates foreign key constraint "f_name_fkey" (23503)')


ROWS = [
    "INSERT INTO p VALUES ('Jean Secret', 1), ('Jean Secret', 2);",
    "COPY p FROM stdin;\nJean Secret\tx\n\\.",
    "COPY p FROM stdin;\nJean Secret\t200\n\\.",
    "DO $$ BEGIN RAISE EXCEPTION 'Jean Secret' USING ERRCODE = 'check_violation', DETAIL = '75011: Secret'; END $$;",
    "INSERT INTO p VALUES (Jean Secret, 1);",
]


@pytest.mark.fault
def test_no_row_is_said_when_a_restore_fails(host: Host, cluster: Cluster, tmp_path: Path):
    table = "CREATE TABLE p (name text PRIMARY KEY, age int CHECK (age < 150));\n"
    planted = tmp_path / "rows.sql.gz"
    cluster.ask("postgres", f"ALTER ROLE {ROLE} CREATEDB")
    for statement in ROWS:
        text = f"{table}{statement}\n-- PostgreSQL database dump complete\n"
        planted.write_bytes(gzip.compress(text.encode()))
        done = host.run("restore-database.ps1", "-Into", "rows", "-From", str(planted))
        cluster.drop_database("rows")
        assert done.returncode == FAILED and "Secret" not in done.stderr, done.stderr
        assert re.search("line [345]: ", done.stderr), done.stderr


@pytest.mark.fault
def test_what_pg_dump_warns_of_is_in_the_log(host: Host, cluster: Cluster):
    cluster.ask(host.settings.postgres_database, "CREATE TABLE a (i int PRIMARY KEY, b int);"
                "CREATE TABLE b (i int PRIMARY KEY, a int REFERENCES a);"
                "ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b", ROLE)  # fmt: skip
    done = host.run("backup-database.ps1")
    assert done.returncode == GOOD
    wanted = "circular foreign-key" in done.stderr
    assert wanted == ("circular foreign-key" in (host.place / "logs" / "backup.log").read_text())


@pytest.mark.fault
def test_a_log_that_cannot_be_written_stops_no_dump_and_is_told_by_the_exit_code(host: Host):
    (host.place / "logs" / "backup.log").mkdir()
    done = host.run("backup-database.ps1")
    assert done.returncode == LEFT_UNDONE and len(host.dumps()) == 1
    assert "backup.log could not be written" in done.stderr
    assert host.status()["state"] == "ok"


@pytest.mark.fault
def test_a_status_that_cannot_be_written_stops_no_dump_and_is_told_by_log_and_exit_code(host: Host):
    (host.backups / "status-daily.json").mkdir()
    done = host.run("backup-database.ps1")
    assert done.returncode == LEFT_UNDONE and len(host.dumps()) == 1
    assert "status-daily.json could not be written" in (host.place / "logs" / "backup.log").read_text()


@pytest.mark.fault
@pytest.mark.parametrize("instead", ["nothing", "a directory"])
@pytest.mark.parametrize("name", ["backup-database.ps1", "restore-database.ps1"])
def test_a_password_file_that_is_gone_is_named(host: Host, name: str, instead: str):
    path = host.place / "pgpass.conf"
    path.unlink()
    if instead == "a directory":
        path.mkdir()
    done = host.run(name, *(["-Into", "x"] if name.startswith("restore") else []))
    assert done.returncode == USAGE and f"the password file {path} is missing: deploy again" in done.stderr


def test_no_secret_is_said(host: Host):
    done = host.run("backup-database.ps1")
    said = done.stdout + done.stderr + (host.place / "logs" / "backup.log").read_text()
    assert PASSWORD not in said and not any(PASSWORD in value for value in os.environ.values())
