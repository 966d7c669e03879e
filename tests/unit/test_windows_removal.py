"""What a Windows host's list says of what goes, what stays, and what is left over."""

from __future__ import annotations

from provision.record.removal import UNUSED
from provision.windows import layout, removal, undo
from tests.windows.settings import settings

APP, BACKUPS, ENV = "C:\\MedAction", "C:\\MedAction\\backups", "C:\\MedAction\\.env"
TASK = "\\MedAction\\MedAction Backup"


def _listed(**changes: object) -> removal.Listed:
    """A host with both roles, on which nothing was before the first deploy."""
    of = layout.needs(settings(**changes), ("app", "backup"))
    ours = {kind: set().union(*(each[kind] for each in of.values())) for kind in removal.KINDS}
    own = layout.record(settings())
    ours["files"] |= {own}
    ours["directories"] |= {own.rpartition("\\")[0]}
    return removal.Listed("1.1.0", removal.things(ours), of)


def test_a_list_is_read_as_it_was_written():
    listed = _listed()
    listed.left = {"backup": removal.things({"data": {"D:\\old"}, "directories": {"D:\\old"}})}
    listed.access = {"C:\\x": "O:BA"}
    text = removal.text(listed, ["app", "backup"])
    assert removal.text(removal.read(text), ["app", "backup"]) == text


def test_what_another_role_needs_stays_until_that_goes():
    listed = _listed()
    found = removal.removal(listed, "app")
    assert found.goes["directories"] == set() and f"{APP}: stays, the role backup needs it" in found.stays
    assert (found.goes["files"], found.data) == ({ENV}, {ENV})
    after = removal.without(listed, "app", removal.things({}))
    assert APP in removal.removal(after, "backup").goes["directories"]


def test_what_was_there_before_us_stays_with_the_access_list_that_it_had():
    listed = _listed()
    listed.ours["directories"].discard(APP)
    listed.access = {APP: "O:BAD:AI"}
    assert not removal.removal(listed, "app").access, "the other role needs ours"
    found = removal.removal(removal.without(listed, "app", removal.things({})), "backup")
    assert found.access == {APP: "O:BAD:AI"} and f"{APP}: stays, it was there before the first deploy" in found.stays


def test_the_apps_directory_goes_with_the_data_also_when_all_is_taken_at_once():
    listed = _listed()
    del listed.of["app"]
    going, status = removal.removal(listed, "backup"), f"{BACKUPS}\\status-daily.json"
    tree = {APP: {"entries": 3, "files": 2, "bytes": 0}, BACKUPS: {"entries": 2, "files": 2, "bytes": 0}}
    assert undo._emptied(going, {status}, {BACKUPS}, set(), tree) == [APP]
    tree[APP]["entries"] += 1  # somebody else's
    assert undo._emptied(going, {status}, {BACKUPS}, set(), tree) == []


def test_dumps_in_a_directory_that_was_there_before_us_go_with_no_removal():
    listed = _listed()
    listed.ours["directories"].discard(BACKUPS)
    assert BACKUPS not in removal.removal(listed, "backup").data


def test_what_a_setting_asked_for_once_is_unused_and_the_list_itself_is_not():
    listed = _listed()
    assert removal.leftovers(listed, ("app", "backup")) == {}
    listed.ours["files"].add("D:\\Old\\scripts\\backup-database.ps1")
    assert removal.leftovers(listed, ("app", "backup"))[UNUSED]["files"] == {"D:\\Old\\scripts\\backup-database.ps1"}
    assert removal.removal(listed, UNUSED).goes["files"] == {"D:\\Old\\scripts\\backup-database.ps1"}


def test_a_role_that_the_host_left_is_told_and_its_former_place_of_data():
    listed = _listed()
    left = removal.leftovers(listed, ("app",))["backup"]
    assert TASK in left["tasks"] and removal.in_words(left) == "12 files, 2 scheduled tasks"
    moved = layout.needs(settings(windows_backup_dir="E:\\dumps"), ("app", "backup"))
    assert removal.former(listed, moved) == {"app": set(), "backup": {BACKUPS}}
    assert not removal.former(listed, layout.needs(settings(), ("app", "backup")))["backup"]
