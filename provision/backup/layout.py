"""What lies on a backup host, rendered: directories, scripts, schedule, the password file. Pure."""

from __future__ import annotations

from provision.app import layout as app
from provision.debian.entries import Directory, Entry, File, Log
from provision.settings import Settings
from provision.settings.render import render


def directories(settings: Settings, *, app_is_here: bool) -> list[Entry]:
    """Where the dumps, their logs and their password lie. The app can reach none of it."""
    user, test_dir = settings.backup_user, settings.backup_restore_test_dir
    return [
        app.directory(settings, settings.app_user if app_is_here else "root"),
        Directory(f"{settings.app_dir}/scripts", "root", "root", 0o755),
        Directory(settings.backup_dir, user, user, 0o750),
        Directory(f"{settings.backup_dir}/weekly", user, user, 0o750),
        Directory(settings.backup_state_dir, user, user, 0o750),
        Directory(settings.backup_log_dir, user, user, 0o750),
        *(Log(path, user, user) for path in settings.backup_logs),
        *([] if test_dir == settings.backup_dir else [Directory(test_dir, user, user, 0o700)]),
        Directory(settings.backup_config_dir, "root", user, 0o750),
    ]


def files(settings: Settings) -> list[Entry]:
    """The scripts, the password file that they read, and what runs them and turns their logs."""
    user, name, scripts = settings.backup_user, settings.app_name, f"{settings.app_dir}/scripts"
    return [
        File(settings.backup_pgpass_file, render("backup/pgpass.j2", settings), user, user, 0o600),
        File(f"{scripts}/backup-database.sh", render("backup/backup-database.sh.j2", settings), mode=0o755),
        File(f"{scripts}/restore-database.sh", render("backup/restore-database.sh.j2", settings), mode=0o755),
        File(f"/etc/logrotate.d/{name}-backup", render("backup/logrotate.d/backup.j2", settings)),
        File(f"/etc/cron.d/{name}-backup", render("backup/cron.d/backup.j2", settings)),
        File(f"/etc/cron.d/{name}-restore-test", render("backup/cron.d/restore-test.j2", settings)),
    ]
