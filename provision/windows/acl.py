r"""Who may open a file or a directory on Windows, as the whole of its access list. Pure.

Accounts are security identifiers, whose meaning no language changes: `S-1-5-18` is SYSTEM, `S-1-5-32-544` the
administrators (https://learn.microsoft.com/windows-server/identity/ad-ds/manage/understand-security-identifiers).
An access list is written and read as SDDL (MS-DTYP 2.5.1).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

SYSTEM = "S-1-5-18"
ADMINISTRATORS = "S-1-5-32-544"
TRUSTED_OWNERS = (SYSTEM, ADMINISTRATORS)
_SIDS = {
    "SY": SYSTEM, "BA": ADMINISTRATORS, "BU": "S-1-5-32-545", "WD": "S-1-1-0", "AU": "S-1-5-11",
    "LS": "S-1-5-19", "NS": "S-1-5-20", "CO": "S-1-3-0", "OW": "S-1-3-4", "IU": "S-1-5-4",
    "IS": "S-1-5-32-568", "BG": "S-1-5-32-546", "SU": "S-1-5-6", "NU": "S-1-5-2",
}  # fmt: skip
_RELATIVE = {"LA": 500, "LG": 501, "DA": 512, "DU": 513, "DG": 514, "DC": 515, "DD": 516}
_NAMES = {
    SYSTEM: "SYSTEM", ADMINISTRATORS: "Administrators", "S-1-5-32-545": "Users", "S-1-1-0": "Everyone",
    "S-1-5-11": "Authenticated Users",
}  # fmt: skip
# FILE_ALL_ACCESS, and FILE_GENERIC_READ with and without FILE_EXECUTE: Windows writes them back in hexadecimal.
_RIGHTS = {"FA": 0x1F01FF, "FR": 0x120089, "FX": 0x1200A0, "FW": 0x120116, "GA": 0x1F01FF, "GR": 0x120089}
_WORDS = {0x1F01FF: "full control", 0x120089: "read", 0x1200A9: "read and execute", 0x1301BF: "modify"}


@dataclass(frozen=True)
class Private:
    """SYSTEM and the administrators have full control, `readers` may read, `writers` change, nobody else anything.

    Nothing is inherited from the directory above; what lies in a directory inherits from it. Accounts are names until
    `resolved`, SIDs afterwards.
    """

    readers: tuple[str, ...] = ()
    writers: tuple[str, ...] = ()
    directory: bool = False

    @property
    def accounts(self) -> set[str]:
        """The names among the accounts."""
        return {each for each in (*self.readers, *self.writers) if not each.startswith("S-1-")}

    def resolved(self, sids: Mapping[str, str]) -> Private:
        """The same with each name's SID in its place."""
        readers, writers = (tuple(sids.get(name, name) for name in names) for names in (self.readers, self.writers))
        return replace(self, readers=readers, writers=writers)

    @property
    def sddl(self) -> str:
        flags = "OICI" if self.directory else ""
        read = "0x1200a9" if self.directory else "FR"
        rights = [("FA", ("SY", "BA")), (read, self.readers), ("0x1301bf", self.writers)]
        return "D:PAI" + "".join(f"(A;{flags};{right};;;{sid})" for right, sids in rights for sid in sids)


@dataclass(frozen=True)
class Shared(Private):
    """A directory that every user may read; `writers` may add to it, and change what lies in it and inherits from it.

    They cannot rename or remove it, nor what has an access list of its own: what runs as SYSTEM lies below. (Below the
    root of a drive Windows lets every user do that with what inherits its access.)
    """

    directory: bool = True

    @property
    def sddl(self) -> str:
        read = "".join(f"(A;OICI;{right};;;{sid})" for right, sid in (("FA", "SY"), ("FA", "BA"), ("0x1200a9", "BU")))
        # To add files and directories, in this one alone; to modify, in what is below.
        write = "".join(f"(A;;0x1200af;;;{sid})(A;OICIIO;0x1301bf;;;{sid})" for sid in self.writers)
        return f"D:PAI{read}{write}"


def differences(path: str, wanted: Private, found_sddl: str) -> list[str]:
    """What is different about a path's owner and access list, a sentence each."""
    want, _ = _parse(wanted.sddl)
    found, protected = _parse(found_sddl)
    found = {(kind, flags, mask, _as_wanted(sid, want)) for kind, flags, mask, sid in found}
    there = owner(found_sddl)
    # Whoever owns it may always change the list.
    is_safe = there in TRUSTED_OWNERS
    told = [] if is_safe else [f"{path}: is owned by {_NAMES.get(there, there) or 'nobody'}, should be Administrators"]
    told += [] if protected else [f"{path}: its access is inherited from the directory above"]
    told += [f"{path}: {_words(entry)}, and should not" for entry in sorted(found - want)]
    told += [f"{path}: missing: {_words(entry)}" for entry in sorted(want - found)]
    return told


def owner(sddl: str) -> str:
    """The SID of the owner that a security descriptor names; empty without one."""
    match = re.match(r"O:(S-[0-9-]+|[A-Z]{2})", sddl)
    return "" if match is None else _SIDS.get(match[1], match[1])


def _parse(sddl: str) -> tuple[set[tuple[str, str, int, str]], bool]:
    """The entries of the access list, flags in one order, and whether it is shut off from inheritance."""
    match = re.search(r"D:([A-Z]*)((?:\([^)]*\))*)", sddl)
    if not match:
        return set(), False
    entries = set()
    for ace in re.findall(r"\(([^)]*)\)", match[2]):
        kind, flags, rights, _, _, sid = ace.split(";")[:6]
        # ID: inherited; where it came from is told by `protected`.
        pairs = sorted(pair for pair in re.findall("..", flags) if pair != "ID")
        entries.add((kind, "".join(pairs), _mask(rights), _SIDS.get(sid, sid)))
    return entries, "P" in match[1]


def _as_wanted(sid: str, want: set[tuple[str, str, int, str]]) -> str:
    """A domain's or machine's well-known account (MS-DTYP 2.4.2.4), which SDDL names without saying whose it is."""
    number = _RELATIVE.get(sid)
    return next((each for *_, each in want if number and re.fullmatch(rf"S-1-5-21-.*-{number}", each)), sid)


def _mask(rights: str) -> int:
    if rights.lower().startswith("0x"):
        return int(rights, 16)
    mask = 0
    for pair in re.findall("..", rights):
        mask |= _RIGHTS.get(pair, 0)
    return mask


def _words(entry: tuple[str, str, int, str]) -> str:
    kind, flags, mask, sid = entry
    verb = {"A": "has", "D": "is denied"}.get(kind, kind)
    where = (
        ""
        if not flags
        else " (inherited by what is in it)"
        if {"OI", "CI"} <= set(re.findall("..", flags))
        else f" ({flags})"
    )
    return f"{_NAMES.get(sid, sid)} {verb} {_WORDS.get(mask, hex(mask))}{where}"
