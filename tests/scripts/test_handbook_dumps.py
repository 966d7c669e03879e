"""Whoever comes from the handbook has old dumps here, without a manifest: of unknown quality, not ours to remove."""

from __future__ import annotations

import gzip
from datetime import timedelta
from pathlib import Path

import pytest

from .cluster import fingerprint
from .host import Host
from .test_retention import NOON, at, stamp
from .unprivileged import give_to_user

SQL = b"-- PostgreSQL database dump\nCREATE TABLE theirs (i int);\n--\n-- PostgreSQL database dump complete\n--\n"


def handbook(host: Host, *days: float) -> list[Path]:
    """Dumps as the handbook's script leaves them, of so many days ago; the last one is its `latest`."""
    paths = [host.backups / f"medaction_{stamp(day)}.sql.gz" for day in days]
    for path in paths:
        path.write_bytes(gzip.compress(SQL))
        give_to_user(path)
    return paths


def test_they_stay_however_old_and_are_told_for_what_they_are(host: Host) -> None:
    theirs = handbook(host, 400, 40, 39, 12, 1)
    ours = host.good_backup(before=at(NOON))
    for night in range(1, 5):
        host.good_backup(before=at(NOON + timedelta(days=night)), BACKUP_RETENTION_DAYS="1")
    assert all(path.exists() for path in theirs) and not ours.exists()
    done = host.backup("--check", before=at(NOON + timedelta(days=4)))
    assert done.returncode == 0, done.stdout
    assert (
        "medaction: 5 dump(s) of unknown quality, without a manifest, stay until somebody removes them" in done.stdout
    )
    listed = host.restore("--list", before=at(NOON + timedelta(days=4))).stdout.splitlines()
    assert [line.split()[3] for line in listed if theirs[0].name in line] == ["unknown"]


@pytest.mark.fault
def test_they_are_no_reason_for_a_check_to_fail_or_for_a_weekly_run(host: Host) -> None:
    """Forty old dumps and our first: nothing is overdue, no restore test was missed, no weekly run has ceased."""
    handbook(host, *range(1, 41))
    host.good_backup(before=at(NOON))
    done = host.backup("--check", before=at(NOON + timedelta(hours=1)))
    assert done.returncode == 0 and done.stdout.startswith("OK: medaction: good dump 1 h ago"), done.stdout
    overdue = host.backup("--overdue", before=at(NOON + timedelta(hours=1)))
    assert overdue.stdout == ""


@pytest.mark.fault
def test_one_of_theirs_does_not_count_for_a_night_that_was_missed(host: Host) -> None:
    host.good_backup(before=("faketime", "-f", "@2026-06-13 02:00:05"))
    path = host.backups / "medaction_2026-06-15_02-00-00.sql.gz"
    path.write_bytes(gzip.compress(SQL))
    give_to_user(path)
    done = host.backup("--if-missed", before=("faketime", "-f", "@2026-06-15 08:00:00"))
    assert done.returncode == 0 and "nothing was missed" not in done.stderr, done.stderr
    assert len(host.dumps()) == 3


def test_the_newest_good_one_is_ours_although_theirs_is_newer(host: Host) -> None:
    """Their line in root's crontab goes on beside ours, and makes the newest file each night."""
    ours = host.good_backup(before=at(NOON - timedelta(days=3)))
    handbook(host, 2, 1)
    target = host.cluster.new_database(template="template0")
    done = host.restore("--into", target, before=at(NOON))
    assert done.returncode == 0 and ours.name in done.stderr, done.stderr
    assert fingerprint(host.cluster, target) == fingerprint(host.cluster, host.database)


def test_where_there_is_no_other_theirs_is_taken_and_that_is_said(host: Host) -> None:
    handbook(host, 5, 4)
    target = host.cluster.new_database(template="template0")
    done = host.restore("--into", target, before=at(NOON))
    assert done.returncode == 0 and "of unknown quality: it has no manifest" in done.stderr, done.stderr
    assert stamp(4) in done.stderr and host.cluster.ask(target, "SELECT count(*) FROM theirs") == "0"


@pytest.mark.fault
def test_a_latest_of_theirs_that_is_a_file_is_kept(host: Host) -> None:
    host.latest.write_bytes(gzip.compress(SQL))
    give_to_user(host.latest)
    done = host.backup(before=at(NOON))
    assert done.returncode == 3 and "is no link of ours and stays: move it away" in done.stderr, done.stderr
    assert gzip.decompress(host.latest.read_bytes()) == SQL and len(host.dumps()) == 1
    target = host.cluster.new_database(template="template0")
    assert host.restore("--into", target, before=at(NOON)).returncode == 0
    assert host.cluster.ask(target, "SELECT count(*) FROM patients") == "20000", "the newest good one is ours"
