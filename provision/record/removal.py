"""What a removal takes from a host and what stays, by what the host's list says. Pure.

A thing goes when it came from us, the role has it, and neither another role of the host nor another app's list needs
it. Data stays until it is told twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from provision.engine.claims import KINDS
from provision.record.layout import Listed, Things, things, units

UNUSED = "unused"
"""As a role: what came from us, and is asked for by no setting any more."""

_STAY = "cron curl jq logrotate nftables openssh-client sudo util-linux"
# What whoever came later may use, and no package says so.
EVERYDAY = frozenset(_STAY.split())
_OWN = re.compile(r"/var/lib/[^/]+-deploy(/|$)")  # where the list itself lies
# What is read by a package, as long as that is there.
_SERVERS = {"redis-server": "/etc/redis/redis.conf", "valkey-server": "/etc/valkey/valkey.conf"}
_READ_BY = {
    **{f"{path.rpartition('/')[0]}/": server for server, path in _SERVERS.items()}, "/etc/apt/": "postgresql",
    **{f"/etc/systemd/system/{server}.service.d/00-asleep.conf": server for server in _SERVERS},
}  # fmt: skip


@dataclass(frozen=True)
class Removal:
    """By kind what goes, data apart; why what else the role has stays, a sentence each.

    `rests` are services of packages that another app needs, which run for this role alone.
    """

    goes: Things
    data: frozenset[str]  # directories and files that hold what is worth something
    scratch: frozenset[str]
    stays: tuple[str, ...]
    rests: frozenset[str] = frozenset()

    @property
    def units(self) -> list[str]:
        return units(sorted(self.goes["files"]))

    @property
    def empty(self) -> bool:
        return not any(self.goes.values()) and not self.data


def removal(listed: Listed, role: str, others: Sequence[Listed] = ()) -> Removal:
    """Given a host's list, the lists of other apps there and a role: what goes, what stays."""
    has = _has(listed, role)
    needed = _needed(listed, role, others)
    goes = {kind: (has[kind] & listed.ours[kind]) - needed[kind].keys() for kind in KINDS}
    goes["packages"] -= EVERYDAY
    ours = listed.ours["files"] | listed.ours["directories"]
    data = {path for path in has["data"] - _paths(needed) if path.removesuffix(".previous") in ours}
    scratch = {path for path in has["scratch"] - _paths(needed) if path in ours or path not in has["directories"]}
    # Another setting has put data there before.
    scratch = {path for path in scratch if not any(is_data(each, [path]) for each in has["data"])}
    stays, rests = tuple(_stay(listed, has, goes, needed)), frozenset(_rests(listed, goes, needed, others))
    return Removal(goes, frozenset(data), frozenset(scratch), stays, rests)


def _rests(
    listed: Listed, goes: Things, needed: Mapping[str, Mapping[str, str]], others: Iterable[Listed]
) -> Iterator[str]:
    """The services whose configuration goes, of packages that a deploy has brought and another app needs."""
    brought = set().union(*(each.ours["packages"] for each in (listed, *others)))
    for server, path in _SERVERS.items():
        if path in goes["files"] and server in needed["packages"] and server in brought:
            yield server


def data_of(server: str) -> str:
    """Where a package's server has its data."""
    return f"/var/lib/{server.removesuffix('-server')}"


def is_data(path: str, data: Iterable[str]) -> bool:
    """Whether a path is one of these or lies below one."""
    return any(path == each or path.startswith(f"{each}/") for each in data)


def read_by(path: str) -> str:
    """The beginning of the name of the package that reads a file; empty where there is none."""
    return next((package for below, package in _READ_BY.items() if path.startswith(below)), "")


def leftovers(listed: Listed, roles: Iterable[str]) -> dict[str, Things]:
    """What a host still has: by role that it left, and as `UNUSED` what its present roles ask for no more."""
    found = {role: of for role, of in listed.of.items() if role not in set(roles)}
    found[UNUSED] = _has(listed, UNUSED)
    told = ("files", "users", "groups", "tables", "compose")
    return {role: of for role, of in found.items() if any(of[kind] & listed.ours[kind] for kind in told)}


