"""Restores as people do them: on another server, with roles gone, with objects of many owners, in part."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from provision.settings.project import PROJECT

from .cluster import ROLE, bin_dir, fingerprint
from .host import Host, until
from .sealing import MARKER
from .test_restore import databases, may_create  # noqa: F401
from .test_restore_test import verdict
from .unprivileged import give_to_user

OWNERS = f"""
    CREATE ROLE reporting; CREATE ROLE "Lecteurs";
    GRANT pg_read_all_data TO {ROLE};
"""
MEMBERS = f"""
    CREATE ROLE "Chef 2"; GRANT "Chef 2" TO reporting;
    GRANT reporting TO "Lecteurs" WITH ADMIN OPTION; GRANT reporting TO {ROLE};
    ALTER ROLE reporting CREATEDB; ALTER ROLE reporting SET DateStyle = ISO;
"""
OBJECTS = """
    CREATE SCHEMA reports AUTHORIZATION reporting;
    CREATE TABLE reports.monthly (id serial PRIMARY KEY, at timestamptz DEFAULT now());
    INSERT INTO reports.monthly DEFAULT VALUES;
    ALTER TABLE reports.monthly OWNER TO reporting; ALTER SEQUENCE reports.monthly_id_seq OWNER TO reporting;
    GRANT SELECT ON reports.monthly TO "Lecteurs";
    CREATE VIEW public.last AS SELECT max(at) FROM reports.monthly; ALTER VIEW public.last OWNER TO reporting;
    CREATE FUNCTION public.one() RETURNS int LANGUAGE plpgsql AS $$
    BEGIN
    ALTER TABLE nothing OWNER TO nobody;
    RETURN 1; END $$;
    ALTER FUNCTION public.one() OWNER TO reporting;
