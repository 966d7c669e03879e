"""The scripts whole, under PowerShell 7 on this machine, against a real PostgreSQL: only where `pwsh` is installed."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from provision.settings import Settings
from provision.settings.render import render
from provision.windows import layout
from provision.winssh import powershell
from tests.scripts.cluster import PASSWORD, ROLE, Cluster, bin_dir, fingerprint
from tests.windows.settings import settings

PWSH = shutil.which("pwsh")
pytestmark = pytest.mark.skipif(PWSH is None, reason="not run: no pwsh (PowerShell 7) on this machine")
GOOD, FAILED, USAGE, BUSY = 0, 1, 2, 75


@dataclass
class Host:
    """A directory of this machine, laid out as C:\\MedAction is."""

    place: Path
    settings: Settings
    cluster: Cluster

    @property
    def backups(self) -> Path:
        return self.place / "backups"

    def dumps(self) -> list[Path]:
        return sorted(path for path in self.backups.glob("*.sql.gz") if "latest" not in path.name)

    def latest(self) -> bytes | None:
        path = self.backups / "medaction_latest.sql.gz"
        return path.read_bytes() if path.exists() else None

    def status(self) -> dict[str, Any]:
        return json.loads((self.backups / "status-daily.json").read_text())

    def argv(self, name: str, *arguments: str) -> list[str]:
        return [str(PWSH), "-NoProfile", "-NonInteractive", "-File", str(self.place / "scripts" / name), *arguments]

    def run(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.argv(name, *arguments), capture_output=True, text=True, timeout=120, check=False)

    def write(self, password: str = PASSWORD, pg_dump: Path | None = None, **changed: Any) -> None:
        # model_construct: these are Unix paths, which the settings of a Windows host refuse.
        changes = {"windows_app_dir": str(self.place), "windows_backup_dir": str(self.backups), **changed}
        program = pg_dump or bin_dir() / "pg_dump"
        found = self.settings.model_copy(update={**changes, "windows_pg_dump": str(program)})
        (self.place / "pgpass.conf").write_text(render("backup/pgpass.j2", found).replace(PASSWORD, password))
        (self.place / "pgpass.conf").chmod(0o600)
        for name in ("backup-database.ps1", "restore-database.ps1"):
            text = layout.script(name, found)
            for written, here in (
                (found.windows_pgpass_file, self.place / "pgpass.conf"), (found.windows_log_dir, self.place / "logs"),
            ):  # fmt: skip
                text = text.replace(powershell.quote(written), powershell.quote(str(here)))
            (self.place / "scripts" / name).write_bytes(powershell.file_bytes(text))


@pytest.fixture
def host(cluster: Cluster, tmp_path: Path) -> Iterator[Host]:
    place = tmp_path / "Été & Cie"
    for name in ("backups/weekly", "scripts", "logs"):
        (place / name).mkdir(parents=True)
    database = cluster.new_database("hôpital d'été")
    found = settings(
        PASSWORD, postgres_host="127.0.0.1", postgres_port=cluster.port, postgres_user=ROLE, postgres_database=database
    )
    made = Host(place, found, cluster)
    made.write()
    yield made
    cluster.drop_database(database)


def _assert_nothing_published(
    host: Host, done: subprocess.CompletedProcess[str], latest: bytes | None, before: list[Path]
):
    assert done.returncode != GOOD
    assert host.dumps() == before and host.latest() == latest
    assert not list(host.backups.glob("**/*.part*")) and not list(host.backups.glob(".run-*"))
    assert host.status()["state"] == "failed" and host.status()["reason"]


def test_a_backup_is_complete_and_restores_equal(host: Host, cluster: Cluster):
    done = host.run("backup-database.ps1")
    assert done.returncode == GOOD, done.stderr
    (dump,) = host.dumps()
    assert b"-- PostgreSQL database dump complete" in gzip.decompress(dump.read_bytes())[-4096:]
    assert host.latest() == dump.read_bytes() and host.status()["state"] == "ok"
    assert json.loads(Path(f"{dump}.json").read_text())["bytes"] == dump.stat().st_size
    assert host.run("backup-database.ps1", "-Verify").returncode == GOOD
    cluster.ask("postgres", f"ALTER ROLE {ROLE} CREATEDB")
    restored = 'réstauré "2"'
    done = host.run("restore-database.ps1", "-Into", restored)
    assert done.returncode == GOOD, done.stderr
    assert fingerprint(cluster, restored) == fingerprint(cluster, host.settings.postgres_database)
    cluster.drop_database(restored)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"password": "wrong"}, "password authentication failed"),
        ({"postgres_port": 1}, "see that PostgreSQL runs"),
        ({"postgres_database": "nowhere"}, "does not exist"),
        ({"pg_dump": Path("/nowhere/pg_dump")}, "windows_pg_dump"),
        ({"backup_reserve_mb": 100_000_000}, "make room"),
    ],
)
def test_a_fault_publishes_nothing_and_the_next_run_recovers(host: Host, changed: dict[str, Any], told: str):
    assert host.run("backup-database.ps1").returncode == GOOD
    latest, before = host.latest(), host.dumps()
    host.write(**changed)
    done = host.run("backup-database.ps1")
    assert told in done.stderr
    _assert_nothing_published(host, done, latest, before)
    host.write()
    assert host.run("backup-database.ps1").returncode == GOOD


@pytest.mark.fault
@pytest.mark.parametrize("behaviour", ["kill -9 $$", "printf 'CREATE TABLE' > dump.sql"])
def test_a_pg_dump_that_dies_or_is_cut_short_publishes_nothing(host: Host, tmp_path: Path, behaviour: str):
    fake = tmp_path / "bin" / "pg_dump"
    fake.parent.mkdir()
    (fake.parent / "psql").symlink_to(bin_dir() / "psql")
    fake.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exec {bin_dir()}/pg_dump --version\n{behaviour}\n')
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    host.write(pg_dump=fake)
    _assert_nothing_published(host, host.run("backup-database.ps1"), None, [])


@pytest.mark.fault
def test_a_pg_dump_of_another_major_is_said(host: Host, tmp_path: Path):
    fake = tmp_path / "bin" / "pg_dump"
    fake.parent.mkdir()
    (fake.parent / "psql").symlink_to(bin_dir() / "psql")
    fake.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.1'\n")
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    host.write(pg_dump=fake)
    done = host.run("backup-database.ps1")
    assert done.returncode == USAGE and "9.6.1" in done.stderr


@pytest.mark.fault
def test_a_second_run_at_the_same_moment_gives_way(host: Host, tmp_path: Path):
    slow = tmp_path / "bin" / "pg_dump"
    slow.parent.mkdir()
    (slow.parent / "psql").symlink_to(bin_dir() / "psql")
    slow.write_text(f'#!/bin/sh\n[ "$1" = --version ] || sleep 8\nexec {bin_dir()}/pg_dump "$@"\n')
    slow.chmod(slow.stat().st_mode | stat.S_IXUSR)
    host.write(pg_dump=slow)
    with subprocess.Popen(host.argv("backup-database.ps1"), stderr=subprocess.DEVNULL) as first:
        time.sleep(4)
        assert host.run("backup-database.ps1").returncode == BUSY
        assert first.wait(60) == GOOD


@pytest.mark.fault
def test_stale_partial_files_are_swept_and_other_peoples_stay(host: Host):
    (host.backups / "medaction_2020-01-01_02-00-00.sql.gz.part").touch()
    (host.backups / ".run-dead").mkdir()
    (host.backups / "notes.part").touch()
    assert host.run("backup-database.ps1").returncode == GOOD
    assert (host.backups / "notes.part").exists()
    assert not list(host.backups.glob("medaction_*.part")) and not (host.backups / ".run-dead").exists()


def test_what_is_too_old_goes_and_the_minimum_stays(host: Host):
    for day in range(1, 29):
        for end in ("", ".json"):
            (host.backups / f"medaction_2020-01-{day:02}_02-00-00.sql.gz{end}").touch()
    assert host.run("backup-database.ps1").returncode == GOOD
    assert len(host.dumps()) == 29  # a leap of years: nothing is removed
    now = time.time()
    for path in host.dumps()[:-1]:
        path.unlink()
    for day in range(1, 60):
        stamp = time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(now - day * 86400))
        for end in ("", ".json"):
            (host.backups / f"medaction_{stamp}.sql.gz{end}").touch()
    assert host.run("backup-database.ps1").returncode == GOOD
    assert 28 <= len(host.dumps()) <= 33


def test_the_dumps_are_listed(host: Host):
    assert host.run("backup-database.ps1").returncode == GOOD
    done = host.run("restore-database.ps1", "-List")
    assert done.returncode == GOOD, done.stderr
    assert "TIER" in done.stdout and host.dumps()[0].name in done.stdout


def test_a_database_that_was_lost_is_restored(host: Host, cluster: Cluster):
    assert host.run("backup-database.ps1").returncode == GOOD
    database = host.settings.postgres_database
    before = fingerprint(cluster, database)
    cluster.drop_database(database)
    cluster.ask("postgres", f"ALTER ROLE {ROLE} CREATEDB")
    done = host.run("restore-database.ps1", "-Into", database)
    assert done.returncode == GOOD, done.stderr
    assert fingerprint(cluster, database) == before


def test_a_live_database_is_not_overwritten_unless_named_twice(host: Host):
    assert host.run("backup-database.ps1").returncode == GOOD
    assert host.run("restore-database.ps1", "-Into", host.settings.postgres_database).returncode == USAGE


@pytest.mark.fault
def test_a_full_disk_publishes_nothing(host: Host):
    limit = ["sh", "-c", 'ulimit -f 8; exec "$@"', "sh"]
    done = subprocess.run(
        [*limit, *host.argv("backup-database.ps1")], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode != GOOD and host.dumps() == []
    assert "started, keeping" in done.stderr, "it did not come to the disk"


def test_no_secret_is_said(host: Host):
    done = host.run("backup-database.ps1")
    said = done.stdout + done.stderr + (host.place / "logs" / "backup.log").read_text()
    assert PASSWORD not in said and not any(PASSWORD in value for value in os.environ.values())
