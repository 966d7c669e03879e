"""Lost data is an alarm: a dump that lacks what the last good one had is suspect until somebody accepts it."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from .cluster import ROLE
from .host import Host
from .test_retention import NOON, at, stamp
from .unprivileged import give_to_user


def newest(host: Host, tier: str = "daily") -> Path:
    directory = host.backups if tier == "daily" else host.backups / tier
    return directory / host.dumps(tier)[-1]


def suspicion(host: Host) -> str | None:
    return host.manifest(newest(host))["suspect"]


NIGHTS = [
    # what was done during the day, and the alarm that the night gives
    ("", None),
    ("INSERT INTO sessions SELECT generate_series(1, 5000)", None),
    ("DELETE FROM sessions", None),
    ("DELETE FROM lookup WHERE id > 10", None),
    ("DELETE FROM patients WHERE id % 3 = 0", None),
    ("TRUNCATE lookup; DELETE FROM patients WHERE id > 5000",
     "the table public.patients has 3334 rows, it had 13334"),
    ("", "the table public.patients has 3334 rows"),
    ("INSERT INTO patients (id, nom) SELECT -i, 'revenu' FROM generate_series(1, 10000) i", None),
    ("ALTER TABLE patients RENAME TO personnes", "the table public.patients is gone, it had 13334 rows"),
    ("accept", None),
    ("DROP TABLE visites, vide", None),
    ("DROP TABLE lookup", None),
    ("DROP SCHEMA public CASCADE; CREATE SCHEMA public AUTHORIZATION medaction", "no table is left of"),
]  # fmt: skip


def test_alarms_are_those_that_a_person_would_want(host: Host) -> None:
    host.configure(backup_volatile_tables=["sessions"], backup_yearly_retention_days=400)
    host.cluster.ask(
        host.database,
        'ALTER TABLE "Réclamations" DROP CONSTRAINT "Réclamations_patient_id_fkey"; DROP VIEW ouvertes;'
        "CREATE TABLE sessions (i int); CREATE TABLE lookup AS SELECT generate_series(1, 20) AS id;"
        "ALTER TABLE sessions OWNER TO medaction; ALTER TABLE lookup OWNER TO medaction",
    )
    good = None
    for night, (done, alarm) in enumerate(NIGHTS):
        clock = at(NOON + timedelta(days=night))
        if done == "accept":
            accepted = host.backup("--accept", newest(host).name, before=clock)
            assert accepted.returncode == 0, accepted.stderr
            assert host.latest.resolve() == newest(host)
            noted = json.loads(newest(host).with_name(f"{newest(host).name}.accepted.json").read_text())
            assert noted["by"] and noted["at"] and "is gone" in noted["suspicion"]
        elif done:
            host.cluster.ask(host.database, done)
        run = host.backup(before=clock)
        assert run.returncode == 0, run.stderr
        check = host.backup("--check", before=clock)
        if alarm is None:
            assert suspicion(host) is None and "suspect" not in run.stderr, (night, run.stderr)
            assert "suspect" not in check.stdout and "good dump 0 h ago" in check.stdout, check.stdout
            good = newest(host)
        else:
            assert alarm in suspicion(host) and alarm in host.status()["suspect"], (night, suspicion(host))
            assert check.returncode == 1 and check.stdout.startswith("WARNING") and "--accept" in check.stdout
            assert alarm in host.told.read_text()
        assert host.latest.resolve() == good
    assert newest(host) != good, "the suspect dump is kept"


IN_THE_BEGINNING = """
    CREATE TABLE sessions (i int); CREATE TABLE lookup AS SELECT generate_series(1, 20) AS id;
    CREATE TABLE appointments AS SELECT i AS id, 'le ' || i AS day FROM generate_series(1, 2000) i;
    CREATE SCHEMA reports; CREATE TABLE reports.monthly AS SELECT generate_series(1, 300) AS n;
    ALTER TABLE "Réclamations" DROP CONSTRAINT "Réclamations_patient_id_fkey"; DROP VIEW ouvertes
