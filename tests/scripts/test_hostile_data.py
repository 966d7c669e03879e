"""What others have written, in the database or beside the dumps, is data: nothing of it is run or written down."""

from __future__ import annotations

import gzip
import json
import os
import pty
import re
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.rules.dumps import COMMANDS

from .cluster import ROLE
from .host import Host
from .test_retention import at
from .unprivileged import give_to_user

COMMAND = "PATH[$(touch {})]"


def planted(host: Host) -> Path:
    return host.directory / "state/was-run"


@pytest.mark.fault
@pytest.mark.parametrize("key", ["database_bytes", "bytes"])
def test_a_command_in_a_manifest_is_not_run(host: Host, key: str) -> None:
    dump = host.good_backup()
    manifest = dump.with_name(f"{dump.name}.json")
    command = json.dumps(COMMAND.format(planted(host)))
    manifest.write_text(re.sub(rf'"{key}": \d+', lambda _: f'"{key}": {command}', manifest.read_text()))
    assert host.backup().returncode == 0
    host.restore("--into", host.cluster.new_database(template="template0"), "--from", str(dump))
    host.restore_test("--from", str(dump))
    assert not planted(host).exists()


@pytest.mark.fault
def test_a_command_in_place_of_any_number_of_ours_is_not_run(host: Host) -> None:
    """Every number in every file that the scripts keep, and then all that reads them."""
    dump = host.good_backup()
    assert host.restore_test().returncode == 0
    command, number = json.dumps(COMMAND.format(planted(host))), re.compile(r"(?<=: )-?\d+(?=,?$)", re.MULTILINE)
    files = [*host.backups.glob("*.json"), *Path(host.settings.backup_state_dir).glob("*.json")]
    replaced = {path.name: number.subn(lambda _: command, path.read_text()) for path in files}
    for path in files:
        path.write_text(replaced[path.name][0])
    assert {f"{dump.name}.json", f"{dump.name}.restore-test.json", "status.json"} <= {
        name for name, (_, count) in replaced.items() if count
    }
    for ask in (["--check"], ["--verify"], ["--overdue"], []):
        host.backup(*ask)
    host.restore("--list")
    host.restore("--into", host.cluster.new_database(template="template0"), "--from", str(dump))
    host.restore_test("--from", str(dump))
    assert not planted(host).exists()


SHADOWS = {
    "the databases and their size": "CREATE VIEW mine.pg_database AS SELECT 'none'::name AS datname,"
    " true AS datallowconn, false AS datistemplate; CREATE FUNCTION mine.pg_database_size(name) RETURNS text"
    " LANGUAGE sql AS $$SELECT '{command}'$$",
    "the tables": "CREATE VIEW mine.pg_class AS SELECT * FROM pg_catalog.pg_class WHERE false;"
    " CREATE VIEW mine.pg_namespace AS SELECT * FROM pg_catalog.pg_namespace WHERE false",
    "functions": "CREATE FUNCTION mine.current_setting(text) RETURNS text LANGUAGE sql AS $$SELECT '{command}'$$;"
    " CREATE FUNCTION mine.count(int) RETURNS text LANGUAGE sql AS $$SELECT '{command}'$$",
    "an operator": "CREATE FUNCTION mine.never(name, name) RETURNS boolean LANGUAGE sql AS 'SELECT false';"
    " CREATE OPERATOR mine.= (LEFTARG = name, RIGHTARG = name, FUNCTION = mine.never)",
}
PATHS = {"role": "ROLE {role}", "database": "DATABASE {database}", "both": "ROLE {role} IN DATABASE {database}"}


