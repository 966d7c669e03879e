"""A Redis of our own for the rate limiters, hardened, shared by every app host: of Debian's package, or a container."""

from __future__ import annotations

import posixpath

from pyinfra import host, logger
from pyinfra.api.deploy import deploy
from pyinfra.operations import server, systemd

from provision.debian import files, packages, units, users
from provision.debian.entries import Entry, File
from provision.debian.system import System
from provision.engine import claims
from provision.engine.changes import warn
from provision.redis import layout, scripts
from provision.redis import operations as redis
from provision.redis.existing import Site, is_of_another_app
from provision.redis.facts import HasFirewall
from provision.redis.firewall import Firewall
from provision.settings import Settings


@deploy("Redis", {"role": "redis"})
def redis_server(
    settings: Settings, system: System, site: Site, firewall: Firewall | None, *, app_is_here: bool
) -> None:
    if settings.redis_mode == "instance":
        users.service_user(
            name="Create the user that Redis runs as",
            user=settings.redis_system_user, home=settings.redis_data_dir,
        )  # fmt: skip
    _firewall(settings, firewall)
    seen = host.get_fact(scripts.ScriptUse, **scripts.question(settings))
    allow_eval = scripts.are_allowed(settings, seen)
    acl = layout.users(settings, allow_eval=allow_eval)
    entries = layout.files(settings, app_is_here=app_is_here, allow_eval=allow_eval)
    if settings.redis_mode == "compose":
        _in_a_container(settings, system, site, acl, entries, app_is_here=app_is_here)
    else:
        _from_the_distribution(settings, system, site, acl, entries)
    _watch_scripts(settings, seen, allow_eval=allow_eval)
    _exporter(settings)
    if firewall is not None and firewall.unseen:
        redis.reached(name="See the app's hosts reach it", doors=firewall.unseen, settings=settings)


def _firewall(settings: Settings, firewall: Firewall | None) -> None:
    """Before Redis is there: nobody shall reach it in between. Without a `firewall` it stays as it is."""
    table, unit = settings.redis_firewall_table, settings.redis_firewall_unit
    if settings.redis_needs_firewall:
        files.needed(layout.firewall(settings, Firewall()), as_they_are=True)
        claims.kept("tables", [table])
    if firewall is not None:
        entries = layout.firewall(settings, firewall)
        packages.installed(name="Install nftables", names=["nftables"])
        files.placed(name="Write who may reach Redis' port", entries=entries)
        redis.firewall_loaded(
            name="Let nobody else reach it, now and from the start of every boot",
            entries=entries,
            table=table,
            unit=unit,
        )
    elif not settings.redis_needs_firewall and host.get_fact(HasFirewall, file=settings.redis_firewall_file):
        paths = [entry.path for entry in layout.firewall(settings, Firewall()) if isinstance(entry, File)]
        redis.firewall_removed(
            name="Remove the firewall that Redis needs no longer", paths=paths, table=table, unit=unit
        )


