"""What came from us, taken away again, a kind at a time. Each step looks first: a removal that was cut off goes on."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyinfra.api import QuoteString, StringCommand, operation
from pyinfra.context import host, state
from typing_extensions import override

from provision.debian.entries import Directory, File, Found, way_to
from provision.debian.files import Paths, Steps, placed
from provision.debian.packages import Packages
from provision.debian.programs import program
from provision.debian.users import GroupExists, GroupsOf
from provision.engine.changes import note, warn
from provision.engine.facts import Fact, Lines, asked
from provision.engine.inside import commands_of
from provision.engine.reach import LONG
from provision.record import layout, removal
from provision.record.operations import Lists

_SERVICES = {"redis-server", "valkey-server"}  # of packages, whose links would stay as they were enabled
_REDIS = ("redis-", "valkey-")  # packages that have counters
_APT = "DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300"


@dataclass(frozen=True)
class Wanted:
    """What an operator wants removed: a role, of the app of this name, and whether its data goes too."""

    role: str
    app: str
    delete_data: bool


wanted: Wanted | None = None
"""What this process removes: `remove.py`, which pyinfra runs, has no other way to be told."""


class Removable(Lines):
    """Given packages of ours, return those that can go, and what apt had installed for their sake alone."""

    @override
    def command(self, names: Sequence[str]) -> StringCommand:
        return asked(program("record/removable.sh", *names))

    @override
    def read(self, lines: list[str]) -> list[str]:
        if any(" " in line or not line for line in lines):
            raise ValueError("not packages")
        return lines


class Tables(Lines):
    """Return the names of the nftables tables of the family inet."""

    @override
    def command(self) -> StringCommand:
        return asked("command -v nft >/dev/null || exit 0; nft list tables inet")

    @override
    def read(self, lines: list[str]) -> list[str]:
        words = [line.split() for line in lines]
        if not all(len(each) == 3 and each[:2] == ["table", "inet"] for each in words):
            raise ValueError("not tables")
        return [each[2] for each in words]


class Keeps(Fact[str]):
    """Given "user" or "group", a name and where to look, return "free", or what keeps it; empty: it is not known."""

    @override
    def command(self, kind: str, which: str, where: Sequence[str]) -> StringCommand:
        return asked(program("record/owned.sh", kind, which, *where))

    @staticmethod
    @override
    def default() -> str:
        return ""

    @override
    def read(self, lines: list[str]) -> str:
        if len(lines) > 1 or (lines and lines[0].split(" ")[0] not in ("free", "process", "file")):
            raise ValueError("not an answer")
        return lines[0] if lines else ""


class Remains(Fact[dict[str, tuple[int, int, str]]]):
    """Given paths, return of those that are there how many files there are, how many bytes, and the first name."""

    @override
    def command(self, paths: Sequence[str]) -> StringCommand:
        return asked(program("record/remains.sh", *paths))

    @staticmethod
    @override
    def default() -> dict[str, tuple[int, int, str]]:
        return {}

    @override
    def read(self, lines: list[str]) -> dict[str, tuple[int, int, str]]:
        found = {}
        for line in lines:
            path, files, size, first = line.split("\t")
            found[path] = (int(files), int(size), first.strip())
        return found


@operation()
def files_gone(
    files: Collection[str], sums: Mapping[str, str], aside: str, going: Collection[str] = ()
) -> Generator[StringCommand, None, None]:
    """None of these files is there. What was changed by hand is kept below `aside` first.

    What a package reads stays as long as that is there; `going` are packages that are not.
    """
    found = _there(files)
    in_use = _in_use(found, going)
    safe = _safe(found)
    leaving = {path: each for path, each in found.items() if path in safe and path not in in_use}
    for path in found.keys() - leaving.keys():
        _told(f"{path}: stays, " + (f"{in_use[path]} reads it" if path in in_use else "others may write on its way"))
    changed = {path for path, each in leaving.items() if _is_changed(path, each, sums)}
    for path in leaving:
        by_hand = f"; it was changed by hand since, and is kept as {aside}{path}" if path in changed else ""
        note(host, f"{path}: goes{by_hand}")
        if by_hand:
            warn(host, f"{path}: was changed by hand since a deploy wrote it, and is kept as {aside}{path}")
    for path in changed:
        yield program("record/keep-aside.sh", path, aside)
    if leaving:
        yield StringCommand("rm -f --", *(QuoteString(path) for path in leaving))
    if any(path.startswith("/etc/systemd/system/") for path in leaving):
        yield StringCommand("systemctl daemon-reload")
    if any(path.startswith("/etc/ssh/sshd_config.d/") for path in leaving):
        yield StringCommand("install -d -m 0755 /run/sshd; sshd -t && systemctl reload ssh")


def _there(paths: Collection[str]) -> dict[str, Found]:
    """What is at these paths: whatever the host answers, no other is touched."""
    found = host.get_fact(Paths, paths=tuple(sorted(paths))) if paths else {}
    return {path: each for path, each in found.items() if path in paths}


def _is_changed(path: str, found: Found, sums: Mapping[str, str]) -> bool:
    return path in sums and found.sha256 != sums[path]


def _in_use(paths: Collection[str], going: Collection[str]) -> dict[str, str]:
    """Of these files, those that a package still reads, with its name."""
    readers = {path: removal.read_by(path) for path in paths}
    beginnings = {each for each in readers.values() if each}
    if not beginnings:
        return {}
    names = tuple(sorted({f"{each}*" for each in beginnings}))
    status = host.get_fact(Packages, names=names)
    there = [name for name in status if status[name] == "installed" and name not in going]
    in_use = {each: next((n for n in there if n.startswith(each)), "") for each in beginnings}
    return {path: in_use[reader] for path, reader in readers.items() if reader and in_use[reader]}


def _safe(paths: Collection[str]) -> set[str]:
    """Of these, those in whose directory's place nobody but root can put another: what lies in it is only unlinked."""
    if not paths:
        return set()
    ways = {path: way_to(path) for path in paths}
    steps = host.get_fact(Steps, paths=tuple(sorted({each for way in ways.values() for each in way})))
    own = {each for each, step in steps.items() if step.is_link and step.user != "root"}
    return {
        path for path, way in ways.items()
        if way[-1] not in own and all(steps[each].is_closed for each in way[:-1] if each in steps)
    }  # fmt: skip


