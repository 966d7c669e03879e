r"""The list of what of a Windows host came from us: its text, what a removal takes by it, and what stays. Pure.

A thing goes when it came from us, the role has it, and no other role of the host needs it. Data stays until it is told
twice. What is `provision.record.layout` and `.removal` for Debian hosts, with a Windows host's kinds and paths.
"""

from __future__ import annotations

import json
import ntpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from provision.record.removal import UNUSED

KINDS = ("files", "directories", "tasks", "packages")
# Of a role's paths, what a removal keeps until it is told twice, and what is worth nothing without the role.
CONTENTS = ("data", "scratch")

_OWN = re.compile(r"C:\\ProgramData\\[^\\]+-deploy(\\|$)")  # where the list itself lies

Things = dict[str, set[str]]
"""Names or paths, by kind."""


@dataclass
class Listed:
    """What a list says: by kind what came from us; by role what it needs, whosever; by role the data that it left;
    the sum of what we wrote into each file; the access list of each directory that was there before us."""

    version: str = ""
    ours: Things = field(default_factory=lambda: things({}))
    of: dict[str, Things] = field(default_factory=dict)
    left: dict[str, Things] = field(default_factory=dict)
    sums: dict[str, str] = field(default_factory=dict)
    access: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Removal:
    """By kind what goes, data apart; the access lists to give back; why what else the role has stays."""

    goes: Things
    data: frozenset[str]
    scratch: frozenset[str]
    access: Mapping[str, str]
    stays: tuple[str, ...]

    @property
    def empty(self) -> bool:
        return not any(self.goes[kind] for kind in ("files", "directories", "tasks")) and not self.data


def things(found: Mapping[str, Iterable[str]]) -> Things:
    return {kind: set(found.get(kind, ())) for kind in (*KINDS, *CONTENTS)}


def text(listed: Listed, roles: Iterable[str]) -> str:
    """The list as JSON: the same for the same host."""
    files = listed.ours["files"]
    whole = {
        "version": listed.version, "roles": sorted(roles), **{kind: sorted(listed.ours[kind]) for kind in KINDS},
        "of": _by_role(listed.of), "left": _by_role(listed.left),
        "sums": {path: listed.sums[path] for path in sorted(files & listed.sums.keys())},
        "access": dict(sorted(listed.access.items())),
    }  # fmt: skip
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def _by_role(roles: Mapping[str, Things]) -> dict[str, dict[str, list[str]]]:
    return {role: {kind: sorted(names) for kind, names in roles[role].items() if names} for role in sorted(roles)}


def read(text: str) -> Listed:
    """What an earlier list says. Raise ValueError where it is none."""
    try:
        whole: Any = json.loads(text)
        return Listed(
            str(whole.get("version", "")), things(whole), _of(whole.get("of", {})), _of(whole.get("left", {})),
            _texts(whole.get("sums", {})), _texts(whole.get("access", {})),
        )  # fmt: skip
    except (ValueError, TypeError, AttributeError):
        raise ValueError("is not what a deploy has written") from None


def _of(roles: Mapping[str, Mapping[str, Iterable[str]]]) -> dict[str, Things]:
    return {role: things(found) for role, found in roles.items()}


def _texts(found: Mapping[str, str]) -> dict[str, str]:
    return {str(path): str(value) for path, value in found.items()}


def removal(listed: Listed, role: str) -> Removal:
    """Given a host's list and a role: what goes, what stays."""
    has, needed = has_of(listed, role), _needed(listed, role)
    ours = listed.ours["files"] | listed.ours["directories"]
    paths = set().union(*(needed[kind].keys() for kind in needed))
    goes = {kind: (has[kind] & listed.ours[kind]) - needed[kind].keys() for kind in KINDS}
    access = {p: sddl for p, sddl in listed.access.items() if p in has["directories"] - has["data"] - paths}
    return Removal(
        goes, frozenset((has["data"] & ours) - paths), frozenset(has["scratch"] - paths), access,
        tuple(_stay(listed, has, goes, needed)),
    )  # fmt: skip


