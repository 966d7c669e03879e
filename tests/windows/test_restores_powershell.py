"""Restores of the Windows scripts: objects of other roles, what belongs to the database itself, sessions in the way."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.scripts.cluster import ROLE, bin_dir, fingerprint
from tests.windows import archives
from tests.windows.host import FAILED, GOOD, USAGE, Host, dumped

pytestmark = pytest.mark.skipif(archives.pwsh() is None, reason=f"not run: no PowerShell; {archives.HOW}")

GRANTEE = '"Léa ""x""\'s"'


@pytest.fixture(autouse=True)
def alone(host: Host) -> Iterator[None]:
    """The role may make databases, and nothing of a test stays on the server."""
    host.cluster.ask("postgres", f"ALTER ROLE {ROLE} CREATEDB NOSUPERUSER")
    before = {*host.cluster.databases()}
    yield
    host.cluster.ask("postgres", f"ALTER ROLE {ROLE} NOCREATEDB NOSUPERUSER")
    no_templates(host)
    host.cluster.drop_databases({*host.cluster.databases()} - before)


def no_templates(host: Host) -> None:
    """They cannot be dropped."""
    own = "datname NOT IN ('template0', 'template1')"
    host.cluster.ask("postgres", f"UPDATE pg_database SET datistemplate = false WHERE {own}")


@pytest.fixture
def others(host: Host) -> Iterator[Host]:
    """The app's database holds what other roles own, and what they were granted."""
    host.cluster.ask("postgres", f"CREATE ROLE reporting; CREATE ROLE {GRANTEE}; GRANT pg_read_all_data TO {ROLE}")
    host.cluster.ask(
        host.settings.postgres_database,
        f"""
        CREATE SCHEMA reports AUTHORIZATION reporting;
        CREATE TABLE reports.monthly (id serial PRIMARY KEY, note text DEFAULT 'it''s; ALTER TABLE x OWNER TO y;');
        INSERT INTO reports.monthly DEFAULT VALUES;
        ALTER TABLE reports.monthly OWNER TO reporting;
        GRANT SELECT ON reports.monthly TO {GRANTEE};
        CREATE FUNCTION public.one() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
ALTER TABLE nothing OWNER TO nobody;
RETURN 1; END $$;
        ALTER FUNCTION public.one() OWNER TO reporting;
        CREATE TABLE public.rows (line text); INSERT INTO rows VALUES ('GRANT ALL ON x TO stranger;');
        """,
    )
    yield host
    host.cluster.drop_database(host.settings.postgres_database)
    host.cluster.drop_databases(name for name in host.cluster.databases() if name.startswith("there"))
    host.cluster.ask("postgres", f"REVOKE pg_read_all_data FROM {ROLE}; DROP ROLE IF EXISTS reporting, {GRANTEE}")


def test_objects_of_another_role_are_refused_before_anything_is_made(others: Host):
    done = others.run("restore-database.ps1", "-Into", "there", "-From", dumped(others))
    assert done.returncode == USAGE, done.stderr
    assert "their owners postgres, reporting: -NoOwner" in done.stderr and "stranger" not in done.stderr
    assert "there" not in others.cluster.databases()


def test_without_owners_all_belongs_to_the_role_that_restores(others: Host):
    wanted = fingerprint(others.cluster, others.settings.postgres_database)
    done = others.run("restore-database.ps1", "-Into", "there", "-NoOwner", "-From", dumped(others))
    assert done.returncode == GOOD, done.stderr
    assert fingerprint(others.cluster, "there") == wanted
    owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname IN ('public', 'reports')"
    assert others.cluster.ask("there", owners) == ROLE
    body = others.cluster.ask("there", "SELECT prosrc FROM pg_proc WHERE proname = 'one'")
    assert "ALTER TABLE nothing OWNER TO nobody;" in body


def test_a_superuser_for_a_while_brings_owners_and_grants_back(others: Host):
    """The way that the refusal names."""
    was = _objects(others)
    others.cluster.ask("postgres", f"ALTER ROLE {ROLE} SUPERUSER")
    done = others.run("restore-database.ps1", "-Into", "there", "-From", dumped(others))
    assert done.returncode == GOOD, done.stderr
    assert _objects(others, "there") == was


def _objects(host: Host, database: str = "") -> str:
    return host.cluster.ask(
        database or host.settings.postgres_database,
        "SELECT relname, relowner::regrole, relacl FROM pg_class WHERE relnamespace::regnamespace::text IN"
        " ('public', 'reports') UNION ALL SELECT proname, proowner::regrole, proacl FROM pg_proc WHERE proname = 'one'"
        " ORDER BY 1",
    )


