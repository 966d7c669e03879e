"""What a restore test calls good and what it calls bad: no false word either way, and each difference by its name."""

from __future__ import annotations

import gzip
import json
import re

import pytest

from .cluster import ROLE
from .host import Host
from .test_restore_test import tamper, verdict

PARTITIONS = """
    CREATE TABLE services (id int PRIMARY KEY);
    CREATE TABLE visits (id int, service int REFERENCES services, day date NOT NULL, PRIMARY KEY (id, day))
        PARTITION BY RANGE (day);
    CREATE TABLE visits_2025 PARTITION OF visits FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
    CREATE TABLE visits_2026 PARTITION OF visits FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    CREATE TABLE bills (visit int, day date, FOREIGN KEY (visit, day) REFERENCES visits);
    ALTER TABLE visits ADD CONSTRAINT visits_service_again FOREIGN KEY (service) REFERENCES services;
    CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TRIGGER each_visit BEFORE INSERT ON visits FOR EACH ROW EXECUTE FUNCTION nothing();
"""
HARMLESS = {
    "foreign keys and triggers of partitions": PARTITIONS,
    "a time zone of the database": """
        ALTER DATABASE {db} SET timezone = 'Asia/Tokyo'; ALTER DATABASE {db} SET datestyle = 'German';
        SET timezone = 'Asia/Tokyo';
        CREATE TABLE t (at timestamptz CHECK (at > '2020-01-01 00:00'));""",
    "an interval's style of the role": """
        ALTER ROLE medaction IN DATABASE {db} SET intervalstyle = 'iso_8601';
        ALTER DATABASE {db} SET bytea_output = 'escape'; ALTER DATABASE {db} SET extra_float_digits = 0;
        CREATE TABLE t (long interval DEFAULT '1 day 02:00' CHECK (long < '90 days'),
                        raw bytea DEFAULT '\\x00ff', weight float8 DEFAULT 0.1 CHECK (weight < 1e-7));""",
    "inherited columns in another order": """
        CREATE TABLE parent (a int); CREATE TABLE child (b int) INHERITS (parent);
        ALTER TABLE parent ADD c text DEFAULT 'x'; ALTER TABLE child ADD d int CHECK (d > 0);""",
    "types and texts that are printed anew": """
        CREATE DOMAIN code AS varchar(4) CHECK (VALUE IN ('a', 'b')); CREATE TYPE state AS ENUM ('z', 'a');
        CREATE TABLE t (c code, s state[] DEFAULT '{{z}}', n name, f char(3) DEFAULT 'x' CHECK (f IN ('x', 'y')),
            CHECK (NOT (c = 'a' AND (s IS NULL OR f BETWEEN 'a' AND 'c'))), g text GENERATED ALWAYS AS (f || c) STORED);
        CREATE VIEW v AS SELECT c, count(*) FILTER (WHERE f = ANY (ARRAY['x', 'y']))
            FROM t GROUP BY c HAVING max(f) > 'a';
        CREATE MATERIALIZED VIEW m AS SELECT * FROM t WITH NO DATA;
        CREATE TYPE span AS RANGE (subtype = float8); CREATE STATISTICS st ON c, f FROM t;
        CREATE FUNCTION twice(i int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT (i * (2)); END;
        CREATE AGGREGATE total(int) (sfunc = int4pl, stype = int, initcond = '0');
        CREATE RULE keep AS ON DELETE TO t WHERE old.c IN ('a', 'b') DO INSTEAD NOTHING;""",
}  # fmt: skip


@pytest.mark.parametrize("sql", HARMLESS.values(), ids=HARMLESS.keys())
def test_what_a_restore_writes_otherwise_is_no_difference(host: Host, sql: str) -> None:
    host.cluster.psql(host.database, "--command", sql.format(db=host.database), user=ROLE)
    host.good_backup()
    done = host.restore_test()
    assert done.returncode == 0, done.stderr