def in_words(found: Things) -> str:
    """How much there is, the kinds that an operator would look for."""
    cron = [path for path in found["files"] if path.startswith("/etc/cron.d/")]
    counted = {
        "file": found["files"], "cron file": cron, "unit": units(sorted(found["files"])), "user": found["users"],
        "firewall table": found["tables"], "container": found["compose"],
    }  # fmt: skip
    return ", ".join(f"{len(each)} {name}{'s' * (len(each) != 1)}" for name, each in counted.items() if each)


def without(listed: Listed, role: str, left: Things) -> Listed:
    """The list after a role was removed, `left` being what of it stays as data."""
    has = _has(listed, role)
    gone = {kind: has[kind] - left.get(kind, set()) for kind in KINDS}
    needed = _needed(listed, role, ())
    ours = {kind: listed.ours[kind] - (gone[kind] - needed[kind].keys()) for kind in KINDS}
    kept = {name: found for name, found in listed.left.items() if name != role}
    if any(left.values()):
        kept[role] = things(left)
    of = {name: found for name, found in listed.of.items() if name != role}
    return Listed(listed.version, listed.environment, things(ours), of, kept, listed.sums)


def _has(listed: Listed, role: str) -> Things:
    """What a role needs, and what an earlier removal of it left behind."""
    if role != UNUSED:
        found = [each for each in (listed.of.get(role), listed.left.get(role)) if each]
        return things({kind: set().union(*(each[kind] for each in found)) for kind in (*KINDS, "data", "scratch")})
    claimed = [*listed.of.values(), *listed.left.values()]
    data = {path for each in claimed for path in (*each["data"], *each["scratch"])}
    kinds = ("files", "directories", "users", "groups", "tables", "compose") if listed.of else ()
    unclaimed = {kind: listed.ours[kind] - set().union(*(each[kind] for each in claimed)) for kind in kinds}
    return things(
        {kind: {n for n in names if not is_data(n, data) and not _OWN.match(n)} for kind, names in unclaimed.items()}
    )


def _needed(listed: Listed, role: str, others: Iterable[Listed]) -> dict[str, dict[str, str]]:
    """By kind and name, who else needs it."""
    found: dict[str, dict[str, str]] = {kind: {} for kind in (*KINDS, "data", "scratch")}
    for kind in found:
        for other in others:
            for each in (other.ours, *other.of.values()):
                found[kind] |= dict.fromkeys(each[kind], "another app of this host")
        for name, of in listed.of.items():
            if name != role:
                found[kind] |= dict.fromkeys(of[kind], f"the role {name}")
    return found


def _paths(needed: Mapping[str, Mapping[str, str]]) -> set[str]:
    return {name for kind in ("data", "scratch", "directories", "files") for name in needed[kind]}


def _stay(listed: Listed, has: Things, goes: Things, needed: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    reasons: dict[str, list[str]] = {}
    for kind in ("files", "users", "groups", "packages", "directories"):
        for name in sorted(has[kind] - goes[kind]):
            reason = needed[kind].get(name) or ("" if name in listed.ours[kind] else "before")
            if kind == "packages" and not reason:
                reason = "everyday"
            reasons.setdefault(reason, []).append(name)
    for reason, names in sorted(reasons.items()):
        listed_names = ", ".join(names)
        if reason == "before":
            yield f"{listed_names}: stay, they were there before the first deploy"
        elif reason == "everyday":
            yield f"{listed_names}: stay, others may use these packages by now (apt-get remove takes them away)"
        elif reason:
            yield f"{listed_names}: stay, {reason} needs them"
    for path in sorted(path for path in goes["files"] if path.startswith("/etc/sysctl.d/")):
        yield f"{path} has told the kernel something, which holds until the next boot"
    for path in sorted(path for path in goes["files"] if path.endswith("/dump-role.sql")):
        yield (
            f"{path} has made the database role that makes the dumps, which stays in PostgreSQL: an administrator"
            " drops it there (DROP OWNED BY in each database, then DROP ROLE)"
        )
