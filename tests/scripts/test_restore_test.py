"""restore-database.sh --test: the dump in a throwaway server, compared with what was dumped."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from provision.settings.project import PROJECT

from .host import Host, ended, processes, until
from .unprivileged import PREFIX, give_to_user

Change = Callable[[bytes], bytes]


def verdict(host: Host) -> dict:
    dump = host.latest.resolve()
    return json.loads(dump.with_name(f"{dump.name}.restore-test.json").read_text(encoding="utf-8"))


def tamper(host: Host, change: Change) -> None:
    """Change the newest dump, and its manifest's sum with it: only a restore can tell."""
    dump = host.latest.resolve()
    sql = gzip.decompress(dump.read_bytes())
    changed = change(sql)
    assert changed != sql
    dump.write_bytes(gzip.compress(changed))
    manifest = dump.with_name(f"{dump.name}.json")
    digest = hashlib.sha256(dump.read_bytes()).hexdigest()
    manifest.write_text(re.sub(r'"sha256": "\w+"', f'"sha256": "{digest}"', manifest.read_text()))


def test_good_dump_gets_its_verdict_and_nothing_is_left(host: Host) -> None:
    host.good_backup()
    done = host.restore_test()
    assert done.returncode == 0, done.stderr
    assert verdict(host)["verdict"] == "ok"
    assert " ok " in host.restore("--list").stdout
    until(lambda: not host.leftovers(), "nothing is left over")
    assert not host.leftovers()


def test_verdict_stays_with_its_dump_and_goes_with_it(host: Host) -> None:
    tested = host.good_backup()
    assert host.restore_test().returncode == 0
    host.good_backup()
    noted = tested.with_name(f"{tested.name}.restore-test.json")
    assert noted.exists()
    tested.unlink()
    host.good_backup()
    assert not noted.exists() and not tested.with_name(f"{tested.name}.json").exists()


def test_each_database_is_tested_and_has_its_verdict(host: Host) -> None:
    other = host.cluster.new_database()
    host.configure(backup_databases=[host.database, other])
    assert host.backup().returncode == 0
    done = host.restore_test()
    assert done.returncode == 0, done.stderr
    state = host.directory / "state"
    for name, database in (("restore-test", host.database), (f"restore-test-medaction-{other}", other)):
        noted = json.loads((state / f"{name}.json").read_text())
        assert (noted["verdict"], noted["database"]) == ("ok", database)


def without(pattern: bytes) -> Change:
    return lambda sql: re.sub(pattern, b"", sql, count=1)


def with_instead(old: bytes, new: bytes) -> Change:
    return lambda sql: sql.replace(old, new, 1)


LTREE = b"\nCREATE EXTENSION ltree WITH SCHEMA public;\nCREATE EXTENSION IF NOT EXISTS pg_trgm"
GRANT = b"\nGRANT ALL ON public.patients TO missing_role;\nCREATE VIEW"


@pytest.mark.fault
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without(rb"\n30000\t[^\n]*"), 'public."Réclamations": 30000 rows dumped, 29999 restored'),
        (without(rb"\nCREATE INDEX [^;]*;"), "index public.patients_nom_idx: missing"),
        (with_instead(b"nom text NOT NULL", b"nom text"), "column public.patients.nom: differs"),
        (with_instead(b"patients_id_seq', 20000", b"patients_id_seq', 19999"), "patients_id_seq: 20000 dumped, 19999"),
        (with_instead(b"\nCREATE EXTENSION IF NOT EXISTS pg_trgm", LTREE), "ltree too many"),
        (with_instead(b"\nCREATE VIEW", GRANT), 'role "missing_role" does not exist'),
    ],
    ids=[
        "a row less",
        "an index less",
        "a constraint less",
        "a sequence behind",
        "an extension more",
        "a missing role",
    ],
)
def test_dump_that_restores_to_something_else_fails_and_says_what(host: Host, change: Change, reason: str) -> None:
    host.good_backup()
    tamper(host, change)
    done = host.restore_test()
    assert done.returncode == 1 and reason in done.stderr, done.stderr
    assert verdict(host)["verdict"] == "failed" and reason in verdict(host)["message"]
    assert reason in host.told.read_text()
    until(lambda: not host.leftovers(), "nothing is left over")


