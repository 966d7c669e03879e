"""A fresh backup: a host without one makes it now, and the deploy fails where it cannot."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Sequence

from pyinfra.api import QuoteString, StringCommand, operation
from pyinfra.context import host

from provision.backup import layout
from provision.backup.facts import BackupsDue, DumpsIn, OtherBackups
from provision.engine.changes import note, warn
from provision.engine.claims import claims
from provision.engine.reach import LONG
from provision.record import layout as record
from provision.record.operations import former_data
from provision.settings import Settings


def tell_of_others(settings: Settings) -> None:
    """Whoever comes from the handbook has its lines in a crontab, which would go on beside ours: theirs to take out."""
    for other in host.get_fact(OtherBackups, app_name=settings.app_name):
        warn(host, other.sentence)


def tell_of_former_directory(settings: Settings) -> None:
    """Dumps that lie where `backup_dir` was before are moved by one command, of a program that a deploy puts there."""
    for directory in former_data("backup", path=record.path(settings), journal=record.journal(settings)):
        dumps, used = host.get_fact(DumpsIn, directory=directory, app_name=settings.app_name)
        if dumps:
            claims().explained.add(directory)
            place, program = shlex.quote(directory), layout.program(settings, "move-dumps.sh")
            warn(
                host,
                f"{directory} was backup_dir before, and {dumps} dump(s) lie there ({used / 1e9:.1f} GB) which nothing"
                f" looks at any more. After the deploy, as root of this host: `{program} {place} &&"
                f" rmdir {place}` moves them to {settings.backup_dir}",
            )


def tell_of_tiers_turned_off(settings: Settings) -> None:
    """What a tier that is kept no more has left is removed by nobody: no run prunes it."""
    days = {"monthly": settings.backup_monthly_retention_days, "yearly": settings.backup_yearly_retention_days}
    for tier in (tier for tier, kept in days.items() if not kept):
        directory = f"{settings.backup_dir}/{tier}"
        dumps, _ = host.get_fact(DumpsIn, directory=directory, app_name=settings.app_name)
        if dumps:
            warn(
                host,
                f"{directory}: {dumps} dump(s) stay there, though backup_{tier}_retention_days = 0 keeps none: nothing"
                " removes them; delete them when nobody needs them",
            )


def tell_of_dumps_in_plain(settings: Settings) -> None:
    """What was made before `backup_encrypt_local`, or brought back by `recover`, stays so until a person says so."""
    dumps, _ = host.get_fact(DumpsIn, directory=settings.backup_dir, app_name=settings.app_name, in_plain=True)
    if dumps:
        warn(
            host,
            f"{dumps} dump(s) in {settings.backup_dir} lie in plain until they go by their age: after the deploy"
            f" `{_script(settings)} --encrypt-stored`, as root of this host, encrypts them",
        )


@operation()
def made(settings: Settings, recipients: Sequence[str] = ()) -> Generator[StringCommand, None, None]:
    """Each database has a good dump that is fresh enough, and no tier's last run failed, or was interrupted; and who is
    to open its dumps can, where they are encrypted."""
    due = host.get_fact(
        BackupsDue, script=_script(settings), backup_dir=settings.backup_dir,
        keys=tuple(recipients), encrypted=settings.backup_encrypt_local,
    )  # fmt: skip
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
