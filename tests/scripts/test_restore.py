"""restore-database.sh, used by a person."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
from collections.abc import Iterator
from datetime import timedelta

import pytest

from .cluster import ROLE, fingerprint
from .host import Host, ended, send, until
from .test_retention import NOON, at


@pytest.fixture
def may_create(host: Host) -> Iterator[Host]:
    host.cluster.ask("postgres", f"ALTER ROLE {ROLE} CREATEDB")
    yield host
    host.cluster.ask("postgres", f"ALTER ROLE {ROLE} NOCREATEDB")


def databases(host: Host) -> list[str]:
    return host.cluster.ask("postgres", "SELECT datname FROM pg_database ORDER BY 1").splitlines()


def test_list_shows_every_tiers_dumps_with_age_and_size(host: Host) -> None:
    daily, weekly = host.good_backup(), host.good_backup("--tier", "weekly")
    done = host.restore("--list")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["TIER", "AGE", "SIZE", "RESTORED", "FILE"]
    assert [line.split()[0] for line in lines[1:]] == ["daily", "weekly", "monthly"]
    assert str(daily) in lines[1] and str(weekly) in lines[2] and "0h" in lines[1] and "MiB" in lines[1]


def test_newest_is_restored_into_an_empty_database(host: Host) -> None:
    host.good_backup()
    target = host.cluster.new_database(template="template0")
    done = host.restore("--into", target)
    assert done.returncode == 0, done.stderr
    assert fingerprint(host.cluster, target) == fingerprint(host.cluster, host.database)
    assert "100 %" in done.stderr
    assert [(each["what"], each["database"], each["result"]) for each in host.history()] == [("restore", target, "ok")]


def test_a_restore_that_fails_is_a_line_of_the_history_with_its_reason(host: Host) -> None:
    host.good_backup()
    assert host.restore("--into", host.database).returncode == 2
    (line,) = host.history()
    assert (
        line["database"] == host.database and line["result"].startswith("failed: ") and "--overwrite" in line["result"]
    )
    assert "@" in line["who"] and line["time"].endswith("Z")


def test_named_dump_is_restored(host: Host) -> None:
    first = host.good_backup()
    host.cluster.ask(host.database, 'DELETE FROM "Réclamations"')
    host.good_backup("--tier", "weekly")
    target = host.cluster.new_database(template="template0")
    done = host.restore("--into", target, "--from", first.name)
    assert done.returncode == 0, done.stderr
    assert host.cluster.ask(target, 'SELECT count(*) FROM "Réclamations"') == "30000"


def test_a_restore_stands_in_the_log_with_who_from_what_into_what_and_how_it_ended(host: Host) -> None:
    dump = host.good_backup()
    target = host.cluster.new_database(template="template0")
    assert host.restore("--into", target, SUDO_USER="ann").returncode == 0
    begun, *_, last = host.log.read_text().splitlines()
    assert begun.endswith(f"begun by ann: into {target} from the newest dump")
    assert last.endswith("restore end: exit code 0")
    assert f"{target} is restored from {dump}" in host.log.read_text()


@pytest.mark.fault
@pytest.mark.parametrize("lost", ["is missing", "is root's", "is a directory", "leads nowhere"])
def test_a_log_that_cannot_be_written_keeps_nobody_from_a_restore(host: Host, lost: str) -> None:
    host.good_backup()
    host.log.unlink()
    if lost == "is root's":
        host.log.write_text("")
        host.log.chmod(0o600)
        os.chown(host.log, 0, 0)
    elif lost == "is a directory":
        host.log.mkdir(mode=0o755)
    elif lost == "leads nowhere":
        host.log.symlink_to("/nowhere/backup.log")
    done = host.restore("--into", host.cluster.new_database(template="template0"))
    assert done.returncode == 0 and f"nothing of this restore will stand in {host.log}" in done.stderr, done.stderr


def test_missing_database_is_created_where_the_role_may(may_create: Host) -> None:
    may_create.good_backup()
    name = f'neuve {may_create.database} d\'"été"'
    done = may_create.restore("--into", name)
    assert done.returncode == 0, done.stderr
    assert fingerprint(may_create.cluster, name) == fingerprint(may_create.cluster, may_create.database)


def test_production_that_is_gone_comes_back(may_create: Host) -> None:
    host = may_create
    before = fingerprint(host.cluster, host.database)
    host.good_backup()
    host.cluster.drop_database(host.database)
    done = host.restore("--into", host.database)
    assert done.returncode == 0, done.stderr
    assert fingerprint(host.cluster, host.database) == before


def test_production_that_an_administrator_made_again_is_filled(host: Host) -> None:
    before = fingerprint(host.cluster, host.database)
    host.good_backup()
    host.cluster.drop_database(host.database)
    host.cluster.ask("postgres", f"CREATE DATABASE {host.database} OWNER {ROLE}")
    done = host.restore("--into", host.database, "--overwrite", host.database)
    assert done.returncode == 0, done.stderr
    assert fingerprint(host.cluster, host.database) == before


@pytest.mark.parametrize("form", ["plain", "custom", "directory"])
def test_extensions_that_an_administrator_made_beforehand_are_no_obstacle(host: Host, form: str) -> None:
    host.configure(backup_format=form)
    before = fingerprint(host.cluster, host.database)
    assert host.backup().returncode == 0
    host.cluster.drop_database(host.database)
    host.cluster.ask("postgres", f"CREATE DATABASE {host.database} OWNER {ROLE}")
    host.cluster.ask(host.database, "CREATE EXTENSION pg_trgm; CREATE EXTENSION citext")
    done = host.restore("--into", host.database, "--overwrite", host.database)
    assert done.returncode == 0, done.stderr
    assert fingerprint(host.cluster, host.database) == before


def test_missing_database_is_an_instruction_where_the_role_may_not(host: Host) -> None:
    host.good_backup()
    done = host.restore("--into", "neuve")
    assert done.returncode == 1
    assert "CREATEDB" in done.stderr and "neuve" not in databases(host)


@pytest.mark.fault
@pytest.mark.parametrize("aim", ["production", "empty production", "another that holds data"])
def test_live_database_is_refused_unless_named_twice(host: Host, aim: str) -> None:
    host.good_backup()
    target = host.cluster.new_database() if aim.startswith("another") else host.database
    if aim.startswith("empty"):
        host.cluster.drop_database(target)
        host.cluster.new_database(target, template="template0")
    before = fingerprint(host.cluster, target)
    done = host.restore("--into", target)
    assert done.returncode == 2 and f"--overwrite '{target}'" in done.stderr
    other = host.restore("--into", target, "--overwrite", "something-else")
    assert other.returncode == 2
    assert fingerprint(host.cluster, target) == before


def test_named_twice_the_live_database_is_replaced_and_the_old_one_kept(may_create: Host) -> None:
    host = may_create
    before = fingerprint(host.cluster, host.database)
    host.good_backup()
    host.cluster.ask(host.database, "DELETE FROM scans")
    damaged = fingerprint(host.cluster, host.database)
    done = host.restore("--into", host.database, "--overwrite", host.database)
    assert done.returncode == 0, done.stderr
    assert fingerprint(host.cluster, host.database) == before
    kept = [name for name in databases(host) if name.startswith(f"{host.database}_before_")]
    assert len(kept) == 1 and fingerprint(host.cluster, kept[0]) == damaged


@pytest.mark.fault
def test_replacing_a_database_with_the_longest_name_takes_no_other_for_it(may_create: Host) -> None:
    """PostgreSQL cuts a name off after 63 bytes: what is added to it then is lost."""
    host, name = may_create, "é" * 31 + "x"
    host.cluster.new_database(name, template="template0")
    try:
        host.good_backup()
        wanted = fingerprint(host.cluster, host.database)
        host.cluster.ask(name, "CREATE TABLE theirs (id int)")
        refused = host.restore("--into", name + "y", "--overwrite", name + "y")
        assert refused.returncode == 2 and "63 bytes" in refused.stderr
        assert host.cluster.ask(name, "SELECT count(*) FROM theirs") == "0"
        done = host.restore("--into", name, "--overwrite", name)
        assert done.returncode == 0, done.stderr
        assert fingerprint(host.cluster, name) == wanted
        assert len([each for each in databases(host) if each.startswith("é")]) == 2
    finally:
        for each in databases(host):
            if each.startswith("é"):
                host.cluster.drop_database(each)


def test_newest_dump_is_the_last_one_made_and_not_one_from_a_clock_that_was_ahead(host: Host) -> None:
    host.good_backup(before=at(NOON + timedelta(days=30)))
    made = host.good_backup(before=at(NOON))
    target = host.cluster.new_database(template="template0")
    for done in (host.restore("--into", target, before=at(NOON)), host.restore_test(before=at(NOON))):
        assert done.returncode == 0 and made.name in done.stderr, done.stderr
    host.latest.unlink()
    done = host.backup("--verify", before=at(NOON))
    assert done.returncode == 0 and made.name in done.stderr, done.stderr


@pytest.mark.fault
@pytest.mark.parametrize("fault", ["cut", "a bit flipped", "cut at a row and packed again"])
def test_damaged_dump_is_refused_before_the_first_row(host: Host, fault: str) -> None:
    dump = host.good_backup()
    content = bytearray(dump.read_bytes())
    if fault == "cut":
        del content[len(content) // 2 :]
    elif fault == "a bit flipped":
        content[len(content) // 2] ^= 1
    else:
        sql = gzip.decompress(content)
        content = gzip.compress(sql[: sql.rindex(b"\n", 0, len(sql) // 2) + 1] + b"\\.\n")
    dump.write_bytes(content)
    target = host.cluster.new_database(template="template0")
    done = host.restore("--into", target)
    assert done.returncode == 1 and "take another one" in done.stderr
    assert host.cluster.ask(target, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == "0"


@pytest.mark.fault
def test_error_in_the_sql_stops_the_restore_and_fails(host: Host) -> None:
    dump = host.good_backup()
    sql = gzip.decompress(dump.read_bytes())
    sql = sql.replace(b"CREATE VIEW", b"GRANT ALL ON public.patients TO missing_role;\nCREATE VIEW", 1)
    dump.write_bytes(gzip.compress(sql))
    dump.with_name(f"{dump.name}.json").unlink()  # its sum would tell
    target = host.cluster.new_database(template="template0")
    done = host.restore("--into", target)
    assert done.returncode == 1 and 'role "missing_role" does not exist' in done.stderr
    logged = host.log.read_text()
    assert 'role "missing_role" does not exist' in logged and logged.endswith("restore end: exit code 1\n")


def restore_that_is_half_way(host: Host, asleep: bytes = b"\nSELECT pg_sleep(60);") -> subprocess.Popen[str]:
    """One that overwrites; behind the rows the server falls asleep."""
    host.good_backup()
    dump = host.latest.resolve()
    dump.write_bytes(
        gzip.compress(gzip.decompress(dump.read_bytes()).replace(b"\nCREATE INDEX", asleep + b"\nCREATE INDEX", 1))
    )
    dump.with_name(f"{dump.name}.json").unlink()  # its sum would tell
    run = host.popen("restore-database.sh", "--into", host.database, "--overwrite", host.database)
    sleeps = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(60)%'"
    until(lambda: host.cluster.ask("postgres", sleeps), "the restore is half way")
    return run


@pytest.mark.fault
def test_stopped_restore_leaves_nothing_while_autovacuum_is_at_work_there(may_create: Host) -> None:
    host = may_create
    change_settings(host, "SET autovacuum_naptime = '1s'")
    slow = b"\nALTER TABLE public.patients SET (autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1);"
    try:
        # A session tells of its rows once a second, between two statements.
        run = restore_that_is_half_way(host, slow + b"\nSELECT pg_sleep(1.5);\nSELECT pg_sleep(60);")
        at_work = "SELECT 1 FROM pg_stat_activity WHERE backend_type = 'autovacuum worker' AND datname LIKE"
        until(lambda: host.cluster.ask("postgres", f"{at_work} '{host.database}_restored%'"), "autovacuum is at work")
        send(run, signal.SIGTERM)
        ended(run)
    finally:
        change_settings(host, "RESET autovacuum_naptime")
    assert not [name for name in databases(host) if name.startswith(f"{host.database}_restored")]


def change_settings(host: Host, change: str) -> None:
    host.cluster.ask("postgres", f"ALTER SYSTEM {change}")
    host.cluster.ask("postgres", "SELECT pg_reload_conf()")


@pytest.mark.fault
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_stopped_restore_leaves_production_as_it_was_and_no_process(may_create: Host, number: int) -> None:
    host = may_create
    before = fingerprint(host.cluster, host.database)
    run = restore_that_is_half_way(host)
    send(run, number)
    done = ended(run)
    assert done.returncode == (-number if number == signal.SIGKILL else 128 + number), done.stderr
    assert fingerprint(host.cluster, host.database) == before
    logged = host.log.read_text()
    assert f"into {host.database} from the newest dump, in place of what is there" in logged
    assert (f"exit code {128 + number}" in logged) == (number != signal.SIGKILL)
    if number != signal.SIGKILL:
        assert "left over" not in done.stderr, done.stderr
        assert not [name for name in databases(host) if name.startswith(f"{host.database}_restored")]
    until(lambda: not host.leftovers(), "nothing runs any more")


def test_wrong_arguments_end_with_2(host: Host) -> None:
    for arguments in ([], ["--into"], ["--into", "x", "--from", "/nowhere.sql.gz"], ["--onto", "x"]):
        assert host.restore(*arguments).returncode == 2, arguments
