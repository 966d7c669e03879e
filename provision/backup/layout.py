"""What lies on a backup host, rendered: directories, scripts, schedule, the password file. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from provision.app import layout as app
from provision.debian.entries import Directory, Entry, File, Log
from provision.postgres import layout as postgres
from provision.settings import Settings
from provision.settings.render import FILES, plain, render

# The handbook's names, and what a person finds behind them.
_HANDBOOKS = ("backup-database.sh", "restore-database.sh", "setup-cron.sh")
_PROGRAMS = (*_HANDBOOKS, "restore-test.sh", "move-dumps.sh")
_FOR_CONTAINERS = ("call-test-container.sh", "postgres-in-container.sh", "serve-test-container.sh")


def directories(settings: Settings, *, app_is_here: bool) -> list[Entry]:
    """Where the dumps, their logs and their password lie. The app can reach none of it."""
    user = settings.backup_user
    return [
        app.directory(settings, settings.app_user if app_is_here else "root"),
        Directory(settings.backup_program_dir),
        Directory(f"{settings.backup_program_dir}/lib"),
        Directory(f"{settings.app_dir}/scripts", "root", "root", 0o755),
        Directory(settings.backup_dir, user, user, 0o750),
        Directory(f"{settings.backup_dir}/weekly", user, user, 0o750),
        Directory(settings.backup_state_dir, user, user, 0o750),
        Directory(settings.backup_log_dir, user, user, 0o750),
        *(Log(path, user, user) for path in settings.backup_logs),
        restore_test_directory(settings),
        Directory(settings.backup_config_dir, "root", user, 0o750),
    ]


def data(settings: Settings) -> list[str]:
    """What is worth something without the backups that made it: dumps, what is known of them, logs."""
    return [settings.backup_dir, settings.backup_state_dir, settings.backup_log_dir]


def scratch(settings: Settings) -> list[str]:
    """What is worth nothing without them."""
    metrics = f"{settings.backup_metrics_dir}/{settings.app_name}-backup.prom"
    return [settings.backup_restore_test_dir, *([metrics] if settings.backup_metrics_dir else [])]


def recipients(settings: Settings, keys: Sequence[str]) -> File:
    """The public keys that dumps and copies are encrypted to."""
    return File(settings.backup_recipients_file, "".join(f"{key}\n" for key in keys))


def files(settings: Settings, keys: Sequence[str] = ()) -> list[Entry]:
    """The programs, the password file that they read, and what runs them and rotates their logs."""
    user, name = settings.backup_user, settings.app_name
    return [
        File(settings.backup_pgpass_file, render("backup/pgpass.j2", settings), user, user, 0o600),
        *postgres.root_certificate(settings),
        *postgres.dump_role(settings),
        *programs(settings),
        *(ping(settings) if settings.backup_ping_url else ()),
        *(notifying(settings) if settings.notify else ()),
        File(f"/etc/logrotate.d/{name}-backup", render("backup/logrotate.d/backup.j2", settings)),
        File(cron_files(settings)[0], render("backup/cron.d/backup.j2", settings)),
        restore_test_unit(settings),
        File(f"/etc/cron.d/{settings.app_name}-restore-test", render("backup/cron.d/restore-test.j2", settings)),
        *((recipients(settings, keys),) if settings.backup_encrypt_local else ()),
        *(metrics(settings) if settings.backup_metrics_dir else ()),
        *((way_into_containers(settings),) if settings.postgres_mode != "direct" else ()),
    ]


def cron_files(settings: Settings) -> tuple[str, ...]:
    """What runs the backups, and what runs the restore tests where this host can open its dumps."""
    tests = () if settings.backup_encrypt_local else (f"/etc/cron.d/{settings.app_name}-restore-test",)
    return f"/etc/cron.d/{settings.app_name}-backup", *tests


def ping(settings: Settings) -> list[File]:
    """What tells a dead man's switch of each run, and where that is."""
    user, address = settings.backup_user, render("backup/ping-url.j2", settings)
    return [
        File(f"{settings.backup_config_dir}/ping-url", address, "root", user, 0o640),
        File(program(settings, "ping.sh"), plain("backup/ping.sh"), mode=0o755),
    ]


def notifying(settings: Settings) -> list[File]:
    """What tells people of the backups, whom, and when it looks."""
    user, addresses = settings.backup_user, render("backup/notify.j2", settings)
    return [
        File(f"{settings.backup_config_dir}/notify", addresses, "root", user, 0o640),
        File(program(settings, "notify.sh"), plain("backup/notify.sh"), mode=0o755),
        File(f"/etc/cron.d/{settings.app_name}-notify", render("backup/cron.d/notify.j2", settings)),
    ]


def way_into_containers(settings: Settings) -> File:
    """What lets the backup user call the one program of root's that reaches PostgreSQL in a container."""
    path = f"/etc/sudoers.d/{settings.app_name}-backup"
    # A file that sudo cannot read takes sudo from everybody.
    return File(path, render("backup/sudoers.j2", settings), mode=0o440, check="visudo -c -q -f")


def restore_test_directory(settings: Settings) -> Directory:
    """Root's, who makes a directory for each test in it, which that test's user alone enters."""
    return Directory(settings.backup_restore_test_dir, "root", "root", 0o711, formerly=(settings.backup_user,))


def restore_test_unit(settings: Settings) -> File:
    path = f"/etc/systemd/system/{settings.app_name}-restore-test@.service"
    return File(path, render("backup/restore-test@.service.j2", settings))


def metrics(settings: Settings) -> list[File]:
    """What tells Prometheus of the backups, every five minutes."""
    return [
        File(program(settings, "metrics.jq"), plain("backup/metrics.jq")),
        File(program(settings, "write-metrics.sh"), plain("backup/write-metrics.sh"), mode=0o755),
        File(f"/etc/cron.d/{settings.app_name}-metrics", render("backup/cron.d/metrics.j2", settings)),
    ]


def programs(settings: Settings) -> list[File]:
    """The scripts with their parts and settings, and a wrapper of each by the handbook's name."""
    there = settings.backup_program_dir
    parts = sorted(path.relative_to(FILES / "backup").as_posix() for path in (FILES / "backup/lib").glob("*.sh"))
    return [
        # What a script reads is there before the script.
        *(File(f"{there}/{part}", plain(f"backup/{part}")) for part in parts),
        File(f"{there}/cannot-dump.sql", plain("postgres/cannot-dump.sql")),
        File(f"{there}/settings.sh", render("backup/settings.sh.j2", settings)),
        *(File(program(settings, name), plain(f"backup/{name}"), mode=0o755) for name in _programs(settings)),
        *(
            File(
                f"{settings.app_dir}/scripts/{name}",
                render("backup/wrapper.sh.j2", settings, program=program(settings, name)),
                mode=0o755,
            )
            for name in _HANDBOOKS
        ),
    ]


def _programs(settings: Settings) -> tuple[str, ...]:
    return _PROGRAMS if settings.postgres_mode == "direct" else (*_PROGRAMS, *_FOR_CONTAINERS)


def program(settings: Settings, name: str) -> str:
    """The path by which cron and a deploy call one of the scripts."""
    return f"{settings.backup_program_dir}/{name}"