@pytest.mark.fault
@pytest.mark.parametrize(
    ("shadow", "path"),
    [("the databases and their size", "role"), ("the tables", "database"), ("functions", "both"),
     ("an operator", "role")],
)  # fmt: skip
def test_what_the_apps_role_puts_before_the_systems_names_is_not_asked(host: Host, shadow: str, path: str) -> None:
    """As that role: names of its own, first in the search path that it sets for itself."""
    host.cluster.ask(
        host.database,
        f"CREATE SCHEMA mine AUTHORIZATION {ROLE}; " + SHADOWS[shadow].format(command=COMMAND.format(planted(host))),
    )
    other = host.cluster.new_database()
    whose = PATHS[path].format(role=ROLE, database=host.database)
    host.cluster.ask("postgres", f"ALTER {whose} SET search_path = mine, pg_catalog, public")
    try:
        host.configure(backup_databases="all")
        done = host.backup()
        assert done.returncode == 0, done.stderr
        dumped = {json.loads(path.read_text())["database"] for path in host.backups.glob("*[0-9].sql.gz.json")}
        assert {host.database, other, "postgres"} <= dumped
        told = [json.loads(path.read_text()) for path in host.backups.glob("*.json")]
        (manifest,) = [each for each in told if each.get("database") == host.database]
        assert manifest["content"]["tables"]["public.patients"] > 0
        assert not planted(host).exists()
    finally:
        host.cluster.ask("postgres", f"ALTER {whose} RESET search_path")


@pytest.mark.fault
@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE ONLY public.patients ADD CONSTRAINT hostile CHECK (length(nom) < 0);",
        "CREATE UNIQUE INDEX hostile ON public.patients ((1), (left(nom, 0)));",
        "ALTER TABLE public.patients ALTER COLUMN nom TYPE integer USING nom::integer;",
        "SELECT nom::date FROM public.patients;",
    ],
    ids=["a failing row", "a duplicate key", "a value of another type", "a value that is no date"],
)
def test_no_row_is_written_down_when_a_restore_fails(host: Host, sql: str) -> None:
    host.cluster.ask(host.database, "UPDATE patients SET nom = 'SECRETNAME'")
    dump = host.good_backup()
    end = b"\n-- PostgreSQL database dump complete"
    content = gzip.decompress(dump.read_bytes()).replace(end, b"\n" + sql.encode() + end)
    hostile = host.backups / "hostile.sql.gz"
    hostile.write_bytes(gzip.compress(content))
    give_to_user(hostile)
    done = host.restore("--into", host.cluster.new_database(template="template0"), "--from", str(hostile))
    assert done.returncode == 1 and "ERROR" in done.stderr
    told = host.told.read_text() if host.told.exists() else ""
    assert "ERROR" in host.log.read_text()
    assert "SECRETNAME" not in done.stdout + done.stderr + told + host.log.read_text()


# What a check's function does with the name of each row, away from the database that is dumped.
FUNCTIONS = {
    "raises": "RAISE EXCEPTION 'bad name %', t USING DETAIL = t, HINT = t, CONSTRAINT = t, TABLE = t;",
    "raises as a table that is missing": """RAISE 'relation "%" does not exist', t USING ERRCODE = '42P01';""",
    "raises as a role that is missing": """RAISE 'role "%" does not exist', t USING ERRCODE = '42704';""",
    "raises as a full disk": "RAISE 'could not extend file %: No space left on device', t USING ERRCODE = '53100';",
    "raises as a lost connection": "RAISE 'server closed the connection unexpectedly %', t USING ERRCODE = '08006';",
    "raises in lines that look like others": r"""
        RAISE E'x\npsql:<stdin>:5: ERROR:  42501: %\npg_restore: error: %\nLOCATION:  aclcheck_error, aclchk.c:1',
            t, t USING DETAIL = 'LOCATION:  aclcheck_error, aclchk.c:1' USING ERRCODE = '42501';
    """.replace("' USING ERRCODE", "', ERRCODE"),
    "warns first": r"""
        RAISE WARNING E'%\npsql:<stdin>:5: ERROR:  42501: %\npg_restore: error: %', t, t, t; RAISE 'bad %', t;
    """,
    "asks a table of that name": "EXECUTE format('SELECT FROM %I', t);",
    "gives it to a role of that name": "EXECUTE format('ALTER SCHEMA public OWNER TO %I', t);",
    "makes a number of it": "PERFORM t::integer;",
    "makes a number that is too large": "PERFORM (t || '99999999999')::integer;",
}
FORMS = {
    "plain": {}, "custom": {"backup_format": "custom"},
    "directory": {"backup_format": "directory", "backup_parallel_jobs": 2},
}  # fmt: skip
SECRET = "7501175011"  # a number, for the functions that make one of it


