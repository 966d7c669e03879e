"""Whether a host gets into the database, and whether the pg_dump that fits it can be installed there."""

from __future__ import annotations

from pyinfra import logger
from pyinfra.api import Host

from provision.debian.packages import Packages
from provision.debian.system import System
from provision.engine.preflight import PreflightError
from provision.postgres import packages as clients
from provision.postgres import server as database
from provision.postgres.facts import ClientMajors
from provision.settings import Settings


def database_server(host: Host, settings: Settings) -> database.Server:
    """Return the PostgreSQL server that the host will dump. Raise PreflightError when it cannot log in."""
    try:
        server = database.ask(host, settings)
    except database.DatabaseError as error:
        raise PreflightError(f"{host.name}: {error}; no host was changed") from None
    logger.debug(f"{host.print_prefix}{server.version}")
    return server


def require_client_package(host: Host, settings: Settings, system: System, server: database.Server) -> None:
    """Raise PreflightError unless the server's pg_dump is on the host, in its release, or in PGDG's repository."""
    package = clients.client_package(server.major)
    if clients.comes_with_release(system.codename, server.major):
        return
    if host.get_fact(Packages, names=(package,)).get(package) == "installed":
        return
    repository = settings.postgres_apt_repository
    majors = host.get_fact(ClientMajors, repository=repository, codename=system.codename)
    if server.major in majors:
        return
    has = f"has clients {', '.join(map(str, sorted(majors)))}" if majors else "cannot be read from there"
    raise PreflightError(
        f"{host.name}: the server at {settings.postgres_host} is PostgreSQL {server.major}, and {package} cannot be"
        f" had: {system.name} does not carry it, and postgres_apt_repository = {repository} {has};"
        " no host was changed. Point postgres_apt_repository at a mirror that has it"
    )
