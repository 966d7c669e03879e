"""A restore that was killed outright, at any moment: production as it was, and what is left is named with its age."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from .cluster import fingerprint
from .host import Host, ended, until
from .test_restore import databases, may_create  # noqa: F401
from .test_restore_elsewhere import administrator, leftover_roles

LATER = timedelta(hours=49)


@pytest.fixture
def replaced(host: Host, may_create: Host) -> Iterator[Host]:  # noqa: F811
    yield host
    for name in databases(host):
        if name.startswith(host.database):
            host.cluster.drop_database(name)
    for role in leftover_roles(host).splitlines():
        host.cluster.ask("postgres", f'DROP OWNED BY "{role}"; DROP ROLE "{role}"')


def kill_when(host: Host, moment: Callable[[], object], *arguments: str) -> None:
    """Start an --overwrite, and end it and all that it has started by SIGKILL as soon as that moment has come."""
    run = host.popen("restore-database.sh", "--into", host.database, "--overwrite", host.database, *arguments)
    until(moment, "that moment of the restore")
    os.killpg(run.pid, signal.SIGKILL)
    ended(run)
    until(lambda: not host.processes(), "nothing runs any more")
    wake(host)
    until(lambda: sessions(host) == "0", "no session is left")


def sessions(host: Host) -> str:
    return host.cluster.ask("postgres", f"SELECT count(*) FROM pg_stat_activity WHERE datname LIKE '{host.database}%'")


def left(host: Host, word: str) -> list[str]:
    return [name for name in databases(host) if name.startswith(f"{host.database}_{word}_")]


def asleep(host: Host) -> str:
    return host.cluster.ask("postgres", "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'")


def wake(host: Host) -> None:
    """A server that sleeps notices only afterwards that nobody listens."""
    host.cluster.ask("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                     " WHERE query LIKE 'SELECT pg_sleep%'")  # fmt: skip


def later(hours: timedelta) -> tuple[str, ...]:
    return ("faketime", "-f", f"+{hours.total_seconds():.0f}s")


def fall_asleep(host: Host, at: str = "\nCREATE INDEX") -> None:
    """Let the newest dump sleep half-way through its load."""
    dump = host.latest.resolve()
    text = gzip.decompress(dump.read_bytes()).replace(at.encode(), f"\nSELECT pg_sleep(60);{at}".encode(), 1)
    dump.write_bytes(gzip.compress(text))
    manifest = dump.with_name(f"{dump.name}.json")
    found = json.loads(manifest.read_text())
    found["sha256"] = hashlib.sha256(dump.read_bytes()).hexdigest()
    manifest.write_text(json.dumps(found))


@pytest.mark.fault
@pytest.mark.parametrize("way", ["as the role", "as an administrator"])
def test_overwrite_that_was_killed_is_named_with_its_age_and_is_never_backed_up(replaced: Host, way: str) -> None:
    host = replaced
    host.configure(backup_databases="all")
    before = fingerprint(host.cluster, host.database)
    host.good_backup()
    fall_asleep(host)
    arguments = () if way == "as the role" else ("--as-administrator", administrator(host))
    kill_when(host, lambda: asleep(host), *arguments)
    assert fingerprint(host.cluster, host.database) == before
    (name,) = left(host, "restored")
    listed = host.restore("--list", before=later(LATER)).stdout
    assert f"database {name}: left by a restore that was cut off 49 h ago; DROP DATABASE" in listed, listed
    assert ("role medaction_restore_" in listed) == (way == "as an administrator"), listed
    done = host.backup()
    assert done.returncode == 0, done.stderr
    assert not list(host.backups.glob("*_restored_*")) and not list(host.backups.glob("*restored*"))
    check = host.backup("--check")
    assert check.returncode == 1 and f"database {name}: left by a restore that was cut off" in check.stdout
    assert [each["name"] for each in host.status_of("status.json")["leftovers"] if each["what"] == "database"] == [name]
    host.cluster.drop_database(name)
    for role in leftover_roles(host).splitlines():
        host.cluster.ask("postgres", f'DROP OWNED BY "{role}"; DROP ROLE "{role}"')
    assert host.backup().returncode == 0 and host.backup("--check").returncode == 0


def test_database_that_was_kept_is_named_and_is_no_alarm(replaced: Host) -> None:
    host = replaced
    host.configure(backup_databases="all")
    host.good_backup()
    assert host.restore("--into", host.database, "--overwrite", host.database).returncode == 0
    (kept,) = left(host, "before")
    assert host.backup().returncode == 0
    check = host.backup("--check")
    assert check.returncode == 0 and f"database {kept}: kept by --overwrite 0 h ago" in check.stdout, check.stdout
    assert not list(host.backups.glob("*_before_*")) and not list(host.backups.glob("*before*"))
    assert host.cluster.ask("postgres", f"SELECT shobj_description(oid, 'pg_database') IS NULL FROM pg_database"
                                        f" WHERE datname = '{host.database}'") == "t"  # fmt: skip


@pytest.mark.fault
def test_restore_into_a_new_database_that_was_killed_is_named_as_well(host: Host, may_create: Host) -> None:  # noqa: F811
    host.configure(backup_databases="all")
    host.good_backup()
    fall_asleep(host)
    run = host.popen("restore-database.sh", "--into", "neuve")
    try:
        until(lambda: asleep(host), "the restore is half way")
        assert "database neuve: of a restore that began 0 h ago and is at work" in host.restore("--list").stdout
        os.killpg(run.pid, signal.SIGKILL)
        ended(run)
        wake(host)
        until(lambda: not asleep(host), "no session is left")
        assert "database neuve: left by a restore that was cut off 49 h ago" in host.restore(
            "--list", before=later(LATER)).stdout  # fmt: skip
        assert host.backup().returncode == 0 and not list(host.backups.glob("medaction-neuve*"))
    finally:
        host.cluster.drop_database("neuve")


def killed_anywhere(host: Host, chance: random.Random, kills: int) -> dict[str, int]:
    """Kill that many restores, each after a time of its own; count what stood there afterwards."""
    host.good_backup()
    before = fingerprint(host.cluster, host.database)
    began = time.monotonic()
    done = host.restore("--into", host.database, "--overwrite", host.database)
    assert done.returncode == 0, done.stderr
    whole = time.monotonic() - began
    seen = {"nothing": 0, "restored": 0, "before": 0}
    for _ in range(kills):
        for name in [*left(host, "before"), *left(host, "restored")]:
            host.cluster.drop_database(name)
        wait = chance.uniform(0, whole)
        run = host.popen("restore-database.sh", "--into", host.database, "--overwrite", host.database)
        time.sleep(wait)  # a moment of chance is what this is about
        with contextlib.suppress(ProcessLookupError):  # it was quicker than the one before
            os.killpg(run.pid, signal.SIGKILL)
        ended(run)
        until(lambda: not host.processes() and sessions(host) == "0", "nothing runs any more")
        assert fingerprint(host.cluster, host.database) == before, f"killed after {wait:.3f} of {whole:.3f} s"
        names = left(host, "restored") + left(host, "before")
        assert len(names) <= 1, names
        listed = host.restore("--list").stdout
        assert all(f"database {name}: " in listed and " 0 h ago" in listed for name in names), (names, listed)
        seen["nothing" if not names else "before" if "_before_" in names[0] else "restored"] += 1
    return seen


@pytest.mark.fault
def test_overwrite_killed_at_any_moment_loses_nothing_and_hides_nothing(replaced: Host, chance: random.Random) -> None:
    killed_anywhere(replaced, chance, 5)


@pytest.mark.prove
@pytest.mark.fault
def test_overwrite_killed_at_sixty_moments(
    replaced: Host, chance: random.Random, proved: Callable[[str], None]
) -> None:
    seen = killed_anywhere(replaced, chance, 60)
    proved(
        f"{sum(seen.values())} restores killed at a moment of chance: production equal each time; left and named:"
        f" {seen['restored']} half-filled, {seen['before']} kept; {seen['nothing']} left nothing"
    )
