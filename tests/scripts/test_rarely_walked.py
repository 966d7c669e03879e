"""Rarely walked paths of the backup scripts, each found broken once."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import time
from datetime import datetime
from pathlib import Path

import pytest

from .cluster import ROLE
from .host import Host, until
from .sealing import MARKER, encrypt_to, key_pair, made, readable_to_the_user
from .test_metrics import given_metrics, printed, value
from .test_notify import look, noted, notifying, told  # noqa: F401
from .test_ping import Switch, pinged, run, switch  # noqa: F401
from .test_restore_elsewhere import administrator
from .test_retention import NOON, at
from .unprivileged import AS_ROOT, USER, give_to_user


def bare(host: Host) -> str:
    """A database of one table without an index: its rows are the last that a dump holds."""
    name = host.cluster.new_database(template="template0")
    host.cluster.ask(name, f"CREATE TABLE marked (t text); INSERT INTO marked VALUES ('{MARKER}');"
                     "ALTER TABLE marked OWNER TO medaction")  # fmt: skip
    return name


def test_no_row_lies_in_plain_while_an_encrypted_dump_is_made_or_restored(sealed: Host, identity: Path) -> None:
    name = bare(sealed)
    encrypt_to(sealed, Path(sealed.settings.backup_recipients_file).read_text().strip(), postgres_database=name)
    found = sealed.directory / "state/found"
    look_there = f'grep -rlas "{MARKER}" {sealed.backups} >>{found}; exec "${{real[@]}}" "$@"'
    sealed.shim("sync", look_there)
    made(sealed)
    assert found.exists() and found.read_text() == ""
    temporary = sealed.directory / "state/tmp"
    temporary.mkdir()
    give_to_user(temporary)
    sealed.unshim()
    sealed.shim("psql", f'grep -rlas "{MARKER}" {temporary} >>{found}; exec "${{real[@]}}" "$@"')
    target = sealed.cluster.new_database(template="template0")
    done = sealed.restore("--into", target, "--identity", str(readable_to_the_user(identity, sealed)),
                          TMPDIR=str(temporary))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sealed.cluster.ask(target, "SELECT t FROM marked") == MARKER
    assert found.read_text() == ""


@pytest.mark.parametrize("dumps", ["host", "sealed"])
def test_suspect_weekly_dump_takes_no_daily_one_of_the_same_second_away(
    dumps: str, request: pytest.FixtureRequest
) -> None:
    host: Host = request.getfixturevalue(dumps)

    def lie_there() -> set[Path]:
        return {path for path in host.backups.glob("medaction_2*") if path.name.endswith((".sql.gz", ".sql.gz.age"))}

    host.cluster.ask(host.database, "CREATE TABLE many AS SELECT generate_series(1, 1000) n", user=ROLE)
    assert host.backup(before=at(NOON)).returncode == 0
    (daily,) = lie_there()
    kept = {path.name: path.read_bytes() for path in host.backups.glob(f"{daily.name}*")}
    host.cluster.ask(host.database, "TRUNCATE many")
    moment = datetime.strptime(daily.name[10:29], "%Y-%m-%d_%H-%M-%S")
    done = host.backup("--tier", "weekly", before=at(moment))
    assert "suspect" in done.stderr
    assert {path.name: path.read_bytes() for path in host.backups.glob(f"{daily.name}*")} == kept
    assert done.returncode == 0, done.stderr
    # The suspect one lies beside it, whole, under the next name.
    (suspect,) = lie_there() - {daily}
    assert list(host.backups.glob("weekly/medaction_2*")) == []
    told = json.loads(Path(f"{suspect}.json").read_text())
    encrypted = {each["name"] for each in told.get("encrypted", [])}
    assert encrypted <= {path.name for path in host.backups.glob(f"{suspect.name}*")}
    assert bool(encrypted) == (dumps == "sealed")


def test_accepted_dump_is_the_newest_also_where_the_one_before_has_another_ending(host: Host, identity: Path) -> None:
    host.cluster.ask(host.database, "CREATE TABLE many AS SELECT generate_series(1, 1000) n", user=ROLE)
    plain = host.good_backup()
    encrypt_to(host, key_pair(identity))
    host.cluster.ask(host.database, "TRUNCATE many")
    done = host.backup(before=("faketime", "-f", "+60s"))
    assert "suspect" in done.stderr
    sealed = next(path for path in host.backups.glob("medaction_2*.sql.gz.age"))
    later = ("faketime", "-f", "+120s")
    assert host.backup("--accept", sealed.name, before=later).returncode == 0
    done = host.restore("--into", "not_made", "--identity", str(readable_to_the_user(identity, host)), before=later)
    assert f"{sealed}: the newest good one" in done.stderr or f"{sealed}: there is none of" in done.stderr, done.stderr
    host.cluster.ask("postgres", "DROP DATABASE IF EXISTS not_made")
    assert plain.exists()


def test_loss_of_thousands_of_tables_is_a_suspect_dump_and_not_none(host: Host) -> None:
    def each(statement: str) -> None:
        for part in range(4):
            host.cluster.ask(host.database, f"""DO $$BEGIN FOR i IN {part * 400}..{part * 400 + 399} LOOP
                EXECUTE format('{statement}', 'a_table_of_one_of_very_many_tenants_of_this_app_' || i);
                END LOOP; END$$""")  # fmt: skip

    host.cluster.ask(host.database, "CREATE SCHEMA tenants; ALTER SCHEMA tenants OWNER TO medaction")
    each("CREATE TABLE tenants.%1$I AS SELECT 1 AS i; ALTER TABLE tenants.%1$I OWNER TO medaction")
    host.good_backup()
    each("DROP TABLE tenants.%I")
    done = host.backup(before=("faketime", "-f", "+60s"))
    assert done.returncode == 0, done.stderr[-1000:]
    assert "suspect: the table tenants.a_table_of_one" in done.stderr and "more" in done.stderr
    assert len(host.dumps()) == 2
    assert "suspect" in host.backup("--check", before=("faketime", "-f", "+70s")).stdout


@pytest.mark.parametrize("arguments", [("--schema",), ("--data-only", "--schema")])
def test_schema_of_very_many_tables_is_restored_by_its_name(host: Host, arguments: tuple[str, ...]) -> None:
    """What is wanted of it is longer than an argument may be."""
    schema, table = "tenants" * 9, "a_table_of_one_of_the_tenants_of_this_app_with_a_long_"
    for part in range(3):
        host.cluster.ask(host.database, f"""CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION medaction;
            DO $$BEGIN FOR i IN {part * 400}..{part * 400 + 399} LOOP
                EXECUTE format('CREATE TABLE {schema}.%I (i int PRIMARY KEY REFERENCES {schema}.%I)', '{table}' || i,
                    '{table}' || greatest(i - 1, 0));
                EXECUTE format('ALTER TABLE {schema}.%I OWNER TO medaction', '{table}' || i);
            END LOOP; END$$""")  # fmt: skip
    host.good_backup()
    target = host.cluster.new_database(template="template0")
    done = host.restore("--into", target, "--schema", schema)
    assert done.returncode == 0, done.stderr[-1000:]
    assert host.cluster.ask(target, "SELECT count(*) FROM pg_tables WHERE schemaname LIKE 'tenants%'") == "1200"
    if arguments[0] == "--data-only":
        done = host.restore("--into", target, "--overwrite", target, *arguments, schema)
        assert done.returncode == 0, done.stderr[-1000:]


@pytest.mark.parametrize("beside", [".accepted.json", ".globals.gz", ".properties.json"])
def test_what_lies_beside_a_dump_in_plain_goes_only_where_the_encrypted_one_has_it(
    host: Host, identity: Path, beside: str
) -> None:
    """The encrypted one was made without it; what was brought back in plain has it."""
    dump = host.good_backup()
    before = {path: path.read_bytes() for path in host.backups.glob(f"{dump.name}*")}
    accepted = dump.with_name(f"{dump.name}.accepted.json")
    before[accepted] = b'{"by": "a person"}\n'
    lacking = dump.with_name(f"{dump.name}{beside}")
    lacking.unlink(missing_ok=True)
    encrypt_to(host, key_pair(identity))
    assert host.backup("--encrypt-stored").returncode == 0
    for path, content in before.items():
        path.write_bytes(content)
        give_to_user(path)
    done = host.backup("--encrypt-stored")
    if beside == ".accepted.json":
        assert done.returncode == 0, done.stderr
        assert dump.with_name(f"{dump.name}.age{beside}").read_bytes() == before[lacking]
    else:
        assert done.returncode == 3 and f"{dump} stays in plain" in done.stderr and lacking.name in done.stderr
        assert {path: path.read_bytes() for path in before} == before


@pytest.mark.skipif(not AS_ROOT, reason="only root can leave a file of root's there")
def test_lock_that_root_has_left_there_keeps_nothing_from_being_encrypted(host: Host, identity: Path) -> None:
    host.good_backup()
    encrypt_to(host, key_pair(identity))
    lock = host.backups / ".lock"
    os.chown(lock, 0, 0)
    lock.chmod(0o600)
    done = host.backup("--encrypt-stored")
    assert done.returncode == 0, done.stderr


def test_encrypted_dump_without_its_manifest_is_told_as_that(host: Host, identity: Path) -> None:
    dump = host.good_backup()
    before = {path: path.read_bytes() for path in host.backups.glob(f"{dump.name}*")}
    encrypt_to(host, key_pair(identity))
    assert host.backup("--encrypt-stored").returncode == 0
    for path, content in before.items():
        path.write_bytes(content)
        give_to_user(path)
    dump.with_name(f"{dump.name}.age.json").unlink()
    done = host.backup("--encrypt-stored")
    assert done.returncode == 3 and dump.exists()
    assert "is another dump" not in done.stderr, done.stderr


def test_manifest_beside_a_dump_that_lies_behind_a_link_stays(host: Host) -> None:
    """Somebody has moved a dump to another disk, which is away just now."""
    dump = host.good_backup(before=("faketime", "-f", "-1d"))
    elsewhere = host.directory / "elsewhere"
    elsewhere.mkdir()
    dump.rename(elsewhere / dump.name)
    dump.symlink_to(elsewhere / dump.name)
    elsewhere.rename(host.directory / "away")
    beside = {path.name for path in host.backups.glob(f"{dump.name}?*")}
    assert len(beside) == 3
    host.good_backup()
    assert {path.name for path in host.backups.glob(f"{dump.name}?*")} == beside


def test_notes_of_somebody_keep_no_dump_from_being_a_yearly_one(host: Host) -> None:
    host.configure(backup_yearly_retention_days=4000)
    for tier in ("monthly", "yearly"):
        directory = host.backups / tier
        directory.mkdir()
        give_to_user(directory)
        notes = directory / f"medaction_{datetime.now():%Y-%m}-notes.txt"
        notes.write_text("")
        give_to_user(notes)
    host.good_backup()
    assert len(host.dumps("monthly")) == len(host.dumps("yearly")) == 1


def test_accepted_dump_is_told_to_prometheus_as_good(host: Host) -> None:
    given_metrics(host, host.directory)
    host.cluster.ask(host.database, "CREATE TABLE many AS SELECT generate_series(1, 1000) n", user=ROLE)
    host.good_backup()
    host.cluster.ask(host.database, "TRUNCATE many")
    assert host.backup(before=("faketime", "-f", "+60s")).returncode == 0
    assert value(printed(host), "backup_newest_suspect", tier="daily") == 1
    assert host.backup("--accept", host.dumps()[-1]).returncode == 0
    assert value(printed(host), "backup_newest_suspect", tier="daily") == 0


def test_database_of_very_many_objects_is_told_to_prometheus(host: Host) -> None:
    given_metrics(host, host.directory)
    dump = host.good_backup()
    manifest = dump.with_name(f"{dump.name}.json")
    told = json.loads(manifest.read_text())
    told["content"]["objects"].update({f"column a_table_of_a_tenant.{i}": "0123456789ab" for i in range(50000)})
    manifest.write_text(json.dumps(told))
    assert manifest.stat().st_size > 2_000_000
    assert value(printed(host), "backup_newest_bytes", tier="daily") == dump.stat().st_size


def test_clock_that_was_ahead_once_silences_nobody(notifying: Host) -> None:  # noqa: F811
    look(notifying)
    noted(notifying, 1).write_text(f"CRITICAL {int(time.time()) + 400 * 86400}\n")
    look(notifying)
    assert told(notifying) == ["CRITICAL"] * 2


def test_what_a_hook_leaves_running_keeps_no_end_from_being_told(pinged: Host, switch: Switch) -> None:  # noqa: F811
    begun = pinged.popen("../../programs/ping.sh", "daily", "sh", "-c", "echo begun >&2; sleep 60 & exit 1")
    until(lambda: len(switch.paths) == 2, "its end is told", seconds=40)
    assert switch.paths == ["medaction-daily/start", "medaction-daily/fail"] and switch.told[-1][1] == "begun\n"
    assert begun.wait(timeout=10) == 1


def test_name_with_a_line_break_is_backed_up_with_all(host: Host) -> None:
    name = "two\nlines"
    host.configure(backup_databases="all")
    host.cluster.ask("postgres", f'CREATE DATABASE "{name}" TEMPLATE template0')
    try:
        done = host.backup()
        assert done.returncode == 0, done.stderr
        assert list(host.backups.glob("medaction-two%0alines_*.sql.gz"))
    finally:
        host.cluster.ask("postgres", f'DROP DATABASE "{name}"')


def test_very_many_warnings_keep_no_dump_from_being_made(host: Host) -> None:
    host.shim(
        "pg_dump",
        """[[ $* != *--snapshot* ]] || printf 'pg_dump: warning: %06000d\\n' {1..40} >&2
        exec "${real[@]}" "$@" """,
    )
    done = host.backup()
    assert done.returncode == 0, done.stderr[-600:]


def test_what_waits_for_a_backup_ends_at_once_when_it_is_stopped(host: Host, identity: Path) -> None:
    host.good_backup()
    encrypt_to(host, key_pair(identity))
    holder = os.open(host.backups / ".lock", os.O_RDWR)
    try:
        subprocess.run(["flock", str(holder)], pass_fds=(holder,), check=True)
        waits = host.popen("backup-database.sh", "--encrypt-stored")
        until(lambda: [line for line in host.processes() if "flock 9" in line], "it waits")
        waits.terminate()
        assert waits.wait(timeout=20) == 143
        until(lambda: not host.processes(), "nothing is left over")
    finally:
        os.close(holder)


@pytest.mark.skipif(not AS_ROOT, reason="only root can mount a disk of three megabytes")
def test_disk_that_is_full_while_a_dump_is_opened_is_told_as_that(sealed: Host, identity: Path) -> None:
    dump = made(sealed)
    elsewhere = sealed.directory / "elsewhere"
    elsewhere.mkdir()
    for path in sealed.backups.glob(f"{dump.name}*"):
        path.rename(elsewhere / path.name)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=1m,mode=0700,uid={USER.pw_uid}", "tmpfs", sealed.backups],
                   check=True)  # fmt: skip
    sealed.shim("df", "echo Avail; echo 1000000000000")
    try:
        done = sealed.restore("--into", "not_made", "--from", str(elsewhere / dump.name), "--identity",
                              str(readable_to_the_user(identity, sealed)))  # fmt: skip
    finally:
        subprocess.run(["umount", sealed.backups], check=True)
    assert done.returncode == 1
    assert "make room on the disk of" in done.stderr and "name a key" not in done.stderr, done.stderr


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


def test_what_was_opened_while_the_clock_was_ahead_is_swept(sealed: Host) -> None:
    left = sealed.backups / ".open.aaaaaa"
    left.mkdir(mode=0o700)
    (left / "medaction.sql.gz").write_text("rows")
    give_to_user(left), give_to_user(left / "medaction.sql.gz")
    os.utime(left, (time.time() + 400 * 86400,) * 2)
    made(sealed)
    assert not left.exists()


def test_encrypted_dump_is_restored_and_made_where_no_directory_can_be_locked(host: Host, identity: Path) -> None:
    """flock(2): over NFS what is locked must be open for writing, and a directory never is."""
    dump = host.good_backup()
    encrypt_to(host, key_pair(identity))
    host.shim(
        "flock",
        """for file in "$@" "/proc/$$/fd/${!#}"; do
        [[ ! -d $file ]] || { echo "flock: $file: Bad file descriptor" >&2; exit 65; }
    done
    exec "${real[@]}" "$@" """,
    )
    said = host.backup("--encrypt-stored").stderr
    assert "Bad file" not in said and "is encrypted" in said, said
    target = host.cluster.new_database(template="template0")
    done = host.restore("--into", target, "--identity", str(readable_to_the_user(identity, host)))
    assert done.returncode == 0, done.stderr
    assert not dump.exists()