def is_data(path: str, data: Iterable[str]) -> bool:
    """Whether a path is one of these or lies below one."""
    return any(path == each or path.startswith(f"{each}\\") for each in data)


def has_of(listed: Listed, role: str) -> Things:
    """What a role needs, and what an earlier removal of it left behind."""
    if role != UNUSED:
        found = [each for each in (listed.of.get(role), listed.left.get(role)) if each]
        return things({kind: set().union(*(each[kind] for each in found)) for kind in (*KINDS, *CONTENTS)})
    claimed = [*listed.of.values(), *listed.left.values()]
    data = {path for each in claimed for path in each["data"]}
    unclaimed = {kind: listed.ours[kind] - set().union(*(each[kind] for each in claimed)) for kind in KINDS}
    return things(
        {kind: {n for n in names if not is_data(n, data) and not _OWN.match(n)} for kind, names in unclaimed.items()}
    )


def leftovers(listed: Listed, roles: Iterable[str]) -> dict[str, Things]:
    """What a host still has: by role that it left, and as `UNUSED` what its present roles ask for no more."""
    found = {role: of for role, of in listed.of.items() if role not in set(roles)} | {UNUSED: has_of(listed, UNUSED)}
    ours = {role: {kind: of[kind] & listed.ours[kind] for kind in ("files", "tasks")} for role, of in found.items()}
    return {role: of for role, of in ours.items() if any(of.values())}


def in_words(found: Mapping[str, set[str]]) -> str:
    """How much there is, the kinds that an operator would look for."""
    counted = {"file": found["files"], "scheduled task": found["tasks"]}
    return ", ".join(f"{len(each)} {name}{'s' * (len(each) != 1)}" for name, each in counted.items() if each)


def without(listed: Listed, role: str, left: Things) -> Listed:
    """The list after a role was removed, `left` being what of it is there still."""
    has, needed = has_of(listed, role), _needed(listed, role)
    ours = {kind: listed.ours[kind] - (has[kind] - left[kind] - needed[kind].keys()) for kind in KINDS}
    kept = {name: found for name, found in listed.left.items() if name != role}
    kept |= {role: left} if any(left.values()) else {}
    of = {name: found for name, found in listed.of.items() if name != role}
    access = {path: sddl for path, sddl in listed.access.items() if path not in removal(listed, role).access}
    return Listed(listed.version, things(ours), of, kept, listed.sums, access)


def _needed(listed: Listed, role: str) -> dict[str, dict[str, str]]:
    """By kind and name, which other role needs it."""
    found: dict[str, dict[str, str]] = {kind: {} for kind in (*KINDS, *CONTENTS)}
    for name, of in listed.of.items():
        for kind in found if name != role else ():
            found[kind] |= dict.fromkeys(of[kind], name)
    return found


def _stay(listed: Listed, has: Things, goes: Things, needed: Mapping[str, Mapping[str, str]]) -> Iterable[str]:
    for kind in ("files", "directories"):
        for name in sorted(has[kind] - goes[kind]):
            other = needed[kind].get(name)
            if other:
                yield f"{name}: stays, the role {other} needs it"
            else:
                yield f"{name}: stays, it was there before the first deploy"
    for name in sorted(goes["packages"]):
        yield f"the package {name} stays: others may use it by now (winget uninstall --id {name} takes it away)"


def former(listed: Listed, of: Mapping[str, Things]) -> dict[str, set[str]]:
    """By role of the host, where it had its data before a setting named another place."""
    found = {}
    for role, now in of.items():
        before = [each["data"] for each in (listed.of.get(role), listed.left.get(role)) if each]
        # What lies below another of them is told with that.
        paths = set().union(*before) - now["data"]
        found[role] = {path for path in paths if not is_data(ntpath.dirname(path), paths | now["data"])}
    return found
