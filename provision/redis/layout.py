"""What lies on Redis' host, rendered: its configuration, its users, its units or its Compose file. Pure."""

from __future__ import annotations

import posixpath

from provision.app import layout as app
from provision.debian.entries import Directory, Entry, File
from provision.redis.firewall import Firewall
from provision.settings import Settings
from provision.settings.render import plain, render

EXPORTER = "prometheus-redis-exporter"  # Debian's package, and its unit


def of_the_package(settings: Settings) -> Directory:
    """Debian's package gives its directory to its user."""
    return Directory(settings.redis_config_dir, settings.redis_package, settings.redis_package, 0o2770)


def config(settings: Settings) -> File:
    return _redis_file(settings, settings.redis_config_file, "redis.conf")


def users(settings: Settings, *, allow_eval: bool | None = None) -> File:
    """Redis' users; the app's may run scripts where `allow_eval`, by default where the settings say so outright."""
    if allow_eval is None:
        allow_eval = settings.redis_allow_eval is True
    return _redis_file(settings, settings.redis_acl_file, "users.acl", allow_eval=allow_eval)


def library() -> str:
    """The function that counts, as Redis loads it."""
    return plain("redis/rate-limit.lua")


def _redis_file(settings: Settings, path: str, template: str, **extra: object) -> File:
    text, user = render(f"redis/{template}.j2", settings, **extra), settings.redis_system_user
    if settings.redis_mode == "package":
        return File(path, text, user, user, 0o640, keep_previous=settings.redis_take_over)
    if settings.redis_mode == "instance":
        return File(path, text, "root", user, 0o640)
    # The container's user has a number that means nobody, or somebody else, here: the directory above keeps
    # others out on the host, and the container begins below it.
    return File(path, text)


def files(settings: Settings, *, app_is_here: bool, allow_eval: bool | None = None) -> list[Entry]:
    """What Redis' host has of ours; the kernel's and `compose_entry` apart."""
    ours: list[Entry] = [config(settings), users(settings, allow_eval=allow_eval)]
    if settings.redis_mode == "package":
        return [*ours, *unit(settings)]
    if settings.redis_mode == "instance":
        return [own_directory(settings), *ours, data(settings), *unit(settings)]
    compose = File(settings.redis_compose_file, render("redis/compose.redis.yaml.j2", settings))
    return [
        own_directory(settings),
        Directory(settings.redis_config_dir),
        *ours,
        app.directory(settings, settings.app_user if app_is_here else "root"),
        compose,
    ]


def own_directory(settings: Settings) -> Directory:
    """What of Redis is this app's alone: root's, and of the group of the Redis that reads its configuration there."""
    if settings.redis_mode == "instance":
        return Directory(settings.redis_own_dir, "root", settings.redis_system_user, 0o750)
    return Directory(settings.redis_own_dir, mode=0o700)


def data(settings: Settings) -> Directory:
    """Mode instance: where the counters lie."""
    return Directory(settings.redis_data_dir, settings.redis_system_user, settings.redis_system_user, 0o750)


def unit(settings: Settings) -> list[Entry]:
    """Bounds what the service may hold and how long its end may take; waits for the network where it needs it.

    The service itself is the package's, or in mode instance one of its own.
    """
    directory = f"/etc/systemd/system/{settings.redis_service}.service.d"
    text = render("redis/redis-server.conf.j2", settings)
    own = [service(settings)] if settings.redis_mode == "instance" else []
    return [*own, Directory(directory), File(f"{directory}/{settings.app_name}.conf", text)]


def service(settings: Settings) -> File:
    """Mode instance: the unit. What settings change of it stands in a drop-in, which holds without a restart."""
    text = render("redis/instance.service.j2", settings, writable=[settings.redis_data_dir], capabilities="")
    return File(f"/etc/systemd/system/{settings.redis_own_service}.service", text)


def no_server_of_the_package(settings: Settings) -> list[Entry]:
    """What keeps the package's own service from starting as Debian ships it, the same for every app of a host."""
    directory = f"/etc/systemd/system/{settings.redis_server}.service.d"
    return [Directory(directory), File(f"{directory}/00-asleep.conf", render("redis/asleep.conf.j2", settings))]


def firewall(settings: Settings, rules: Firewall) -> list[Entry]:
    """The firewall's table, the unit that loads it, and what loads it again after somebody else's rules."""
    table = render("redis/firewall.nft.j2", settings, hosts=rules.hosts, networks=rules.networks)
    return [
        own_directory(settings),
        File(settings.redis_firewall_file, table, mode=0o600),
        File(f"/etc/systemd/system/{settings.redis_firewall_unit}", render("redis/firewall.service.j2", settings)),
        Directory(posixpath.dirname(settings.redis_firewall_drop_in)),
        File(settings.redis_firewall_drop_in, render("redis/nftables.conf.j2", settings)),
    ]


def script_watch(settings: Settings) -> list[Entry]:
    """What keeps when Redis last ran a script: see `provision.redis.scripts`."""
    directory, unit = posixpath.dirname, f"/etc/systemd/system/{script_timer(settings).removesuffix('.timer')}"
    return [
        Directory(directory(settings.redis_script_watch)),
        own_directory(settings),
        Directory(directory(settings.redis_script_state), mode=0o700),
        File(settings.redis_script_watch, plain("redis/count-scripts.sh"), mode=0o755),
        File(settings.redis_script_login, render("redis/count-scripts.login.j2", settings), mode=0o600),
        File(
            f"{unit}.service",
            render(
                "redis/count-scripts.service.j2",
                settings,
                writable=[directory(settings.redis_script_state)],
                capabilities="",
            ),
        ),
        File(f"{unit}.timer", render("redis/count-scripts.timer.j2", settings)),
    ]


def exporter(settings: Settings) -> list[Entry]:
    """What tells Prometheus of Redis: how it logs in, and its unit."""
    return [
        Directory(posixpath.dirname(settings.redis_exporter_login), "root", settings.redis_exporter_user, 0o750),
        File(
            settings.redis_exporter_login,
            render("redis/exporter.login.j2", settings),
            "root",
            settings.redis_exporter_user,
            0o640,
        ),
        File(
            f"/etc/systemd/system/{settings.redis_exporter_unit}",
            render("redis/exporter.service.j2", settings, writable=[], capabilities=""),
        ),
    ]


def no_exporter_of_the_package(settings: Settings) -> list[Entry]:
    """What keeps the unit of Debian's package from starting."""
    directory = f"/etc/systemd/system/{EXPORTER}.service.d"
    text = render("redis/exporter-package.conf.j2", settings)
    return [Directory(directory), File(f"{directory}/{settings.app_name}.conf", text)]


def script_timer(settings: Settings) -> str:
    return f"{settings.app_name}-redis-scripts.timer"


def compose_entry(settings: Settings) -> File:
    """What `docker compose` finds in the app's directory where nobody has a Compose file of their own."""
    return File(f"{settings.app_dir}/compose.yaml", render("redis/compose.yaml.j2", settings))


def no_override(settings: Settings) -> File:
    """The first of the names that Compose looks for an override by: where it is root's, no other one is read."""
    path = f"{settings.app_dir}/compose.override.yml"
    return File(path, render("redis/compose.override.yml.j2", settings), keep_previous=True)


def kernel(settings: Settings) -> File:
    return File(f"/etc/sysctl.d/60-{settings.app_name}-redis.conf", render("redis/sysctl.conf.j2", settings))
