"""What is wrong on a host, how bad that is, in words, and what to do. Pure: it judges what the host said."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from provision.backup.facts import Report, made_at
from provision.engine.inventory import Member
from provision.engine.shown import shown
from provision.settings import Settings

OK, WARNING, CRITICAL, NOT_ASKED = 0, 1, 2, 3
WORDS = ("ok", "WARNING", "CRITICAL", "NO ANSWER")
_MESSAGE = 200  # characters of what a host says of its own failure
_LONGEST_RUN_HOURS = 24 + 14  # a day, and as much as a zone is off


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong; `database` is empty where it is the host's."""

    severity: int
    database: str
    what: str
    do: str


@dataclass(frozen=True)
class Vault:
    """What a vault has: by host and database the age in hours of the newest copy that was proven and lacks nothing.

    `proven` is None where the vault gave no answer.
    """

    name: str
    settings: Settings
    proven: Mapping[tuple[str, str], int | None] | None

    def hours(self, host: str, database: str) -> int | None:
        return (self.proven or {}).get((host, database))


@dataclass(frozen=True)
class Health:
    """What a host is asked for and says: Redis in words (empty: it has none of ours), and its backups' Report."""

    member: Member
    lost: str = ""  # why the host itself could not be asked
    redis: str = ""
    report: Report | None = None
    vaults: tuple[Vault, ...] = ()
    done: Sequence[Mapping[str, str]] = ()  # who did what, and when, the newest first
    redis_info: Mapping[str, str] = field(default_factory=dict)  # what Redis says of itself (INFO)
    exporter: str = ""  # why redis_exporter tells Prometheus nothing; empty where it does, or is not wanted

    @property
    def asked(self) -> bool:
        return not self.lost

    @property
    def last(self) -> Mapping[str, str]:
        """Who did what last; empty where nothing is written down."""
        return self.done[0] if self.done else {}

    @cached_property
    def findings(self) -> list[Finding]:
        """The worst first."""
        return sorted(self._found(), key=lambda each: -each.severity)

    @property
    def severity(self) -> int:
        return max((each.severity for each in self.findings), default=OK)

    def _found(self) -> Iterator[Finding]:
        if not self.asked:
            yield Finding(NOT_ASKED, "", f"could not be asked: {self.lost}", "see that it is up and that you reach it")
            return
        for vault in self.vaults:
            if vault.name == self.member.name and vault.proven is None:
                do = "the reason stands above, or vault.sh --report says it there"
                yield Finding(NOT_ASKED, "", "gave no answer of its copies", do)
        yield from _of_redis(self.redis, self.exporter, self.member)
        if self.report is not None and self.report.now is None:
            yield Finding(NOT_ASKED, "", "its backups could not be asked for", "the reason stands above")
        elif self.report is not None:
            yield from _of_idleness(self.report, self.member)
            yield from _of_unread(self.report)
            for name in databases(self.member.settings, self.report):
                yield from _of_database(name, self.report, self.member)
                if not self.member.is_windows:
                    yield from _of_copies(name, self.member, self.vaults)


def databases(settings: Settings, report: Report) -> list[str]:
    """Those that are to be backed up; where that means all, those that were, the app's own first."""
    if settings.backup_databases != "all":
        return list(settings.backup_databases)
    dumps = [manifest for manifests in report.manifests.values() for manifest in manifests]
    seen = {each["database"] for each in (*dumps, *report.last_runs)} - {settings.postgres_database}
    return [settings.postgres_database, *sorted(seen)]


