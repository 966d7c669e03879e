"""What a host's backups are: how old the newest good one is, and the report that `make status` prints."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from pyinfra.api import QuoteString, StringCommand
from typing_extensions import override

from provision.debian.programs import program
from provision.engine.facts import Fact, asked

# What else lies beside a dump; the properties hold settings' values, which can be keys.
_NO_MANIFESTS = ("*.restore-test.json", "*.properties.json", "*.accepted.json")


class BackupsDue(Fact[dict[str, str]]):
    """Given the backup script and where dumps go, return why a run is due (in words), and of which tier.

    The script itself says it, as it says it to monitoring; where there is none yet, a first run is due.
    """

    @override
    def command(self, script: str, backup_dir: str) -> StringCommand:
        # One that somebody has broken says nothing, which must not keep a deploy from mending it.
        return asked(
            "if [ -x", QuoteString(script), "]; then", QuoteString(script), "--overdue 2>/dev/null || true;",
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
    by tier the manifests of its dumps, the newest first."""

    now: datetime | None = None
    last_runs: tuple[dict[str, Any], ...] = ()
    restore_tests: tuple[dict[str, Any], ...] = ()
    manifests: Mapping[str, tuple[dict[str, Any], ...]] = field(default_factory=dict)


class BackupReport(Fact[Report]):
    """Given where runs write about themselves and where each tier's dumps lie, return the Report."""

    @override
    def command(self, state_dir: str, tiers: Mapping[str, str]) -> StringCommand:
        parts: list[str | QuoteString] = ["date +now=%Y-%m-%dT%H:%M:%S;"]
        for kind in ("status", "restore-test"):
            parts += [*_each_file(kind, state_dir, f"{kind}*.json"), ";"]
        for tier, directory in tiers.items():
            parts += [*_each_file(tier, directory, "*.json", but=_NO_MANIFESTS), ";"]
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
        last_runs = _objects(found.pop("status", []), "database", "state")
        tests = _objects(found.pop("restore-test", []), "database", "verdict", "tested")
        manifests = {tier: _objects(texts, "database", "dump", "bytes", "started") for tier, texts in found.items()}
        return Report(
            now,
            tuple(last_runs),
            tuple(tests),
            {
                tier: tuple(sorted(each, key=lambda one: one["started"], reverse=True))
                for tier, each in manifests.items()
            },
        )


def _objects(texts: Iterable[str], *names: str) -> list[dict[str, Any]]:
    """The JSON objects among these texts that have all of these members.

    A file that is damaged, or somebody else's, is as good as missing: what it should say is said to be unknown, and
    the next run writes it anew.
    """
    found = []
    for text in texts:
        with contextlib.suppress(json.JSONDecodeError):
            read = json.loads(text)
            if isinstance(read, dict) and all(name in read for name in names):
                found.append(read)
    return found


def _each_file(kind: str, directory: str, pattern: str, but: tuple[str, ...] = ()) -> list[str | QuoteString]:
    """A command that prints every such file of a directory in one line, `KIND=` before it."""
    return [
        "find", QuoteString(directory), "-maxdepth 1 -type f -name", QuoteString(pattern),
        *(word for name in but for word in ("! -name", QuoteString(name))),
        # Of a manifest all but the list of every object: nobody reads it here.
        "-exec sh -c", QuoteString(
            f'for f; do printf "%s\\n" "{kind}=$(jq -c "del(.content.objects?)" "$f" 2>/dev/null'
            ' || tr -d "\\n" < "$f")"; done'
        ), "- {} + 2>/dev/null",
    ]  # fmt: skip
