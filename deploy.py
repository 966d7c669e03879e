"""Bring every host of an inventory to what the settings describe: `pyinfra inventories/<environment>.py deploy.py`.

pyinfra runs this file once for each host. Everything that can be known to be wrong is asked first, on every
host, before the first change on any; then each host gets the roles of its groups.
"""

from pyinfra import host, state

from provision.app import layout as app_layout
from provision.app.preflight import variables_told
from provision.app.role import app
from provision.backup.role import backup
from provision.debian.lock import locked
from provision.debian.preflight import platform
from provision.engine import environments
from provision.engine.preflight import member as member_of
from provision.engine.preflight import members as all_members
from provision.engine.preflight import one_host
from provision.postgres.preflight import database_server, dump_role, require_client_package
from provision.postgres.role import postgres_client
from provision.record.preflight import neighbours
from provision.record.role import begin, record
from provision.redis.admission import admitted
from provision.redis.preflight import redis_elsewhere, redis_host
from provision.redis.role import redis_server
from provision.vault import keys, offline, sources
from provision.vault.layout import recipients_of, sealed_secrets
from provision.vault.operations import reached
from provision.vault.preflight import known_hosts_only, postgres_majors, require_recipients
from provision.vault.role import first_fetch, offsite, push_outbox, push_store, vault, vault_keys
from provision.windows.facts import Knocks as WindowsKnocks
from provision.windows.lock import locked as windows_locked
from provision.windows.role import windows_app, windows_backup, windows_record, windows_redis

with one_host(host, state):
    member = member_of(host, state)
    settings = member.settings
    system = platform(host)
    if system.is_windows:
        windows_locked(host)
    else:
        locked(host)
    environment, members = environments.environment_of(host.groups), all_members()
    if not system.is_windows:
        others = neighbours(host, settings, environment, member.groups)

    if "redis" in member.groups and not system.is_windows:
        site = redis_host(host, settings, others)
        firewall = admitted(host, state, member, members, site, from_windows=WindowsKnocks)
    if "app" in member.groups:
        variables_told(host, settings)
    if "app" in member.groups and settings.redis_mode == "external":
        redis_elsewhere(host, settings)
    lacks: tuple[str, ...] = ()
    if "backup" in member.groups and settings.postgres_mode == "direct":
        database = database_server(host, settings)
        if not system.is_windows:
            require_client_package(host, settings, system, database)
            lacks = dump_role(host, settings, database)

    known_hosts_only(host, state, member, members)
    vaults = sources.vaults(environment, members)
    if "backup" in member.groups and not system.is_windows:
        require_recipients(host, settings, vaults)
    if "vault" in member.groups:
        majors = postgres_majors(host, state, member, members)

    roles = [role for role in environments.ROLES if role in member.groups]
    if system.is_windows:
        windows_record(settings=settings, roles=roles, environment=environment)
        if "redis" in member.groups:
            windows_redis()
        if "app" in member.groups:
            windows_app(settings=settings, variables=app_layout.variables(settings))
        if "backup" in member.groups:
            windows_backup(settings=settings)
    else:
        begin(settings=settings)
        if "redis" in member.groups:
            redis_server(
                settings=settings, system=system, site=site, firewall=firewall, app_is_here="app" in member.groups
            )  # fmt: skip
        if "app" in member.groups:
            app(settings=settings)
        if "backup" in member.groups:
            if settings.postgres_mode == "direct":  # a container has its own pg_dump
                postgres_client(settings=settings, system=system, major=database.major)
            backup(
                settings=settings, app_is_here="app" in member.groups, dump_role=lacks,
                recipients=recipients_of(settings, vaults),
            )  # fmt: skip
            if vaults or settings.backup_offsite:
                offsite(settings=settings, source_name=host.name, readers=vaults)
            push_outbox(settings=settings, host_name=host.name)
        if "vault" in member.groups:
            vault_keys(settings=settings)
            vault(
                settings=settings,
                account=sources.account(settings.app_name, host.name),
                sources=sources.sources(environment, members),
                sign_key=keys.kept(environment, member).get("sign", sources.UNMADE),
                majors=majors,
                sealed=sealed_secrets(settings, environment, offline.sealed(environment, settings.backup_encrypt_to)),
            )
        if keys.kinds_of(member) and vaults:
            reached(name="Have every copy ready before a vault fetches")
        if "vault" in member.groups:
            first_fetch(settings=settings)
            push_store(settings=settings)
        record(settings=settings, roles=roles, environment=environment)