def _from_the_distribution(settings: Settings, system: System, site: Site, acl: File, entries: list[Entry]) -> None:
    """In the package's own service, or in mode instance in one of the app's beside it."""
    config, service, server_of_ours = layout.config(settings), settings.redis_service, redis.in_service(settings)
    is_own = settings.redis_mode == "instance"
    claims.needed("data", [server_of_ours.data])
    if site.has_container:
        redis.stopped(
            name="Stop the Redis in the container",
            mode="compose", container=settings.redis_container, service=service,
        )  # fmt: skip
    _stop_the_other_service(settings, site)
    if is_own:
        _keep_asleep(
            "Keep the service of Redis' package from starting",
            settings.redis_server, layout.no_server_of_the_package(settings),
        )  # fmt: skip
    packages.installed(name="Install Redis from the distribution", names=[settings.redis_server, "redis-tools"])
    if is_own:
        # One that is tried aside goes there too before it is led elsewhere.
        files.placed(name="Lay out where Redis has its data", entries=[layout.data(settings)])
    _kernel(settings, system)
    redis.accepted(
        name="Try the new configuration with a server aside", config=config, acl=acl,
        package=settings.redis_package, user=settings.redis_system_user,
    )  # fmt: skip
    files.placed(
        name="Write Redis' configuration and its users", entries=entries,
        within=[] if is_own else [layout.of_the_package(settings)],
    )  # fmt: skip
    redis.unit_read(
        name="Bound what Redis' service may hold, and how long its end may take",
        unit=f"{service}.service", entries=layout.unit(settings),
    )  # fmt: skip
    _mend(server_of_ours)
    if is_own:
        redis.begun_anew(
            name="Have Redis run as its unit says now",
            unit=f"{service}.service", file=layout.service(settings),
        )  # fmt: skip
        systemd.service(
            name="Run Redis, now and after every boot", service=f"{service}.service", running=True, enabled=True
        )
    else:
        units.run(name="Run Redis, now and after every boot", service=service, package=service)
    redis.configured(
        name="Bring the running Redis to its configuration",
        config=config, acl=acl, library=layout.library(), port=settings.redis_port,
        operator_password=settings.redis_operator_password, server=server_of_ours,
    )  # fmt: skip


def _stop_the_other_service(settings: Settings, site: Site) -> None:
    """This app's Redis of the package, where it is to have a service of its own, or the other way round."""
    own = settings.redis_mode == "instance"
    packages_is_this_apps = site.redis_conf == "ours" and settings.redis_user in site.users and not site.served
    if own and site.service_is_on and packages_is_this_apps:
        redis.stopped(
            name="Stop the Redis of Debian's package",
            mode="package", service=settings.redis_server,
        )  # fmt: skip
    elif not own and site.instance_is_on:
        redis.stopped(
            name="Stop the Redis in a service of its own",
            mode="instance", service=settings.redis_own_service,
        )  # fmt: skip


def _in_a_container(
    settings: Settings, system: System, site: Site, acl: File, entries: list[Entry], *, app_is_here: bool
) -> None:
    config = layout.config(settings)
    container, compose_file = settings.redis_container, settings.redis_compose_file
    claims.kept("compose", [compose_file])
    if site.service_is_on and not is_of_another_app(site, settings):
        redis.stopped(
            name="Stop the Redis of Debian's package",
            mode="package", container=container, service=settings.redis_service,
        )  # fmt: skip
    _stop_the_other_service(settings, site)
    packages.installed(name="Install redis-cli, to ask the Redis in the container", names=["redis-tools"])
    if app_is_here:
        users.service_user(name="Create the user that the app runs as", user=settings.app_user, home=settings.app_dir)
    _kernel(settings, system)
    redis.accepted(
        name="Try the new configuration in a container aside", config=config, acl=acl, image=settings.redis_image
    )
    if not site.compose_files:
        entries.append(layout.compose_entry(settings))
    elif site.has_compose_entry:
        # Compose reads one file of these names, ours first.
        files.absent(
            name="Leave `docker compose` to the Compose file of a person",
            paths=[layout.compose_entry(settings).path],
        )
    if app_is_here and not site.has_override:
        entries.append(layout.no_override(settings))
    for path in site.shadowed:
        logger.warning(
            f"{host.print_prefix}{path} is not root's, so root's `docker compose` goes on reading compose.yaml: see who"
            f" wrote it; if it is yours, give it to root (chown -h root {path}), and deploy again"
        )
    for path, includes_ours in site.compose_files:
        if not includes_ours:
            logger.warning(
                f"{host.print_prefix}{path} is yours and stays as it is. To have `docker compose --profile cache up -d"
                " redis` work there, remove its own service redis, if any, and add: include: [compose.redis.yaml]"
            )
    files.placed(name="Write the Compose file, Redis' configuration and its users", entries=entries)
    server_of_ours = redis.in_container(container, compose_file, settings.redis_port, settings.redis_image)
    _mend(server_of_ours)
    (file,) = (entry for entry in entries if entry.path == compose_file)
    begins_anew = redis.begins_anew(container, file)
    redis.composed(
        name="Run Redis' container, now and after a boot", container=container, file=file, port=settings.redis_port
    )
    redis.configured(
        name="Bring the running Redis to its configuration",
        config=config, acl=acl, library=layout.library(), port=settings.redis_port,
        operator_password=settings.redis_operator_password,
        server=server_of_ours, begins_anew=begins_anew,
    )  # fmt: skip