"""
# What was done during the day before that night; what is not SQL is a restore or an acceptance.
MONTH = {
    3: "TRUNCATE appointments",
    5: ("restore", "--table", "appointments", "--data-only"),
    8: "TRUNCATE sessions",
    9: "DELETE FROM patients WHERE id % 3 = 0",
    10: "ALTER TABLE patients RENAME TO personnes",
    11: "accept",
    12: "DROP TABLE lookup",
    13: "accept",
    14: "DROP TABLE vide",
    15: "CREATE TABLE import AS SELECT i, md5(i::text) AS t FROM generate_series(1, 50000) i",
    16: "TRUNCATE import",
    17: "accept",
    18: "ALTER TABLE personnes ADD ville text DEFAULT 'ici'; CREATE INDEX ON personnes (ville)",
    20: "DELETE FROM appointments WHERE id % 5 < 3",
    21: "INSERT INTO appointments SELECT i, 'le ' || i FROM generate_series(1, 2000) i WHERE i % 5 < 3",
    23: "DELETE FROM scans; DELETE FROM appointments WHERE id % 2 = 0",
    25: "DROP SCHEMA reports CASCADE",
    26: ("restore", "--schema", "reports"),
    28: "DROP TABLE sessions; CREATE TABLE sessions (i int)",
}
WANTED = {
    3: "the table public.appointments has 0 rows, it had 2000",
    4: "the table public.appointments has 0 rows, it had 2000",
    10: "the table public.patients is gone, it had 13334 rows",
    12: "the table public.lookup is gone, it had 20 rows",
    16: "the table public.import has 0 rows, it had 50000",
    20: "the table public.appointments has 800 rows, it had 2000",
    25: "the table reports.monthly is gone, it had 300 rows",
}  # fmt: skip


def day_of_the_month(host: Host, night: int, chance: random.Random) -> None:
    """What was done to the database before that night; each day the sessions are another number."""
    clock, done = at(NOON + timedelta(days=night)), MONTH.get(night, "")
    if done == "accept":
        assert host.backup("--accept", newest(host).name, before=clock).returncode == 0
    elif isinstance(done, tuple):
        twice = ("--into", host.database, "--overwrite", host.database)
        restored = host.restore(*twice, *done[1:], before=clock)
        assert restored.returncode == 0, restored.stderr
    elif done:
        host.cluster.psql(host.database, "--command", done, user="medaction")
    host.cluster.psql(host.database, "--command", "DELETE FROM sessions; INSERT INTO sessions SELECT"
                      f" generate_series(1, {chance.randint(0, 20000)})", user="medaction")  # fmt: skip


@pytest.mark.prove
def test_month_of_nights_has_the_alarms_that_a_person_would_want(
    host: Host, chance: random.Random, proved: Callable[[str], None]
) -> None:
    host.configure(backup_volatile_tables=["sessions"])
    host.cluster.psql(host.database, "--command", IN_THE_BEGINNING, user="medaction")
    alarms, told = {}, 0
    for night in range(30):
        clock = at(NOON + timedelta(days=night, hours=14))
        day_of_the_month(host, night, chance)
        run = host.backup(before=clock)
        assert run.returncode == 0, run.stderr
        if night % 7 == 0:
            assert host.backup("--tier", "weekly", before=clock).returncode == 0
            assert host.restore_test(before=clock).returncode == 0
        check = host.backup("--check", before=clock)
        if suspicion(host):
            alarms[night] = suspicion(host)
            assert check.returncode == 1 and "--accept" in check.stdout, (night, check.stdout)
        else:
            assert check.returncode == 0 and "suspect" not in check.stdout, (night, check.stdout)
        lines = host.told.read_text().count("suspect: ") if host.told.exists() else 0
        assert lines == told + (night in WANTED), (night, host.told.read_text())
        told = lines
    assert alarms == WANTED
    proved(f"30 nights, {len(WANTED)} alarms and no other, {told} calls of the hook")


@pytest.mark.fault
def test_suspect_dump_is_in_no_longer_tier_and_the_last_good_one_stays(host: Host) -> None:
    host.configure(backup_daily_retention_days=1, backup_minimum_kept=1, backup_yearly_retention_days=400)
    good = host.good_backup("--tier", "weekly", before=at(NOON + timedelta(days=-40)))
    host.cluster.ask(host.database, "TRUNCATE patients CASCADE")
    for day in range(4):
        assert host.backup(before=at(NOON + timedelta(days=day))).returncode == 0
        assert host.backup("--tier", "weekly", before=at(NOON + timedelta(days=day, hours=1))).returncode == 0
    assert host.dumps("weekly") == [good.name] and host.dumps("monthly") == [good.name]
    assert host.latest.resolve() == good and len(host.dumps()) >= 2
    target = host.cluster.new_database(template="template0")
    done = host.restore("--into", target, before=at(NOON + timedelta(days=5)))
    assert done.returncode == 0 and good.name in done.stderr, done.stderr
    assert host.cluster.ask(target, "SELECT count(*) FROM patients") == "20000"


def test_database_that_never_held_a_table_is_no_alarm_and_is_never_the_newest_of_others(host: Host) -> None:
    """The server was lost; its successor's empty database is backed up before the old dumps are copied in."""
    old = host.good_backup(before=at(NOON))
    files = list(host.backups.glob("medaction_*")) + list(host.backups.glob("monthly/*"))
    aside = host.directory / "aside"
    aside.mkdir()
    for path in files:
        if path.parent == host.backups and not path.is_symlink():
            path.rename(aside / path.name)
        else:
            path.unlink()
    host.cluster.drop_database(host.database)
    host.cluster.ask("postgres", f"CREATE DATABASE {host.database} OWNER medaction")
    empty = host.backup(before=at(NOON + timedelta(days=1)))
    assert empty.returncode == 0 and "holds no table yet" in empty.stderr and suspicion(host) is None
    assert host.dumps("monthly") == []
    alone = host.restore("--into", host.database, "--overwrite", host.database, before=at(NOON + timedelta(days=1)))
    assert alone.returncode == 2 and "holds no table" in alone.stderr
    for path in aside.iterdir():
        path.rename(host.backups / path.name)
    done = host.restore("--into", host.database, "--overwrite", host.database, before=at(NOON + timedelta(days=1)))
    assert done.returncode == 0 and old.name in done.stderr, done.stderr
    assert host.cluster.ask(host.database, "SELECT count(*) FROM patients") == "20000"


