"""Bring every host of an inventory to what the settings describe: `pyinfra inventories/<environment>.py deploy.py`.

pyinfra runs this file once for each host. Everything that can be known to be wrong is asked first, on every
host, before the first change on any; then each host gets the roles of its groups.
"""

from pyinfra import host, state

from provision import layout, preflight
from provision.roles.app import app
from provision.roles.backup import backup
from provision.roles.postgres_client import postgres_client
from provision.roles.redis import redis_server
from provision.roles.windows import windows_app, windows_backup, windows_redis

member = preflight.member(host, state)
settings = member.settings
system = preflight.platform(host)

if "redis" in member.groups and not system.is_windows:
    site = preflight.redis_host(host, settings)
if "app" in member.groups and settings.redis_mode == "external":
    preflight.redis_elsewhere(host, settings)
if "backup" in member.groups and settings.postgres_mode == "direct":
    database = preflight.database_server(host, settings)
    if not system.is_windows:
        preflight.client_can_be_had(host, settings, system, database)

if system.is_windows:
    if "redis" in member.groups:
        windows_redis()
    if "app" in member.groups:
        windows_app(settings, layout.app_variables(settings))
    if "backup" in member.groups:
        windows_backup(settings)
else:
    if "redis" in member.groups:
        redis_server(settings, system, site, app_is_here="app" in member.groups)
    if "app" in member.groups:
        app(settings)
    if "backup" in member.groups:
        if settings.postgres_mode == "direct":  # a container has its own pg_dump
            postgres_client(settings, system, database.major)
        backup(settings, app_is_here="app" in member.groups)
