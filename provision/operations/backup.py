"""A fresh backup: a host without one makes it now, and the deploy fails where it cannot."""

from __future__ import annotations

import shlex
from collections.abc import Generator

from pyinfra.api import QuoteString, StringCommand, operation
from pyinfra.context import host

from provision.changes import note
from provision.facts.backup import BackupFreshness, Freshness
from provision.settings import Settings


@operation()
def made(settings: Settings) -> Generator[StringCommand, None, None]:
    """The host has a good dump that is not older than `backup_maximum_age_hours`, and no database's last run failed."""
    script = f"{settings.app_dir}/scripts/backup-database.sh"
    found = host.get_fact(BackupFreshness, latest=settings.backup_latest, state_dir=settings.backup_state_dir)
    allowed = settings.backup_maximum_age_hours
    due = True
    if found.hours is None:
        note(host, f"{settings.backup_dir} holds no backup yet")
    elif found.hours > allowed:
        note(host, f"the newest backup is {found.hours:.0f} h old; at most {allowed} are allowed")
    elif told := _left_to_do(found, settings):
        for sentence in told:
            note(host, sentence)
    else:
        due = False
    if due:
        # As cron runs it: that user, that log. What works here works at night.
        line = f"cd {shlex.quote(settings.app_dir)} && {shlex.quote(script)} >> {shlex.quote(settings.backup_log)} 2>&1"
        yield StringCommand(
            "runuser -u", settings.backup_user, "-- sh -c", QuoteString(line),
            "|| { status=$?; tail -n 5", QuoteString(settings.backup_log), ">&2; exit $status; }",
        )  # fmt: skip


def _left_to_do(found: Freshness, settings: Settings) -> list[str]:
    """Which of the databases to back up have no good last run, and why."""
    app, wanted = settings.postgres_database, settings.backup_databases
    told = []
    for name in found.last_failures if wanted == "all" else wanted:
        of = "" if name == app else f" of {name}"
        failure = found.last_failures.get(name)
        if failure:
            told.append(f"the last backup{of} failed: {failure}")
        elif failure is None and name != app:  # the app's own has a fresh dump, whoever made it
            told.append(f"there was no backup{of} yet")
    return told