"""


@pytest.fixture
def owners(host: Host) -> Iterator[Host]:
    host.cluster.ask("postgres", OWNERS)
    host.cluster.ask(host.database, OBJECTS)
    yield host
    for name in databases(host):
        if name not in ("postgres", "template0", "template1", "sample"):
            host.cluster.drop_database(name)
    host.cluster.ask(
        "postgres", f'REVOKE pg_read_all_data FROM {ROLE}; DROP ROLE IF EXISTS reporting, "Lecteurs", "Chef 2"'
    )


def administrator(host: Host) -> str:
    return f"postgresql://postgres@/postgres?host={host.cluster.directory}&port={host.cluster.port}"


def objects(host: Host, database: str) -> str:
    """Who owns what, and who may do what with it."""
    return host.cluster.ask(
        database,
        "SELECT relname, relowner::regrole, coalesce(relacl, acldefault('r', relowner))::text"
        " FROM pg_class WHERE relnamespace::regnamespace::text IN ('public', 'reports') UNION ALL"
        " SELECT proname, proowner::regrole, coalesce(proacl, acldefault('f', proowner))::text"
        " FROM pg_proc WHERE proname = 'one' UNION ALL"
        " SELECT nspname, nspowner::regrole, coalesce(nspacl, acldefault('n', nspowner))::text"
        " FROM pg_namespace WHERE nspname IN ('public', 'reports') ORDER BY 1",
    )


def leftover_roles(host: Host) -> str:
    return host.cluster.ask("postgres", "SELECT rolname FROM pg_roles WHERE rolname LIKE 'medaction\\_restore%'")


@pytest.mark.parametrize("form", ["plain", "custom"])
def test_objects_of_many_owners_come_back_through_an_administrator(owners: Host, form: str) -> None:
    host = owners
    host.configure(backup_format=form)
    assert host.backup().returncode == 0
    refused = host.restore("--into", "neuve")
    assert refused.returncode == 2 and "reporting" in refused.stderr and "--as-administrator" in refused.stderr
    assert "neuve" not in databases(host), "nothing was made"
    done = host.restore("--into", "neuve", "--as-administrator", administrator(host))
    assert done.returncode == 0, done.stderr
    assert fingerprint(host.cluster, "neuve") == fingerprint(host.cluster, host.database)
    assert objects(host, "neuve") == objects(host, host.database)
    assert leftover_roles(host) == ""
    assert host.cluster.ask("neuve", "SELECT has_schema_privilege('reporting', 'public', 'CREATE')") == "f"


def test_roles_that_are_gone_are_made_again(owners: Host) -> None:
    host = owners
    host.cluster.ask("postgres", MEMBERS)
    host.good_backup()
    was = objects(host, host.database)
    members = "SELECT roleid::regrole, member::regrole, admin_option FROM pg_auth_members"
    members += " WHERE roleid = 'reporting'::regrole ORDER BY 1, 2"
    had = host.cluster.ask("postgres", members)
    wanted = fingerprint(host.cluster, host.database)
    host.cluster.drop_database(host.database)
    host.cluster.ask("postgres", 'DROP ROLE reporting, "Lecteurs"')
    refused = host.restore("--into", host.database, "--as-administrator", administrator(host))
    assert refused.returncode == 2 and "reporting" in refused.stderr and "--with-roles" in refused.stderr
    done = host.restore("--into", host.database, "--as-administrator", administrator(host), "--with-roles")
    assert done.returncode == 0, done.stderr
    assert (objects(host, host.database), fingerprint(host.cluster, host.database)) == (was, wanted)
    assert host.cluster.ask("postgres", members) == had and had.count("reporting") == 2
    for more in ("reporting: CREATEDB", "reporting: the setting", "reporting: member of Chef 2"):
        assert more in done.stderr, done.stderr
    assert host.cluster.ask("postgres", "SELECT rolcreatedb FROM pg_roles WHERE rolname = 'reporting'") == "f"


def test_without_owners_all_belongs_to_the_role_that_restores(owners: Host, may_create: Host) -> None:  # noqa: F811
    host = owners
    host.good_backup()
    wanted = fingerprint(host.cluster, host.database)
    done = host.restore("--into", "neuve", "--no-owner")
    assert done.returncode == 0, done.stderr
    assert fingerprint(host.cluster, "neuve") == wanted
    body = host.cluster.ask("neuve", "SELECT prosrc FROM pg_proc WHERE proname = 'one'")
    assert "ALTER TABLE nothing OWNER TO nobody" in body
    theirs = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname IN ('public', 'reports')"
    assert host.cluster.ask("neuve", theirs) == ROLE


def test_tables_of_a_superuser_are_named_and_loaded_without_his_rights(owners: Host) -> None:
    host = owners
    host.cluster.ask(host.database, "CREATE TABLE ours (id int); CREATE TABLE theirs AS SELECT 1 AS id")
    host.good_backup()
    refused = host.restore("--into", "neuve")
    assert refused.returncode == 2 and "postgres" in refused.stderr
    done = host.restore("--into", "neuve", "--as-administrator", administrator(host))
    assert done.returncode == 0, done.stderr
    assert "belonged to the superuser postgres" in done.stderr
    assert host.cluster.ask("neuve", "SELECT tableowner FROM pg_tables WHERE tablename = 'theirs'") == ROLE


def test_hostile_dump_executes_nothing_as_administrator(owners: Host) -> None:
    """What a dump's owner has planted runs as a role that is no superuser, and psql's own commands not at all."""
    host = owners
    host.cluster.ask(
        host.database,
        "CREATE TABLE seen (who text, super text);"
        f"ALTER TABLE seen OWNER TO {ROLE}; CREATE FUNCTION spy(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$"
        " BEGIN IF current_setting('is_superuser') = 'on' THEN RAISE EXCEPTION 'ran as a superuser'; END IF;"
        " RETURN i; END $$;"
        f"ALTER FUNCTION spy OWNER TO {ROLE}; SET ROLE {ROLE}; CREATE TABLE trap (i int CHECK (public.spy(i) = i));"
        " CREATE INDEX ON trap (public.spy(i)); INSERT INTO trap VALUES (1);",
    )
    dump = host.good_backup()
    done = host.restore("--into", "neuve", "--as-administrator", administrator(host))
    assert done.returncode == 0, done.stderr
    assert host.cluster.ask("neuve", "SELECT count(*) FROM trap") == "1"
    planted = gzip.decompress(dump.read_bytes()).replace(b"\nCREATE VIEW", b"\n\\! touch planted\nCREATE VIEW", 1)
    dump.write_bytes(gzip.compress(planted))
    dump.with_name(f"{dump.name}.json").unlink()
    refused = host.restore("--into", "other", "--from", str(dump), "--as-administrator", administrator(host))
    assert refused.returncode == 1 and "psql's own" in refused.stderr, refused.stderr
    assert "other" not in databases(host) and not list(host.directory.rglob("planted")) and leftover_roles(host) == ""


def test_dump_of_a_newer_server_is_tried_and_what_that_means_is_said(host: Host, may_create: Host) -> None:  # noqa: F811
    dump = host.good_backup()
    manifest = dump.with_name(f"{dump.name}.json")
    newer = "is of PostgreSQL 99, and this server is"
    for setting, code in (("", 0), ("SET nights_timeout = 0;", 1)):
        text = gzip.decompress(dump.read_bytes()).replace(b"\nSET ", f"\n{setting}\nSET ".encode(), 1)
        dump.write_bytes(gzip.compress(text))
        said = json.loads(manifest.read_text()) | {"server_version": "99.1", "bytes": dump.stat().st_size}
        manifest.write_text(json.dumps(said | {"sha256": hashlib.sha256(dump.read_bytes()).hexdigest()}))
        done = host.restore("--into", "newer")
        assert done.returncode == code and newer in done.stderr, done.stderr
        host.cluster.drop_database("newer")
    assert '"nights_timeout" (42704): restore it on a server of PostgreSQL 99 or newer' in done.stderr, done.stderr


def test_password_of_an_administrator_is_never_an_argument(host: Host) -> None:
    done = host.restore("--into", "neuve", "--as-administrator", "postgresql://postgres:secret@127.0.0.1/")
    assert done.returncode == 2 and "PGPASSWORD" in done.stderr and "secret" not in done.stderr


@pytest.mark.fault
@pytest.mark.parametrize(
    "way", ["postgres", "dba", "pg_execute_server_program"], ids=["superuser", "member of one", "as good as one"]
)
def test_no_owner_that_a_manifest_names_makes_a_superuser_of_the_load(host: Host, may_create: Host, way: str) -> None:  # noqa: F811
    """Whoever holds the backup host writes the dump and its manifest; an administrator restores it."""
    cluster, mine, dump = host.cluster, host.database, host.good_backup()
    rise = f"DO $$BEGIN SET ROLE {way}; ALTER ROLE {ROLE} SUPERUSER; RESET ROLE; END$$;"
    planted = gzip.decompress(dump.read_bytes()).replace(b"\nCREATE VIEW", f"\n{rise}\n\nCREATE VIEW".encode(), 1)
    dump.write_bytes(gzip.compress(planted))
    manifest = dump.with_name(f"{dump.name}.json")
    said = json.loads(manifest.read_text())
    said |= {"sha256": hashlib.sha256(dump.read_bytes()).hexdigest(), "bytes": dump.stat().st_size}
    said["needs"]["owners"].append(way)
    manifest.write_text(json.dumps(said))
    cluster.drop_database(mine)
    cluster.ask("postgres", "CREATE ROLE dba; GRANT postgres TO dba")
    try:
        done = host.restore("--into", mine, "--as-administrator", administrator(host))
        assert done.returncode == 1 and f"{way}, who owns something in the dump" in done.stderr, done.stderr
        assert cluster.ask("postgres", f"SELECT rolsuper FROM pg_roles WHERE rolname = '{ROLE}'") == "f"
        assert leftover_roles(host) == "" and mine not in databases(host)
        done = host.restore("--into", mine, "--as-administrator", administrator(host), "--no-owner")
        assert done.returncode == 1 and "for code of the dump" in done.stderr and "(42501)" in done.stderr, done.stderr
        assert cluster.ask("postgres", f"SELECT rolsuper FROM pg_roles WHERE rolname = '{ROLE}'") == "f"
    finally:
        cluster.ask("postgres", f"DROP ROLE dba; ALTER ROLE {ROLE} NOSUPERUSER")


SPACED = f"""
    CREATE TABLE kept (id int PRIMARY KEY USING INDEX TABLESPACE "my disk") TABLESPACE "my disk";
    INSERT INTO kept VALUES (1); ALTER TABLE kept OWNER TO {ROLE};
