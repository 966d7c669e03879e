"""Backups that run by themselves: their user, scripts, schedule and logs, and a first dump that proves them."""

from __future__ import annotations

from collections.abc import Sequence

from pyinfra.api.deploy import deploy
from pyinfra.context import host

from provision.backup import layout
from provision.backup import operations as backups
from provision.backup.facts import DumpRoleReason, RoomForTests
from provision.debian import files, packages, units, users
from provision.engine import claims
from provision.engine.changes import warn
from provision.postgres.operations import dump_role_made
from provision.settings import Settings


@deploy("Backup", {"role": "backup"})
def backup(
    settings: Settings, app_is_here: bool, dump_role: Sequence[str] = (), recipients: Sequence[str] = ()
) -> None:
    """`recipients`: whose public keys its dumps are encrypted to, with `backup_encrypt_local`."""
    backups.tell_of_others(settings)
    claims.needed("data", layout.data(settings))
    claims.needed("scratch", layout.scratch(settings))
    backups.tell_of_former_directory(settings)
    backups.tell_of_tiers_turned_off(settings)
    if settings.backup_encrypt_local:
        backups.tell_of_dumps_in_plain(settings)
    compressor = "zstd" if settings.backup_format == "plain-zstd" else "isal"
    in_container = settings.postgres_mode != "direct"
    packages.installed(
        name="Install cron, logrotate, jq and the compressor",
        names=[
            "cron",
            "logrotate",
            "jq",
            compressor,
            "util-linux",
            *(["curl"] if settings.backup_ping_url else []),
            *(["apprise"] if settings.notify else []),
            *(["sudo"] if in_container else []),
            *(["age"] if settings.backup_encrypt_local else []),
        ],
    )
    users.service_user(name="Create the user that owns the dumps", user=settings.backup_user, home=settings.backup_dir)
    users.service_user(
        name="Create the user that restores dumps to test them",
        user=settings.backup_restore_test_user, home=settings.backup_restore_test_dir,
    )  # fmt: skip
    files.placed(
        name="Lay out the directories of the backups",
        entries=layout.directories(settings, app_is_here=app_is_here),
    )
    files.placed(
        name="Write the backup scripts, their password file and their schedule",
        entries=layout.files(settings, recipients),
    )
    if in_container:
        _tell_who_makes_the_dumps(settings)
    dump_role_made(
        name="Make the database role that makes the dumps",
        differences=dump_role, file=settings.dump_role_file, port=settings.backup_postgres_port,
    )  # fmt: skip
    # Version 1.0.0 put it there. Whoever may talk to Docker is root.
    users.not_in_group(name="Keep the user that owns the dumps from Docker", user=settings.backup_user, group="docker")
    units.run(name="Run cron, now and after every boot", service="cron", package="cron")
    if not settings.backup_restore_test_host and not settings.backup_encrypt_local:
        _tell_where_a_test_has_no_room(settings)
    backups.made(name="Make a backup where there is no fresh one", settings=settings, recipients=recipients)


def _tell_where_a_test_has_no_room(settings: Settings) -> None:
    rooms = host.get_fact(
        RoomForTests, user=settings.backup_user, backup_dir=settings.backup_dir,
        test_dir=settings.backup_restore_test_dir, reserve_mb=settings.backup_reserve_mb,
    )  # fmt: skip
    for dump, (free, needed) in rooms.items():
        if free < needed:
            warn(
                host,
                f"backup_restore_test_dir = '{settings.backup_restore_test_dir}' has {free / 1e9:.1f} GB free, and the"
                f" restore test of {dump} needs {needed / 1e9:.1f} GB: make room there, or name a larger disk",
            )


def _tell_who_makes_the_dumps(settings: Settings) -> None:
    """The server in a container is asked by the backups alone; one on a host, by the preflight."""
    reason = host.get_fact(DumpRoleReason, status_file=settings.backup_status_file)
    if reason:
        warn(
            host,
            f"dumps are made by {settings.postgres_user}, the app's own role, until {settings.postgres_backup_user} can"
            f" make them: {reason}: an administrator of that server runs {settings.dump_role_file} of this host",
        )