# In the order of the letters' numbers the check is broken, and a row is in the wrong partition.
SORTED = f"""
    CREATE TABLE t (a text, b text, CHECK (a < b)); INSERT INTO t VALUES ('été', 'zut'), ('a', 'B');
    CREATE TABLE names (n text) PARTITION BY RANGE (n);
    CREATE TABLE a_m PARTITION OF names FOR VALUES FROM ('a') TO ('m');
    CREATE TABLE m_z PARTITION OF names FOR VALUES FROM ('m') TO (MAXVALUE); INSERT INTO names VALUES ('été'), ('Zut');
    ALTER TABLE t OWNER TO {ROLE}; ALTER TABLE names OWNER TO {ROLE}; ALTER TABLE a_m OWNER TO {ROLE};
    ALTER TABLE m_z OWNER TO {ROLE};
"""


@pytest.mark.fault
def test_database_is_tested_in_its_own_order_of_letters(host: Host) -> None:
    if host.cluster.major < 15:
        pytest.skip("a database of ICU's order came with PostgreSQL 15")
    icu = "LC_COLLATE 'C' LC_CTYPE 'C.UTF-8' LOCALE_PROVIDER icu ICU_LOCALE 'fr-FR'"
    host.cluster.ask("postgres", f"CREATE DATABASE french TEMPLATE template0 OWNER {ROLE} ENCODING 'UTF8' {icu}")
    try:
        host.cluster.ask("french", SORTED)
        host.configure(postgres_database="french")
        dump = host.good_backup()
        done = host.restore_test()
        assert done.returncode == 0 and verdict(host)["verdict"] == "ok", done.stderr
        path = dump.with_name(f"{dump.name}.json")
        manifest = json.loads(path.read_text())
        manifest["properties"] |= {"provider": "c", "collate": "xx_XX.UTF-8"}
        path.write_text(json.dumps(manifest))
        lacking = host.restore_test()
        assert lacking.returncode == 1 and verdict(host)["verdict"] == "not made", lacking.stderr
        assert "install that locale" in lacking.stderr
    finally:
        host.cluster.drop_database("french")


OBJECTS = """
    CREATE TABLE t (a int, b text COLLATE "C");
    CREATE VIEW v AS SELECT a FROM t;
    CREATE POLICY own ON t FOR SELECT USING (a > 0);
    CREATE SEQUENCE numbers INCREMENT 7;
    CREATE STATISTICS st ON a, b FROM t;
    CREATE DOMAIN code AS text CHECK (VALUE <> '');
    CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
    COMMENT ON COLUMN t.b IS 'why';
    GRANT SELECT ON t TO PUBLIC;
    ALTER TABLE t SET (fillfactor = 70);
"""
DAMAGE = [
    ("fillfactor='70'", "fillfactor='71'", "table public.t: differs"),
    ('b text COLLATE pg_catalog."C"', "b text", "column public.t.b: differs"),
    ("INCREMENT BY 7", "INCREMENT BY 8", "sequence public.numbers: differs"),
    ("CREATE POLICY own ON public.t FOR SELECT USING ((a > 0));", "", "policy own of public.t: missing"),
    ("CREATE STATISTICS public.st ON a, b FROM public.t;", "", "statistics public.st: missing"),
    ("BEGIN RETURN 1; END", "BEGIN RETURN (1); END", "function public.f(): differs"),
    ("COMMENT ON COLUMN public.t.b IS 'why'", "", "comment on table column public.t.b: missing"),
    ("GRANT SELECT ON TABLE public.t TO PUBLIC;", "", "table public.t: differs"),
    ("CREATE DOMAIN", "CREATE TABLE public.more ();\nCREATE DOMAIN", "table public.more: was not dumped"),
]


