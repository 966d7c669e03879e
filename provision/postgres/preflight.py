"""Whether a host gets into the database, and whether the pg_dump that fits it can be installed there."""

from __future__ import annotations

from pyinfra import logger
from pyinfra.api import Host

from provision.debian.packages import Packages
from provision.debian.system import RELEASE, System
from provision.engine.changes import warn
from provision.engine.preflight import PreflightError
from provision.postgres import layout
from provision.postgres import packages as clients
from provision.postgres import server as database
from provision.postgres.facts import ClientMajors, DumpRole
from provision.settings import Settings
from provision.settings.backup_content import too_long_for_files


def database_server(host: Host, settings: Settings) -> database.Server:
    """Return the PostgreSQL server that the host will dump. Raise PreflightError when it cannot log in."""
    try:
        server = database.ask(host, settings)
    except database.DatabaseError as error:
        raise PreflightError(f"{host.name}: {error}; no host was changed") from None
    logger.debug(f"{host.print_prefix}{server.version}")
    if settings.backup_databases == "all":
        for name in server.databases:
            if name == settings.postgres_database:
                continue
            told = too_long_for_files(settings.app_name, name, encrypted=settings.backup_encrypt_local)
            if told:
                warn(host, f"backup_databases = 'all' {told}")
    return server


def dump_role(host: Host, settings: Settings, server: database.Server) -> tuple[str, ...]:
    """Return what a deploy is to mend of the role that makes the dumps, in words; warn of what only a person can.

    A deploy makes it where the server runs on the host itself: told by when it was started, since addresses lie.
    """
    role, file = settings.postgres_backup_user, settings.dump_role_file
    if role == settings.postgres_user:
        return ()
    app = f"dumps are made by {settings.postgres_user}, the app's own role"
    if server.major < 14:
        warn(host, f"{app}: PostgreSQL {server.major} has no pg_read_all_data, which came with version 14")
        return ()
    own = host.get_fact(
        DumpRole, port=settings.backup_postgres_port, role=role, ours=layout.dump_role_comment(settings)
    )
    is_own = bool(own.started) and own.started == server.started
    if is_own and own.foreign:
        warn(
            host,
            f"{app}: PostgreSQL has a role {role} that did not come from us, or is a superuser: set another"
            f" postgres_backup_user, or hand it over with the COMMENT that {file} names",
        )
        return ()
    if is_own and own.lacks:
        return tuple(f"{role}: {lack}" for lack in own.lacks)
    refusal = database.cannot_dump(host, settings)
    if refusal is None:
        return ()
    if is_own and refusal.password:
        return (f"{role}: postgres_backup_password is not its password",)
    where = f"{settings.backup_postgres_host}:{settings.backup_postgres_port}"
    remedy = (
        f"let {role} in: a line in the server's pg_hba.conf" if "pg_hba.conf" in refusal.reason
        else f"an administrator of {where} runs {file} of this host, such as: sudo cat {file} | psql -d postgres ..."
    )  # fmt: skip
    warn(host, f"{app}, until {role} can make them: {refusal.reason}: {remedy}")
    return ()


def require_client_package(host: Host, settings: Settings, system: System, server: database.Server) -> None:
    """Raise PreflightError unless the server's pg_dump is on the host, in its release, or in PGDG's repository."""
    package = clients.client_package(server.major)
    if clients.comes_with_release(system.codename, server.major):
        return
    if host.get_fact(Packages, names=(package,)).get(package) == "installed":
        return
    if not system.codename:
        raise PreflightError(
            f"{host.name}: the server at {settings.postgres_host} is PostgreSQL {server.major}, and which repository"
            f" has {package} for this release cannot be told: {RELEASE} has no VERSION_CODENAME=; no host was changed."
            f" Mend that file, or install {package} there"
        )
    repository = settings.postgres_apt_repository
    majors = host.get_fact(ClientMajors, repository=repository, codename=system.codename)
    if server.major in majors:
        return
    has = f"has clients {', '.join(map(str, sorted(majors)))}" if majors else "cannot be read from there"
    raise PreflightError(
        f"{host.name}: the server at {settings.postgres_host} is PostgreSQL {server.major}, and {package} is not"
        f" available: {system.name} does not provide it, and postgres_apt_repository = {repository} {has};"
        " no host was changed. Point postgres_apt_repository at a mirror that has it"
    )