def _mend(server: redis.Server) -> None:
    if redis.has_broken_aof(server):
        redis.aof_mended(name="Mend what a power loss left of Redis' append-only file", server=server)


def _watch_scripts(settings: Settings, seen: scripts.Scripts, *, allow_eval: bool) -> None:
    """While scripts are allowed until they are out of use, somebody has to look."""
    watch, timer = layout.script_watch(settings), layout.script_timer(settings)
    if allow_eval:
        warn(host, scripts.warning(settings, seen))
    claims.needed("scratch", [posixpath.dirname(settings.redis_script_state)])
    if allow_eval and settings.redis_allow_eval == "auto":
        files.placed(name="Lay out what keeps when Redis last ran a script", entries=watch)
        units.read_anew(
            name="Have systemd read what keeps it",
            units=[timer, f"{timer.removesuffix('.timer')}.service"],
        )  # fmt: skip
        systemd.service(
            name="Keep it every five minutes", service=timer, running=True, enabled=True,
        )  # fmt: skip
    elif seen.is_watched or seen.granted:
        redis.unwatched(
            name="Remove what kept when Redis last ran a script", timer=timer,
            paths=[*(entry.path for entry in watch if isinstance(entry, File)), settings.redis_script_state],
        )  # fmt: skip


def _exporter(settings: Settings) -> None:
    """What tells Prometheus of Redis, where it is wanted."""
    entries, unit = layout.exporter(settings), settings.redis_exporter_unit
    if settings.redis_exporter_bind:
        _keep_asleep(
            "Keep the unit of redis_exporter's package from starting",
            layout.EXPORTER, layout.no_exporter_of_the_package(settings),
        )  # fmt: skip
        packages.installed(name="Install what tells Prometheus of Redis", names=[layout.EXPORTER])
        users.service_user(
            name="Create the user that redis_exporter runs as",
            user=settings.redis_exporter_user, home=posixpath.dirname(settings.redis_exporter_login),
        )  # fmt: skip
        files.placed(name="Write how redis_exporter logs in, and its unit", entries=entries)
        redis.exporter_run(
            name="Run redis_exporter, now and after every boot",
            unit=unit, entries=entries, address=settings.redis_exporter_bind, port=settings.redis_exporter_port,
        )  # fmt: skip
        return
    paths = [entry.path for entry in entries if isinstance(entry, File)]
    if host.get_fact(files.Paths, paths=tuple(paths)).keys() & set(paths):
        redis.exporter_removed(
            name="Remove redis_exporter, which is not wanted any more", unit=unit, paths=paths,
            package=layout.EXPORTER, asleep=layout.no_exporter_of_the_package(settings)[-1].path,
        )  # fmt: skip


def _keep_asleep(name: str, package: str, entries: list[Entry]) -> None:
    """The package's own unit would listen without a password; where somebody had it before us, it is theirs."""
    status = host.get_fact(packages.Packages, names=(package,)).get(package)
    path = entries[-1].path
    if status != "installed" or path in host.get_fact(files.Paths, paths=(path,)):
        files.placed(name=name, entries=entries)


def _kernel(settings: Settings, system: System) -> None:
    if not system.owns_kernel:
        logger.warning(f"{host.print_prefix}is a container: set vm.overcommit_memory=1 on the machine that it runs on")
        return
    files.placed(name="Let the kernel give Redis memory to fork", entries=[layout.kernel(settings)])
    server.sysctl(name="Apply the kernel's memory setting now", key="vm.overcommit_memory", value=1)
