"""A private file's access list: written as SDDL, and compared with what Windows writes back."""

from __future__ import annotations

import re

import pytest

from provision.windows.acl import Private, Shared, differences

FILE = Private()
DIRECTORY = Private(directory=True)
# What Get-Acl answers has an owner and a group before the access list.
OWNED = "O:BAG:S-1-5-21-1-2-3-513"


@pytest.mark.parametrize(
    "wanted",
    [
        FILE,
        DIRECTORY,
        Private(("S-1-5-21-1-2-3-1001",)),
        Private(("S-1-5-20",), ("S-1-5-19",), directory=True),
        Shared(),
        Shared(writers=("S-1-5-21-1-2-3-1001",)),
    ],
)
def test_what_is_written_is_no_difference(wanted):
    assert differences("C:\\x", wanted, OWNED + wanted.sddl) == []


def test_another_order_and_numbers_for_rights_are_no_difference():
    assert differences("C:\\x", FILE, OWNED + "D:PAI(A;;0x1f01ff;;;BA)(A;;FA;;;S-1-5-18)") == []
    assert differences("C:\\x", DIRECTORY, OWNED + "D:PAI(A;CIOI;FA;;;BA)(A;OICI;FA;;;SY)") == []


@pytest.mark.parametrize(
    ("sddl", "told"),
    [
        ("D:PAI(A;;FA;;;SY)(A;;FA;;;BA)(A;;0x1200a9;;;BU)", "Users has read and execute, and should not"),
        ("D:PAI(A;;FA;;;SY)(A;;FA;;;BA)(A;;FA;;;WD)", "Everyone has full control, and should not"),
        ("D:PAI(A;;FA;;;SY)", "missing: Administrators has full control"),
        ("D:AI(A;ID;FA;;;SY)(A;ID;FA;;;BA)", "inherited from the directory above"),
    ],
)
def test_one_wrong_entry_is_told_once(sddl, told):
    sentences = differences("C:\\x", FILE, OWNED + sddl)
    assert len(sentences) == 1 and told in sentences[0]


@pytest.mark.parametrize(("owner", "name"), [("BU", "Users"), ("S-1-5-21-1-2-3-1001",) * 2, ("LA", "LA")])
def test_an_owner_who_could_change_the_list_is_told(owner, name):
    (told,) = differences("C:\\x", FILE, f"O:{owner}G:SY{FILE.sddl}")
    assert f"is owned by {name}, should be Administrators" in told
    assert differences("C:\\x", FILE, f"O:SYG:SY{FILE.sddl}") == []


def test_a_well_known_account_of_the_machine_is_known_by_its_number():
    reader = Private(("S-1-5-21-1-2-3-500",))
    found = OWNED + reader.sddl.replace("S-1-5-21-1-2-3-500", "LA")
    assert differences("C:\\x", reader, found) == []
    assert differences("C:\\x", FILE, found) != []


def test_names_of_accounts_become_their_sids():
    named = Private(readers=("WIN1\\a", "S-1-5-20"), writers=("WIN1\\b",))
    assert named.accounts == {"WIN1\\a", "WIN1\\b"}
    known = named.resolved({"WIN1\\a": "S-1-5-21-1", "WIN1\\b": "S-1-5-21-2"})
    assert known == Private(("S-1-5-21-1", "S-1-5-20"), ("S-1-5-21-2",)) and known.accounts == set()


def test_nobody_but_administrators_may_rename_or_remove_what_lies_in_the_apps_directory():
    """DELETE is 0x10000, FILE_DELETE_CHILD 0x40, WRITE_DAC 0x40000, WRITE_OWNER 0x80000."""
    forbidden = 0x10000 | 0x40 | 0x40000 | 0x80000
    entries = re.findall(r"\(A;([A-Z]*);([^;]*);;;([^)]*)\)", Shared(writers=("S-1-5-21-1-2-3-1001",)).sddl)
    others = [(flags, rights) for flags, rights, sid in entries if sid not in ("SY", "BA") and "IO" not in flags]
    assert others and not any(int(rights, 16) & forbidden for _, rights in others)


def test_no_access_list_at_all_is_a_difference():
    assert differences("C:\\x", FILE, "O:BA") != []
