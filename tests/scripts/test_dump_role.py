"""The role that makes the dumps: it dumps what the app's could, changes nothing, and runs no code of the app's."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import pytest

from .cluster import BACKUP_PASSWORD, BACKUP_ROLE, PASSWORD, ROLE, Cluster, fingerprint
from .host import Host

TELLTALE = """
CREATE TABLE seen (who text);
CREATE FUNCTION telltale(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$BEGIN
  RAISE WARNING 'ran as %', current_user; RETURN 1; END$$;
CREATE FUNCTION telltale_all(i int) RETURNS boolean STABLE LANGUAGE plpgsql AS $$BEGIN
  RAISE WARNING 'ran as %', current_user; RETURN true; END$$;
CREATE TABLE trap (i int, j int);
INSERT INTO trap SELECT n, n FROM generate_series(1, 2000) n;
"""
# What the owner of a table can hang on it, or put in its place; each runs when somebody's query touches the table.
TRAPS = {
    "an index on an expression": "CREATE INDEX ON trap ((telltale(1) + i))",
    "a partial index": "CREATE INDEX ON trap (i) WHERE telltale(1) = j",
    "a statistic": "CREATE STATISTICS trapped ON (telltale(1) + i), (telltale(2) + j) FROM trap; ANALYZE trap",
    "a policy": "ALTER TABLE trap ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
    " CREATE POLICY trapped ON trap USING (telltale_all(i))",
    "a view": "CREATE VIEW trapped AS SELECT telltale_all(i) FROM trap;"
    " CREATE RULE r AS ON INSERT TO trapped DO INSTEAD SELECT telltale_all(1)",
    "a materialized view": "CREATE MATERIALIZED VIEW trapped AS SELECT telltale_all(i) FROM trap",
    "a check that is not yet valid": "ALTER TABLE trap ADD CHECK (telltale(1) = i) NOT VALID",
    "a default and a generated column": "ALTER TABLE trap ADD k int DEFAULT telltale_all(1)::int,"
    " ADD g int GENERATED ALWAYS AS (telltale(1) + i) STORED",
    "a key of partitions": "CREATE TABLE parts (i int) PARTITION BY RANGE ((telltale(1) + i));"
    " CREATE TABLE part PARTITION OF parts FOR VALUES FROM (1) TO (9); INSERT INTO parts VALUES (3)",
    "settings of the database": "CREATE SCHEMA mine; CREATE FUNCTION mine.count(bigint) RETURNS bigint LANGUAGE"
    " plpgsql AS $$BEGIN RAISE WARNING 'ran as %', current_user; RETURN 0; END$$;"
    " CREATE FUNCTION mine.pg_database_size(name) RETURNS bigint LANGUAGE plpgsql AS $$BEGIN"
    " RAISE WARNING 'ran as %', current_user; RETURN 0; END$$",
}


@pytest.fixture(autouse=True)
def role(cluster: Cluster) -> Iterator[None]:
    yield
    cluster.ask("postgres", f"ALTER ROLE {BACKUP_ROLE} NOSUPERUSER")
    cluster.make_dump_role()


def ran_as(cluster: Cluster) -> set[str]:
    log = (cluster.directory / "log").read_text(encoding="utf-8", errors="replace")
    return {line.rpartition("ran as ")[2] for line in log.splitlines() if "WARNING:  ran as " in line}


def new_log(cluster: Cluster) -> None:
    (cluster.directory / "log").write_text("")


@pytest.mark.fault
@pytest.mark.parametrize("kind", TRAPS)
def test_no_code_of_the_apps_runs_as_the_role(host: Host, kind: str) -> None:
    host.cluster.ask(host.database, TELLTALE + TRAPS[kind], user=ROLE)
    host.cluster.ask(host.database, f"ALTER DATABASE {host.database} SET search_path = mine, pg_catalog, public", ROLE)
    new_log(host.cluster)
    dump = host.good_backup()
    assert host.manifest()["role"] == BACKUP_ROLE
    assert ran_as(host.cluster) <= {ROLE}  # autovacuum runs an owner's functions as that owner
    assert host.manifest()["content"]["tables"]["public.trap"] == 2000
    assert "public.trap" in gzip.decompress(dump.read_bytes()).decode()


@pytest.mark.fault
def test_a_trap_would_have_run_in_a_query(host: Host) -> None:
    """Else the tests above would show nothing."""
    host.cluster.ask(host.database, TELLTALE + TRAPS["an index on an expression"], user=ROLE)
    new_log(host.cluster)
    host.cluster.ask(host.database, "SELECT count(*) FROM ONLY public.trap", user=BACKUP_ROLE)
    assert ran_as(host.cluster) - {ROLE} == {BACKUP_ROLE}  # autovacuum, as above


def test_what_the_role_dumps_restores_as_the_apps_role(host: Host) -> None:
    """Rows that a policy hides and large objects too; and in a database that lets in only those who are named."""
    host.cluster.ask(
        host.database,
        "ALTER TABLE patients ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
        " CREATE POLICY few ON patients USING (false); SELECT lo_from_bytea(0, 'secret')",
        user=ROLE,
    )
    host.cluster.ask("postgres", f"REVOKE CONNECT ON DATABASE {host.database} FROM PUBLIC")
    host.cluster.make_dump_role()
    host.good_backup()
    assert host.manifest()["role"] == BACKUP_ROLE and host.manifest()["content"]["tables"]["public.patients"] == 20000
    target = host.cluster.new_database(template="template0")
    done = host.restore("--into", target)
    assert done.returncode == 0, done.stderr
    assert fingerprint(host.cluster, target) == fingerprint(host.cluster, host.database)


def test_it_changes_nothing(host: Host) -> None:
    for sql in ("UPDATE public.patients SET nom = ''", "CREATE TABLE public.x ()"):
        with pytest.raises(AssertionError, match=r"read-only transaction|permission denied"):
            host.cluster.ask(host.database, sql, user=BACKUP_ROLE)
    writing = ("--command=SET default_transaction_read_only = off", "--command=DELETE FROM public.patients")
    with pytest.raises(AssertionError, match="permission denied"):
        host.cluster.psql(host.database, *writing, user=BACKUP_ROLE)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (f"ALTER ROLE {BACKUP_ROLE} NOLOGIN", "is not permitted to log in"),
        (f"ALTER ROLE {BACKUP_ROLE} PASSWORD 'another'", "password authentication failed"),
        (f"REVOKE pg_read_all_data FROM {BACKUP_ROLE}", "it may not read"),
        (f"ALTER ROLE {BACKUP_ROLE} SUPERUSER", "it is a superuser"),
        (f"ALTER ROLE {BACKUP_ROLE} NOBYPASSRLS", "it lacks BYPASSRLS for 1 tables"),
        (f"ALTER ROLE {BACKUP_ROLE} RESET lo_compat_privileges", "it may not read 3 large objects"),
        (f"ALTER ROLE {BACKUP_ROLE} RENAME TO elsewhere", "password authentication failed"),
    ],
)
def test_until_it_can_the_apps_role_dumps_and_the_log_says_why(host: Host, change: str, why: str) -> None:
    host.cluster.ask(host.database, "ALTER TABLE visites ENABLE ROW LEVEL SECURITY", user=ROLE)
    host.cluster.ask("postgres", change)
    try:
        done = host.backup()
        assert done.returncode == 0, done.stderr
        assert host.manifest()["role"] == ROLE and why in host.status()["role_reason"]
        assert f"the dump is made by {ROLE}, the app's own role, and not by {BACKUP_ROLE}" in done.stderr
        assert "dump-role.sql" in done.stderr
    finally:
        if "RENAME" in change:
            host.cluster.ask("postgres", f"ALTER ROLE elsewhere RENAME TO {BACKUP_ROLE}")


def test_what_it_is_not_shown_is_dumped_by_the_apps_role(host: Host) -> None:
    host.cluster.ask(
        host.database,
        "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;"
        f" ALTER SERVER s OWNER TO {ROLE}; GRANT USAGE ON FOREIGN DATA WRAPPER w TO {ROLE}",
    )
    host.cluster.ask(host.database, "CREATE USER MAPPING FOR PUBLIC SERVER s OPTIONS (key 'hidden')", user=ROLE)
    dump = host.good_backup()
    assert host.manifest()["role"] == ROLE and "1 user mappings" in host.status()["role_reason"]
    assert "hidden" in gzip.decompress(dump.read_bytes()).decode()


@pytest.mark.parametrize("name", ["o'dd \"r\\ole$$é", "UPPER", "a:b", "-x", "$dump$"])
def test_a_role_may_have_any_name(host: Host, name: str) -> None:
    host.cluster.make_dump_role(name)
    host.cluster.make_dump_role(name)
    host.configure(postgres_backup_user=name)
    try:
        host.good_backup()
        assert host.manifest()["role"] == name
    finally:
        quoted = name.replace('"', '""')
        host.cluster.ask("postgres", f'DROP OWNED BY "{quoted}"; DROP ROLE "{quoted}"')


def test_a_role_of_somebody_elses_is_left_alone(host: Host) -> None:
    host.cluster.ask("postgres", "CREATE ROLE theirs LOGIN CREATEDB PASSWORD 'theirs'")
    before = host.cluster.ask("postgres", "SELECT rolpassword, rolcreatedb FROM pg_authid WHERE rolname = 'theirs'")
    try:
        with pytest.raises(AssertionError, match="is there already and is somebody else's"):
            host.cluster.make_dump_role("theirs")
        after = host.cluster.ask("postgres", "SELECT rolpassword, rolcreatedb FROM pg_authid WHERE rolname = 'theirs'")
        assert after == before
    finally:
        host.cluster.ask("postgres", "DROP ROLE theirs")


def test_it_can_be_the_apps_own(host: Host) -> None:
    host.configure(postgres_backup_user=ROLE)
    done = host.backup()
    assert done.returncode == 0 and "WARN" not in done.stderr
    assert host.manifest()["role"] == ROLE


def test_neither_password_is_in_the_sql_that_makes_it(host: Host) -> None:
    host.cluster.make_dump_role()
    sql = (host.cluster.directory / "dump-role.sql").read_text(encoding="utf-8")
    assert "SCRAM-SHA-256$4096:" in sql
    assert BACKUP_PASSWORD[:4] not in sql and PASSWORD[:4] not in sql


def test_the_password_file_has_both_and_is_closed(host: Host) -> None:
    file = host.directory / "pgpass"
    assert file.stat().st_mode & 0o777 == 0o600
    users = [line.split(":")[3] for line in file.read_text(encoding="utf-8").splitlines()[1:]]
    assert users == [BACKUP_ROLE, ROLE]
