"""What is removed after a good backup, and above all what is not."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from .host import Host
from .unprivileged import AS_ROOT, give_to_user

NOON = datetime(2026, 6, 15, 12, 0, 0)


def at(moment: datetime) -> tuple[str, ...]:
    """The prefix that has a command believe it is that moment."""
    return ("faketime", "-f", f"@{moment:%Y-%m-%d %H:%M:%S}")


def stamp(days_before: float, moment: datetime = NOON) -> str:
    return f"{moment - timedelta(days=days_before):%Y-%m-%d_%H-%M-%S}"


def ages(host: Host, tier: str = "daily", moment: datetime = NOON) -> list[int]:
    """How many days old each dump of the tier is, newest first."""
    found = [datetime.strptime(name[10:29], "%Y-%m-%d_%H-%M-%S") for name in host.dumps(tier)]
    return sorted((moment - made).days for made in found)


def test_dumps_older_than_the_tiers_days_go(host: Host) -> None:
    host.plant(*(stamp(day) for day in (1, 2, 3, 29, 30.5, 31, 50)))
    host.good_backup(before=at(NOON))
    assert ages(host) == [0, 1, 2, 3, 29]


def test_environment_overrides_the_days(host: Host) -> None:
    host.plant(*(stamp(day) for day in (1, 2, 3, 5, 6)))
    host.good_backup(before=at(NOON), BACKUP_RETENTION_DAYS="4")
    assert ages(host) == [0, 1, 2, 3]


def test_the_minimum_stays_however_old(host: Host) -> None:
    host.plant(*(stamp(day) for day in (1.2, 2.4, 3.6, 4.8)))
    host.good_backup(before=at(NOON), BACKUP_RETENTION_DAYS="1")
    assert ages(host) == [0, 1, 2]


def test_only_good_dumps_count_to_the_minimum(host: Host) -> None:
    host.plant(stamp(1.2), manifest=False)
    host.plant(stamp(2.4), verdict="failed")
    host.plant(*(stamp(day) for day in (3.6, 4.8, 6)))
    host.good_backup(before=at(NOON), BACKUP_RETENTION_DAYS="1")
    assert ages(host) == [0, 1, 2, 3, 4]


def test_the_newest_dump_that_was_proven_stays(host: Host) -> None:
    host.plant(*(stamp(day) for day in (1.2, 2.4, 3.6, 6)))
    host.plant(*(stamp(day) for day in (4.8, 7.2)), verdict="ok")
    host.good_backup(before=at(NOON), BACKUP_RETENTION_DAYS="1")
    assert ages(host) == [0, 1, 2, 4]


def test_each_tier_is_pruned_by_its_own_days_alone(host: Host) -> None:
    host.plant(*(stamp(day) for day in (1, 2, 3, 89, 91)), tier="weekly")
    host.plant(*(stamp(day) for day in (1, 2, 3, 29)))
    host.good_backup(before=at(NOON))
    assert ages(host, "weekly") == [1, 2, 3, 89, 91]
    host.good_backup("--tier", "weekly", before=at(NOON))
    assert ages(host, "weekly") == [0, 1, 2, 3, 89]
    assert ages(host) == [0, 1, 2, 3, 29]


def test_tier_whose_days_are_its_own_period_is_pruned(host: Host) -> None:
    host.configure(backup_monthly_retention_days=30)
    firsts = [datetime(2026, month, 1, 2) for month in range(1, 7)]
    host.plant(*(f"{first:%Y-%m-%d_%H-%M-%S}" for first in firsts), tier="monthly")
    host.good_backup(before=at(NOON))
    assert len(host.dumps("monthly")) == 3  # the minimum


def test_what_others_put_there_stays(host: Host) -> None:
    names = (
        "medaction_before-migration.sql.gz",
        "notes.txt",
        "medaction_2020-01-01.sql.gz",
        "other_2020-01-01_00-00-00.sql.gz",
    )
    for name in names:
        (host.backups / name).touch()
    host.plant(*(stamp(day) for day in (1, 2, 3, 60)))
    host.good_backup(before=at(NOON))
    assert all((host.backups / name).exists() for name in names)
    assert f"medaction_{stamp(60)}.sql.gz" not in host.dumps()


OLD = f"medaction_{stamp(40)}.sql.gz"  # a dump that goes
GONE = f"medaction_{stamp(41)}.sql.gz"  # one that is gone, and somebody remembers it
THEIRS = {
    "notes beside a dump": [f"{OLD}.notes", f"{OLD}.txt/read.me", f"{OLD}.json.bak", f"{OLD}.part.mine", f"{OLD}."],
    "notes of a dump that is gone": [f"{GONE}.notes.json", f"{GONE}.json.orig", f"weekly/{GONE}.json~"],
    "names that begin like ours": [
        "medaction.part/keep", "medaction-notes.part", "medaction2.part", "medaction_notes.json",
        f"medaction2_{stamp(40)}.sql.gz.json", f"medaction_{stamp(40)}.zip.json", f"medaction_{stamp(40)}.part",
        "medaction_2026-13-45_02-00-00.sql.gz.json", "medaction_2026-11-24_24-00-00.sql.gz.part",
        f"medaction_{stamp(40)}.sql.gz.globals.gz.old",
    ],
    "our very names elsewhere": [
        f"archive/{OLD}.part", f"archive/{GONE}.json", f"archive/{OLD}", f"weekly/old/{OLD}.part",
    ],
    "hidden ones": [".run.mine/x", ".run.d/keep", ".run.1234567/x", ".run.abcdef", ".medaction.part"],
    "a directory by the name of a file": [f"medaction_{stamp(42)}.sql.gz/keep", f"medaction_{stamp(43)}.dump/keep"],
    "a file by the name of a directory": [f"medaction_{stamp(42)}.dir"],
}  # fmt: skip


@pytest.mark.parametrize("kind", THEIRS)
def test_what_others_call_like_ours_is_theirs(host: Host, kind: str) -> None:
    """All of it belongs to the backup user, too: it is the name that tells."""
    host.plant(*(stamp(day) for day in (1, 2, 3, 40)))
    host.good_backup(before=at(NOON - timedelta(hours=1)), BACKUP_RETENTION_DAYS="99")  # there is a manifest
    for name in THEIRS[kind]:
        path = host.backups / name
        for each in reversed([path, *path.parents][: len(Path(name).parts)]):
            each.mkdir(exist_ok=True) if each != path else each.write_text("mine")
            give_to_user(each)
    host.good_backup(before=at(NOON))
    assert not (host.backups / OLD).exists() and not (host.backups / f"{OLD}.json").exists()
    assert [name for name in THEIRS[kind] if not (host.backups / name).exists()] == []


def test_what_others_have_where_restore_tests_are_made_is_theirs(host: Host) -> None:
    """backup_restore_test_dir may be named, and be a directory that is there already."""
    host.good_backup()
    theirs = [".test.mine/keep", ".said.mine/keep", ".test.file", ".test.a b/keep", ".said.é", "test.x/keep"]
    for name in theirs:
        path = host.test_dir / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("root's")
    give_to_user(host.test_dir / ".test.file")
    done = host.restore_test()
    assert done.returncode == 0, done.stderr
    assert [name for name in theirs if not (host.test_dir / name).exists()] == []


@pytest.mark.skipif(not AS_ROOT, reason="needs two users")
def test_what_somebody_else_owns_is_his_by_our_very_names(host: Host) -> None:
    host.plant(*(stamp(day) for day in (1, 2, 3)))
    theirs = [OLD, f"{OLD}.json", f"{GONE}.json", f"medaction_{stamp(44)}.sql.gz.part", f"{GONE}.globals.gz.part"]
    for name in theirs:
        (host.backups / name).write_text("root's")
    host.good_backup(before=at(NOON))
    assert [name for name in theirs if not (host.backups / name).exists()] == []


@pytest.mark.parametrize("name", ["medaction_latest.sql.gz", "medaction_latest.dump"])
def test_a_file_where_our_link_should_be_is_somebodys(host: Host, name: str) -> None:
    (host.backups / name).write_text("mine")
    done = host.backup()
    assert (host.backups / name).read_text() == "mine"
    assert len(host.dumps()) == 1
    if name == host.latest.name:
        assert done.returncode == 3 and "is no link of ours" in done.stderr, done.stderr


@pytest.mark.fault
@pytest.mark.parametrize(
    "leap", [timedelta(days=days) for days in (1 / 24, 2, 10, 30, 365, -1 / 24, -10, -365)], ids=str
)
def test_a_leap_of_the_clock_removes_nothing_and_overwrites_nothing(host: Host, leap: timedelta) -> None:
    host.plant(*(stamp(day) for day in range(30)), stamp(29.5))
    before = host.dumps()
    dump = host.good_backup(before=at(NOON + leap))
    assert set(host.dumps()) == {*before, dump.name}
    assert host.latest.resolve() == dump


@pytest.mark.fault
def test_a_clock_that_stays_a_year_ahead_is_believed_after_the_minimum_of_good_dumps(host: Host) -> None:
    host.plant(*(stamp(day) for day in range(30)))
    later = NOON + timedelta(days=365)
    for night in range(3):
        done = host.backup(before=at(later + timedelta(days=night)))
        assert "WARN" in done.stderr and "clock" in done.stderr
        assert len(host.dumps()) == 30 + night + 1
    host.good_backup(before=at(later + timedelta(days=3)))
    assert len(host.dumps()) == 4


def test_waits_that_are_usual_on_a_host_keep_nothing_for_ever(host: Host) -> None:
    """On Mondays, Wednesdays and Fridays alone, and a minimum that never fits between two weekends."""
    host.configure(backup_daily_minimum_kept=7)
    host.plant(*(stamp(day) for day in range(1, 60) if (NOON - timedelta(days=day)).isoweekday() in (1, 3, 5)))
    host.good_backup(before=at(NOON))
    assert max(ages(host)) <= 30 and len(host.dumps()) in (13, 14)


def test_weeks_without_a_dump_are_one_wait_that_is_not_usual(host: Host) -> None:
    host.plant(*(stamp(day) for day in (1, 2, *range(12, 50))))
    done = host.backup(before=at(NOON))
    assert "nothing is removed until 3 good ones follow" in done.stderr and len(host.dumps()) == 41
    host.good_backup(before=at(NOON + timedelta(days=1)))
    assert max(ages(host, moment=NOON + timedelta(days=1))) <= 30


@pytest.mark.fault
def test_weekly_dumps_do_not_go_by_a_leap_either(host: Host) -> None:
    host.plant(*(stamp(7 * week) for week in range(13)), tier="weekly")
    before = host.dumps("weekly")
    dump = host.good_backup("--tier", "weekly", before=at(NOON + timedelta(days=80)))
    assert host.dumps("weekly") == [*before, dump.name]


@pytest.mark.fault
def test_dumps_from_a_clock_that_was_ahead_neither_count_nor_go(host: Host) -> None:
    host.plant(stamp(-300), stamp(-301), stamp(-302), *(stamp(day) for day in (1, 2, 3, 40)))
    done = host.backup(before=at(NOON))
    assert "3 dump(s) have a time in the future" in done.stderr
    assert ages(host) == [-302, -301, -300, 0, 1, 2, 3]


@pytest.mark.fault
def test_the_hour_that_autumn_repeats_yields_two_dumps(host: Host) -> None:
    # 02:30 comes twice in Paris on 2026-10-25, in summer time and an hour later in winter time.
    first, second = (
        host.good_backup(before=("faketime", "-f", "@2026-10-25 02:30:00"), TZ=zone) for zone in ("CEST-2", "CET-1")
    )
    assert "_02-30-00" in first.name and "_02-30-01" in second.name
    assert first != second and len(host.dumps()) == 2


@pytest.mark.fault
def test_the_hour_that_spring_skips_is_an_age_like_any_other(host: Host) -> None:
    # No clock in Paris showed 02:30 on 2026-03-29, but a host whose zone was changed since may have.
    host.plant("2026-03-29_02-30-00", *(stamp(day) for day in (1, 2, 3)))
    host.good_backup(before=at(NOON), TZ="Europe/Paris")
    assert "medaction_2026-03-29_02-30-00.sql.gz" not in host.dumps()


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