@pytest.mark.fault
def test_flipped_bit_is_found_by_verify_and_by_the_restore_test(host: Host) -> None:
    dump = host.good_backup()
    content = bytearray(dump.read_bytes())
    content[len(content) // 2] ^= 1
    dump.write_bytes(content)
    for done in (host.backup("--verify"), host.backup("--verify", str(dump)), host.restore_test()):
        assert done.returncode == 1 and "is not what was written" in done.stderr
    assert verdict(host)["verdict"] == "failed"


def test_roles_come_back_with_their_grants(host: Host) -> None:
    host.cluster.ask("postgres", "CREATE ROLE lecteurs")
    try:
        host.cluster.ask(host.database, "GRANT SELECT ON patients TO lecteurs")
        dump = host.good_backup()
        assert b"GRANT SELECT ON TABLE public.patients TO lecteurs" in gzip.decompress(dump.read_bytes())
        done = host.restore_test()
        assert done.returncode == 0, done.stderr
    finally:
        host.cluster.ask(host.database, "DROP OWNED BY lecteurs")
        host.cluster.ask("postgres", "DROP ROLE lecteurs")


def test_index_that_was_never_finished_is_no_difference(host: Host) -> None:
    """pg_dump leaves out what a failed CREATE INDEX CONCURRENTLY has left behind."""
    with pytest.raises(AssertionError, match="could not create unique index"):
        host.cluster.ask(host.database, 'CREATE UNIQUE INDEX CONCURRENTLY twice ON "Réclamations" ((1))')
    assert (
        host.cluster.ask(host.database, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'twice'::regclass") == "f"
    )
    host.good_backup()
    done = host.restore_test()
    assert done.returncode == 0, done.stderr


@pytest.mark.fault
def test_a_program_of_the_apps_is_never_taken_for_a_servers(host: Host) -> None:
    """cron's line stands in the app's directory, where the app may write."""
    dump = host.good_backup()
    manifest = dump.with_name(f"{dump.name}.json")
    manifest.write_text(re.sub(r'"server_version": "[^"]*"', '"server_version": "99.1"', manifest.read_text()))
    planted = host.app_dir / "initdb"
    planted.write_text("#!/bin/sh\ntouch was-run\necho 'initdb (PostgreSQL) 99.1'\n")
    planted.chmod(0o755)
    done = host.restore_test(PATH=f"{host.shims}:/usr/bin:/bin")
    assert done.returncode == 1 and "install postgresql-99" in done.stderr, done.stderr
    assert not (host.app_dir / "was-run").exists()


def test_extension_of_an_older_version_is_no_difference(host: Host) -> None:
    host.cluster.ask(host.database, "CREATE EXTENSION hstore VERSION '1.4'")
    host.good_backup()
    done = host.restore_test()
    assert done.returncode == 0, done.stderr


def test_tables_in_a_tablespace_are_restored_without_its_disk(host: Host) -> None:
    place = host.directory / "other-disk"
    place.mkdir(mode=0o700)
    give_to_user(place)
    host.cluster.ask("postgres", f"CREATE TABLESPACE \"grand disque\" OWNER medaction LOCATION '{place}'")
    try:
        host.cluster.ask(host.database, 'ALTER TABLE patients SET TABLESPACE "grand disque"')
        host.good_backup()
        before = sorted(path.name for path in place.iterdir())
        done = host.restore_test()
        assert done.returncode == 0, done.stderr
        assert sorted(path.name for path in place.iterdir()) == before
    finally:
        host.cluster.drop_database(host.database)
        host.cluster.ask("postgres", 'DROP TABLESPACE "grand disque"')


@pytest.mark.fault
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_stopped_test_leaves_no_server_and_the_next_one_takes_its_files_away(host: Host, number: int) -> None:
    host.good_backup()
    tamper(host, lambda sql: sql.replace(b"\nCREATE INDEX", b"\nSELECT pg_sleep(60);\nCREATE INDEX", 1))
    run = host.start_restore_test()
    until(lambda: [line for line in processes() if "/data" in line and str(host.test_dir) in line], "the server runs")
    os.kill(run.pid, number)
    assert ended(run).returncode != 0
    if number == signal.SIGTERM:
        until(lambda: not host.leftovers(), "nothing is left")
    host.good_backup()
    done = host.restore_test()
    assert done.returncode == 0, done.stderr
    assert not host.leftovers()


@pytest.mark.fault
def test_too_little_space_is_said_before_anything_is_made(host: Host) -> None:
    host.good_backup()
    host.configure(backup_reserve_mb=1_000_000_000)
    done = host.restore_test()
    assert done.returncode == 1 and "the test needs" in done.stderr
    assert verdict(host)["verdict"] == "not made", "the dump is not at fault"


@pytest.mark.fault
def test_another_server_is_used_when_named_and_its_scratch_database_dropped(host: Host) -> None:
    host.cluster.ask("postgres", "ALTER ROLE medaction CREATEDB")
    try:
        host.configure(backup_restore_test_host="localhost", backup_restore_test_on_production=True)
        host.good_backup()
        host.cluster.ask("postgres", "CREATE DATABASE medaction_restore_test OWNER medaction")  # left by a crash
        done = host.restore("--test")
        assert done.returncode == 0, done.stderr
        assert "medaction_restore_test" not in host.cluster.ask("postgres", "SELECT datname FROM pg_database")
    finally:
        host.cluster.ask("postgres", "ALTER ROLE medaction NOCREATEDB")


@pytest.mark.parametrize("there", ["", "yet/to/be/made"])
def test_room_that_a_test_needs_is_told_from_the_newest_dump(host: Host, there: str) -> None:
    """What a plan asks a host, by the newest manifest alone, and of damaged ones nothing."""
    dump = host.good_backup()
    odd = {"medaction-odd": '{"database_bytes": "a[$(touch x)]"}', "medaction-cut": "{", "medaction-none": "{}"}
    for name, manifest in odd.items():
        path = host.backups / f"{name}_2026-06-14_02-00-00.sql.gz"
        path.write_text("")
        Path(f"{path}.json").write_text(manifest)
        (host.backups / f"{name}_latest.sql.gz").symlink_to(path.name)
    asked = ["sh", "-c", (PROJECT / "files/backup/room-for-test.sh").read_text(), "-"]
    done = subprocess.run(
        [*PREFIX, *asked, str(host.backups), str(host.test_dir / there), "1000000"],
        capture_output=True, text=True, check=True, cwd="/",
    )  # fmt: skip
    free, needed, name = done.stdout.removesuffix("\n").split(" ")
    assert name == dump.name
    assert int(needed) == host.manifest(dump)["database_bytes"] * 6 // 5 + dump.stat().st_size + 1000000
    assert abs(int(free) - shutil.disk_usage(host.test_dir).free) < 1e9