@pytest.mark.fault
@pytest.mark.parametrize(("old", "new", "said"), DAMAGE, ids=[said for *_, said in DAMAGE])
def test_damage_of_any_object_is_named(host: Host, old: str, new: str, said: str) -> None:
    host.cluster.psql(host.database, "--command", OBJECTS, user=ROLE)
    dump = host.good_backup()
    sql = gzip.decompress(dump.read_bytes())
    gone = f"ALTER STATISTICS public.st OWNER TO {ROLE};".encode() if "CREATE STATISTICS" in old else b""
    assert old.encode() in sql
    tamper(host, lambda text: text.replace(old.encode(), new.encode(), 1).replace(gone, b"") if gone else
           text.replace(old.encode(), new.encode(), 1))  # fmt: skip
    done = host.restore_test()
    assert done.returncode == 1 and said in verdict(host)["differences"], done.stderr


RARE = """
    CREATE TABLE t (a int, b text COMPRESSION pglz); ALTER TABLE t ALTER b SET STATISTICS 77;
    ALTER TABLE t SET (toast.autovacuum_enabled = false);
    CREATE INDEX spoken ON t ((lower(b))); ALTER INDEX spoken ALTER COLUMN 1 SET STATISTICS 40;
    CREATE TYPE pair AS (x int); CREATE TABLE typed OF pair;
    CREATE STATISTICS st ON a, b FROM t; ALTER STATISTICS st SET STATISTICS 500;
    CREATE CONVERSION latin FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
    CREATE OPERATOR CLASS backwards FOR TYPE text USING btree AS OPERATOR 1 >, OPERATOR 2 >=, OPERATOR 3 =,
        OPERATOR 4 <=, OPERATOR 5 <, FUNCTION 1 bttextcmp(text, text);
    CREATE EXTENSION postgres_fdw; CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw;
    CREATE USER MAPPING FOR PUBLIC SERVER far;
    CREATE ACCESS METHOD heap2 TYPE TABLE HANDLER heap_tableam_handler; CREATE TABLE slow (i int) USING heap2;
    SELECT lo_create(4711); GRANT SELECT ON LARGE OBJECT 4711 TO PUBLIC; COMMENT ON LARGE OBJECT 4711 IS 'scan';
    CREATE PUBLICATION chosen FOR TABLE t (b) WHERE (b > 'a');
"""
# What is taken out of the dump, and the object that is then told of.
RARE_DAMAGE = {
    r"ALTER TABLE ONLY public\.t ALTER COLUMN b SET STATISTICS 77;": "column public.t.b: differs",
    r"WITH \(toast\.autovacuum_enabled='false'\)": "table public.t: differs",
    r"ALTER INDEX public\.spoken ALTER COLUMN 1 SET STATISTICS 40;": "index public.spoken: differs",
    r"(?<=public\.typed) OF public\.pair(?=;)": "table public.typed",
    r"ALTER STATISTICS public\.st SET STATISTICS 500;": "statistics public.st: differs",
    r"CREATE CONVERSION [^;]*;\s+ALTER CONVERSION [^;]*;": "conversion public.latin: missing",
    r"(?<=OPERATOR 1 >\(text,text\) ,\n    OPERATOR 2 >=\(text,text\)) ,\n    OPERATOR 3 =\(text,text\)":
        "operator class public.backwards for btree: differs",
    r"CREATE USER MAPPING [^;]*;": "user mapping of far for public: missing",
    r"SET default_table_access_method = heap2;": "table public.slow: differs",
    r"GRANT SELECT ON LARGE OBJECT 4711 TO PUBLIC;": "large objects: differs",
    r"(?<=ADD TABLE ONLY public\.t) \(b\) WHERE \(\(b > 'a'::text\)\)": "publication chosen: differs",
}  # fmt: skip


