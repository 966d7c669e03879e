"""What a host's backups are: how old the newest good one is, and the report that `make status` prints."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from pyinfra.api import QuoteString, StringCommand
from typing_extensions import override

from provision.debian.programs import program
from provision.engine.facts import Fact, asked

# What else lies beside a dump; the properties hold settings' values, which can be keys.
_ACCEPTED = ".accepted.json"
_PLACES = ("status", "restore-test", "daily", "weekly", "monthly", "yearly")
_NO_MANIFESTS = ("*.restore-test.json", "*.properties.json", f"*{_ACCEPTED}")


class BackupsDue(Fact[dict[str, str]]):
    """Given the backup script, where dumps go, the keys that are to open what is encrypted and whether dumps are to be,
    return why a run is due (in words), and of which tier: of "accept" where no run would help.

    The script itself says it, as it says it to monitoring; where there is none yet, a first run is due.
    """

    @override
    def command(
        self, script: str, backup_dir: str, keys: Sequence[str] = (), encrypted: bool = False
    ) -> StringCommand:  # fmt: skip
        # One that somebody has broken says nothing, which must not keep a deploy from mending it. Before a deploy that
        # changes backup_dir it speaks of the former one. One of an older version knows no keys, and encrypts nothing.
        words: list[str | QuoteString] = [*(["encrypted"] if encrypted else []), *map(QuoteString, keys)]
        first = "printf '%s\\t%s\\n' daily 'dumps are to be encrypted'; " if encrypted else ""
        return asked(
            "if [ -x", QuoteString(script), "] && find", QuoteString(backup_dir), "-maxdepth 2 -name '*_[0-9]*'",
            "2>/dev/null | grep -q .; then {", QuoteString(script), "--overdue", *words, "|| [ $? != 2 ] || {", first,
            QuoteString(script), "--overdue; }; } 2>/dev/null || true;",
            "else printf '%s\\t%s\\n' daily", QuoteString(f"{backup_dir} holds no backup yet"), "; fi",
        )  # fmt: skip

    @staticmethod
    @override
    def default() -> dict[str, str]:
        return {}

    @override
    def read(self, lines: list[str]) -> dict[str, str]:
        told = (line.partition("\t") for line in lines)
        return {reason: tier for tier, _, reason in told if reason}


class DumpRoleReason(Fact[str]):
    """Given where runs write about themselves, return why the app's role made the last dump; "" where it did not.

    The backup user has written it: it is shown as text of one line.
    """

    @override
    def command(self, status_file: str) -> StringCommand:
        file = QuoteString(status_file)
        return asked(
            "if [ -f", file, "] && [ ! -L", file, "]; then",
            "jq -r '.role_reason // empty' --", file, "2>/dev/null | head -c 400; fi; true",
        )  # fmt: skip

    @staticmethod
    @override
    def default() -> str:
        return ""

    @override
    def read(self, lines: list[str]) -> str:
        return "".join(each if each.isprintable() else "?" for each in " ".join(lines))


class RoomForTests(Fact[dict[str, tuple[int, int]]]):
    """Given where dumps and restore tests lie, return by newest dump the bytes free for its test, and those it needs.

    It is read as the backup user, whose directory may hold anything; nothing where there is no such user yet.
    """

    @override
    def command(self, user: str, backup_dir: str, test_dir: str, reserve_mb: int) -> StringCommand:
        shell = f"setpriv --reuid {user} --regid {user} --init-groups sh -c"
        reserve = str(reserve_mb << 20)
        return asked(
            program("backup/room-for-test.sh", backup_dir, test_dir, reserve, shell=shell), "2>/dev/null; true"
        )

    @staticmethod
    @override
    def default() -> dict[str, tuple[int, int]]:
        return {}

    @override
    def read(self, lines: list[str]) -> dict[str, tuple[int, int]]:
        told = (line.split(" ", 2) for line in lines)
        return {name: (int(free), int(needed)) for free, needed, name in told}


class DumpsIn(Fact[tuple[int, int]]):
    """Given a directory of dumps and the app's name, return how many dumps lie there, in all tiers, and their bytes.

    `in_plain`: those alone that are ours, with a manifest, and not encrypted.
    """

    @override
    def command(self, directory: str, app_name: str, in_plain: bool = False) -> StringCommand:
        stamp = "[0-9]{4}-[0-9]{2}-[0-9]{2}_[0-9]{2}-[0-9]{2}-[0-9]{2}"
        names = rf".*/{re.escape(app_name)}(-[^/]+)?_{stamp}\.(sql\.gz|sql\.zst|dump|dir)"
        if not in_plain:
            names += r"(\.age)?"
        # A dump of two tiers has two names. One in plain that has no manifest is nobody's to encrypt.
        with_manifest = ["-exec test -e '{}.json' ';' -not -path '*/.open.*'"] if in_plain else []
        return asked(
            "find", QuoteString(directory), "-maxdepth 2 -regextype posix-extended -regex", QuoteString(names),
            *with_manifest, "-printf '%f\\n' 2>/dev/null | sort -u | wc -l; du -s -B1 --", QuoteString(directory),
            "2>/dev/null | cut -f 1; true",
        )  # fmt: skip

    @staticmethod
    @override
    def default() -> tuple[int, int]:
        return 0, 0

    @override
    def read(self, lines: list[str]) -> tuple[int, int]:
        dumps, used = [*lines, "0", "0"][:2]
        return int(dumps), int(used)


@dataclass(frozen=True)
class OtherBackup:
    """A line of somebody's crontab that makes backups beside ours: its file, its number, when it runs, and what."""

    path: str
    number: int
    when: str
    program: str

    @property
    def sentence(self) -> str:
        user = PurePosixPath(self.path).name if self.path.startswith("/var/spool/cron/") else None
        where = f"{user}'s crontab" if user else self.path
        how = f"`crontab -u {user} -e`" if user else "an editor"
        return (
            f"{where}, line {self.number} ({self.when}) runs {self.program} beside these backups: when they have proven"
            f" themselves, take that line out with {how}; what it has made stays where it is"
        )


