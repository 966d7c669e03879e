"""What lies where on a host: every file of every role, rendered. The roles place it, `make render` prints it.

Pure: it needs settings and templates, no host. All of it is rendered before the first change.
"""

from __future__ import annotations

import posixpath

from provision.files import Directory, Entry, File, Log
from provision.render import dotenv, render, reveal, url
from provision.secrets import PROJECT
from provision.settings import Settings

REPOSITORY_KEY = "/etc/apt/keyrings/apt.postgresql.org.asc"


def redis_config(settings: Settings) -> File:
    return _redis_file(settings, "redis.conf")


def redis_users(settings: Settings) -> File:
    return _redis_file(settings, "users.acl")


def _redis_file(settings: Settings, name: str) -> File:
    path, text = f"{settings.redis_config_dir}/{name}", render(f"linux/redis/{name}.j2", settings)
    if settings.redis_mode == "package":
        return File(path, text, "redis", "redis", 0o640, keep_previous=settings.redis_take_over)
    # The container's user has a number that means nobody, or somebody else, here: the directory above keeps
    # others out on the host, and the container begins below it.
    return File(path, text)


def redis_files(settings: Settings, *, app_is_here: bool) -> list[Entry]:
    """What Redis' host has of ours; the kernel's and `redis_compose_entry` apart."""
    files: list[Entry] = [redis_config(settings), redis_users(settings)]
    if settings.redis_mode == "package":
        return [*files, *redis_unit(settings)]
    compose = File(settings.redis_compose_file, render("linux/compose/compose.redis.yaml.j2", settings))
    return [
        Directory(posixpath.dirname(settings.redis_config_dir), mode=0o700),
        Directory(settings.redis_config_dir),
        *files,
        app_dir(settings, settings.app_user if app_is_here else "root"),
        compose,
    ]


def redis_unit(settings: Settings) -> list[Entry]:
    """Has systemd start Redis once the network is up, where it needs more of it than loopback.

    systemd reads it by itself when it matters: at the next boot.
    """
    if not settings.redis_needs_network:
        return []
    directory = "/etc/systemd/system/redis-server.service.d"
    text = render("linux/systemd/redis-server.conf.j2", settings)
    return [Directory(directory), File(f"{directory}/{settings.app_name}.conf", text)]


def redis_compose_entry(settings: Settings) -> File:
    """What `docker compose` finds in the app's directory where nobody has a Compose file of their own."""
    return File(f"{settings.app_dir}/compose.yaml", render("linux/compose/compose.yaml.j2", settings))


def redis_kernel(settings: Settings) -> File:
    return File(f"/etc/sysctl.d/60-{settings.app_name}-redis.conf", render("linux/redis/sysctl.conf.j2", settings))


def app_dir(settings: Settings, group: str) -> Directory:
    # Whoever may write here may still not rename or delete what others own (the sticky bit): the backups.
    return Directory(settings.app_dir, "root", group, 0o1775)


def app_files(settings: Settings) -> list[Entry]:
    """The app's directories and the limiters' module. `.env` is merged on the host: see `app_variables`."""
    group, directory = settings.app_user, settings.app_dir
    return [
        app_dir(settings, group),
        Directory(f"{directory}/lib", "root", group, 0o1775),
        Directory(f"{directory}/lib/security", "root", group, 0o1775),
        File(
            f"{directory}/lib/security/rate-limiter-redis.ts",
            render("app/rate-limiter-redis.ts.j2", settings),
            "root", group, 0o644,
        ),
    ]  # fmt: skip


def env_file(settings: Settings) -> str:
    return f"{settings.app_dir}/.env"


def app_variables(settings: Settings) -> dict[str, str]:
    """The variables of `.env` that are ours, quoted. Passwords only inside URLs, where every parser agrees."""
    redis = f"{settings.redis_user}:{url(reveal(settings.redis_password))}"
    postgres = f"{url(settings.postgres_user)}:{url(reveal(settings.postgres_password))}"
    database = f"{_in_url(settings.postgres_host)}:{settings.postgres_port}/{url(settings.postgres_database)}"
    values = {
        "REDIS_URL": f"{'rediss' if settings.redis_tls else 'redis'}://{redis}@{_in_url(settings.redis_host)}:{settings.redis_port}",
        "DATABASE_URL": f"postgresql://{postgres}@{database}",
        "POSTGRES_HOST": settings.postgres_host,
        "POSTGRES_PORT": settings.postgres_port,
        "POSTGRES_DATABASE": settings.postgres_database,
        "POSTGRES_USER": settings.postgres_user,
        **settings.app_env,
    }
    return {name: dotenv(value) for name, value in values.items()}


def postgres_repository(settings: Settings, codename: str) -> list[Entry]:
    """PGDG's package repository for a release, trusted for what its own key has signed."""
    return [
        Directory("/etc/apt/keyrings"),
        File(REPOSITORY_KEY, (PROJECT / settings.postgres_apt_key).read_text(encoding="ascii")),
        File(
            "/etc/apt/sources.list.d/pgdg.sources",
            render("linux/apt/pgdg.sources.j2", settings, codename=codename, key=REPOSITORY_KEY),
        ),
    ]


def backup_directories(settings: Settings, *, app_is_here: bool) -> list[Entry]:
    """Where the dumps, their logs and their password lie. The app can reach none of it."""
    user, test_dir = settings.backup_user, settings.backup_restore_test_dir
    return [
        app_dir(settings, settings.app_user if app_is_here else "root"),
        Directory(f"{settings.app_dir}/scripts", "root", "root", 0o755),
        Directory(settings.backup_dir, user, user, 0o750),
        Directory(f"{settings.backup_dir}/weekly", user, user, 0o750),
        Directory(settings.backup_state_dir, user, user, 0o750),
        Directory(settings.backup_log_dir, user, user, 0o750),
        *(Log(path, user, user) for path in settings.backup_logs),
        *([] if test_dir == settings.backup_dir else [Directory(test_dir, user, user, 0o700)]),
        Directory(settings.backup_config_dir, "root", user, 0o750),
    ]


def backup_files(settings: Settings) -> list[Entry]:
    """The scripts, the password file that they read, and what runs them and turns their logs."""
    user, name, scripts = settings.backup_user, settings.app_name, f"{settings.app_dir}/scripts"
    return [
        File(settings.backup_pgpass_file, render("linux/pgpass.j2", settings), user, user, 0o600),
        File(f"{scripts}/backup-database.sh", render("linux/scripts/backup-database.sh.j2", settings), mode=0o755),
        File(f"{scripts}/restore-database.sh", render("linux/scripts/restore-database.sh.j2", settings), mode=0o755),
        File(f"/etc/logrotate.d/{name}-backup", render("linux/logrotate.d/backup.j2", settings)),
        File(f"/etc/cron.d/{name}-backup", render("linux/cron.d/backup.j2", settings)),
        File(f"/etc/cron.d/{name}-restore-test", render("linux/cron.d/restore-test.j2", settings)),
    ]


def no_main_cluster(settings: Settings) -> list[Entry]:
    """Keeps Debian's PostgreSQL from starting a server: restore tests start and end one of their own."""
    return [
        Directory("/etc/postgresql-common"),
        Directory("/etc/postgresql-common/createcluster.d"),
        File(
            f"/etc/postgresql-common/createcluster.d/{settings.app_name}.conf",
            render("linux/postgresql-common/createcluster.conf.j2", settings),
        ),
    ]


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host  # IPv6 (RFC 3986, 3.2.2)
