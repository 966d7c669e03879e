"""Databases whose names are alike, or look like something of ours, keep everything apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .cluster import fingerprint
from .host import Host
from .test_contents import overdue

ALIKE = ["x", "x.weekly", "x.weekly.daily", "X"]


@pytest.fixture
def alike(host: Host):
    for name in ALIKE:
        host.cluster.new_database(name, template="template0")
        host.cluster.ask(name, f"CREATE TABLE own AS SELECT '{name}'::text AS name")
        host.cluster.ask(name, "ALTER TABLE own OWNER TO medaction")
    host.configure(backup_databases=[host.database, *ALIKE])
    yield host
    for name in ALIKE:
        host.cluster.drop_database(name)


def statuses(host: Host) -> dict[tuple[str, str], dict]:
    found = [json.loads(path.read_text()) for path in Path(host.settings.backup_state_dir).glob("status*.json")]
    assert len({(each["database"], each["tier"]) for each in found}) == len(found)
    return {(each["database"], each["tier"]): each for each in found}


@pytest.mark.fault
def test_each_database_and_tier_has_a_status_of_its_own(alike: Host) -> None:
    host = alike
    for tier in ("daily", "weekly"):
        done = host.backup("--tier", tier)
        assert done.returncode == 0, done.stderr
    assert set(statuses(host)) == {(name, tier) for name in [host.database, *ALIKE] for tier in ("daily", "weekly")}
    host.cluster.ask("postgres", "ALTER DATABASE x ALLOW_CONNECTIONS false")
    assert host.backup("--tier", "weekly", "--database", "x").returncode == 1
    assert [key for key, each in statuses(host).items() if each["state"] == "failed"] == [("x", "weekly")]
    assert [tier for tier, why in overdue(host)] == ["weekly"] and "medaction-x: " in overdue(host)[0][1]


def test_each_is_restored_from_its_own_dump(alike: Host) -> None:
    host = alike
    assert host.backup().returncode == 0
    for name in ALIKE:
        host.cluster.ask(name, "DROP TABLE own")
    for name in ALIKE:
        done = host.restore("--into", name)
        assert done.returncode == 0, done.stderr
        assert host.cluster.ask(name, "SELECT name FROM own") == name
    assert host.restore_test().returncode == 0
    tests = [json.loads(path.read_text()) for path in Path(host.settings.backup_state_dir).glob("restore-test*.json")]
    assert {each["database"] for each in tests} == {host.database, *ALIKE}
    assert fingerprint(host.cluster, "x") != fingerprint(host.cluster, "X")


@pytest.mark.fault
def test_status_of_before_dots_were_spelt_is_taken_away_by_the_one_that_replaces_it(alike: Host) -> None:
    host = alike
    state = Path(host.settings.backup_state_dir)
    old = {"status-medaction-x.weekly.json": ("x.weekly", "daily"),
           "status-medaction-x.weekly.daily.json": ("x.weekly.daily", "daily")}  # fmt: skip
    for file, (database, tier) in old.items():
        host.place(json.dumps({"state": "failed", "database": database, "tier": tier, "message": "long ago"}),
                   state / file, 0o600)  # fmt: skip
    assert host.backup().returncode == 0
    assert host.backup("--check").returncode == 0 and not [file for file in old if (state / file).exists()]
    assert host.backup("--tier", "weekly").returncode == 0
    assert statuses(host)["x", "weekly"]["state"] == "ok" and statuses(host)["x.weekly", "daily"]["state"] == "ok"


@pytest.mark.parametrize("name", ["é" * 31 + "x", "日" * 21, "'" * 63], ids=["two", "three", "ascii"])
@pytest.mark.parametrize("form", ["plain-zstd", "directory"])
def test_longest_name_that_postgresql_takes_is_backed_up_tested_and_restored(host: Host, name: str, form: str) -> None:
    assert len(name.encode()) == 63
    host.cluster.new_database(name, template="template0")
    try:
        host.cluster.ask(name, "CREATE TABLE own AS SELECT 1 AS one; ALTER TABLE own OWNER TO medaction")
        # The longest name of an app with which it can be.
        host.configure(app_name="fourteen-bytes", backup_databases=[host.database, name], backup_format=form)
        for tier in ("daily", "weekly"):
            done = host.backup("--tier", tier)
            assert done.returncode == 0, done.stderr
        assert host.restore_test().returncode == 0
        host.cluster.ask(name, "DROP TABLE own")
        done = host.restore("--into", name)
        assert done.returncode == 0, done.stderr
        assert host.cluster.ask(name, "SELECT one FROM own") == "1"
    finally:
        host.cluster.drop_database(name)


@pytest.mark.fault
def test_name_that_is_too_long_for_files_is_one_sentence_and_harms_no_other(host: Host) -> None:
    name = "日" * 21
    host.cluster.new_database(name, template="template0")
    try:
        host.configure(app_name="sixteen-bytes-ab", backup_databases="all")
        done = host.backup()
        assert done.returncode != 0
        assert "the names of its files would begin with 206 bytes" in done.stderr and "too long" not in done.stderr
        assert {each["state"] for key, each in statuses(host).items() if key[0] == host.database} == {"ok"}
        assert [each["state"] for key, each in statuses(host).items() if key[0] == name] == ["failed"]
    finally:
        host.cluster.drop_database(name)


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
