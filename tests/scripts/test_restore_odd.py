"""A database of an odd name, with what few databases have: it comes back whole, and no other is taken for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .cluster import ROLE
from .generated import name as quoted
from .host import Host
from .test_generated import everything, rows
from .test_restore import databases
from .test_restore_elsewhere import administrator, leftover_roles
from .test_restore_test import verdict
from .unprivileged import give_to_user

NAME = 'odd "db" d\'été'
ROLES = ['Ré "L" d\'été', "user", "PUBLIC", "a,b", "two\nlines %s"]
LIKE_A_DUMP = "x\n-- Name: given; Type: TABLE; Schema: public; Owner: user"
RARE = f"""
    CREATE SCHEMA {quoted(ROLES[0])} AUTHORIZATION {quoted(ROLES[0])};
    CREATE TABLE {quoted(ROLES[0])}.own (id serial PRIMARY KEY); ALTER TABLE {quoted(ROLES[0])}.own OWNER TO "PUBLIC";
    CREATE TABLE given (a int, b int); ALTER TABLE given OWNER TO {ROLE}; INSERT INTO given VALUES (1, 2);
    GRANT SELECT, UPDATE (a) ON given TO {quoted(ROLES[0])} WITH GRANT OPTION;
    SET ROLE {quoted(ROLES[0])}; GRANT SELECT ON given TO "user" WITH GRANT OPTION; GRANT UPDATE (a) ON given TO "a,b";
    SET ROLE "user"; GRANT SELECT ON given TO "PUBLIC"; RESET ROLE;
    CREATE SCHEMA "my ext"; CREATE EXTENSION pageinspect WITH SCHEMA "my ext";
    CREATE EXTENSION postgres_fdw WITH SCHEMA "my ext";
    CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'x', dbname 'y''z');
    ALTER SERVER far OWNER TO {ROLE};
    CREATE USER MAPPING FOR {ROLE} SERVER far OPTIONS (user 'u', password 'p''w');
    CREATE FOREIGN TABLE away (a int OPTIONS (column_name 'b')) SERVER far OPTIONS (table_name 'z', schema_name 'a');
    CREATE TEXT SEARCH PARSER parser (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end,
        LEXTYPES = prsd_lextype);
    CREATE TEXT SEARCH CONFIGURATION config (PARSER = parser);
    CREATE OPERATOR CLASS backwards FOR TYPE text USING btree AS OPERATOR 1 >, OPERATOR 2 >=, OPERATOR 3 =,
        OPERATOR 4 <=, OPERATOR 5 <, FUNCTION 1 bttextcmp(text, text);
    CREATE CAST (int AS xml) WITH INOUT;
    CREATE FUNCTION tight(int) RETURNS int LANGUAGE sql IMMUTABLE LEAKPROOF AS 'SELECT 1';
    CREATE SCHEMA {quoted(ROLES[4])} AUTHORIZATION {ROLE};
    CREATE TABLE {quoted(ROLES[4])}.{quoted(LIKE_A_DUMP)} (id int PRIMARY KEY, {quoted(LIKE_A_DUMP)} text);
    INSERT INTO {quoted(ROLES[4])}.{quoted(LIKE_A_DUMP)} VALUES (1, E'\\\\.\nCOPY given FROM stdin;');
    ALTER TABLE {quoted(ROLES[4])}.{quoted(LIKE_A_DUMP)} OWNER TO {quoted(ROLES[4])};
    GRANT SELECT ON {quoted(ROLES[4])}.{quoted(LIKE_A_DUMP)} TO "user" WITH GRANT OPTION;
    COMMENT ON TABLE given IS E'-- PostgreSQL database dump complete\n\\\\restrict a\n\\\\unrestrict a\n';
    CREATE FUNCTION said() RETURNS text LANGUAGE sql AS $body$ SELECT $$
ALTER TABLE given OWNER TO "user";
COMMENT ON EXTENSION pageinspect IS 'x';
\\restrict a
COPY given FROM stdin;
$$::text $body$;
    ALTER FUNCTION said() OWNER TO {quoted(ROLES[4])};
"""


@pytest.fixture
def odd(host: Host) -> Iterator[Host]:
    cluster = host.cluster
    cluster.ask("postgres", "; ".join(f"CREATE ROLE {quoted(each)}" for each in ROLES))
    cluster.ask("postgres", f"CREATE DATABASE {quoted(NAME)} TEMPLATE template0 OWNER {ROLE}")
    cluster.ask("postgres", f"GRANT pg_read_all_data TO {ROLE}")
    script = host.directory / "odd.sql"
    script.write_text(RARE, encoding="utf-8")
    give_to_user(script)
    cluster.psql(NAME, "--file", script)
    host.configure(postgres_database=NAME)
    yield host
    for each in databases(host):
        if each.startswith("odd "):
            cluster.drop_database(each)
    cluster.ask("postgres", f"REVOKE pg_read_all_data FROM {ROLE}")
    cluster.ask("postgres", "; ".join(f"DROP ROLE {quoted(each)}" for each in ROLES))


@pytest.mark.fault
def test_what_few_databases_have_comes_back_into_one_of_an_odd_name(odd: Host) -> None:
    host, cluster = odd, odd.cluster
    dump = host.good_backup().name
    tested = host.restore_test()
    assert tested.returncode == 0 and verdict(host)["verdict"] == "ok", tested.stderr
    by_administrator = ("--as-administrator", administrator(host), "--from", dump)
    wanted = everything(cluster, NAME), rows(cluster, NAME)
    twice = ("--into", NAME, "--overwrite", NAME)
    refused = host.restore(*twice, *by_administrator)
    assert refused.returncode == 2 and "operator class public.backwards" in refused.stderr, refused.stderr
    for what in (
        "foreign server far",
        "cast from integer to xml",
        "leakproof function public.tight",
        "parser public.parser",
    ):
        assert what in refused.stderr, refused.stderr
    assert (everything(cluster, NAME), rows(cluster, NAME)) == wanted, "nothing was loaded"
    done = host.restore(*twice, "--trust-dump", *by_administrator)
    assert done.returncode == 0, done.stderr
    assert (everything(cluster, NAME), rows(cluster, NAME)) == wanted
    (kept,) = [each for each in databases(host) if each.startswith(f"{NAME}_before_")]
    assert (everything(cluster, kept), rows(cluster, kept)) == wanted and leftover_roles(host) == ""
