"""What a backup holds and says about itself: manifest, formats, several databases, roles, tiers, checks."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from .cluster import ROLE, fingerprint
from .host import Host, settings_below
from .test_faults import half_way
from .test_retention import NOON, at, stamp


def test_manifest_says_what_is_in_the_dump(host: Host) -> None:
    dump = host.good_backup("--tier", "weekly")
    manifest = host.manifest(dump)
    assert manifest["dump"] == dump.name and manifest["database"] == host.database
    assert manifest["tier"] == "weekly" and manifest["format"] == "plain"
    assert manifest["bytes"] == dump.stat().st_size
    assert manifest["sha256"] == hashlib.sha256(dump.read_bytes()).hexdigest()
    assert manifest["server_version"].split(".")[0] == str(host.cluster.major)
    assert manifest["database_bytes"] > 1_000_000
    content = manifest["content"]
    assert content["tables"] == {
        "public.patients": 20000, 'public."Réclamations"': 30000, "public.vide": 0, "public.scans": 3,
        "public.visites": 0,
    }  # fmt: skip
    assert content["large_objects"] == 3 and {"citext", "pg_trgm", "plpgsql"} == set(content["extensions"])
    assert len(content["schema_sha256"]) == 64
    assert manifest["sequences_after"]["public.patients_id_seq"] == "20000"


def test_counts_are_those_of_the_dumps_own_snapshot(host: Host) -> None:
    stop = threading.Event()

    def insert() -> None:
        while not stop.is_set():
            host.cluster.ask(host.database, "INSERT INTO patients (nom) SELECT 'pendant' FROM generate_series(1, 10)")

    writer = threading.Thread(target=insert)
    writer.start()
    try:
        with half_way(host) as run:
            pass
        run.communicate(timeout=60)
    finally:
        stop.set()
        writer.join()
    assert run.returncode == 0
    now = int(host.cluster.ask(host.database, "SELECT count(*) FROM patients"))
    assert now > host.manifest()["content"]["tables"]["public.patients"], "nothing was written meanwhile"
    done = host.restore_test()
    assert done.returncode == 0, done.stderr


def test_counting_can_be_narrowed(host: Host) -> None:
    host.configure(backup_count_tables=["patients", 'public."Réclamations"'])
    host.good_backup()
    assert set(host.manifest()["content"]["tables"]) == {"public.patients", 'public."Réclamations"'}
    host.configure(backup_count_tables="none")
    host.good_backup()
    assert host.manifest()["content"]["tables"] == {}
    assert host.restore_test().returncode == 0


FORMATS = [("plain", ".sql.gz", 1), ("plain-zstd", ".sql.zst", 1), ("custom", ".dump", 1), ("custom", ".dump", 2),
           ("directory", ".dir", 2)]  # fmt: skip


@pytest.mark.parametrize(("form", "suffix", "jobs"), FORMATS)
def test_each_format_restores_equal_to_the_source(host: Host, form: str, suffix: str, jobs: int) -> None:
    host.good_backup()
    host.configure(backup_format=form, backup_parallel_jobs=jobs)
    done = host.backup()
    assert done.returncode == 0, done.stderr
    assert host.latest.is_symlink() == (form == "plain")  # the link in the former format is gone
    dump = Path(os.path.realpath(host.settings.backup_latest))
    assert dump.name.endswith(suffix)
    assert host.backup("--verify").returncode == 0
    target = host.cluster.new_database(template="template0")
    restored = host.restore("--into", target)
    assert restored.returncode == 0, restored.stderr
    assert re.search(r"about \d+ %" if jobs > 1 else r"100 %", restored.stderr), restored.stderr
    assert fingerprint(host.cluster, target) == fingerprint(host.cluster, host.database)
    tested = host.restore_test()
    assert tested.returncode == 0, tested.stderr


@pytest.mark.fault
@pytest.mark.parametrize(("form", "suffix", "jobs"), FORMATS)
def test_flipped_bit_is_found_in_each_format(host: Host, form: str, suffix: str, jobs: int) -> None:
    host.configure(backup_format=form, backup_parallel_jobs=jobs)
    assert host.backup().returncode == 0
    dump = Path(os.path.realpath(host.settings.backup_latest))
    victim = max(dump.iterdir(), key=lambda path: path.stat().st_size) if dump.is_dir() else dump
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    done = host.backup("--verify")
    assert done.returncode == 1 and "is not what was written" in done.stderr


def test_format_that_cannot_be_had_is_refused_in_the_settings(host: Host) -> None:
    for wrong in ({"backup_format": "directory", "postgres_mode": "compose"}, {"backup_parallel_jobs": 2},
                  {"backup_restore_test_host": "127.0.0.1"}):  # fmt: skip
        with pytest.raises(ValidationError):
            settings_below(host.directory, postgres_password="x", **wrong)


NAMES = [
    "avec espace",
    "Majuscules",
    "l'été",
    'guillemets"doubles',
    "a=b dbname=postgres",
    "été",
    "back\\slash",
    "-x",
    "a&b",
    "barre/oblique",
    "*",
    "$(touch executed)",
    "crochet]",
]


@pytest.mark.fault
def test_databases_of_any_name_are_dumped_each_for_itself(host: Host) -> None:
    for name in NAMES:
        host.cluster.new_database(name)
    try:
        host.configure(backup_databases=[host.database, *NAMES])
        done = host.backup()
        assert done.returncode == 0, done.stderr
        found = {
            manifest["database"]: manifest
            for manifest in map(json.loads, (p.read_text() for p in host.backups.glob("*.sql.gz.json")))
        }
        assert set(found) == {host.database, *NAMES}
        assert all(manifest["content"]["tables"]["public.patients"] == 20000 for manifest in found.values())
        assert len(list(host.backups.glob("*_latest.sql.gz"))) == len(NAMES) + 1
        assert host.backup("--check").returncode == 0
        assert not list(host.directory.rglob("executed")), "a name was run as a command"
    finally:
        for name in NAMES:
            host.cluster.drop_database(name)


@pytest.mark.fault
def test_database_that_fails_keeps_no_other_from_its_dump(host: Host) -> None:
    other = host.cluster.new_database()
    host.configure(backup_databases=["absente", host.database, other])
    done = host.backup()
    assert done.returncode == 1 and '"absente" does not exist' in done.stderr
    assert len(host.dumps()) == 1 and len(list(host.backups.glob(f"medaction-{other}_*.sql.gz"))) == 2
    assert '"absente" does not exist' in host.told.read_text()


@pytest.mark.fault
def test_databases_that_could_not_be_listed_are_a_failure_and_the_apps_own_is_dumped(host: Host) -> None:
    host.configure(backup_databases="all")
    host.shim("psql", '[[ "$*" != *datistemplate* ]] || exit 2; exec "${real[@]}" "$@"')
    done = host.backup()
    assert done.returncode == 1 and "the server did not list its databases" in done.stderr, done.stderr
    assert len(host.dumps()) == 1
    assert (host.status()["state"], host.status()["database"]) == ("failed", host.database)
    assert "did not list its databases" in host.told.read_text()
    host.unshim()
    assert host.backup().returncode == 0 and host.status()["state"] == "ok"


@pytest.mark.fault
def test_password_file_that_cannot_be_read_is_told_to_those_who_watch(host: Host) -> None:
    host.configure(backup_databases="all")
    Path(host.settings.backup_pgpass_file).unlink()
    assert host.backup().returncode != 0
    assert host.status()["state"] == "failed" and "pgpass" in host.told.read_text()


def test_check_knows_all_databases_that_there_are_and_no_others(host: Host) -> None:
    host.configure(backup_databases="all")
    closed, dropped = host.cluster.new_database(), host.cluster.new_database()
    assert host.backup().returncode == 0
    host.cluster.ask("postgres", f"REVOKE CONNECT ON DATABASE {closed} FROM PUBLIC, {ROLE}")
    host.cluster.ask("postgres", f"ALTER DATABASE {closed} OWNER TO postgres")
    for path in host.backups.rglob(f"medaction-{closed}_*"):
        path.unlink()
    host.cluster.drop_database(dropped)
    assert host.backup().returncode == 1
    said = host.backup("--check")
    assert said.returncode == 2 and f"medaction-{closed}: there is no good dump" in said.stdout
    assert dropped not in said.stdout
    host.cluster.drop_database(closed)


def test_roles_are_saved_beside_the_dump_without_what_the_role_may_not_read(host: Host) -> None:
    dump = host.good_backup()
    roles = gzip.decompress(dump.with_name(f"{dump.name}.globals.gz").read_bytes()).decode()
    assert f"CREATE ROLE {ROLE};" in roles and "PASSWORD" not in roles
    assert host.manifest()["globals"] == f"{dump.name}.globals.gz"
    host.cluster.ask(host.database, f"GRANT SELECT ON pg_authid TO {ROLE}")
    try:
        dump = host.good_backup()
        assert "SCRAM-SHA-256" in gzip.decompress(dump.with_name(f"{dump.name}.globals.gz").read_bytes()).decode()
    finally:
        host.cluster.ask(host.database, f"REVOKE SELECT ON pg_authid FROM {ROLE}")
    host.configure(backup_include_globals=False)
    dump = host.good_backup()
    assert not dump.with_name(f"{dump.name}.globals.gz").exists() and host.manifest()["globals"] is None


def test_first_dump_of_a_month_and_year_is_kept_longer_without_room_of_its_own(host: Host) -> None:
    host.configure(backup_yearly_retention_days=3650)
    first = host.good_backup(before=at(NOON))
    host.good_backup(before=at(NOON + timedelta(days=1)))
    host.good_backup("--tier", "weekly", before=at(NOON + timedelta(days=2)))
    for tier in ("monthly", "yearly"):
        assert host.dumps(tier) == [first.name]
        assert (host.backups / tier / first.name).stat().st_ino == first.stat().st_ino
        assert (host.backups / tier / f"{first.name}.json").exists()
    host.good_backup(before=at(NOON + timedelta(days=20)))
    assert len(host.dumps("monthly")) == 2 and len(host.dumps("yearly")) == 1


def test_dump_leaves_with_all_that_accompanies_it(host: Host) -> None:
    for day in (3, 2, 1):
        host.good_backup(before=at(NOON + timedelta(days=-40 * day)))
    host.plant(*(stamp(day) for day in (1, 2, 3)))
    host.good_backup(before=at(NOON))
    names = {path.name.split(".sql.gz")[0] for path in host.backups.glob("medaction_2*")}
    assert names == {f"medaction_{stamp(day)}" for day in (0, 1, 2, 3)}


def test_size_far_from_the_median_is_a_warning(host: Host) -> None:
    for _ in range(3):
        assert "median" not in host.backup().stderr
    host.cluster.ask(host.database, 'TRUNCATE "Réclamations", patients')
    done = host.backup()
    assert done.returncode == 0 and "WARN" in done.stderr and "the median of the last ones" in done.stderr


def test_check_is_ok_while_the_newest_good_dump_is_fresh(host: Host) -> None:
    host.good_backup()
    done = host.backup("--check")
    assert done.returncode == 0 and done.stdout.startswith("OK: medaction: good dump 0 h ago")
    assert "medaction_age=" in done.stdout and done.stdout.count("\n") == 1


def test_check_is_critical_without_a_dump_or_with_an_old_one(host: Host) -> None:
    assert host.backup("--check").returncode == 2
    host.good_backup(before=at(NOON))
    fresh, old = (host.backup("--check", before=at(NOON + timedelta(hours=hours))) for hours in (26, 27))
    assert (fresh.returncode, old.returncode) == (0, 2), fresh.stdout + old.stdout
    assert old.stdout.startswith("CRITICAL: medaction: newest good dump 27 h ago, allowed are 26 h")


def test_check_does_not_believe_a_dump_without_manifest_or_from_the_future(host: Host) -> None:
    host.good_backup(before=at(NOON + timedelta(days=300)))
    host.plant(stamp(0.1), manifest=False)
    done = host.backup("--check", before=at(NOON))
    assert done.returncode == 2 and "from the future" in done.stdout and "there is no good dump" in done.stdout


def test_check_warns_of_a_failed_run_and_of_one_that_was_cut_off(host: Host) -> None:
    host.good_backup()
    host.shim("igzip", "exit 1")
    assert host.backup().returncode == 1
    done = host.backup("--check")
    assert done.returncode == 1 and "the last daily run failed: igzip ended with exit code 1" in done.stdout
    host.unshim()
    with half_way(host) as run:
        assert "interrupted" not in host.backup("--check").stdout
        run.kill()
        run.wait()
    done = host.backup("--check")
    assert done.returncode == 1 and "was interrupted in step dump" in done.stdout
    run.communicate()


def test_check_is_not_soothed_by_a_daily_run_after_a_weekly_one_that_failed(host: Host) -> None:
    host.shim("igzip", "exit 1")
    assert host.backup("--tier", "weekly").returncode == 1
    host.unshim()
    host.good_backup()
    done = host.backup("--check")
    assert done.returncode == 1 and "the last weekly run failed: igzip" in done.stdout
    host.good_backup("--tier", "weekly")
    assert host.backup("--check").returncode == 0


def overdue(host: Host, **options) -> list[list[str]]:
    done = host.backup("--overdue", **options)
    assert done.returncode == 0, done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()]


def test_a_deploy_is_told_which_tiers_need_a_run(host: Host) -> None:
    """Whatever `--check` finds that a run would mend, so that a deploy never ends with a check that is red."""
    assert overdue(host) == [["daily", "medaction: there is no good dump: run backup-database.sh and read its log"]]
    host.good_backup(before=at(NOON))
    assert overdue(host, before=at(NOON)) == []
    assert overdue(host, before=at(NOON + timedelta(hours=27)))[0][0] == "daily"
    target = host.latest.readlink()
    host.latest.unlink()
    assert "medaction_latest.sql.gz" in overdue(host, before=at(NOON))[0][1]
    host.latest.symlink_to(target)
    host.plant(*(stamp(day) for day in range(1, 10)))
    assert [tier for tier, _ in overdue(host, before=at(NOON))] == ["weekly"]
    host.shim("igzip", "exit 1")
    assert host.backup("--tier", "weekly", before=at(NOON)).returncode == 1
    assert "the last weekly run failed: igzip" in overdue(host, before=at(NOON))[0][1]
    host.unshim()
    host.good_backup("--tier", "weekly", before=at(NOON))
    assert overdue(host, before=at(NOON)) == []
    with half_way(host) as run:
        run.kill()
        run.wait()
    assert [tier for tier, reason in overdue(host) if "interrupted" in reason] == ["daily"]
    run.communicate()


def test_check_misses_a_weekly_tier_that_has_ceased(host: Host) -> None:
    host.plant(*(stamp(day) for day in range(1, 9)))
    host.good_backup(before=at(NOON))
    assert host.backup("--check", before=at(NOON)).returncode == 0
    host.plant(stamp(9))
    done = host.backup("--check", before=at(NOON))
    assert done.returncode == 1 and "no weekly dump for 9 days" in done.stdout
    host.good_backup("--tier", "weekly", before=at(NOON))
    assert host.backup("--check", before=at(NOON)).returncode == 0


def test_check_knows_the_restore_tests(host: Host) -> None:
    host.good_backup(before=at(NOON))
    assert "restored" not in host.backup("--check", before=at(NOON)).stdout
    assert host.restore_test().returncode == 0
    assert "restored as a test" in host.backup("--check", before=at(NOON)).stdout
    verdict = Path(f"{host.latest.resolve()}.restore-test.json")
    # The test's age counts, not the dump's, as in `make status`.
    for days, code in ((15, 0), (16, 1)):
        tested = f"{NOON - timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"
        verdict.write_text(re.sub(r'(?<="tested": ")[^"]+', tested, verdict.read_text()))
        done = host.backup("--check", before=at(NOON))
        assert done.returncode == code and f"restored as a test {days} days ago" in done.stdout, done.stdout
    verdict.write_text(
        verdict.read_text()
        .replace('"verdict": "ok"', '"verdict": "failed"')
        .replace('"message": null', '"message": "why"')
    )
    done = host.backup("--check", before=at(NOON))
    assert done.returncode == 2 and "the restore test failed: why" in done.stdout


@pytest.mark.parametrize(
    ("tier", "last", "boot", "runs"),
    [
        ("daily", "2026-06-15 02:00:05", "2026-06-15 12:00:00", False),
        ("daily", "2026-06-14 02:00:05", "2026-06-15 01:30:00", False),
        ("daily", "2026-06-14 02:00:05", "2026-06-15 02:30:00", True),
        ("weekly", "2026-06-14 01:00:05", "2026-06-20 23:00:00", False),
        ("weekly", "2026-06-14 01:00:05", "2026-06-21 01:30:00", True),
        ("weekly", "2026-06-07 01:00:05", "2026-06-15 12:00:00", True),
    ],
)
def test_missed_run_is_caught_up_and_only_that(host: Host, tier: str, last: str, boot: str, runs: bool) -> None:
    host.good_backup("--tier", tier, before=("faketime", "-f", f"@{last}"))
    done = host.backup("--tier", tier, "--if-missed", before=("faketime", "-f", f"@{boot}"))
    assert done.returncode == 0, done.stderr
    assert len(host.dumps(tier)) == 1 + runs


def test_status_tells_of_the_run_before_it_ends_and_after(host: Host) -> None:
    with half_way(host) as run:
        assert host.status()["state"] == "running" and host.status()["ended"] is None
    run.communicate(timeout=60)
    status = host.status()
    assert status["state"] == "ok" and status["exit_code"] == 0 and status["ended"] >= status["started"]
    assert status["dump"] == str(host.latest.resolve())


@pytest.mark.fault
def test_hundred_failures_in_a_row_leave_the_minimum_and_more(host: Host) -> None:
    host.plant(*(stamp(day) for day in (101, 102, 103, 104)))
    host.shim("psql", "exit 2")
    for day in range(100, 0, -1):
        assert host.backup(before=at(NOON - timedelta(days=day))).returncode == 1
    assert len(host.dumps()) == 4 and host.told.read_text().count("\n") == 100
    host.unshim()
    host.good_backup(before=at(NOON))
    assert len(host.dumps()) == 5