"""


@pytest.mark.fault
def test_tables_of_a_tablespace_come_back_where_there_is_none(host: Host, may_create: Host) -> None:  # noqa: F811
    cluster, place, mine = host.cluster, host.directory / "disk", host.database
    place.mkdir(mode=0o700)
    give_to_user(place)
    cluster.ask("postgres", f"CREATE TABLESPACE \"my disk\" LOCATION '{place}'")
    where = "SELECT coalesce(spcname, '-') FROM pg_class c LEFT JOIN pg_tablespace t ON t.oid = reltablespace"
    where += " WHERE relname LIKE 'kept%' ORDER BY relname"
    try:
        cluster.ask(mine, SPACED)
        host.configure(backup_format="custom", backup_include_globals=False)
        assert host.backup().returncode == 0
        tested = host.restore_test()
        assert tested.returncode == 0 and "lacks the tablespaces my disk" in tested.stderr, tested.stderr
        host.configure(backup_format="plain", backup_include_globals=True)
        host.good_backup()
        done = host.restore("--into", "neuve", "--as-administrator", administrator(host))
        assert done.returncode == 0 and cluster.ask("neuve", where).splitlines() == ["my disk"] * 2, done.stderr
        cluster.drop_databases(["neuve", mine])
        cluster.ask("postgres", 'DROP TABLESPACE "my disk"')
        done = host.restore("--into", mine)
        assert done.returncode == 0 and "lacks the tablespaces my disk" in done.stderr, done.stderr
        assert cluster.ask(mine, where).splitlines() == ["-", "-"] and cluster.ask(mine, "TABLE kept") == "1"
    finally:
        cluster.drop_databases(["neuve", mine])
        cluster.ask("postgres", 'DROP TABLESPACE IF EXISTS "my disk"')


@pytest.mark.parametrize("form", ["plain", "custom"])
def test_part_of_a_dump_is_restored(host: Host, form: str) -> None:
    host.configure(backup_format=form)
    assert host.backup().returncode == 0
    target = host.cluster.new_database(template="template0")
    for name in ("pg_trgm", "citext"):
        host.cluster.ask(target, f"CREATE EXTENSION {name}")
    done = host.restore("--into", target, "--table", "patients", "--table", "public.vide")
    assert done.returncode == 0, done.stderr
    assert host.cluster.ask(target, "SELECT count(*) FROM patients") == "20000"
    assert host.cluster.ask(target, "SELECT nextval('patients_id_seq')") == "20001"
    assert host.cluster.ask(target, "SELECT count(*) FROM pg_indexes WHERE tablename = 'patients'") == "2"
    assert host.cluster.ask(target, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == "2"
    host.cluster.ask(target, "TRUNCATE patients")
    done = host.restore("--into", target, "--overwrite", target, "--table", "patients", "--data-only")
    assert done.returncode == 0, done.stderr
    assert host.cluster.ask(target, "SELECT count(*) FROM patients") == "20000"


@pytest.mark.fault
def test_databases_whose_names_fold_together_stay_apart(host: Host, may_create: Host) -> None:  # noqa: F811
    upper = host.database.upper()
    host.cluster.new_database(upper)
    try:
        host.cluster.ask(upper, "DELETE FROM scans")
        host.good_backup()
        done = host.restore("--into", upper, "--overwrite", upper)
        assert done.returncode == 2 and "--from" in done.stderr, done.stderr
        host.configure(backup_databases=[host.database, upper])
        assert host.backup().returncode == 0
        wanted = fingerprint(host.cluster, upper)
        done = host.restore("--into", upper, "--overwrite", upper)
        assert done.returncode == 0 and f"newest good one of {upper}" in done.stderr, done.stderr
        assert fingerprint(host.cluster, upper) == wanted
    finally:
        for name in databases(host):
            if name.startswith(upper):
                host.cluster.drop_database(name)


EMPTY = ["SELECT 1", "DROP SCHEMA public", "CREATE EXTENSION pg_trgm", "SELECT lo_unlink(lo_create(0))",
         "ALTER SCHEMA public RENAME TO x; ALTER SCHEMA x RENAME TO public", "COMMENT ON SCHEMA public IS 'here'",
         "CREATE TABLE t (); DROP TABLE t", "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC"]  # fmt: skip
HELD = ["CREATE SCHEMA mine", "ALTER SCHEMA public RENAME TO mine", "CREATE TYPE t AS ENUM ()", "CREATE TYPE t",
        "CREATE DOMAIN d AS int", "SELECT lo_create(0)", "CREATE AGGREGATE a(int) (sfunc = int4pl, stype = int)",
        "CREATE TABLE pg_catalog.hidden ()", "CREATE PUBLICATION p", "CREATE COLLATION c FROM \"C\"",
        "CREATE SEQUENCE s", "CREATE FOREIGN DATA WRAPPER w",
        "CREATE CONVERSION c FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8",
        "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p WITH (connect = false)",
        "CREATE OPERATOR FAMILY f USING btree", "CREATE ACCESS METHOD m TYPE INDEX HANDLER bthandler",
        "CREATE TEXT SEARCH TEMPLATE t (lexize = dsimple_lexize)",
        "CREATE EXTENSION pg_trgm; CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE EXTENSION postgres_fdw; CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw"]  # fmt: skip
TARGETS = {"bash": (PROJECT / "files/backup/lib/target.sh", r'readonly {}_sql="\n(.*?)"\n'),
           "PowerShell": (PROJECT / "files/windows/lib/target.ps1", r"\${}Sql = @'\n(.*?)\n'@")}  # fmt: skip


def asked_of_target(shell: str, what: str) -> str:
    path, pattern = TARGETS[shell]
    found = re.search(pattern.format(what), path.read_text(encoding="utf-8"), re.DOTALL)
    assert found, (path, what)
    return found[1]


def test_both_shells_ask_the_same_whether_a_database_is_empty() -> None:
    for bash, powershell in (("held", "Held"), ("public", "Public")):
        assert asked_of_target("bash", bash) == asked_of_target("PowerShell", powershell)


def test_what_somebody_made_is_held_and_nothing_else_is(host: Host) -> None:
    cluster, target = host.cluster, host.cluster.new_database(template="template0")
    made = [f"BEGIN;\n\\o /dev/null\n{sql};\n\\o\n{asked_of_target('bash', 'held')};\nROLLBACK;"
            for sql in EMPTY + HELD]  # fmt: skip
    script = cluster.directory / "held.sql"
    script.write_text("\n".join(["SET client_min_messages = error; SET allow_system_table_mods = on;", *made]))
    give_to_user(script)
    counts = cluster.psql(target, "--file", script).splitlines()
    held = dict(zip(EMPTY + HELD, (count != "0" for count in counts), strict=True))
    assert held == {**dict.fromkeys(EMPTY, False), **dict.fromkeys(HELD, True)}


@pytest.mark.parametrize("sql", EMPTY[1:4])
def test_database_without_anything_of_anybodys_is_filled(host: Host, sql: str) -> None:
    host.good_backup()
    target = host.cluster.new_database(template="template0")
    host.cluster.ask(target, sql)
    done = host.restore("--into", target)
    assert done.returncode == 0, done.stderr
    if "EXTENSION" not in sql:
        assert fingerprint(host.cluster, target) == fingerprint(host.cluster, host.database)
    schema = "SELECT nspowner::regrole, nspacl FROM pg_namespace WHERE nspname = 'public'"
    assert host.cluster.ask(target, schema) == host.cluster.ask(host.database, schema)


@pytest.mark.parametrize("sql", HELD[:1])
def test_database_with_anything_of_somebodys_is_not_empty(host: Host, sql: str) -> None:
    host.good_backup()
    target = host.cluster.new_database(template="template0")
    host.cluster.ask(target, sql)
    done = host.restore("--into", target)
    assert done.returncode == 2 and "holds data" in done.stderr


@pytest.mark.fault
def test_administrator_who_is_connected_is_told_of_before_the_load(host: Host, may_create: Host) -> None:  # noqa: F811
    host.good_backup()
    where = f"host={host.cluster.directory} port={host.cluster.port} user=postgres dbname={host.database}"
    session = subprocess.Popen([bin_dir() / "psql", where, "-c", "SELECT pg_sleep(60)"], stdout=subprocess.DEVNULL)
    connected = f"SELECT 1 FROM pg_stat_activity WHERE datname = '{host.database}' AND usename = 'postgres'"
    try:
        until(lambda: host.cluster.ask("postgres", connected), "the administrator is connected")
        done = host.restore("--into", host.database, "--overwrite", host.database)
        assert done.returncode == 2 and "connected" in done.stderr and "loading" not in done.stderr
        done = host.restore(
            "--into", host.database, "--overwrite", host.database, "--as-administrator", administrator(host)
        )
        assert done.returncode == 0, done.stderr
    finally:
        session.kill()
        session.wait()
    kept = [name for name in databases(host) if name.startswith(f"{host.database}_before_")]
    assert len(kept) == 1 and kept[0] in host.restore("--list").stdout


def test_verdict_says_who_can_restore_it(owners: Host) -> None:
    host = owners
    host.good_backup()
    done = host.restore_test()
    assert done.returncode == 0, done.stderr
    assert (
        "restorable by an administrator alone" in verdict(host)["message"] and "reporting" in verdict(host)["message"]
    )
    assert "administrator alone" in host.backup("--check").stdout


SPEAKS_OF_ATOMIC = """
    CREATE FUNCTION body() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN true THEN 1 ELSE 2 END; SELECT 2; END;
    CREATE FUNCTION said() RETURNS int LANGUAGE sql AS $$SELECT 1; -- once more without BEGIN ATOMIC
        SELECT 2$$;
    COMMENT ON FUNCTION body() IS 'written anew with BEGIN ATOMIC';
    CREATE TABLE patients_of_old (id int PRIMARY KEY, said text DEFAULT 'BEGIN ATOMIC');
    INSERT INTO patients_of_old VALUES (1, 'x'), (2, E'a\\\\b');
    CREATE TABLE a_note (said text); INSERT INTO a_note VALUES (E'Marqueur-Q7 Dupont\\nof two lines');