def _told(sentence: str) -> None:
    """What stays is told once it is known for sure."""
    if state.is_executing:
        warn(host, sentence)


@operation()
def units_gone(units: Sequence[str]) -> Generator[StringCommand, None, None]:
    """None of these units runs, now or after a boot. Their files go later, with the others."""
    there = _there([f"/etc/systemd/system/{each}" for each in units])
    # What starts others first.
    names = sorted(map(posixpath.basename, there), key=lambda each: (not each.endswith(".timer"), each))
    for name in names:
        note(host, f"{name}: stops, and starts no more")
    for name in names:
        if name.endswith("@.service"):
            yield StringCommand("systemctl stop", QuoteString(name.replace("@.", "@*.")), _timeout=LONG)
        else:
            yield StringCommand("systemctl disable -q --now", QuoteString(name), _timeout=LONG)
            # What a unit leaves in systemd itself: that it failed, and when a timer was due last.
            forget = f"systemctl reset-failed {name} 2>/dev/null; rm -f /var/lib/systemd/timers/stamp-{name}"
            yield StringCommand("sh -c", QuoteString(forget))


@operation()
def containers_gone(compose_files: Collection[str], *, with_data: bool) -> Generator[StringCommand, None, None]:
    """No container of these Compose files is there; with_data: nor its volumes."""
    there = _there(compose_files)
    for path in there:
        note(host, f"{path}: its containers go" + (", and their volumes" if with_data else "; their volumes stay"))
        if not with_data:
            _told(f"{path}: the volumes of its containers stay, with the counters (docker volume ls)")
    for path in there:
        volumes = " --volumes" if with_data else ""
        yield StringCommand("docker compose -f", QuoteString(path), f"--profile cache down{volumes}", _timeout=LONG)


@operation()
def servers_rest(services: Collection[str], *, with_data: bool) -> Generator[StringCommand, None, None]:
    """None of these services of packages runs, now or after a boot; with_data: nor are Redis' counters there."""
    for service in sorted(services):
        data = removal.data_of(service)
        note(host, f"{service}.service: stops, and starts no more; another app of this host needs its package alone")
        yield StringCommand("systemctl disable -q --now", service, _timeout=LONG)
        if with_data:
            note(host, f"{data}: what lies there goes")
            yield StringCommand("find", data, "-xdev -mindepth 1 -delete")
        else:
            _told(f"{data}: stays, it is data")


@operation()
def packages_gone(names: Collection[str], *, with_data: bool) -> Generator[StringCommand, None, None]:
    """None of these packages is installed but what something else needs; with_data: nor are Redis' counters there."""
    leaving = host.get_fact(Removable, names=tuple(sorted(names))) if names else []
    installed = host.get_fact(Packages, names=tuple(sorted(names))) if names else {}
    for name in sorted(n for n in names if installed.get(n) == "installed" and n not in leaving):
        _told(f"the package {name} stays: others need it, or somebody has made a server of it")
    if leaving:
        note(host, f"packages that go: {', '.join(leaving)}")
        _told(
            "of packages that went Debian keeps the configuration and the users (rc in dpkg -l; apt-get purge), and"
            " what others recommend"
        )
        for service in sorted({*leaving} & _SERVICES):
            yield StringCommand("systemctl disable -q --now", service, _timeout=LONG)
        yield StringCommand(f"{_APT} remove", *(QuoteString(name) for name in leaving), _timeout=LONG)
    elsewhere = [n for n in names if with_data and n.startswith(_REDIS) and installed.get(n) == "config-files"]
    purged = [name for name in leaving if with_data and name.startswith(_REDIS)]
    if purged or elsewhere:
        note(host, "Redis' data go")
        yield StringCommand(f"{_APT} purge", *(QuoteString(name) for name in (*purged, *elsewhere)), _timeout=LONG)