def test_roles_that_are_gone_are_named_before_anything_is_made(others: Host):
    path = dumped(others)
    others.cluster.drop_database(others.settings.postgres_database)
    others.cluster.ask("postgres", f"DROP ROLE reporting, {GRANTEE}")
    done = others.run("restore-database.ps1", "-Into", others.settings.postgres_database, "-From", path)
    assert done.returncode == USAGE and 'lacks the roles Léa "x"\'s, reporting' in done.stderr, done.stderr
    done = others.run("restore-database.ps1", "-Into", others.settings.postgres_database, "-NoOwner", "-From", path)
    assert done.returncode == GOOD, done.stderr
    others.cluster.ask("postgres", f"CREATE ROLE reporting; CREATE ROLE {GRANTEE}")


NEEDS = """
    CREATE FUNCTION f() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
    CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION f();
    CREATE PUBLICATION everything FOR ALL TABLES;
    CREATE EXTENSION file_fdw;
    CREATE FUNCTION plus(int, int) RETURNS int LANGUAGE internal AS 'int4pl';
    CREATE TABLE guarded (i int);
    CREATE ROLE gone;
    CREATE POLICY p ON guarded TO gone USING (i = 1);
    ALTER DEFAULT PRIVILEGES FOR ROLE pg_monitor GRANT SELECT ON TABLES TO PUBLIC;
"""


def test_all_that_the_role_cannot_load_is_said_before_anything_is_made(host: Host):
    host.cluster.ask(host.settings.postgres_database, NEEDS)
    path = dumped(host)
    host.cluster.drop_database(host.settings.postgres_database)
    host.cluster.ask("postgres", "DROP ROLE gone")
    done = host.run("restore-database.ps1", "-Into", "there", "-From", path)
    assert done.returncode == USAGE, done.stderr
    for told in (
        "only a superuser can load event trigger watch, function plus(integer, integer), publication everything",
        "only a superuser may make the extensions file_fdw",
        "lacks the roles gone",
        "to their owners pg_monitor, postgres",
    ):
        assert told in done.stderr
    assert "there" not in host.cluster.databases()


def test_a_role_that_may_make_no_database_is_told_before_anything_is_loaded(host: Host):
    path = dumped(host)
    host.cluster.ask("postgres", f"ALTER ROLE {ROLE} NOCREATEDB")
    database = host.settings.postgres_database
    for into in (["there"], [database, "-Overwrite", database]):
        done = host.run("restore-database.ps1", "-From", path, "-Into", *into)
        assert done.returncode == USAGE and "CREATEDB" in done.stderr
    host.cluster.ask("postgres", "CREATE DATABASE theirs")
    done = host.run("restore-database.ps1", "-From", path, "-Into", "theirs")
    assert done.returncode == USAGE and "theirs belongs to another role, postgres" in done.stderr, done.stderr


PROPERTIES = (
    "SELECT pg_encoding_to_char(encoding), datcollate, datctype, to_jsonb(d) ->> 'datlocprovider',"
    " coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale'), datconnlimit, datacl,"
    " shobj_description(d.oid, 'pg_database'), (SELECT array_agg(setconfig::text || setrole ORDER BY setrole)"
    " FROM pg_db_role_setting WHERE setdatabase = d.oid), datistemplate FROM pg_database d WHERE datname = "
)
MADE = {
    "french": "ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C.UTF-8' LOCALE_PROVIDER icu ICU_LOCALE 'fr-FR'",
    "bytes": "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'",
    "latin": "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'",
}
SET = [
    'ALTER DATABASE {db} SET search_path = "$user", public, \'\', "{e}clair", "a "" b, c"',
    "ALTER DATABASE {db} SET client_encoding = 'LATIN1'",
    "ALTER DATABASE {db} SET TimeZone = 'Asia/Tokyo'",
    "ALTER DATABASE {db} SET default_transaction_read_only = on",
    "ALTER DATABASE {db} SET standard_conforming_strings = off",
    f"ALTER ROLE {ROLE} IN DATABASE {{db}} SET statement_timeout = '1ms'",
    "COMMENT ON DATABASE {db} IS '2026-11-26T02:00:00'",
    "ALTER DATABASE {db} CONNECTION LIMIT 7",
    "REVOKE ALL ON DATABASE {db} FROM PUBLIC",
    "GRANT CONNECT ON DATABASE {db} TO pg_monitor WITH GRANT OPTION",
    "ALTER DATABASE {db} IS_TEMPLATE true",
]


