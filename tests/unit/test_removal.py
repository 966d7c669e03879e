"""What a removal takes and what stays, by a host's list alone."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path

import pytest

from provision.engine.claims import KINDS
from provision.record import removal
from provision.record.layout import Listed, Things, things
from provision.record.removal import UNUSED
from provision.settings.render import FILES

APP = things({
    "directories": {"/opt/x", "/opt/x/lib"},
    "files": {"/opt/x/.env", "/opt/x/lib/limits.ts", "/usr/local/lib/x/ca.crt"},
    "users": {"x"}, "packages": {"redis-tools"}, "data": {"/opt/x/.env", "/opt/x/.env.previous"},
})  # fmt: skip
REDIS = things({
    "directories": {"/etc/x-redis"}, "files": {"/etc/redis/redis.conf", "/etc/systemd/system/x-redis-firewall.service"},
    "packages": {"redis-server", "redis-tools", "nftables"}, "tables": {"x-redis"}, "data": {"/var/lib/redis"},
})  # fmt: skip
BACKUP = things({
    "directories": {"/opt/x", "/opt/x/backups", "/opt/x/backups/weekly", "/var/log/x"},
    "files": {"/etc/cron.d/x-backup", "/usr/local/lib/x/ca.crt", "/var/log/x/backup.log"},
    "users": {"x-backup"}, "packages": {"cron", "isal"}, "data": {"/opt/x/backups", "/var/log/x"},
    "scratch": {"/var/lib/x-test", "/var/lib/node/x.prom"},
})  # fmt: skip
ROLES = {"app": APP, "redis": REDIS, "backup": BACKUP}
OWN = {
    "directories": {"/var/lib/x-deploy"},
    "files": {"/var/lib/x-deploy/host.json", "/var/lib/x-deploy/history.jsonl"},
}


def union(*found: Things) -> Things:
    return things({kind: set().union(*(each.get(kind, ()) for each in found)) for kind in KINDS})


def listed(but: Things | None = None, **roles: Things) -> Listed:
    ours = union(*roles.values(), things(OWN))
    for kind, names in (but or {}).items():
        ours[kind] = ours.get(kind, set()) - names
    return Listed("1.1.0", "staging", ours, dict(roles))


def test_what_another_role_needs_stays():
    found = removal.removal(listed(**ROLES), "backup")
    assert found.goes["directories"] == {"/opt/x/backups", "/opt/x/backups/weekly", "/var/log/x"}
    assert found.goes["files"] == {"/etc/cron.d/x-backup", "/var/log/x/backup.log"}
    assert "/usr/local/lib/x/ca.crt, /opt/x: stay, the role app needs them" in found.stays


def test_what_was_there_before_stays():
    found = removal.removal(listed({"users": {"x-backup"}, "directories": {"/opt/x/backups"}}, **ROLES), "backup")
    assert not found.goes["users"] and "/opt/x/backups" not in found.goes["directories"]
    assert found.data == {"/var/log/x"}, "a directory of somebody else's is never deleted whole"
    assert "x-backup, /opt/x/backups: stay, they were there before the first deploy" in found.stays


def test_what_another_app_of_the_host_needs_stays():
    other = listed(redis=things({"packages": {"redis-server"}, "tables": {"y-redis"}}))
    found = removal.removal(listed(redis=REDIS), "redis", [other])
    assert found.goes["packages"] == {"redis-tools"} and found.goes["tables"] == {"x-redis"}


@pytest.mark.parametrize(
    ("ours", "theirs", "rests"),
    [
        (True, {"packages": {"redis-server"}}, True),
        (False, {"packages": {"redis-server"}}, False),  # Debian's before us both
        (True, {"packages": {"redis-server"}, "files": {"/etc/redis/redis.conf"}}, False),
        (True, {"packages": {"valkey-server"}}, False),
    ],
)
def test_the_service_of_a_package_that_another_app_needs_alone_stops(ours: bool, theirs: Things, rests: bool):
    other = Listed("1.1.0", "staging", things({}), {"redis": things(theirs)})
    mine = listed(None if ours else {"packages": {"redis-server"}}, redis=REDIS)
    assert removal.removal(mine, "redis", [other]).rests == ({"redis-server"} if rests else set())


def test_data_in_what_another_setting_calls_scratch_stays_data():
    """A Redis in a service of its own, and then in the package's, which keeps other things there."""
    watch = things({"scratch": {"/var/lib/x-redis"}, "directories": {"/var/lib/x-redis"}})
    left = things({"data": {"/var/lib/x-redis"}, "directories": {"/var/lib/x-redis"}})
    had = listed(redis=watch)
    had.left["redis"] = left
    found = removal.removal(had, "redis")
    assert (found.scratch, found.data) == (set(), {"/var/lib/x-redis"})


