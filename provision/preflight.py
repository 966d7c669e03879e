"""What must be true before the first change on any host: asked of every host while pyinfra prepares.

An exception here ends the whole run with one sentence, and nothing was changed anywhere.
"""

from __future__ import annotations

from gevent.lock import BoundedSemaphore
from pyinfra import logger
from pyinfra.api import Host, State
from pyinfra.api.exceptions import PyinfraError
from pyinfra.connectors.ssh import SSHConnector

from provision import database, external_redis, haste, inventory, redis_site
from provision import postgres_packages as clients
from provision.facts.packages import ClientMajors, Packages
from provision.facts.redis import COUNT, Keys, RedisSite, login
from provision.facts.system import Platform, System
from provision.private import PrivateInput
from provision.settings import Settings
from provision.windows.connector import is_windows, plain_ssh_to_windows


class PreflightError(PyinfraError):
    """The run stops before any change; the text names the host, the reason and the remedy."""


_members: dict[str, inventory.Member] = {}
_reading = BoundedSemaphore()  # the hosts are prepared side by side: one reads the settings, the others wait


def member(host: Host, state: State) -> inventory.Member:
    """Return the host's groups and valid Settings. Raise PreflightError for any fault of any host."""
    with _reading:
        if not _members:
            _members.update({each.name: each for each in _all(host, state)})
    return _members[host.name]


def _all(host: Host, state: State) -> list[inventory.Member]:
    try:
        found = inventory.members_of(state.inventory, inventory.environment_of(host.groups))
    except inventory.InventoryError as error:
        raise PreflightError(str(error)) from None
    unreached = [other.name for other in state.inventory if state.is_host_in_limit(other) and not other.connected]
    if unreached:
        raise PreflightError(
            f"{', '.join(unreached)}: cannot be reached (the reason stands above); no host was changed."
            " Mend the connection, or deploy the others with LIMIT="
        )
    return found


def platform(host: Host) -> System:
    """Return the host's platform. Raise PreflightError when this project cannot manage it yet."""
    if is_windows(host):  # its connector has looked, as it connected
        return System(kernel="Windows", name="Windows")
    if told := _windows_behind_plain_ssh(host):
        raise PreflightError(f"{host.name}: {told}; no host was changed")
    haste.send_at_once(host)
    system = host.get_fact(Platform)
    if not system.is_debian_family:
        raise PreflightError(
            f"{host.name}: {system.name or 'an unknown platform'} is not supported yet; no host was changed."
            " Debian and its family are:"
            " take the host out of the inventory, or LIMIT= to the others"
        )
    if not system.is_root:
        user = host.data.get("ssh_user") or "this user"
        if not host.data.get("_sudo"):
            raise PreflightError(
                f"{host.name}: {user} is not root; set _sudo = True in inventories/group_data/, no host was changed"
            )
    return system


def _windows_behind_plain_ssh(host: Host) -> str | None:
    if not isinstance(host.connector, SSHConnector) or host.connector.client is None:
        return None
    transport = host.connector.client.get_transport()
    return plain_ssh_to_windows(transport.remote_version) if transport else None


def redis_host(host: Host, settings: Settings) -> redis_site.Site:
    """Return what the host has of Redis. Raise PreflightError when ours cannot be there, or would lose counters."""
    site = host.get_fact(
        RedisSite, port=settings.redis_port, container=settings.redis_container, app_dir=settings.app_dir
    )
    found = redis_site.holder(site, settings)
    keys = None
    if found in ("package", "compose", "debian"):
        # The password is for a Redis of ours alone.
        known = "" if found == "debian" else login(settings.redis_operator_password.get_secret_value())
        keys = host.get_fact(Keys, port=settings.redis_port, _stdin=PrivateInput(known + COUNT))
    elif redis_site.is_on_another_port(site):
        keys = host.get_fact(Keys, port=redis_site.DEBIANS_PORT, _stdin=PrivateInput(COUNT))
    objection = redis_site.objection(site, settings, keys)
    if objection:
        raise PreflightError(f"{host.name}: {objection}; no host was changed")
    return site


def redis_elsewhere(host: Host, settings: Settings) -> None:
    """Raise PreflightError unless the external Redis lets the app of this host in."""
    try:
        external_redis.ask(host, settings)
    except external_redis.RedisError as error:
        raise PreflightError(f"{host.name}: {error}; no host was changed") from None


def database_server(host: Host, settings: Settings) -> database.Server:
    """Return the PostgreSQL server that the host will dump. Raise PreflightError when it cannot log in."""
    try:
        server = database.ask(host, settings)
    except database.DatabaseError as error:
        raise PreflightError(f"{host.name}: {error}; no host was changed") from None
    logger.debug(f"{host.print_prefix}{server.version}")
    return server


def client_can_be_had(host: Host, settings: Settings, system: System, server: database.Server) -> None:
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