@pytest.mark.parametrize(
    "name", ["french", *(pytest.param(name, marks=pytest.mark.prove) for name in ("bytes", "latin"))]
)
def test_what_belongs_to_the_database_itself_comes_back(host: Host, name: str):
    cluster = host.cluster
    cluster.ask("postgres", f"CREATE DATABASE {name} TEMPLATE template0 OWNER {ROLE} {MADE[name]}")
    try:
        row = "Łukasz, 5 €" if name == "french" else "Zoé"
        cluster.ask(name, f"CREATE TABLE t AS SELECT '{row}'::text AS who; ALTER TABLE t OWNER TO {ROLE}")
        rows = "SELECT md5(who) FROM public.t"
        held = cluster.ask(name, rows)
        for sql in SET:
            cluster.ask("postgres", sql.format(db=name, e="É" if name == "french" else "E"))
        was = cluster.ask("postgres", f"{PROPERTIES} '{name}'")
        host.write(postgres_database=name)
        assert host.run("backup-database.ps1").returncode == GOOD
        no_templates(host)
        cluster.drop_database(name)
        done = host.run("restore-database.ps1", "-Into", name)
        assert done.returncode == GOOD and "lacks" not in done.stderr, done.stderr
        assert cluster.ask("postgres", f"{PROPERTIES} '{name}'") == was
        assert cluster.ask(name, rows) == held
        done = host.run("restore-database.ps1", "-Into", name, "-Overwrite", name)
        assert done.returncode == GOOD, done.stderr
        assert cluster.ask("postgres", f"{PROPERTIES} '{name}'") == was and cluster.ask(name, rows) == held
    finally:
        no_templates(host)
        cluster.drop_database(name)


def test_what_the_role_may_not_set_is_named_without_its_value(host: Host):
    database = host.settings.postgres_database
    quoted = database.replace('"', '""')
    host.cluster.ask("postgres", f"ALTER DATABASE \"{quoted}\" SET app.key = 'it''s \\ a secret'")
    assert host.run("backup-database.ps1").returncode == GOOD
    done = host.run("restore-database.ps1", "-Into", "there")
    assert done.returncode == GOOD and "lacks of what was set on it: the setting app.key" in done.stderr, done.stderr
    assert "secret" not in done.stderr + (host.place / "logs" / "backup.log").read_text()
    host.cluster.drop_database("there")
    host.cluster.ask("postgres", f"ALTER ROLE {ROLE} SUPERUSER")
    assert host.run("restore-database.ps1", "-Into", "there").returncode == GOOD
    assert host.cluster.ask("there", "SHOW app.key") == "it's \\ a secret"


@pytest.mark.fault
def test_damaged_properties_are_said_with_their_file_before_anything_is_made(host: Host):
    path = Path(dumped(host))
    whole = {
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "bytes": path.stat().st_size,
        "properties": {},
    }
    whole["dump_bytes"] = len(gzip.decompress(path.read_bytes()))
    Path(f"{path}.json").write_text(json.dumps(whole))
    done = host.run("restore-database.ps1", "-Into", "there", "-NoOwner", "-From", str(path))
    assert done.returncode == FAILED and f"its manifest {path}.json is damaged" in done.stderr, done.stderr
    assert "there" not in host.cluster.databases()


def test_a_locale_that_the_server_lacks_is_said_and_done_without(host: Host):
    assert host.run("backup-database.ps1").returncode == GOOD
    (manifest,) = host.backups.glob("medaction_2*.json")
    manifest.write_text(manifest.read_text().replace("C.UTF-8", "French_France.1252"))
    done = host.run("restore-database.ps1", "-Into", "there")
    assert done.returncode == GOOD and "is not sorted as it was" in done.stderr, done.stderr
    assert fingerprint(host.cluster, "there") == fingerprint(host.cluster, host.settings.postgres_database)


HUNG = {
    "TimeZone = 'Asia/Tokyo'": (
        "at timestamptz, day date CHECK (day = at::date)", "'2026-01-01 20:00+00', '2026-01-02'"
    ),
    "DateStyle = 'SQL, DMY'": ("at date, said text CHECK (said = at::text)", "'31/12/2026', '31/12/2026'"),
    "search_path = public, hidden": ("i int, CHECK (hidden.good(i))", "1"),
    "IntervalStyle = iso_8601": ("i interval, said text CHECK (said = i::text)", "'1 day', 'P1D'"),
}  # fmt: skip