@operation()
def tables_gone(tables: Collection[str]) -> Generator[StringCommand, None, None]:
    """None of these tables of nftables is loaded."""
    for table in sorted({*tables} & {*host.get_fact(Tables)}) if tables else ():
        note(host, f"the firewall's table inet {table} goes")
        yield StringCommand("nft delete table inet", QuoteString(table))


@operation()
def directories_gone(
    directories: Collection[str], scratch: Collection[str], data: frozenset[str], *, with_data: bool
) -> Generator[StringCommand, None, None]:
    """These directories are not there, but those in which somebody has something; nor what is scratch in them."""
    whole = sorted({*scratch, *(data if with_data else ())})
    looked_at = tuple(sorted({*whole, *data}))
    remains = host.get_fact(Remains, paths=looked_at) if looked_at else {}
    for path in (each for each in whole if each in remains):
        note(host, f"{path}: goes with {remains[path][0]} file(s)")
        yield StringCommand("rm -rf --one-file-system --", QuoteString(path))
    if not with_data:
        for path in sorted(each for each in data if each in remains and not removal.is_data(each, data - {each})):
            files, size, _ = remains[path]
            if files:
                _told(f"{path}: stays, it is data ({files} file(s), {size / 1e6:.1f} MB)")
            elif path in directories:
                note(host, f"{path}: goes, there is nothing in it")
                yield StringCommand("find", QuoteString(path), "-xdev -depth -type d -empty -delete")
    others = sorted({each for each in directories if not removal.is_data(each, (*data, *whole))}, reverse=True)
    there = host.get_fact(Remains, paths=tuple(others)) if others else {}
    for path in (each for each in others if each in there and not there[each][0]):
        note(host, f"{path}: goes, there is nothing in it")
        yield StringCommand("rmdir --ignore-fail-on-non-empty --", QuoteString(path))


@operation()
def users_gone(
    users: Collection[str], groups: Collection[str], where: Collection[str]
) -> Generator[StringCommand, None, None]:
    """The host knows none of these users and groups but those that own a file or run: their number would be reused."""
    for kind, names, delete in (("user", users, "userdel"), ("group", groups, "groupdel")):
        for name in sorted(names):
            keeps = host.get_fact(Keeps, kind=kind, which=name, where=tuple(sorted(where)))
            if keeps == "free":
                note(host, f"the {kind} {name} goes")
                yield StringCommand(delete, "--", QuoteString(name))
            elif keeps:
                what, _, whose = keeps.partition(" ")
                reason = f"process {whose} is its own" if what == "process" else f"{whose} is its own"
                _told(f"the {kind} {name} stays: {reason}")


@operation()
def unlisted(path: str, journal: str, role: str, going: removal.Removal) -> Generator[StringCommand, None, None]:
    """The list names nothing of this role any more but what is there still."""
    answer = host.get_fact(Lists, path=path, journal=journal)
    if not answer.text and not answer.journal:
        return
    listed = layout.read(answer.text, answer.journal)
    left = _left(going)
    for each in sorted(left["directories"]):
        if not removal.is_data(each, going.data):
            _told(f"{each}: stays, it is not empty")
    now = removal.without(listed, role, left)
    directory = posixpath.dirname(path)
    if not now.of and not any(now.ours[kind] - {path, directory, f"{directory}/history.jsonl"} for kind in now.ours):
        _told(f"{directory}: stays, with the history of what was done here")
        yield StringCommand("rm -f --", QuoteString(path), QuoteString(journal))
        return
    yield from commands_of(placed, [Directory(directory), File(path, layout.text(now, now.of))])
    if answer.journal:
        yield StringCommand("rm -f --", QuoteString(journal))


def _left(going: removal.Removal) -> layout.Things:
    """What of a removal is on the host still, by kind, and what of that is data."""
    goes: Any = going.goes
    there = _there({*goes["files"], *goes["directories"], *going.data}).keys()
    left = {kind: goes[kind] & there for kind in ("files", "directories")}
    left["data"] = set(going.data) & there
    left["users"] = {name for name in goes["users"] if host.get_fact(GroupsOf, user=name)}
    left["groups"] = {name for name in goes["groups"] if host.get_fact(GroupExists, group=name)}
    names = tuple(sorted(goes["packages"]))
    status = host.get_fact(Packages, names=names) if names else {}
    left["packages"] = {n for n in names if status.get(n) in ("installed", "config-files") and n.startswith(_REDIS)}
    return layout.things(left)