def own(database: str, entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [entry for entry in entries if entry.get("database") == database]


def good(database: str, report: Report) -> list[dict[str, Any]]:
    """The manifests of a database's good dumps, the newest first: those of the longer tiers are some of these by a
    second name, and a suspect one is good once somebody has accepted it."""
    made = own(database, (*report.manifests.get("daily", ()), *report.manifests.get("weekly", ())))
    return sorted((each for each in made if not suspicion(each, report)), key=lambda one: one["started"], reverse=True)


def suspicion(manifest: dict[str, Any], report: Report) -> str:
    return "" if manifest["dump"] in report.accepted else str(manifest.get("suspect") or "")


def _of_redis(words: str, exporter: str, member: Member) -> Iterator[Finding]:
    mends = f"`make deploy` with LIMIT={member.name} mends what it can; else"
    if words not in ("", "up"):
        what = "Redis is down" if words == "DOWN" else f"Redis: {words}"
        yield Finding(CRITICAL, "", what, f"{mends} look at Redis' log there")
    elif exporter:  # of a Redis that is down it can tell nothing
        what = f"redis_exporter tells Prometheus nothing of Redis: {shown(exporter)[:_MESSAGE]}"
        yield Finding(WARNING, "", what, f"{mends} see journalctl -u {member.settings.redis_exporter_unit} there")


def _of_idleness(report: Report, member: Member) -> Iterator[Finding]:
    if report.idle:
        what = f"the next run will not come: {shown('; '.join(report.idle))[:_MESSAGE]}"
        yield Finding(WARNING, "", what, f"`make deploy` with LIMIT={member.name} mends what it can")


def _of_unread(report: Report) -> Iterator[Finding]:
    for place, amount in sorted(report.unread.items()):
        what = {"status": "status file(s) of runs", "restore-test": "verdict(s) of restore tests"}
        yield Finding(
            WARNING, "", f"{amount} {what.get(place, f'file(s) beside the {place} dumps')} cannot be understood",
            "a damaged one of ours is written anew by the next run; move away what is not ours",
        )  # fmt: skip


def _of_database(name: str, report: Report, member: Member) -> Iterator[Finding]:
    yield from (Finding(severity, name, what, do) for severity, what, do in _judged(name, report, member))


def _judged(name: str, report: Report, member: Member) -> Iterator[tuple[int, str, str]]:
    assert report.now is not None
    program = "the backup task" if member.is_windows else "backup-database.sh"
    yield from _of_age(good(name, report), report.now, member.settings.backup_maximum_age_hours, program)
    yield from _of_weekly(name, report, member.settings.backup_maximum_age_hours)
    for run in own(name, report.last_runs):
        yield from _of_run(run, report.now, program)
    yield from _of_suspects(name, report)
    yield from _of_gone(own(name, report.gone), program)
    if not member.is_windows and not member.settings.backup_encrypt_local:
        yield from _of_tests(name, report, member.settings.backup_restore_test_maximum_age_days)


def _of_run(run: dict[str, Any], now: datetime, program: str) -> Iterator[tuple[int, str, str]]:
    if run["state"] == "failed":
        said = shown(str(run.get("message") or run.get("reason") or "no reason was written down"))[:_MESSAGE]
        yield WARNING, f"the last {_tier(run)}run failed: {said}", f"mend that, and run {program} there"
    elif run["state"] == "running" and (hours := _hours_since(run.get("started"), now)) >= _LONGEST_RUN_HOURS:
        yield (
            WARNING, f"the last {_tier(run)}run began {hours // 24} day(s) ago and has not ended",
            f"see whether it still is at work; where it was interrupted, run {program} there",
        )  # fmt: skip


def _hours_since(time: object, now: datetime) -> int:
    """By the host's own clock, whose zone is up to fourteen hours off; 0 for what is no time."""
    with contextlib.suppress(ValueError):
        return int((now - datetime.fromisoformat(str(time)).replace(tzinfo=None)).total_seconds() // 3600)
    return 0


def _of_weekly(name: str, report: Report, allowed_hours: int) -> Iterator[tuple[int, str, str]]:
    """A tier that has runs of its own and makes none is no better than one that fails; as `--check` has it."""
    assert report.now is not None
    weekly, daily = (
        [made for each in own(name, report.manifests.get(tier, ())) if (made := made_at(each["dump"])) is not None]
        for tier in ("weekly", "daily")
    )
    since = max((made for made in weekly if made <= report.now), default=min(daily, default=report.now))
    if (days := (report.now - since).days) > 7 + allowed_hours // 24:
        yield WARNING, f"there is no weekly dump for {days} days", "see that cron or the task runs, and its log"


def _tier(run: dict[str, Any]) -> str:
    return f"{run['tier']} " if run.get("tier") in ("daily", "weekly") else ""


def _of_age(dumps: list[dict[str, Any]], now: datetime, allowed: int, program: str) -> Iterator[tuple[int, str, str]]:
    hours = (now - _made(dumps[0])).total_seconds() / 3600 if dumps else 0
    if not dumps:
        yield CRITICAL, "there is no good backup", f"run {program} there, and read its log"
    elif hours > allowed:
        yield (
            CRITICAL, f"the last good backup is {hours:.0f} h old, allowed are {allowed}",
            f"see that cron or the task runs, run {program} there, and read its log",
        )  # fmt: skip
    elif hours < -1:
        yield WARNING, "the newest backup is from the future", "see that the clock there is right"


def _of_suspects(name: str, report: Report) -> Iterator[tuple[int, str, str]]:
    newest = own(name, report.manifests.get("daily", ()))[:1]
    for manifest in newest:
        if why := suspicion(manifest, report):
            yield (
                WARNING, f"{manifest['dump']} is suspect: {shown(why)[:_MESSAGE]}",
                f"if that was intended: backup-database.sh --accept {manifest['dump']}",
            )  # fmt: skip


def _of_gone(manifests: list[dict[str, Any]], program: str) -> Iterator[tuple[int, str, str]]:
    """Dumps that no run of ours has taken away: that takes the manifest with it."""
    if names := sorted({each["dump"] for each in manifests}):
        more = len(names) - 1
        which = f"{names[-1]} and {more} more are" if more else f"{names[-1]} is"
        yield (
            WARNING, f"{which} gone, with the manifest left behind",
            f"see who took it; run {program} there, and remove what is left of it",
        )  # fmt: skip


def _of_copies(name: str, member: Member, vaults: Iterable[Vault]) -> Iterator[Finding]:
    for vault in vaults:
        if vault.proven is None:
            continue  # told of the vault itself
        hours = vault.hours(member.name, name)
        allowed = vault.settings.vault_maximum_age_hours + (7 * 24 if vault.settings.vault_prove == "weekly" else 0)
        if hours is None or hours > allowed:
            age = "no copy that is proven" if hours is None else f"no newer proven copy than one {hours} h old"
            yield Finding(
                WARNING, name, f"{vault.name} has {age}, allowed are {allowed} h", "read the vault's log there"
            )


def _of_tests(name: str, report: Report, allowed: int) -> Iterator[tuple[int, str, str]]:
    assert report.now is not None
    tests = own(name, report.restore_tests)
    dumps = [made for each in own(name, report.manifests.get("daily", ())) if (made := made_at(each["dump"]))]
    since = min([report.now, *dumps])
    if tests and tests[0]["verdict"] == "failed":
        said = shown(str(tests[0].get("message") or "see its log"))[:_MESSAGE]
        yield CRITICAL, f"the restore test failed: {said}", "run restore-database.sh --test there"
        return
    if tests and tests[0]["verdict"] == "ok":
        since = datetime.fromisoformat(tests[0]["tested"]).replace(
            tzinfo=None
        )  # days are asked for: hours are no matter
    if (report.now - since).days > allowed:
        yield (
            WARNING, f"no dump was restored as a test for {(report.now - since).days} days, allowed are {allowed}",
            "run restore-database.sh --test there",
        )  # fmt: skip


def _made(manifest: dict[str, Any]) -> datetime:
    made = made_at(manifest["dump"])
    assert made is not None  # the Report holds no other
    return made