def test_a_check_that_hangs_on_a_setting_of_the_database_restores(host: Host):
    database = host.settings.postgres_database
    quoted = database.replace('"', '""')
    for setting in HUNG:
        host.cluster.ask("postgres", f'ALTER DATABASE "{quoted}" SET {setting}')
    host.cluster.ask(database, "CREATE SCHEMA hidden; CREATE FUNCTION hidden.good(int) RETURNS bool LANGUAGE sql"
        f" IMMUTABLE AS 'SELECT $1 > 0'; ALTER SCHEMA hidden OWNER TO {ROLE};"
        f"ALTER FUNCTION hidden.good OWNER TO {ROLE}")  # fmt: skip
    for number, (columns, row) in enumerate(HUNG.values()):
        table = f"public.hung{number}"
        sql = (
            f"CREATE TABLE {table} ({columns}); INSERT INTO {table} VALUES ({row}); ALTER TABLE {table} OWNER TO {ROLE}"
        )
        host.cluster.ask(database, sql)
    assert host.run("backup-database.ps1").returncode == GOOD
    for into in (["there"], [database, "-Overwrite", database]):
        done = host.run("restore-database.ps1", "-Into", *into)
        assert done.returncode == GOOD, done.stderr
        counts = " + ".join(f"(SELECT count(*) FROM hung{number})" for number in range(len(HUNG)))
        assert host.cluster.ask(into[0], f"SELECT {counts}") == str(len(HUNG))


@contextmanager
def session(host: Host, role: str, sql: str) -> Iterator[subprocess.Popen[bytes]]:
    """Somebody is connected to the live database."""
    database = host.settings.postgres_database.replace("\\", "\\\\").replace("'", "\\'")
    name = f"host={host.cluster.directory} port={host.cluster.port} user={role} dbname='{database}'"
    argv = [str(bin_dir() / "psql"), "-qX", "-c", sql, name]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as held:
        try:
            connected = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"
            deadline = time.monotonic() + 20
            while host.cluster.ask("postgres", connected) == "0":
                assert time.monotonic() < deadline
            yield held
        finally:
            held.kill()


def test_an_administrator_in_the_way_is_named_before_anything_is_loaded(host: Host):
    database = host.settings.postgres_database
    path = dumped(host)
    before = host.cluster.databases()
    with session(host, "postgres", "SELECT pg_sleep(60)") as held:
        done = host.run("restore-database.ps1", "-Into", database, "-Overwrite", database, "-From", path)
        assert done.returncode == USAGE and "postgres: have them disconnect" in done.stderr, done.stderr
        assert held.poll() is None and host.cluster.databases() == before


def test_the_apps_sessions_are_ended_autovacuum_is_none_and_the_old_database_is_kept(host: Host):
    database = host.settings.postgres_database
    host.cluster.ask(database, "CREATE TABLE busy AS SELECT i, md5(i::text) FROM generate_series(1, 300000) i")
    host.cluster.ask(database, f"ALTER TABLE busy OWNER TO {ROLE}")
    path = dumped(host)
    wanted = fingerprint(host.cluster, database)
    host.cluster.ask(database, "UPDATE busy SET i = -i; ALTER TABLE busy SET (autovacuum_vacuum_cost_delay = 50,"
                     " autovacuum_vacuum_threshold = 1, autovacuum_vacuum_cost_limit = 1)")  # fmt: skip
    host.cluster.ask("postgres", "ALTER SYSTEM SET autovacuum_naptime = 1")
    host.cluster.ask("postgres", "SELECT pg_reload_conf()")
    try:
        worker = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'autovacuum worker'"
        deadline = time.monotonic() + 60
        while host.cluster.ask("postgres", f"{worker} AND query LIKE '%busy%'") == "0":
            assert time.monotonic() < deadline, "no autovacuum came"
            time.sleep(0.2)
        with session(host, ROLE, "SELECT pg_sleep(120)") as held:
            done = host.run("restore-database.ps1", "-Into", database, "-Overwrite", database, "-From", path)
            assert done.returncode == GOOD, done.stderr
            assert held.wait(10) != 0
    finally:
        host.cluster.ask("postgres", "ALTER SYSTEM RESET autovacuum_naptime")
        host.cluster.ask("postgres", "SELECT pg_reload_conf()")
    assert fingerprint(host.cluster, database) == wanted
    (old,) = (name for name in host.cluster.databases() if name.startswith(f"{database}_before_"))
    assert f"is now the database {old}:" in done.stderr
    assert host.cluster.ask(old, "SELECT count(*) FROM busy WHERE i < 0") == "300000"
    assert f"database {old}: kept by -Overwrite" in host.run("restore-database.ps1", "-List").stdout