def test_two_small_dumps_are_not_what_is_usual(host: Host) -> None:
    for day in range(3):
        host.good_backup(before=at(NOON + timedelta(days=day)))
    host.configure(backup_count_tables="none")
    host.cluster.ask(host.database, "UPDATE patients SET nom = 'x', photo = NULL; TRUNCATE \"Réclamations\"")
    host.cluster.ask(host.database, "SELECT lo_unlink(oid) FROM pg_largeobject_metadata")
    for day in range(3, 8):
        assert host.backup(before=at(NOON + timedelta(days=day))).returncode == 0
        assert "the median of the last ones" in suspicion(host)


@pytest.mark.fault
def test_only_a_dump_of_ours_that_is_suspect_is_accepted(host: Host) -> None:
    dump = host.good_backup()
    assert host.backup("--accept", dump.name).returncode == 0
    assert not dump.with_name(f"{dump.name}.accepted.json").exists()
    for wrong in ("/etc/passwd", "medaction_latest.sql.gz.json", "nothing"):
        assert host.backup("--accept", wrong).returncode == 2


@pytest.mark.fault
def test_tier_on_another_disk_is_a_copy_and_pruning_goes_on(host: Host) -> None:
    elsewhere = Path("/dev/shm") / host.directory.name
    elsewhere.mkdir()
    give_to_user(elsewhere)
    try:
        (host.backups / "monthly").symlink_to(elsewhere)
        host.plant(*(stamp(day) for day in range(1, 35)))
        made = host.good_backup(before=at(NOON))
        copied = elsewhere / made.name
        assert copied.read_bytes() == made.read_bytes() and copied.stat().st_dev != made.stat().st_dev
        assert stamp(29) in "".join(host.dumps()) and stamp(31) not in "".join(host.dumps())
        for path in elsewhere.iterdir():
            path.unlink()
        elsewhere.chmod(0o555)
        host.plant(stamp(31))
        done = host.backup(before=at(NOON + timedelta(minutes=1)))
        assert done.returncode == 3, done.stderr
        assert stamp(31) not in "".join(host.dumps()), "pruned all the same"
    finally:
        elsewhere.chmod(0o755)
        shutil.rmtree(elsewhere)


@pytest.mark.fault
def test_lock_that_root_has_left_is_no_obstacle(host: Host) -> None:
    lock = host.backups / ".lock"
    lock.touch(mode=0o600)
    os.chown(lock, 0, 0)
    host.good_backup()


def test_age_is_that_of_the_manifest_whatever_the_time_zone(host: Host) -> None:
    """Nine hours' way to the west: by its name the dump would be from the future."""
    host.good_backup(before=at(NOON), TZ="Asia/Tokyo")
    done = host.backup("--check", before=at(NOON - timedelta(hours=9)), TZ="UTC")
    assert done.returncode == 0 and "good dump 0 h ago" in done.stdout, done.stdout
    assert " 0h " in host.restore("--list", before=at(NOON - timedelta(hours=9)), TZ="UTC").stdout


def test_what_pg_dump_warns_of_is_in_log_manifest_and_status(host: Host) -> None:
    host.shim("pg_dump", 'echo "pg_dump: warning: subscriptions not dumped because of rights" >&2;'
              ' exec "${real[@]}" "$@"')  # fmt: skip
    done = host.backup()
    assert done.returncode == 0 and "WARN" in done.stderr and "subscriptions not dumped" in done.stderr
    assert "subscriptions" in host.manifest()["warnings"] and "subscriptions" in host.status()["warnings"]


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