class OtherBackups(Fact[tuple[OtherBackup, ...]]):
    """Given the app's name, return the lines of crontabs, but for ours, that make backups; the handbook's, mostly."""

    @override
    def command(self, app_name: str) -> StringCommand:
        return asked(program("backup/other-backups.sh", app_name))

    @staticmethod
    @override
    def default() -> tuple[OtherBackup, ...]:
        return ()

    @override
    def read(self, lines: list[str]) -> tuple[OtherBackup, ...]:
        fields = [line.split("\t") for line in lines]
        return tuple(OtherBackup(path, int(number), when, what) for path, number, when, what in fields)


@dataclass(frozen=True)
class Report:
    """A host's own words on its backups: its clock, each database's last run of each tier and last restore test, and
    by tier the manifests of its dumps, the newest first. Each is what `_objects` lets through; `unread` counts, by
    where they lie, the files that are something else; `accepted` names the suspect dumps that somebody has accepted;
    `idle` says why the next run will not come; `gone` are the manifests whose dump is not there any more, of all tiers.
    """

    now: datetime | None = None
    last_runs: tuple[dict[str, Any], ...] = ()
    restore_tests: tuple[dict[str, Any], ...] = ()
    manifests: Mapping[str, tuple[dict[str, Any], ...]] = field(default_factory=dict)
    unread: Mapping[str, int] = field(default_factory=dict)
    accepted: frozenset[str] = frozenset()
    idle: tuple[str, ...] = ()
    gone: tuple[dict[str, Any], ...] = ()


class BackupReport(Fact[Report]):
    """Given where runs write about themselves, where each tier's dumps lie, where the programs do, their user and the
    files by which cron runs backups and restore tests, return the Report."""

    @override
    def command(
        self, state_dir: str, tiers: Mapping[str, str], programs: str, user: str, cron_files: Sequence[str]
    ) -> StringCommand:
        parts: list[str | QuoteString | StringCommand] = ["date +now=%Y-%m-%dT%H:%M:%S;"]
        parts += [program("backup/next-run.sh", programs, user, *cron_files), ";"]
        for kind in ("status", "restore-test"):
            parts += [*_each_file(kind, state_dir, f"{kind}*.json"), ";"]
        for tier, directory in tiers.items():
            parts += [*_each_file(tier, directory, "*.json", but=_NO_MANIFESTS), ";"]
            parts += ["find", QuoteString(directory), "-maxdepth 1 -name", QuoteString(f"*{_ACCEPTED}")]
            parts += ["-printf", QuoteString("accepted=%f\\n"), "2>/dev/null;"]
            parts += ["find", QuoteString(directory), "-maxdepth 1 -type f -name '*_[0-9]*.json' -exec sh -c"]
            parts += [QuoteString(f'for f; do d=${{f%.json}}; [ -e "$d" ] || echo "gone={tier}/${{d##*/}}"; done')]
            parts += ["- {} + 2>/dev/null;"]
        return asked(*parts, "true")

    @staticmethod
    @override
    def default() -> Report:
        return Report()

    @override
    def read(self, lines: list[str]) -> Report:
        found: dict[str, list[str]] = {}
        for key, _, value in (line.partition("=") for line in lines):
            found.setdefault(key, []).append(value)
        now = datetime.fromisoformat(found.pop("now")[0])
        idle = tuple(found.pop("idle", ()))
        accepted = frozenset(name.removesuffix(_ACCEPTED) for name in found.pop("accepted", []))
        unread: dict[str, int] = {}
        read = {place: _objects(place, texts, unread) for place, texts in found.items() if place in _PLACES}
        last_runs, tests = read.pop("status", []), read.pop("restore-test", [])
        names = set(found.get("gone", []))
        gone = [one for tier, each in read.items() for one in each if f"{tier}/{one['dump']}" in names]
        there = {tier: [one for one in each if f"{tier}/{one['dump']}" not in names] for tier, each in read.items()}
        manifests = {tier: newest_first(each) for tier, each in there.items()}
        return Report(now, tuple(last_runs), tuple(tests), manifests, unread, accepted, idle, tuple(gone))


