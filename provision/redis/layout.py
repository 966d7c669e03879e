"""What lies on Redis' host, rendered: its configuration, its users, its unit or its Compose file. Pure."""

from __future__ import annotations

import posixpath

from provision.app import layout as app
from provision.debian.entries import Directory, Entry, File
from provision.settings import Settings
from provision.settings.render import render


def config(settings: Settings) -> File:
    return _redis_file(settings, "redis.conf")


def users(settings: Settings) -> File:
    return _redis_file(settings, "users.acl")


def _redis_file(settings: Settings, name: str) -> File:
    path, text = f"{settings.redis_config_dir}/{name}", render(f"redis/{name}.j2", settings)
    if settings.redis_mode == "package":
        return File(path, text, "redis", "redis", 0o640, keep_previous=settings.redis_take_over)
    # The container's user has a number that means nobody, or somebody else, here: the directory above keeps
    # others out on the host, and the container begins below it.
    return File(path, text)


def files(settings: Settings, *, app_is_here: bool) -> list[Entry]:
    """What Redis' host has of ours; the kernel's and `compose_entry` apart."""
    ours: list[Entry] = [config(settings), users(settings)]
    if settings.redis_mode == "package":
        return [*ours, *unit(settings)]
    compose = File(settings.redis_compose_file, render("redis/compose.redis.yaml.j2", settings))
    return [
        Directory(posixpath.dirname(settings.redis_config_dir), mode=0o700),
        Directory(settings.redis_config_dir),
        *ours,
        app.directory(settings, settings.app_user if app_is_here else "root"),
        compose,
    ]


def unit(settings: Settings) -> list[Entry]:
    """Has systemd start Redis once the network is up, where it needs more of it than loopback.

    systemd reads it by itself when it matters: at the next boot.
    """
    if not settings.redis_needs_network:
        return []
    directory = "/etc/systemd/system/redis-server.service.d"
    text = render("redis/redis-server.conf.j2", settings)
    return [Directory(directory), File(f"{directory}/{settings.app_name}.conf", text)]


def compose_entry(settings: Settings) -> File:
    """What `docker compose` finds in the app's directory where nobody has a Compose file of their own."""
    return File(f"{settings.app_dir}/compose.yaml", render("redis/compose.yaml.j2", settings))


def kernel(settings: Settings) -> File:
    return File(f"/etc/sysctl.d/60-{settings.app_name}-redis.conf", render("redis/sysctl.conf.j2", settings))