@pytest.mark.fault
def test_damage_of_what_few_databases_have_is_named(host: Host) -> None:
    if host.cluster.major < 15:
        pytest.skip("publications of some rows and columns came with PostgreSQL 15")
    host.cluster.psql(host.database, "--command", RARE)
    host.cluster.ask("postgres", f"GRANT pg_read_all_data TO {ROLE}")
    try:
        host.good_backup()
        assert host.restore_test().returncode == 0, verdict(host)

        def change(content: bytes) -> bytes:
            sql = content.decode()
            for pattern in RARE_DAMAGE:
                sql, times = re.subn(pattern, "" if "typed" not in pattern else " (x integer)", sql)
                assert times == 1, pattern
            return sql.encode()

        tamper(host, change)
        assert host.restore_test().returncode == 1
        told = verdict(host)["differences"]
        assert not [said for said in RARE_DAMAGE.values() if said not in told], told
    finally:
        host.cluster.ask("postgres", f"REVOKE pg_read_all_data FROM {ROLE}")


def test_many_tables_with_indexes_are_counted_with_few_locks(host: Host) -> None:
    """pg_dump locks the tables alone: what counts them must not need more room than that."""
    host.cluster.ask("postgres", "ALTER SYSTEM SET max_locks_per_transaction = 10")
    host.cluster.restart()
    try:
        host.cluster.ask(
            host.database,
            "DO $$ BEGIN FOR i IN 1..300 LOOP EXECUTE format('CREATE TABLE many%s (a int PRIMARY KEY, b int UNIQUE,"
            " c int UNIQUE, d int UNIQUE, e int UNIQUE, f int UNIQUE, g int UNIQUE)', i);"
            " IF i % 10 = 0 THEN COMMIT; END IF; END LOOP; END $$",
        )
        host.cluster.ask(host.database, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {ROLE}")
        host.good_backup()
        assert len(host.manifest()["content"]["tables"]) == 305
        assert host.manifest()["content"]["uncounted"] == []
    finally:
        host.cluster.ask("postgres", "ALTER SYSTEM RESET max_locks_per_transaction")
        host.cluster.restart()


@pytest.mark.fault
def test_counting_that_fails_keeps_nobody_from_a_dump(host: Host) -> None:
    host.shim("pg_dump", 'exec "${real[@]}" "$@"')  # the session's psql is the one beside it
    host.shim("psql", 'exec "${real[@]}" "$@" < <(sed -u "s/^COPY .* TO STDOUT/COPY nowhere TO STDOUT/")')
    done = host.backup()
    assert done.returncode == 0, done.stderr
    assert "not counted" in done.stderr and "public.patients" in done.stderr
    content = host.manifest()["content"]
    assert content["tables"] == {} and len(content["uncounted"]) == 5 and "table public.patients" in content["objects"]
    host.unshim()
    assert host.restore_test().returncode == 0


def test_timeouts_of_the_role_do_not_end_a_dump(host: Host) -> None:
    names = ["statement_timeout", "idle_in_transaction_session_timeout", "lock_timeout"]
    if host.cluster.major >= 17:
        names.append("transaction_timeout")
    host.shim("igzip", 'sleep 2; exec "${real[@]}" "$@"')
    try:
        for name in names:
            host.cluster.ask("postgres", f"ALTER ROLE {ROLE} SET {name} = '1s'")
        host.good_backup()
    finally:
        host.cluster.ask("postgres", f"ALTER ROLE {ROLE} RESET ALL")


def test_manifest_of_version_1_0_0_is_still_compared(host: Host) -> None:
    dump = host.good_backup()
    path = dump.with_name(f"{dump.name}.json")
    manifest = json.loads(path.read_text())
    del manifest["content"]["objects"], manifest["content"]["uncounted"]
    manifest["content"]["schema_sha256"] = "0" * 64
    path.write_text(json.dumps(manifest, indent=2))
    assert host.restore_test().returncode == 0
    manifest["content"]["tables"]["public.patients"] = 3
    path.write_text(json.dumps(manifest, indent=2))
    done = host.restore_test()
    assert done.returncode == 1 and "public.patients: 3 rows dumped, 20000 restored" in done.stderr
