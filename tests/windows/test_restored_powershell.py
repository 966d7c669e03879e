"""Which dump a restore takes on Windows, and what of it comes back, by PowerShell for Linux."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.limiter.waiting import until
from tests.scripts.cluster import ROLE, Cluster, bin_dir
from tests.windows import archives
from tests.windows.host import FAILED, GOOD, USAGE, Host, dumped

pytestmark = pytest.mark.skipif(archives.pwsh() is None, reason=f"not run: no PowerShell; {archives.HOW}")


WHOLE = {
    "encoding": "UTF8", "collate": "C", "ctype": "C", "provider": "c", "locale": None, "connection_limit": -1,
    "template": False, "comment": None, "settings": [], "grants": None,
}  # fmt: skip


def with_properties(path: Path, **changed: Any) -> None:
    """A manifest beside a dump, good but for these properties."""
    packed = path.read_bytes()
    whole = {"sha256": hashlib.sha256(packed).hexdigest(), "bytes": len(packed),
             "dump_bytes": len(gzip.decompress(packed)), "properties": WHOLE | changed}  # fmt: skip
    Path(f"{path}.json").write_text(json.dumps(whole))


@pytest.mark.fault
@pytest.mark.parametrize("where", ["settings", "comment", "collate"])
def test_a_command_in_a_planted_manifest_is_not_run(host: Host, cluster: Cluster, tmp_path: Path, where: str):
    """psql drops what follows a byte of zero in its line: the quote that would have ended there, too."""
    cluster.ask("postgres", f"ALTER ROLE {ROLE} CREATEDB")
    mark, path = tmp_path / "ran", Path(dumped(host))
    planted = f'\n" \\! touch {mark}\n'
    changed: dict[str, Any] = {
        "settings": {"settings": [{"role": "a\0", "setting": f"app.x=1{planted}"}]},
        "comment": {"grants": [{"what": "CONNECT", "again": True, "to": "a\0"}], "comment": f"comment=x\0{planted}"},
        "collate": {"provider": "i", "collate": "C\0", "ctype": f"C{planted}", "locale": f"\n' \\! touch {mark}\n"},
    }[where]
    with_properties(path, **changed)
    try:
        done = host.run("restore-database.ps1", "-Into", "planted", "-NoOwner", "-From", str(path))
        assert not mark.exists(), done.stderr
        assert done.returncode == FAILED and f"its manifest {path}.json is damaged" in done.stderr, done.stderr
        assert "planted" not in cluster.databases()
    finally:
        cluster.drop_database("planted")


@pytest.mark.fault
def test_without_a_name_the_newest_good_dump_is_restored_whatever_latest_is(host: Host, cluster: Cluster):
    """`latest` stays the dump before where another program holds it, and a copy of the dumps may lack it."""
    cluster.ask("postgres", f"ALTER ROLE {ROLE} CREATEDB")
    database = host.settings.postgres_database
    assert host.run("backup-database.ps1").returncode == GOOD
    before = host.latest()
    cluster.ask(database, "CREATE TABLE since AS SELECT 1 AS i", ROLE)
    assert host.run("backup-database.ps1").returncode == GOOD
    newest = host.dumps()[-1]
    latest = host.backups / "medaction_latest.sql.gz"
    # Of two runs in one second the second has the next one's name.
    until(lambda: f"{datetime.now():medaction_%Y-%m-%d_%H-%M-%S}" >= newest.name[:29], "its second has come")
    latest.unlink()
    for content in (before, None):
        if content:
            latest.write_bytes(content)
        else:
            latest.unlink()
        done = host.run("restore-database.ps1", "-Into", "there")
        try:
            assert done.returncode == GOOD and f"there is restored from {newest}" in done.stderr, done.stderr
        finally:
            cluster.drop_database("there")


@pytest.mark.fault
def test_without_owners_no_constraint_is_lost(host: Host, cluster: Cluster):
    cluster.ask("postgres", f"ALTER ROLE {ROLE} CREATEDB")
    database = host.settings.postgres_database
    cluster.ask(database, "CREATE TABLE said (word text); ALTER TABLE said ADD CONSTRAINT c"
                " CHECK (word <> 'x OWNER TO bob') NOT VALID", ROLE)  # fmt: skip
    try:
        for way in (["-NoOwner"], []):
            done = host.run("restore-database.ps1", "-Into", "there", "-From", dumped(host), *way)
            assert done.returncode == GOOD, done.stderr
            assert cluster.ask("there", "SELECT count(*) FROM pg_constraint WHERE conname = 'c'") == "1"
            cluster.drop_database("there")
    finally:
        cluster.drop_database("there")


@pytest.mark.fault
@pytest.mark.parametrize("changed", [{"settings": None}, {"settings": [None]}, {"grants": [None]}, {"grants": None}])
def test_damaged_members_of_properties_are_said_before_anything_is_made(host: Host, cluster: Cluster, changed: dict):
    cluster.ask("postgres", f"ALTER ROLE {ROLE} CREATEDB")
    path = Path(dumped(host))
    with_properties(path, **changed)
    try:
        done = host.run("restore-database.ps1", "-Into", "there", "-NoOwner", "-From", str(path))
        if changed == {"grants": None}:
            assert done.returncode == GOOD, done.stderr
        elif changed == {"grants": [None]}:
            assert done.returncode in (GOOD, FAILED) and "property" not in done.stderr, done.stderr
        else:
            assert done.returncode == FAILED and f"its manifest {path}.json is damaged" in done.stderr, done.stderr
            assert "there" not in cluster.databases()
    finally:
        cluster.drop_database("there")


@pytest.mark.fault
def test_roles_that_differ_by_case_alone_are_two(host: Host, cluster: Cluster):
    cluster.ask("postgres", f"ALTER ROLE {ROLE} CREATEDB")
    for name in ('"Lecteur"', "lecteur"):
        cluster.ask("postgres", f"CREATE ROLE {name}")
    database = host.settings.postgres_database
    cluster.ask(database, 'CREATE TABLE seen (i int); GRANT SELECT ON seen TO lecteur, "Lecteur"', ROLE)
    path = dumped(host)
    try:
        for gone in ('"Lecteur"', "lecteur"):
            cluster.ask(database, f"DROP OWNED BY {gone}; DROP ROLE {gone}")
            done = host.run("restore-database.ps1", "-Into", "there", "-From", path)
            assert "there" not in cluster.databases()
            assert done.returncode == USAGE and "the server lacks the roles" in done.stderr, done.stderr
            cluster.ask("postgres", f"CREATE ROLE {gone}")
    finally:
        cluster.drop_database("there")
        for name in ('"Lecteur"', "lecteur"):
            cluster.ask(database, f"DROP OWNED BY {name}")
            cluster.ask("postgres", f"DROP ROLE {name}")


@pytest.mark.fault
def test_a_long_row_takes_no_more_memory_to_restore_than_to_back_up(host: Host, tmp_path: Path):
    """As lib/rows.ps1 has it: a row may have a gigabyte. Here one of 96 MB, and .NET has 256."""
    big, out = tmp_path / "big.sql", tmp_path / "big.out"
    with big.open("wb") as file:
        file.write(b"COPY public.t (a) FROM stdin;\n")
        for length in (96 << 20, 3 << 20, (1 << 20) - 30, 5):
            file.write(b"x" * (length - 2) + b"\\.\n")  # the rest of a row is no end of the rows
        file.write(b"\\.\n\nSELECT 1;\n\n-- PostgreSQL database dump complete\n")
    lib = host.place / "scripts" / "lib"
    text = f"""
    $ErrorActionPreference = 'Stop'
    Set-StrictMode -Version 2
    foreach ($part in 'settings', 'base', 'rules', 'sift') {{ . "{lib}/$part.ps1" }}
    $sift = Copy-Restricted '{big}' '{out}' $false @()
    $sift.Rows
    """
    argv = [str(archives.pwsh()), "-NoProfile", "-NonInteractive", "-Command", text]
    env = {**os.environ, "DOTNET_GCHeapHardLimit": hex(256 << 20)}
    done = subprocess.run(argv, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0 and done.stdout.strip() == "False", done.stderr
    word = out.read_bytes().split(b"\n", 1)[0]
    assert out.read_bytes() == (word + b"\nSET default_transaction_read_only = off; " + big.read_bytes()
                                + b"\n\\un" + word[1:] + b"\n")  # fmt: skip


@pytest.mark.fault
def test_the_backup_of_a_new_hosts_empty_database_is_not_taken_for_the_newest(host: Host, cluster: Cluster):
    """All was lost: a deploy has backed up an empty database, and the old dumps are copied back beside it."""
    cluster.ask("postgres", f"ALTER ROLE {ROLE} CREATEDB")
    assert host.run("backup-database.ps1").returncode == GOOD
    (dump,) = host.dumps()
    old = host.place / "old"
    old.mkdir()
    for end in ("", ".json"):
        shutil.move(f"{dump}{end}", old / f"medaction_2026-01-01_02-00-00.sql.gz{end}")
    bare = cluster.new_database("bare", template="template0")
    try:
        host.write(postgres_database=bare)
        assert host.run("backup-database.ps1").returncode == GOOD
        for path in old.iterdir():
            shutil.copy(path, host.backups)
        done = host.run("restore-database.ps1", "-Into", "there")
        assert done.returncode == GOOD and "2026-01-01_02-00-00.sql.gz" in done.stderr, done.stderr
    finally:
        cluster.drop_database("there")
        cluster.drop_database(bare)


@pytest.mark.fault
def test_a_restore_on_a_full_disk_says_what_to_do(host: Host, cluster: Cluster):
    path = dumped(host)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(host.backups)], check=True)
    try:
        done = host.run("restore-database.ps1", "-Into", "there", "-From", path)
        assert done.returncode == FAILED and "make room" in done.stderr, done.stderr
    finally:
        subprocess.run(["umount", str(host.backups)], check=True)


@pytest.mark.fault
def test_a_restore_at_work_is_not_swept_and_a_killed_one_is(host: Host, cluster: Cluster, tmp_path: Path):
    """Its directory holds all rows in plain; a large database loads for longer than any two days."""
    cluster.ask("postgres", f"ALTER ROLE {ROLE} CREATEDB")
    path, begun, go_on = dumped(host), tmp_path / "begun", tmp_path / "go on"
    slow = tmp_path / "bin" / "psql"
    slow.parent.mkdir()
    (slow.parent / "pg_dump").symlink_to(bin_dir() / "pg_dump")
    waits = f"touch '{begun}'; n=0; until [ -e '{go_on}' ] || [ $n = 600 ]; do n=$((n+1)); sleep 0.1; done"
    slow.write_text(f'#!/bin/sh\ncase "$*" in *restricted.sql*) {waits};; esac\nexec {bin_dir()}/psql "$@"\n')
    slow.chmod(0o755)
    host.write(pg_dump=slow.parent / "pg_dump")
    argv = host.argv("restore-database.ps1", "-Into", "there", "-From", path)
    old = time.time() - 3 * 86400

    def begin():
        begun.unlink(missing_ok=True)
        started = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
        until(begun.exists, "it is at work", seconds=60)
        (place,) = host.backups.glob(".restore-*")
        os.utime(place, (old, old))
        return started, place

    try:
        restore, place = begin()
        assert host.run("backup-database.ps1").returncode == GOOD
        assert (place / "restricted.sql").exists()
        go_on.touch()
        said = restore.communicate(timeout=60)[1]
        assert restore.returncode == GOOD, said
        cluster.drop_database("there")
        go_on.unlink()
        restore, place = begin()
        restore.kill()
        restore.communicate()
        os.utime(place, (time.time() - 300,) * 2)  # not two days
        done = host.run("backup-database.ps1")
        assert done.returncode == GOOD and not place.exists(), (done.stderr, list(place.iterdir()))
    finally:
        go_on.touch()
        cluster.drop_database("there")