def dump_that_fails(host: Host, functions: dict[str, str]) -> Path:
    """In a database of each name what it tells; where it is dumped, all is well."""
    told = "\n".join(f"IF current_database() = '{name}' THEN {text} END IF;" for name, text in functions.items())
    host.cluster.ask(
        host.database,
        f"""CREATE FUNCTION valid(t text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN {told} RETURN true; END $$;
        ALTER FUNCTION valid OWNER TO {ROLE}; UPDATE patients SET nom = '{SECRET}';
        ALTER TABLE patients ADD CONSTRAINT patients_valid CHECK (public.valid(nom))""",
    )
    return host.good_backup()


def written_down(host: Host) -> str:
    files = [path for path in [host.log, host.told, *Path(host.settings.backup_state_dir).rglob("*")] if path.is_file()]
    files += host.backups.glob("*.json")
    return "".join(path.read_text(encoding="utf-8", errors="replace") for path in files)


@pytest.mark.fault
@pytest.mark.parametrize("form", FORMS)
def test_no_row_that_a_function_of_the_dump_tells_is_written_down(host: Host, form: str) -> None:
    host.configure(**FORMS[form])
    dump_that_fails(host, FUNCTIONS)
    for name in FUNCTIONS:
        done = host.restore("--into", host.cluster.new_database(name, template="template0"))
        host.cluster.drop_database(name)
        assert done.returncode == 1 and f"the restore into {name} failed: " in done.stderr, done.stderr
        assert SECRET not in done.stdout + done.stderr + written_down(host), done.stderr


@pytest.mark.fault
@pytest.mark.parametrize("form", FORMS)
def test_no_row_is_in_the_verdict_of_a_restore_test(host: Host, form: str) -> None:
    host.configure(**FORMS[form])
    dump_that_fails(host, {"restore_test_of_medaction": FUNCTIONS["raises"]})
    done = host.restore_test()
    assert done.returncode == 1, done.stderr
    (verdict,) = host.backups.glob("*.restore-test.json")
    assert json.loads(verdict.read_text())["verdict"] == "failed"
    assert SECRET not in done.stdout + done.stderr + written_down(host), done.stderr


# What a damaged dump says of its rows.
STATEMENTS = {
    "a word where the syntax is wrong": "INSERT INTO public.patients VALUES (SECRETNAME SECRETNAME, 1);",
    "a word for a column": "INSERT INTO public.patients VALUES (SECRETNAME, 1);",
    "a word for a table": "INSERT INTO public.patients VALUES (SECRETNAME.nom, 1);",
    "a word for a function": "INSERT INTO public.patients VALUES (SECRETNAME(1));",
    "a word for a type": "INSERT INTO public.patients VALUES (1::SECRETNAME);",
    "a word for a schema": "INSERT INTO public.patients VALUES (SECRETNAME.of(1));",
    "a row for a statement": "SECRETNAME\t1\t\\N",
    "an open quote": "INSERT INTO public.patients VALUES ('SECRETNAME, 1);",
    "a number that is too large": "SELECT 'SECRETNAME'::text, 'x'::text, '7501175011SECRETNAME'::integer;",
    "a code": "DO $$ BEGIN RAISE 'permission denied for SECRETNAME' USING ERRCODE = '42501'; END $$;",
}


@pytest.mark.fault
@pytest.mark.parametrize("statement", STATEMENTS)
def test_no_word_of_a_damaged_dump_is_written_down(host: Host, statement: str) -> None:
    dump = host.good_backup()
    end = b"\n-- PostgreSQL database dump complete"
    content = gzip.decompress(dump.read_bytes()).replace(end, b"\n" + STATEMENTS[statement].encode() + end)
    damaged = host.backups / "damaged.sql.gz"
    damaged.write_bytes(gzip.compress(content))
    give_to_user(damaged)
    done = host.restore("--into", host.cluster.new_database(template="template0"), "--from", str(damaged))
    assert done.returncode == 1 and "the restore into" in done.stderr, done.stderr
    assert "secretname" not in (done.stdout + done.stderr + written_down(host)).lower(), done.stderr


