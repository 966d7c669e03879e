"""A fresh backup: a host without one makes it now, and the deploy fails where it cannot."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Iterator

from pyinfra.api import QuoteString, StringCommand, operation
from pyinfra.context import host

from provision.changes import note
from provision.facts.backup import BackupFreshness, Freshness
from provision.settings import Settings


@operation()
def made(settings: Settings) -> Generator[StringCommand, None, None]:
    """The host has a good dump that is not older than `backup_maximum_age_hours`, and no tier's last run failed."""
    found = host.get_fact(BackupFreshness, latest=settings.backup_latest, state_dir=settings.backup_state_dir)
    allowed = settings.backup_maximum_age_hours
    due = dict(_left_to_do(found, settings))
    if found.hours is None:
        due = {f"{settings.backup_dir} holds no backup yet": "daily"}
    elif found.hours > allowed:
        due[f"the newest backup is {found.hours:.0f} h old; at most {allowed} are allowed"] = "daily"
    for sentence in due:
        note(host, sentence)
    for tier in sorted(set(due.values())):
        yield _run(tier, settings)


def _run(tier: str, settings: Settings) -> StringCommand:
    # As cron runs it: that user, that log. What works here works at night.
    log = settings.backup_log if tier == "daily" else settings.backup_weekly_log
    script = f"{settings.app_dir}/scripts/backup-database.sh"
    line = f"cd {shlex.quote(settings.app_dir)} && {shlex.quote(script)} --tier {tier} >> {shlex.quote(log)} 2>&1"
    return StringCommand(
        "runuser -u", settings.backup_user, "-- sh -c", QuoteString(line),
        "|| { status=$?; tail -n 5", QuoteString(log), ">&2; exit $status; }",
    )  # fmt: skip


def _left_to_do(found: Freshness, settings: Settings) -> Iterator[tuple[str, str]]:
    """Which of the databases to back up have no good last run: why, and of which tier."""
    app, wanted = settings.postgres_database, settings.backup_databases
    seen = [database for database, _ in found.last_failures]
    for name in dict.fromkeys(seen if wanted == "all" else wanted):
        of = "" if name == app else f" of {name}"
        for tier in ("daily", "weekly"):
            if failure := found.last_failures.get((name, tier)):
                yield f"the last {tier} backup{of} failed: {failure}", tier
        if name not in seen and name != app:  # the app's own has a fresh dump, whoever made it
            yield f"there was no backup{of} yet", "daily"
