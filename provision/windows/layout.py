r"""What lies where on a Windows host: every file and task, rendered. The role places it, `make render` prints it.

Pure, as the layouts of the other rooms are for Debian hosts. Scripts are UTF-8 with its mark, and CRLF.
"""

from __future__ import annotations

from collections.abc import Collection

from provision.settings import Settings
from provision.settings.render import plain, render
from provision.settings.schedule import Schedule
from provision.windows import snippets
from provision.windows.acl import Private, Shared
from provision.windows.operations import Directory, Entry, File
from provision.windows.removal import Things, things
from provision.windows.task import Action, Task, Trigger
from provision.winssh import powershell

REDIS_SENTENCE = (
    "Redis is not offered on Windows itself: keep Redis on a Debian host of the group `redis`, or set"
    " redis_mode = 'compose' on a host with Docker, and point redis_host at it"
)


_SCRIPTS = ("backup-database.ps1", "restore-database.ps1")
LIBRARIES = ("base", "postgres", "rules", "store", "sift", "rows", "properties", "target")


def mark(settings: Settings) -> str:
    """What tells our tasks from other people's: their Source."""
    return f"managed by the pyinfra project of {settings.app_name}"


def record(settings: Settings) -> str:
    """The list of what of the host comes from us. Not in the app's directory, where the app may write."""
    return record_of(settings.windows_name)


def record_of(windows_name: str) -> str:
    return rf"C:\ProgramData\{windows_name}-deploy\host.json"


def directories(settings: Settings) -> list[Entry]:
    """The app's directory, and those of the backups, which administrators and the tasks' own user alone may enter."""
    runner = _runner(settings)
    read, change = Private(readers=runner, directory=True), Private(writers=runner, directory=True)
    return [
        app_directory(settings),
        # What runs as SYSTEM must not be writable by anybody else, wherever the app's directory lies.
        Directory(settings.windows_script_dir, read),
        Directory(rf"{settings.windows_script_dir}\lib", read),
        Directory(settings.windows_config_dir, read),
        *(Directory(name, change) for name in (settings.windows_log_dir, *tiers(settings).values())),
    ]


def app_directory(settings: Settings) -> Directory:
    """The same whichever role lays it out."""
    app = () if settings.windows_app_account is None else (settings.windows_app_account,)
    return Directory(settings.windows_app_dir, Shared(writers=app))


def _runner(settings: Settings) -> tuple[str, ...]:
    """The account that the tasks run as, where it is not one that may do everything anyway."""
    is_system = tasks(settings)[0].runs_as_system
    return () if is_system else (settings.windows_task_user,)


def files(settings: Settings) -> list[Entry]:
    """The scripts, and the password file that they read."""
    pgpass = render("backup/pgpass.j2", settings).encode()
    return [File(settings.windows_pgpass_file, pgpass, Private(_runner(settings))), *scripts(settings)]


def scripts(settings: Settings) -> list[File]:
    """The programs as they stand in files/windows, and the settings that they read; libraries before their users."""
    texts = {rf"lib\{name}.ps1": plain(f"windows/lib/{name}.ps1") for name in LIBRARIES}
    texts[r"lib\settings.ps1"] = script_settings(settings)
    texts |= {name: plain(f"windows/{name}") for name in _SCRIPTS}
    access = Private(_runner(settings))
    return [
        File(rf"{settings.windows_script_dir}\{name}", powershell.file_bytes(text), access)
        for name, text in texts.items()
    ]


def script_settings(settings: Settings) -> str:
    return render("windows/settings.ps1.j2", settings, ps=lambda value: powershell.quote(str(value or "")))


def backup_script(settings: Settings) -> str:
    return rf"{settings.windows_script_dir}\backup-database.ps1"


def tiers(settings: Settings) -> dict[str, str]:
    """The directory of each tier's dumps."""
    return {"daily": settings.windows_backup_dir, "weekly": rf"{settings.windows_backup_dir}\weekly"}


def dump_pattern(settings: Settings) -> str:
    """A dump's name, as a regular expression of .NET and of Python."""
    return rf"^{settings.app_name}_(\d{{4}}-\d\d-\d\d_\d\d-\d\d-\d\d)\.sql\.gz$"


def tasks(settings: Settings) -> list[Task]:
    """The two scheduled tasks, from the schedules that cron has on other hosts."""
    delay = settings.windows_task_random_delay_minutes

    def task(name: str, description: str, schedule: Schedule, arguments: str) -> Task:
        path = backup_script(settings)
        return Task(
            folder=settings.windows_task_folder,
            name=name,
            description=f"{description} Managed by the project that deploys this host: changes here are put back.",
            source=mark(settings),
            action=Action(
                "powershell.exe", f'-NoProfile -NonInteractive -ExecutionPolicy Bypass -File "{path}"{arguments}'
            ),
            triggers=(Trigger(schedule, delay),),
            user=settings.windows_task_user,
            time_limit_hours=settings.windows_task_time_limit_hours,
        )

    name, days = f"{settings.windows_name} Backup", settings.backup_weekly_retention_days
    return [
        task(name, f"The daily backup of {settings.postgres_database}.", settings.backup_daily, ""),
        task(
            f"{name} Weekly", f"The weekly backup of {settings.postgres_database}.", settings.backup_weekly,
            # Both start at once after a night that the host was off: this one waits until the other is done.
            f" -Tier weekly -RetentionDays {days} -WaitMinutes 60",
        ),
    ]  # fmt: skip


def needs(settings: Settings, roles: Collection[str]) -> dict[str, Things]:
    """By role, what it needs on a host, whosever that is, and what of it is data, or worth nothing without the role."""
    of = {}
    if "app" in roles:
        env = {settings.windows_env_file}
        of["app"] = things({"files": env, "directories": {settings.windows_app_dir}, "data": env})
    if "backup" in roles:
        places = tiers(settings)
        of["backup"] = things({
            "files": {entry.path for entry in files(settings)}, "tasks": {task.path for task in tasks(settings)},
            "directories": {entry.path for entry in directories(settings)},
            "packages": {settings.windows_winget_package} if settings.windows_allow_winget else (),
            "data": {*places.values(), settings.windows_log_dir},
            "scratch": {rf"{settings.windows_backup_dir}\{name}" for name in (
                ".lock", ".lock-2", *(f"status-{tier}.json{part}" for tier in places for part in ("", ".part")),
            )},
        })  # fmt: skip
    return of


def rendered(settings: Settings) -> dict[str, bytes]:
    """What a host gets, by a path below OUT, for `make render`; what holds a password is left out."""
    shown = {entry.path: entry.content for entry in scripts(settings)}
    shown |= {
        rf"tasks\{task.folder.strip(chr(92))}\{task.name}.xml": task.to_xml().encode() for task in tasks(settings)
    }
    shown |= {rf"snippets\{name}.ps1": snippets.script(name, {"an": "example"}).encode() for name in snippets.names()}
    return {path.replace("\\", "/").replace(":", ""): content for path, content in shown.items()}
