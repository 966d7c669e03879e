"""What a host has of Redis before a deploy, and what speaks against ours there. Pure.

A Redis is ours when its redis.conf says "Managed by the deploy" (mode package), when it is in the unit of our name
(mode instance), or in the container of that name (mode compose). Whatever else listens on the port is somebody's, and
is left alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal

from provision.settings import Settings

OPERATOR = "operator"  # our own user of each Redis of ours
SAMPLER = "sampler"  # and who keeps when a script was last run, where one may be
EXPORTER = "exporter"  # and who tells Prometheus of it, where that is wanted
DEBIANS_PORT = 6379  # where the package of Debian listens until somebody changes it
OLDEST_COMPOSE = (2, 20)  # the first whose files can include others
_BESIDE = "'instance' (or 'compose', where Docker is)"  # the modes in which apps share a host


@dataclass(frozen=True)
class Listener:
    """A process that listens on the port; `unit` is what systemd runs it in."""

    process: str
    pid: str
    user: str
    unit: str


@dataclass(frozen=True)
class Site:
    """A host as Redis would find it.

    `addresses` are those of its interfaces; empty where they cannot be asked. `users` are those in our users.acl.
    `redis_conf` is Debian's /etc/redis/redis.conf: missing, ours, as Debian ships it, or changed by somebody.
    `published_by` are the containers, as "name (image)", that publish the port; `containers` has ours when it is
    there, running or not. `compose_files` are a person's own Compose files in the app's directory, with
    whether they include ours; `shadowed` are those of others that Compose does not read, since ours is the first.
    `has_override` tells of an override that root has made, or that goes with a Compose file of others.
    `other_package` is the one of Redis and Valkey that is not wanted, where it is ours already; `lacks_package` says
    that the distribution has not the one that is. `served` are other apps that the package's Redis is listed for.
    `instance` is the package whose program the unit of our name runs, "" where there is none, and `instance_is_on`
    whether that runs, now or after a boot.
    """

    listeners: tuple[Listener, ...] = ()
    redis_conf: Literal["missing", "ours", "debian", "changed"] = "missing"
    service_is_on: bool = False
    docker_answers: bool = False
    compose_version: tuple[int, ...] = ()
    addresses: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    published_by: tuple[str, ...] = ()
    has_container: bool = False
    has_compose_entry: bool = False
    compose_files: tuple[tuple[str, bool], ...] = ()
    shadowed: tuple[str, ...] = ()
    has_override: bool = False
    other_package: str = ""
    lacks_package: bool = False
    served: tuple[str, ...] = ()
    instance: str = ""
    instance_is_on: bool = False


Holder = Literal["nobody", "package", "instance", "compose", "debian", "stranger"]


def holder(site: Site, settings: Settings) -> Holder:
    """Whose Redis listens on the port: ours of one mode, Debian's that never was ours, or none of these."""
    if not site.listeners:
        return "nobody"
    if site.published_by:
        ours = all(name.split()[0] == settings.redis_container for name in site.published_by)
        return "compose" if ours and {each.process for each in site.listeners} <= {"docker-proxy", ""} else "stranger"
    if all(each.unit == f"{settings.redis_own_service}.service" for each in site.listeners):
        return "instance"
    if all(each.unit == f"{settings.redis_server}.service" for each in site.listeners):
        return "package" if site.redis_conf == "ours" else "debian"
    return "stranger"


def is_on_another_port(site: Site, settings: Settings) -> bool:
    """Whether Debian's Redis runs, was never ours, and listens on another port than the one that ours shall have."""
    debians = site.service_is_on and site.redis_conf in ("debian", "changed")
    return debians and not any(each.unit == f"{settings.redis_server}.service" for each in site.listeners)


