"""The backups of a Windows host: the same settings, run by the Task Scheduler."""

from __future__ import annotations

import ntpath
from collections.abc import Sequence

from pyinfra import logger
from pyinfra.api.deploy import deploy
from pyinfra.context import host

from provision.engine.changes import warn
from provision.engine.preflight import PreflightError
from provision.settings import Settings
from provision.settings.project import version
from provision.windows import layout, operations, removal, undo


@deploy("Windows record")
def windows_record(settings: Settings, roles: Sequence[str], environment: str) -> None:
    """The list of what of this host comes from us, for upgrades and for taking it away again."""
    written = layout.files(settings) if "backup" in roles else []
    operations.listed(
        name="List what on this host comes from us",
        path=layout.record(settings), version=version(), environment=environment, of=layout.needs(settings, roles),
        sums={entry.path: entry.sha256 for entry in written if isinstance(entry, operations.File)},
        tasks=layout.tasks(settings) if "backup" in roles else [], mark=layout.mark(settings),
        pg_dump=settings.windows_pg_dump or "",
    )  # fmt: skip


@deploy("Windows backup")
def windows_backup(settings: Settings) -> None:
    """Directories and scripts that only administrators may change, a pg_dump.exe, two scheduled tasks."""
    if settings.backup_exclude:
        raise PreflightError(
            f"{host.name}: backup_exclude is not offered on Windows hosts: their scripts do not know what else in a"
            " dump needs what is left out; no host was changed. Set backup_exclude = [] for this host"
        )
    _no_certificate(settings)
    operations.elevated(name="Make sure that we are an administrator")
    operations.scripts_allowed(name="Make sure that scripts may run")
    operations.postgres_client(
        name="Find pg_dump.exe",
        pg_dump=settings.windows_pg_dump or "",
        winget_package=settings.windows_winget_package if settings.windows_allow_winget else None,
    )
    operations.placed(
        name="Write the backup scripts and their password file",
        entries=[*layout.directories(settings), *layout.files(settings)],
    )
    for task in layout.tasks(settings):
        operations.scheduled_task(name=f"Schedule {task.name}", wanted=task, mark=layout.mark(settings))
    operations.backup_made(
        name="Make the first backup",
        script=layout.backup_script(settings), places=[*layout.tiers(settings).values()],
        pattern=layout.dump_pattern(settings),
    )  # fmt: skip


@deploy("Windows app")
def windows_app(settings: Settings, variables: dict[str, str]) -> None:
    """The app's directory and its `.env`: our (quoted) variables set, every other line kept."""
    _no_certificate(settings)
    operations.placed(name="Lay out the app's directory", entries=[layout.app_directory(settings)])
    operations.variables_set(
        name="Set the app's variables in .env, keeping every other line",
        path=settings.windows_env_file, variables=variables, reader=settings.windows_app_account,
    )  # fmt: skip


@deploy("Windows remove")
def windows_remove(
    settings: Settings, listed: removal.Listed, going: removal.Removal, role: str, *, with_data: bool
) -> None:
    """Take away from the host what a role of the app has there: what starts by itself first."""
    path = layout.record(settings)
    for sentence in going.stays:
        warn(host, sentence)
    undo.tasks_gone(name="Take away its scheduled tasks", tasks=going.goes["tasks"], mark=layout.mark(settings))
    undo.paths_gone(
        name="Take away its files, and directories in which nothing is left",
        going=going, sums=listed.sums, aside=ntpath.join(ntpath.dirname(path), "changed"), with_data=with_data,
    )  # fmt: skip
    undo.unlisted(name="Strike it off the list of what came from us", path=path, role=role, going=going)


def windows_redis() -> None:
    """Say why there is nothing to do here."""
    logger.warning(f"{host.print_prefix}{layout.REDIS_SENTENCE}")


def _no_certificate(settings: Settings) -> None:
    if settings.postgres_sslrootcert:
        raise PreflightError(
            f"{host.name}: postgres_sslrootcert = {settings.postgres_sslrootcert!r} is not placed on Windows yet: for"
            " this host set postgres_sslrootcert = None and postgres_sslmode = 'require'; no host was changed"
        )