def test_packages_that_anybody_may_use_by_now_stay_and_are_told():
    found = removal.removal(listed(backup=BACKUP), "backup")
    assert found.goes["packages"] == {"isal"}
    assert any(each.startswith("cron: stay, others may use these packages") for each in found.stays)


def test_a_former_version_of_a_file_is_data_as_the_file_is():
    assert removal.removal(listed(app=APP), "app").data == {"/opt/x/.env", "/opt/x/.env.previous"}
    assert removal.removal(listed({"files": {"/opt/x/.env"}}, app=APP), "app").data == set()


@pytest.mark.parametrize("order", list(itertools.permutations(ROLES)), ids=",".join)
def test_in_every_order_nothing_of_ours_is_left_but_the_history(order: tuple[str, ...]):
    whole, gone = listed(**ROLES), things({})
    for role in order:
        found = removal.removal(whole, role)
        for kind in KINDS:
            assert not found.goes[kind] & gone[kind], "nothing goes twice"
            gone[kind] |= found.goes[kind]
        whole = removal.without(whole, role, things({}))
    left = {kind: names for kind, names in whole.ours.items() if names}
    assert left == OWN and not whole.of
    assert {kind: gone[kind] for kind in KINDS} == {
        kind: union(*ROLES.values())[kind] - (removal.EVERYDAY if kind == "packages" else set()) for kind in KINDS
    }


def test_data_that_stays_is_known_afterwards_and_can_be_told_to_go():
    whole = listed(app=APP, backup=BACKUP)
    left = things({"directories": {"/opt/x/backups"}, "users": {"x-backup"}, "data": {"/opt/x/backups"}})
    after = removal.without(whole, "backup", left)
    assert removal.leftovers(after, ["app"]) == {}, "no plan asks for what was kept on purpose"
    again = removal.removal(after, "backup")
    assert again.goes["directories"] == {"/opt/x/backups"} and again.goes["users"] == {"x-backup"}
    assert again.data == {"/opt/x/backups"}


def test_of_a_role_that_was_left_the_plan_knows():
    assert set(removal.leftovers(listed(**ROLES), ["app", "redis"])) == {"backup"}
    words = removal.in_words(BACKUP)
    assert words == "3 files, 1 cron file, 1 user"


def test_what_no_setting_asks_for_any_more_is_found_and_data_is_none_of_it():
    whole = listed(app=APP, backup=BACKUP)
    whole.ours["files"] |= {"/etc/cron.d/x-metrics", "/opt/x/backups/weekly/note"}
    assert removal.leftovers(whole, ["app", "backup"])[UNUSED]["files"] == {"/etc/cron.d/x-metrics"}
    found = removal.removal(whole, UNUSED)
    assert found.goes["files"] == {"/etc/cron.d/x-metrics"} and not found.goes["packages"]
    assert "/etc/cron.d/x-metrics" not in removal.without(whole, UNUSED, things({})).ours["files"]


def test_a_list_that_tells_no_roles_apart_names_nothing_unused():
    whole = Listed("1.1.0", "staging", union(APP))
    assert removal.leftovers(whole, ["app"]) == {} and removal.removal(whole, "app").empty


def test_a_file_that_a_package_reads_is_known():
    assert removal.read_by("/etc/redis/users.acl") == "redis-server" and removal.read_by("/etc/cron.d/x") == ""


@pytest.mark.parametrize(("path", "yes"), [("/a/b", True), ("/a/b/c", True), ("/a/bc", False), ("/a", False)])
def test_what_lies_below_data_is_data(path: str, yes: bool):
    assert removal.is_data(path, ["/a/b"]) is yes


def test_what_remains_is_told_to_the_byte_however_large(tmp_path: Path):
    """Debian's awk has integers of 31 bits."""
    with (tmp_path / "dump").open("wb") as file:
        file.truncate(5 << 30)
    told = subprocess.run(["sh", FILES / "record/remains.sh", tmp_path], capture_output=True, text=True, check=True)
    assert told.stdout == f"{tmp_path}\t1\t{5 << 30}\tdump \n"