"""


@pytest.mark.parametrize("arguments", [("--no-owner",), ("--table", "patients_of_old"), ("--as-administrator",)])
def test_text_that_speaks_of_a_functions_body_is_none(host: Host, arguments: tuple[str, ...]) -> None:
    host.cluster.psql(host.database, "--command", SPEAKS_OF_ATOMIC, user=ROLE)
    host.good_backup()
    target = host.cluster.new_database(template="template0")
    if arguments == ("--as-administrator",):
        arguments = (*arguments, administrator(host))
    done = host.restore("--into", target, *arguments)
    assert MARKER not in done.stderr
    assert done.returncode == 0, done.stderr
    assert host.cluster.ask(target, "SELECT string_agg(said, ',' ORDER BY id) FROM patients_of_old") == "x,a\\b"
    if "--table" not in arguments:
        assert host.cluster.ask(target, "SELECT body() + said()") == "4"
        assert host.cluster.ask(target, "SELECT obj_description('body()'::regprocedure)").endswith("BEGIN ATOMIC")


def test_no_row_is_told_where_a_dump_has_what_it_should_not(host: Host) -> None:
    host.cluster.ask(name := host.cluster.new_database(template="template0"),
                     "CREATE TABLE a_note (said text);"
                     f"INSERT INTO a_note VALUES (E'\\n{MARKER}'), (E'{MARKER}\\nof two');"
                     "ALTER TABLE a_note OWNER TO medaction; COMMENT ON TABLE a_note IS 'BEGIN ATOMIC'")  # fmt: skip
    host.configure(postgres_database=name)
    dump = host.good_backup()
    target = host.cluster.new_database(template="template0")
    for damaged in (False, True):
        if damaged:  # a row in a statement's place
            lines = gzip.decompress(dump.read_bytes()).decode().replace("COPY public.a_note (said) FROM stdin;\n", "")
            dump.write_bytes(gzip.compress(lines.encode()))
            Path(f"{dump}.json").unlink()
        done = host.restore("--into", target, "--no-owner", "--from", str(dump))
        assert MARKER not in done.stderr + host.log.read_text(), done.stderr
        assert "killed by signal 127" not in done.stderr
        assert done.returncode == (1 if damaged else 0), done.stderr
        target = host.cluster.new_database(template="template0")
