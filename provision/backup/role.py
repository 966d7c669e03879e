"""Backups that run by themselves: their user, scripts, schedule and logs, and a first dump that proves them."""

from __future__ import annotations

from collections.abc import Sequence

from pyinfra.api.deploy import deploy
from pyinfra.operations import systemd

from provision.backup import layout
from provision.backup import operations as backups
from provision.debian import files, packages, users
from provision.postgres.operations import dump_role_made
from provision.settings import Settings


@deploy("Backup")
def backup(settings: Settings, app_is_here: bool, dump_role: Sequence[str] = ()) -> None:
    backups.tell_of_others(settings)
    compressor = "zstd" if settings.backup_format == "plain-zstd" else "isal"
    packages.installed(
        name="Install cron, logrotate, jq and the compressor",
        names=["cron", "logrotate", "jq", compressor, "util-linux", *(["curl"] if settings.backup_ping_url else [])],
    )
    users.service_user(name="Create the user that owns the dumps", user=settings.backup_user, home=settings.backup_dir)
    users.service_user(
        name="Create the user that restores dumps to test them",
        user=settings.backup_restore_test_user, home=settings.backup_restore_test_dir,
    )  # fmt: skip
    if settings.postgres_mode != "direct":
        # Whoever may talk to Docker may become root there: that is what dumping from a container takes.
        users.in_group(name="Let that user talk to Docker", user=settings.backup_user, group="docker")
    files.placed(
        name="Lay out the directories of the backups",
        entries=layout.directories(settings, app_is_here=app_is_here),
    )
    files.placed(
        name="Write the backup scripts, their password file and their schedule",
        entries=layout.files(settings),
    )
    dump_role_made(
        name="Make the database role that reads the dumps",
        differences=dump_role, file=settings.dump_role_file, port=settings.backup_postgres_port,
    )  # fmt: skip
    systemd.service(name="Run cron, now and after every boot", service="cron", running=True, enabled=True)
    backups.made(name="Make a backup where there is no fresh one", settings=settings)