def newest_first(manifests: Iterable[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    return tuple(sorted(manifests, key=lambda one: str(one["started"]), reverse=True))


def made_at(dump: object) -> datetime | None:
    """When a dump was made, by its host's own clock, as its name says; None for what is no dump's name."""
    stamp = re.search(r"_(\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d)(\.[\w.]+)?$", dump if isinstance(dump, str) else "", re.ASCII)
    with contextlib.suppress(ValueError):
        return datetime.strptime(stamp[1], "%Y-%m-%d_%H-%M-%S") if stamp else None
    return None


def is_manifest(found: Mapping[str, Any]) -> bool:
    """Whether these are the members that a dump's manifest has, each of its kind."""
    size = found.get("bytes")
    is_size = isinstance(size, int) and not isinstance(size, bool) and 0 <= size < 2**63
    return (
        is_size
        and made_at(found.get("dump")) is not None
        and _has_words(found, "database")
        and _is_time(found, "started")
    )


def is_run(found: Mapping[str, Any]) -> bool:
    """Whether these are the members that the status file of a run has."""
    return _has_words(found, "database") and found.get("state") in ("ok", "failed", "running")


def _is_test(found: Mapping[str, Any]) -> bool:
    return _has_words(found, "database") and _is_time(found, "tested") and found.get("verdict") in ("ok", "failed", "")


def _is_time(found: Mapping[str, Any], name: str) -> bool:
    with contextlib.suppress(KeyError, TypeError, ValueError):
        return bool(datetime.fromisoformat(found[name]))
    return False


def _has_words(found: Mapping[str, Any], *names: str) -> bool:
    # PostgreSQL's names have 63 bytes; nobody reads a table with longer ones.
    return all(isinstance(found.get(name), str) and 0 < len(found[name]) < 100 for name in names)


def _objects(place: str, texts: Iterable[str], unread: dict[str, int]) -> list[dict[str, Any]]:
    """The JSON objects among these texts that are what lies in that place; of the others their number is kept.

    A file that is damaged, or somebody else's, is as good as missing: what it should say is said to be unknown, and
    the next run writes it anew.
    """
    is_one = {"status": is_run, "restore-test": _is_test}.get(place, is_manifest)
    found = []
    for text in texts:
        with contextlib.suppress(ValueError, RecursionError):
            read = json.loads(text)
            if isinstance(read, dict) and is_one(read):
                found.append(read)
                continue
        unread[place] = unread.get(place, 0) + 1
    return found


def _each_file(kind: str, directory: str, pattern: str, but: tuple[str, ...] = ()) -> list[str | QuoteString]:
    """A command that prints every such file of a directory in one line, `KIND=` before it."""
    return [
        "find", QuoteString(directory), "-maxdepth 1 -type f -name", QuoteString(pattern),
        *(word for name in but for word in ("! -name", QuoteString(name))),
        # Of a manifest all but the list of every object: nobody reads it here.
        "-exec sh -c", QuoteString(
            f'for f; do printf "%s" "{kind}="; {{ jq -c "del(.content.objects?)" "$f" 2>/dev/null'
            ' || cat "$f"; } | tr -d "\\n"; echo; done'
        ), "- {} + 2>/dev/null",
    ]  # fmt: skip
