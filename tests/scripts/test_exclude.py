"""`backup_exclude`: what no dump holds, and that the rest of it still restores, is tested, and raises no alarm."""

from __future__ import annotations

import gzip
import json

import pytest

from .cluster import ROLE, fingerprint
from .host import Host
from .test_restore import databases, may_create  # noqa: F401
from .test_restore_elsewhere import administrator

OBJECTS = """
    CREATE SCHEMA archive; CREATE SCHEMA "Vieux";
    CREATE TYPE archive.kind AS ENUM ('a', 'b');
    CREATE TABLE archive.old (k archive.kind, n serial); INSERT INTO archive.old VALUES ('a');
    CREATE FUNCTION archive.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
    COMMENT ON TABLE archive.old IS 'gone'; COMMENT ON FUNCTION archive.f() IS 'gone too';
    CREATE TABLE "Vieux"."Tout $ le.reste" (i int);
    CREATE TABLE audit (id serial PRIMARY KEY, at timestamptz DEFAULT now(), what text UNIQUE CHECK (what <> ''));
    INSERT INTO audit (what) SELECT 'seen ' || i FROM generate_series(1, 3000) i;
    CREATE INDEX ON audit (at); COMMENT ON COLUMN audit.what IS 'gone'; COMMENT ON INDEX audit_at_idx IS 'gone';
    COMMENT ON CONSTRAINT audit_what_check ON audit IS 'gone';
    CREATE TABLE sessions (id int PRIMARY KEY, who text);
    INSERT INTO sessions SELECT i, 'x' FROM generate_series(1, 500) i;
    CREATE TABLE events (day date NOT NULL, what text) PARTITION BY RANGE (day);
    CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
    CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    CREATE INDEX ON events (day); INSERT INTO events SELECT '2025-06-01', 'y' FROM generate_series(1, 200);
"""
ENTRIES = ["schema:archive", 'table:"Vieux"."Tout $ le.reste"', "table:public.audit", "data:public.sessions",
           "data:public.events"]  # fmt: skip


def made(host: Host, *entries: str, **settings: object) -> Host:
    host.cluster.psql(host.database, "--command", OBJECTS, user=ROLE)
    host.configure(backup_exclude=list(entries), **settings)
    return host


def tables(host: Host, database: str) -> set[str]:
    sql = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname !~ '^(pg_|information)'"
    return set(host.cluster.ask(database, sql).splitlines())


@pytest.mark.parametrize("form", ["plain", "custom", "directory"])
def test_what_is_excluded_is_in_no_dump_and_the_rest_restores(host: Host, may_create: Host, form: str) -> None:  # noqa: F811
    made(host, *ENTRIES, backup_format=form)
    assert host.backup().returncode == 0
    (manifest,) = (json.loads(path.read_text()) for path in host.backups.glob("medaction_2*[zpr].json"))
    assert manifest["left_out"] == sorted(ENTRIES) and manifest["warnings"] is None
    told = json.dumps({key: value for key, value in manifest["content"].items() if key != "left_out"})
    assert "public.audit" not in told and "archive" not in told
    assert "public.sessions" not in manifest["content"]["tables"]
    assert "public.audit_id_seq" not in manifest["sequences_before"]
    tested = host.restore_test()
    assert tested.returncode == 0, tested.stderr
    done = host.restore("--into", "neuve")
    try:
        assert done.returncode == 0, done.stderr
        for entry in ENTRIES:
            assert f"was made without {entry} (backup_exclude): that is not restored" in done.stderr
        gone = {"archive.old", '"Vieux"."Tout $ le.reste"', "public.audit"}
        assert tables(host, "neuve") == tables(host, host.database) - gone
        for name in ("sessions", "events", "events_2025"):
            assert host.cluster.ask("neuve", f"SELECT count(*) FROM {name}") == "0"
        host.cluster.ask(host.database, 'DROP SCHEMA archive CASCADE; DROP TABLE "Vieux"."Tout $ le.reste", audit;'
                                        " TRUNCATE sessions, events")  # fmt: skip
        assert fingerprint(host.cluster, "neuve") == fingerprint(host.cluster, host.database)
    finally:
        host.cluster.drop_database("neuve")


NEEDED = {
    "table:public.patients": "constraint Réclamations_patient_id_fkey",
    "data:public.patients": "constraint Réclamations_patient_id_fkey",
    'table:public."Réclamations"': "view public.ouvertes",
    "schema:public": "extension citext",
    "table:public.sessions": "function public.last_session()",
}