@pytest.mark.fault
def test_a_dump_tells_psql_nothing(host: Host) -> None:
    """Restored whole, and without its owners, which takes another way."""
    host.good_backup()
    hostile, refused = host.backups / "hostile.sql.gz", {}
    for number, command in enumerate(COMMANDS):
        text = f"{command.format(planted(host))}\n\n-- PostgreSQL database dump complete\n"
        hostile.write_bytes(gzip.compress(text.encode()))
        give_to_user(hostile)
        target = host.cluster.new_database(template="template0")
        way = ["--no-owner"] if number % 2 else []
        done = host.restore("--into", target, "--from", str(hostile), *way)
        assert not planted(host).exists(), command
        refused[command] = done.returncode if "the restore into" in done.stderr else done.stderr
        host.cluster.drop_database(target)
    assert refused == dict.fromkeys(COMMANDS, 1)


def test_a_row_that_looks_like_a_command_comes_back(host: Host) -> None:
    """A row is passed on whatever it begins with; in a dump a carriage return is written as backslash and r."""
    host.cluster.ask(
        host.database, "CREATE TABLE odd (t text); INSERT INTO odd VALUES (E'\\restrict A'), ('\\! id')", ROLE
    )
    host.good_backup()
    target = host.cluster.new_database(template="template0")
    done = host.restore("--into", target)
    assert done.returncode == 0, done.stderr
    both = [host.cluster.ask(name, "SELECT md5(string_agg(t, ',' ORDER BY t)) FROM odd") for name in
            (host.database, target)]  # fmt: skip
    assert both[0] == both[1]


@pytest.mark.fault
@pytest.mark.parametrize(
    "stamp", ["2026-11-24_24-00-00", "2026-06-31_02-00-00", "2025-02-29_02-00-00", "2026-13-01_02-00-00"]
)
def test_a_name_with_a_time_that_no_clock_shows_is_somebody_elses(host: Host, stamp: str) -> None:
    days = [datetime(2026, 10, 20, 1) + timedelta(days=day) for day in range(41)]
    host.plant(*(f"{day:%Y-%m-%d_%H-%M-%S}" for day in days), stamp)
    assert host.backup(before=at(datetime(2026, 11, 30, 2))).returncode == 0
    kept = host.dumps()
    assert f"medaction_{stamp}.sql.gz" in kept
    planted = [f"medaction_{day:%Y-%m-%d_%H-%M-%S}.sql.gz" for day in days]
    assert [name in kept for name in planted] == [day > datetime(2026, 10, 31, 2) for day in days]


@pytest.mark.fault
def test_no_escape_sequence_reaches_the_terminal(host: Host) -> None:
    name = "m\033]0;owned\007\u009b2J"
    done = host.restore("--into", name, "--from", f"/nowhere/{name}")
    said = done.stdout + done.stderr + host.log.read_text()
    assert done.returncode == 2 and not re.search("[\0-\x08\x0b-\x1f\x7f-\x9f]", said)
    assert "owned" in host.log.read_text()


@pytest.mark.fault
def test_what_runs_as_the_backup_user_has_no_terminal_of_roots(host: Host) -> None:
    """With one it could type into it (TIOCSTI), whatever the kernel allows today."""
    if os.geteuid():
        pytest.skip("needs root")
    host.good_backup()
    host.shim("du", 'ps -o tty= -p $$ >> "@state@"; exec "${real[@]}" "$@"'.replace(
        "@state@", str(host.directory / "state/tty")))  # fmt: skip
    (host.directory / "state/tty").write_text("")
    give_to_user(host.directory / "state/tty")
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(host.app_dir)
        os.execve("./scripts/restore-database.sh", ["restore-database.sh", "--list"], host.environment)
    while True:
        try:
            if not os.read(terminal, 4096):
                break
        except OSError:
            break
    os.waitpid(pid, 0)
    ttys = set((host.directory / "state/tty").read_text().split())
    assert ttys == {"?"}
