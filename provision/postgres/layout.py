"""PGDG's package repository, and what keeps Debian's package from starting a server. Pure."""

from __future__ import annotations

from provision.debian.entries import Directory, Entry, File
from provision.postgres import scram
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


def root_certificate(settings: Settings) -> list[Entry]:
    """What the server's certificate is checked by, where the app and the backups find it."""
    if not settings.postgres_sslrootcert:
        return []
    text = (PROJECT / settings.postgres_sslrootcert).read_text(encoding="ascii")
    return [Directory(settings.backup_program_dir), File(settings.postgres_sslrootcert_file, text)]


def dump_role(settings: Settings) -> list[File]:
    """The SQL that makes the role that makes the dumps; none where that is the app's."""
    if settings.postgres_backup_user == settings.postgres_user:
        return []
    verifier = scram.verifier(settings.postgres_backup_user, settings.postgres_backup_password)
    ours = dump_role_comment(settings)
    sql = render("postgres/dump-role.sql.j2", settings, verifier=verifier, comment=ours)
    return [File(settings.dump_role_file, sql, mode=0o600)]


def dump_role_comment(settings: Settings) -> str:
    """What marks the role as ours: of one that lacks it nothing is changed."""
    return f"Reads the dumps of {settings.app_name}; made by its deploy"


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