def objection(site: Site, settings: Settings, keys: int | None) -> str | None:
    """Why ours cannot be there, in one sentence with the remedy; None where nothing speaks against it.

    `keys` is how many the Redis on the port holds, or Debian's on another; None where that cannot be known.
    """
    mode, found, counters = settings.redis_mode, holder(site, settings), _counters(keys)
    if mode == "external":
        ours = found in ("package", "instance", "compose")
        stays = f"; this project's Redis there, with {counters}, stays as it is, and limits count anew" if ours else ""
        return (
            "redis_mode = 'external', so Redis is somebody else's server, and no host has the role redis: take it out"
            f" of that group{stays}"
        )
    if package := _no_such_package(site, settings):
        return package
    absent = _absent_addresses(site, settings)
    if absent:
        named = "redis_bind" if settings.redis_bind else "redis_host"
        return (
            f"{named}: Redis is to listen on {', '.join(absent)}, and this host's addresses are"
            f" {', '.join(sorted(site.addresses))}. Mend {named}, or bring the address up first; in redis_bind a"
            " leading '-' marks one that may be missing"
        )
    if mode == "compose" and not (site.docker_answers and site.compose_version >= OLDEST_COMPOSE):
        lacks = "no Compose 2.20 or newer" if site.docker_answers else "no Docker engine that answers"
        return (
            f"redis_mode = 'compose', and there is {lacks}: install them (`apt-get install docker.io docker-compose` on"
            " Debian 13, or Docker's own packages), start docker, or set redis_mode = 'package' or 'instance'"
        )
    if found == "stranger":
        app = _whose_instance(site)
        other = f"which serves the app {app}:" if app else "which is no Redis of this project: stop it, or"
        return f"redis_port = {settings.redis_port} is held by {_who(site)}, {other} choose another redis_port"
    if mode == "instance" and found == "debian":
        return (
            f"redis_port = {settings.redis_port} is held by {_who(site)}, the Redis of Debian's package, which mode"
            " 'instance' leaves as it is: choose another redis_port, such as 6380; or make that one this app's, by"
            " redis_mode = 'package'"
        )
    if another := _of_another_app(site, found, settings):
        return another
    if settings.redis_take_over:
        return None
    others = _other_users(site, settings)
    if mode == "package" and site.redis_conf == "ours" and others:
        return (
            f"this project's Redis there serves {', '.join(sorted(others))} already, which {settings.redis_user} would"
            " lock out: in mode 'package' a host serves one app of one environment. Set for this app redis_mode ="
            f" {_BESIDE} and a redis_port of its own, or choose another host; or, when that user was only renamed, set"
            " redis_take_over = True for this host, and take it out again afterwards"
        )
    if found in ("package", "instance", "compose") and found != mode and keys != 0:
        data = {
            "package": f"/var/lib/{settings.redis_package}",
            "instance": f"/var/lib/{settings.redis_own_service}",
            "compose": f"the Docker volume {settings.redis_container}-data",
        }[found]
        return (
            f"redis_mode = {mode!r}, and this project's Redis of mode {found!r} runs there with {counters}: the limits"
            f" would count anew, and its data stay unused in {data}. To go on, set redis_take_over = True for this"
            " host, and take it out again afterwards"
        )
    elsewhere = is_on_another_port(site, settings) and mode != "instance"
    has_keys = (found == "debian" or elsewhere) and keys != 0
    if has_keys or (site.redis_conf == "changed" and (mode == "package" or elsewhere)):
        conf = f"{settings.redis_package}.conf"
        what = f"with {counters}" if has_keys else f"with a {conf} that somebody changed"
        return (
            f"there is a Redis of Debian's package already, {what}, and /etc/{settings.redis_package}/{conf} does not"
            " begin as this project's does: to hand it over,"
            f" set redis_take_over = True for this host ({conf} is kept as {conf}.previous, its data stay in"
            f" /var/lib/{settings.redis_package}), or choose another host"
        )
    return None


def is_of_another_app(site: Site, settings: Settings) -> bool:
    """Whether the package's Redis, which this project set up, serves another app."""
    return bool(site.served) or (not settings.redis_take_over and bool(_other_users(site, settings)))


def _other_users(site: Site, settings: Settings) -> frozenset[str]:
    return site.users - {"default", OPERATOR, SAMPLER, EXPORTER, settings.redis_user}


def _of_another_app(site: Site, found: Holder, settings: Settings) -> str | None:
    """Why the package's Redis, which serves other apps by their own lists, cannot be this one's too."""
    served = site.served
    if settings.redis_mode == "instance" and settings.redis_user not in site.users:
        served = served or tuple(sorted(_other_users(site, settings)))  # of a version that kept no list
    if not served:
        return None
    apps = ", ".join(served)
    if settings.redis_mode == "package" and not settings.redis_take_over:
        return (
            f"the Redis of the package serves the app {apps} there: in mode 'package' a host serves one app. Set"
            f" redis_mode = {_BESIDE} and a redis_port of its own for this one, or choose another host; or, if app_name"
            f" was {apps!r} before, set redis_take_over = True for this host, and take it out again afterwards"
        )
    if settings.redis_mode in ("instance", "compose") and found == "package":
        return (
            f"redis_port = {settings.redis_port} is where the Redis of the package serves the app {apps}: choose"
            " another redis_port for this one"
        )
    return None


def _no_such_package(site: Site, settings: Settings) -> str | None:
    wanted = f"redis_package = {settings.redis_package!r}"
    if settings.redis_mode == "instance" and site.instance not in ("", settings.redis_package):
        return (
            f"{wanted}, and this app's Redis there is of the package {site.instance}-server, whose counters that one"
            f" cannot read: set redis_package = {site.instance!r}, or choose another host"
        )
    if site.other_package and settings.redis_mode != "instance":
        return (
            f"{wanted}, and this host has this project's Redis of the package {site.other_package}-server, whose"
            f" counters that one cannot read: it is for new hosts. Set redis_package = {site.other_package!r}, or"
            f" choose another host; or begin anew: `apt-get purge {site.other_package}-server` there, and deploy again"
        )
    if settings.redis_mode in ("package", "instance") and site.lacks_package:
        return f"{wanted}, and this host's distribution has no {settings.redis_server}: set redis_package = 'redis'"
    return None


def _absent_addresses(site: Site, settings: Settings) -> list[str]:
    """The addresses that Redis would refuse to start without, and that the host does not have."""
    if not site.addresses:
        return []
    present = {ip_address(each) for each in site.addresses}
    needed = [each for each in settings.redis_listens_on if not each.startswith("-")]
    # All of 127.0.0.0/8 is there, though no interface lists it.
    sure = [each for each in needed if ip_address(each).is_unspecified or each.startswith("127.")]
    return [each for each in needed if each not in sure and ip_address(each) not in present]


def _who(site: Site) -> str:
    if site.published_by:
        return f"the container {', '.join(site.published_by)}"
    return ", ".join(
        f"{each.process} (pid {each.pid}, user {each.user}, {each.unit or 'no unit'})" if each.process
        else "something that has no process here"
        for each in site.listeners
    )  # fmt: skip


def _whose_instance(site: Site) -> str:
    """The app whose service of mode 'instance' listens there; "" where that is none."""
    (unit, *others) = {each.unit.removesuffix(".service") for each in site.listeners}
    theirs = unit.endswith("-redis") and not others and all(each.user == unit for each in site.listeners)
    return unit.removesuffix("-redis") if theirs else ""


def _counters(keys: int | None) -> str:
    return "counters in it" if keys is None else f"{keys} key(s)"