def test_a_name_as_long_as_may_be_is_swapped_and_a_longer_one_refused(host: Host):
    path = dumped(host)
    long = "d" + "é" * 31
    host.cluster.new_database(long)
    done = host.run("restore-database.ps1", "-Into", long, "-Overwrite", long, "-From", path)
    assert done.returncode == GOOD, done.stderr
    assert len([name for name in host.cluster.databases() if "_before_" in name]) == 1
    done = host.run("restore-database.ps1", "-Into", f"{long}x")
    assert done.returncode == USAGE and "63 bytes" in done.stderr


def test_a_database_that_a_killed_restore_has_begun_is_listed_whatever_its_name(host: Host):
    planted = host.place / "slow.sql.gz"
    planted.write_bytes(gzip.compress(b"SELECT pg_sleep(300);\n-- PostgreSQL database dump complete\n"))
    argv = host.argv("restore-database.ps1", "-Into", 'l\'été "1"', "-From", str(planted))
    at_work = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(300)%' AND pid <> pg_backend_pid()"
    with subprocess.Popen(argv, start_new_session=True, stderr=subprocess.DEVNULL) as restoring:
        _until(host, at_work, "1")
        assert 'database l\'été "1": of a restore that is at work' in host.run("restore-database.ps1", "-List").stdout
        os.killpg(restoring.pid, signal.SIGKILL)
    host.cluster.ask("postgres", at_work.replace("count(*)", "count(pg_terminate_backend(pid))"))
    _until(host, at_work, "0")
    listed = host.run("restore-database.ps1", "-List").stdout
    assert 'database l\'été "1": left by a restore that was cut off; DROP DATABASE "l\'été ""1""" takes' in listed


def _until(host: Host, sql: str, answer: str) -> None:
    deadline = time.monotonic() + 60
    while host.cluster.ask("postgres", sql) != answer:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_failure_beside_the_live_database_leaves_it_alone(host: Host):
    database = host.settings.postgres_database
    before, wanted = host.cluster.databases(), fingerprint(host.cluster, database)
    planted = host.place / "broken.sql.gz"
    planted.write_bytes(gzip.compress(b"CREATE TABLE x (i int);\nSELECT 1/0;\n-- PostgreSQL database dump complete\n"))
    done = host.run("restore-database.ps1", "-Into", database, "-Overwrite", database, "-From", str(planted))
    assert done.returncode == FAILED
    assert host.cluster.databases() == before and fingerprint(host.cluster, database) == wanted


def test_text_comes_back_byte_by_byte(host: Host):
    """What Windows writes has carriage returns; what looks like SQL in quotes is none."""
    database = host.settings.postgres_database
    host.cluster.ask(database, f"""
        CREATE FUNCTION lines() RETURNS text LANGUAGE sql AS $a$SELECT $$one\r\ntwo\rthree$$ || 'x;'$a$;
        CREATE TABLE "odd ""name"";" (a text DEFAULT E'back\\\\slash''\r\n', b text DEFAULT '$$ /* --');
        INSERT INTO "odd ""name"";" VALUES (E'\\\\.\r\n', '\\restrict x');
        COMMENT ON TABLE "odd ""name"";" IS 'first
ALTER TABLE x OWNER TO nobody;
COPY x FROM stdin;
\\restrict abc';
        ALTER TABLE "odd ""name"";" OWNER TO {ROLE}; ALTER FUNCTION lines() OWNER TO {ROLE};""")  # fmt: skip
    path = dumped(host)
    for into, also in (("there", []), ("there2", ["-NoOwner"])):
        done = host.run("restore-database.ps1", "-Into", into, "-From", path, *also)
        assert done.returncode == GOOD, done.stderr
        asked = ("SELECT md5(prosrc) FROM pg_proc WHERE proname = 'lines' UNION ALL SELECT md5(t::text) FROM"
                 " \"odd \"\"name\"\";\" t UNION ALL SELECT md5(obj_description('\"odd \"\"name\"\";\"'::regclass))"
                 " UNION ALL SELECT md5(pg_get_expr(adbin, adrelid)) FROM pg_attrdef"
                 " WHERE adrelid = '\"odd \"\"name\"\";\"'::regclass ORDER BY 1")  # fmt: skip
        assert host.cluster.ask(into, asked) == host.cluster.ask(database, asked)
