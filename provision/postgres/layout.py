"""PGDG's package repository, and what keeps Debian's package from starting a server. Pure."""

from __future__ import annotations

from provision.debian.entries import Directory, Entry, File
from provision.settings import Settings
from provision.settings.project import PROJECT
from provision.settings.render import render

REPOSITORY_KEY = "/etc/apt/keyrings/apt.postgresql.org.asc"


def repository(settings: Settings, codename: str) -> list[Entry]:
    """PGDG's package repository for a release, trusted for what its own key has signed."""
    return [
        Directory("/etc/apt/keyrings"),
        File(REPOSITORY_KEY, (PROJECT / settings.postgres_apt_key).read_text(encoding="ascii")),
        File(
            "/etc/apt/sources.list.d/pgdg.sources",
            render("postgres/pgdg.sources.j2", settings, codename=codename, key=REPOSITORY_KEY),
        ),
    ]


def no_main_cluster(settings: Settings) -> list[Entry]:
    """Keeps Debian's PostgreSQL from starting a server: restore tests start and end one of their own."""
    return [
        Directory("/etc/postgresql-common"),
        Directory("/etc/postgresql-common/createcluster.d"),
        File(
            f"/etc/postgresql-common/createcluster.d/{settings.app_name}.conf",
            render("postgres/createcluster.conf.j2", settings),
        ),
    ]
