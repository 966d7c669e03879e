"""A private file's access list: written as SDDL, and compared with what Windows writes back."""

from __future__ import annotations

import pytest

from provision.windows.acl import Private, differences

FILE = Private()
DIRECTORY = Private(directory=True)
# What Get-Acl answers has an owner and a group before the access list.
OWNED = "O:BAG:S-1-5-21-1-2-3-513"


@pytest.mark.parametrize("wanted", [FILE, DIRECTORY, Private(("S-1-5-21-1-2-3-1001",)), Private(("S-1-5-20",), True)])
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


def test_no_access_list_at_all_is_a_difference():
    assert differences("C:\\x", FILE, "O:BA") != []
