"""Whether Redis can be set up on a host, and whether the app's host gets into one that is somebody else's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pyinfra.api import Host

from provision.engine.preflight import PreflightError
from provision.engine.private import PrivateInput
from provision.record.layout import Listed
from provision.redis import existing, external
from provision.redis.facts import COUNT, Keys, login, site_of
from provision.settings import Settings


def redis_host(host: Host, settings: Settings, others: Mapping[str, Listed]) -> existing.Site:
    """Return what the host has of Redis. Raise PreflightError when ours cannot be there, or would lose counters.

    `others` are the lists of other apps there, by app_name.
    """
    served = tuple(app for app, listed in others.items() if _package_conf(settings) in _files_of_redis(listed))
    site = replace(site_of(host, settings), served=served)
    found = existing.holder(site, settings)
    keys = None
    if found in ("package", "instance", "compose", "debian"):
        # The password is for a Redis of ours alone.
        known = "" if found == "debian" else login(settings.redis_operator_password.get_secret_value())
        keys = host.get_fact(Keys, port=settings.redis_port, _stdin=PrivateInput(known + COUNT))
    elif settings.redis_mode != "instance" and existing.is_on_another_port(site, settings):
        keys = host.get_fact(Keys, port=existing.DEBIANS_PORT, _stdin=PrivateInput(COUNT))
    objection = existing.objection(site, settings, keys)
    if objection:
        raise PreflightError(f"{host.name}: {objection}; no host was changed")
    return site


def _package_conf(settings: Settings) -> str:
    return f"/etc/{settings.redis_package}/{settings.redis_package}.conf"


def _files_of_redis(listed: Listed) -> set[str]:
    return listed.of["redis"]["files"] if "redis" in listed.of else set()


def redis_elsewhere(host: Host, settings: Settings) -> None:
    """Raise PreflightError unless the external Redis lets the app of this host in."""
    try:
        external.ask(host, settings)
    except external.RedisError as error:
        raise PreflightError(f"{host.name}: {error}; no host was changed") from None
