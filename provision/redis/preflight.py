"""Whether Redis can be set up on a host, and whether the app's host gets into one that is somebody else's."""

from __future__ import annotations

from pyinfra.api import Host

from provision.engine.preflight import PreflightError
from provision.engine.private import PrivateInput
from provision.redis import existing, external
from provision.redis.facts import COUNT, Keys, login, site_of
from provision.settings import Settings


def redis_host(host: Host, settings: Settings) -> existing.Site:
    """Return what the host has of Redis. Raise PreflightError when ours cannot be there, or would lose counters."""
    site = site_of(host, settings)
    found = existing.holder(site, settings)
    keys = None
    if found in ("package", "compose", "debian"):
        # The password is for a Redis of ours alone.
        known = "" if found == "debian" else login(settings.redis_operator_password.get_secret_value())
        keys = host.get_fact(Keys, port=settings.redis_port, _stdin=PrivateInput(known + COUNT))
    elif existing.is_on_another_port(site, settings):
        keys = host.get_fact(Keys, port=existing.DEBIANS_PORT, _stdin=PrivateInput(COUNT))
    objection = existing.objection(site, settings, keys)
    if objection:
        raise PreflightError(f"{host.name}: {objection}; no host was changed")
    return site


def redis_elsewhere(host: Host, settings: Settings) -> None:
    """Raise PreflightError unless the external Redis lets the app of this host in."""
    try:
        external.ask(host, settings)
    except external.RedisError as error:
        raise PreflightError(f"{host.name}: {error}; no host was changed") from None