@pytest.mark.fault
@pytest.mark.parametrize(("entry", "by"), NEEDED.items())
def test_what_something_else_needs_stays_in_the_dump_and_that_is_told(host: Host, entry: str, by: str) -> None:
    made(host, entry)
    host.cluster.psql(host.database, "--command", "CREATE FUNCTION last_session() RETURNS sessions BEGIN ATOMIC"
                      " SELECT * FROM sessions; END", user=ROLE)  # fmt: skip
    done = host.backup()
    assert done.returncode == 0, done.stderr
    said = host.manifest()["warnings"]
    assert f"{entry} is not left out: " in said and by in said and "needs it" in said, said
    assert host.manifest()["left_out"] == [] and entry in host.status()["warnings"]
    assert host.restore_test().returncode == 0


CHAIN = """
    CREATE TABLE a (i int PRIMARY KEY); CREATE TABLE b (i int PRIMARY KEY REFERENCES a);
    CREATE TABLE c (i int PRIMARY KEY REFERENCES b); CREATE TABLE d (i int REFERENCES c);
"""


@pytest.mark.fault
def test_what_stays_keeps_what_it_needs_itself(host: Host) -> None:
    host.cluster.psql(host.database, "--command", CHAIN, user=ROLE)
    host.configure(backup_exclude=["table:public.a", "table:public.b", "table:public.d"])
    host.good_backup()
    assert host.manifest()["left_out"] == ["table:public.d"]
    host.configure(backup_exclude=[f"table:public.{name}" for name in "abcd"])
    host.good_backup()
    assert len(host.manifest()["left_out"]) == 4 and host.manifest()["warnings"] is None
    assert host.restore_test().returncode == 0


@pytest.mark.fault
@pytest.mark.parametrize("sign", ["x1e", "n", "t", "x1f"])
def test_no_name_of_a_partition_becomes_an_option_of_pg_dump(host: Host, sign: str) -> None:
    """The app names them; the backup user, who owns every dump, runs pg_dump."""
    mark = host.backups / "m"
    made(host, "data:public.events")
    name = f'U&"e\\{ {"x1e": "001E", "n": "000A", "t": "0009", "x1f": "001F"}[sign] }--file={mark}"'
    sql = f"CREATE TABLE {name} PARTITION OF events FOR VALUES FROM ('2027-01-01') TO ('2028-01-01')"
    host.cluster.psql(host.database, "--command", sql, user=ROLE)
    assert host.backup().returncode == 0 and not mark.exists()
    assert host.restore_test().returncode == 0


def test_entry_that_names_nothing_is_told(host: Host) -> None:
    host.configure(backup_exclude=["table:public.nowhere", "schema:nowhere", "table:public.vide"])
    assert host.backup().returncode == 0
    assert f"{host.database} has no schema:nowhere, table:public.nowhere" in host.manifest()["warnings"]
    assert host.manifest()["left_out"] == ["table:public.vide"]


def test_leaving_out_and_taking_back_in_is_no_loss(host: Host) -> None:
    """Most of the database is one table of logs: without it the dump is a tenth, and nobody is alarmed."""
    made(host)
    host.cluster.psql(host.database, "--command", "CREATE TABLE logs AS SELECT i, md5(i::text) AS line FROM"
                      " generate_series(1, 100000) i", user=ROLE)  # fmt: skip
    for _ in range(2):
        host.good_backup()
    for exclude in (["table:public.logs", "data:public.sessions"], ["table:public.logs"], []):
        host.configure(backup_exclude=exclude)
        done = host.backup()
        assert done.returncode == 0 and "suspect" not in done.stderr, done.stderr
        assert host.manifest()["suspect"] is None
    host.configure(backup_exclude=["table:public.logs"])
    host.cluster.ask(host.database, "TRUNCATE audit")
    assert "the table public.audit has 0 rows, it had 3000" in host.backup().stderr, "the rest is still watched"


def test_part_that_was_left_out_cannot_be_restored_from_that_dump(host: Host) -> None:
    made(host, "table:public.audit")
    host.good_backup()
    target = host.cluster.new_database(template="template0")
    for name in ("audit", "public.audit"):
        done = host.restore("--into", target, "--table", name)
        assert done.returncode == 2 and "was made without table:public.audit" in done.stderr, done.stderr


def test_many_owners_and_an_exclusion_come_back_through_an_administrator(host: Host) -> None:
    made(host, "schema:archive", "table:public.audit")
    dump = host.good_backup()
    assert b"audit" not in gzip.decompress(dump.read_bytes())
    done = host.restore("--into", "neuve", "--as-administrator", administrator(host))
    try:
        assert done.returncode == 0 and "schema:archive" in done.stderr, done.stderr
        assert "public.audit" not in tables(host, "neuve") and "public.sessions" in tables(host, "neuve")
    finally:
        host.cluster.drop_database("neuve")
