"""A fresh backup: a host without one makes it now, and the deploy fails where it cannot."""

from __future__ import annotations

import shlex
from collections.abc import Generator

from pyinfra.api import QuoteString, StringCommand, operation
from pyinfra.context import host

from provision.backup import layout
from provision.backup.facts import BackupsDue, OtherBackups
from provision.engine.changes import note, warn
from provision.engine.reach import LONG
from provision.settings import Settings


def tell_of_others(settings: Settings) -> None:
    """Whoever comes from the handbook has its lines in a crontab, which would go on beside ours: theirs to take out."""
    for other in host.get_fact(OtherBackups, app_name=settings.app_name):
        warn(host, other.sentence)


@operation()
def made(settings: Settings) -> Generator[StringCommand, None, None]:
    """Each database has a good dump that is fresh enough, and no tier's last run failed, or was interrupted."""
    due = host.get_fact(BackupsDue, script=_script(settings), backup_dir=settings.backup_dir)
    for reason, tier in due.items():
        (warn if tier == "accept" else note)(host, reason)  # whether what a suspect dump lacks was meant a person knows
    for tier in sorted(set(due.values()) - {"accept"}):
        yield _run(tier, settings)


def _run(tier: str, settings: Settings) -> StringCommand:
    # As cron runs it: that user, that log. What works here works at night.
    log = settings.backup_log if tier == "daily" else settings.backup_weekly_log
    ping = f"{shlex.quote(layout.program(settings, 'ping.sh'))} {tier} " if settings.backup_ping_url else ""
    run = f"{ping}{shlex.quote(_script(settings))} --tier {tier} >> {shlex.quote(log)} 2>&1"
    # 75: another run is at work, such as cron's after a boot. What it makes may be all that was due.
    due = f"{shlex.quote(_script(settings))} --overdue 2>/dev/null | grep -q '^{tier}'"
    patient = f"until {run}; do s=$?; [ $s = 75 ] || exit $s; sleep 2; {due} || exit 0; done"
    return StringCommand(
        "runuser -u", settings.backup_user, "-- sh -c", QuoteString(f"cd {shlex.quote(settings.app_dir)} && {patient}"),
        "|| { status=$?; tail -n 5", QuoteString(log), ">&2; exit $status; }", _timeout=LONG,
    )  # fmt: skip


def _script(settings: Settings) -> str:
    return layout.program(settings, "backup-database.sh")
