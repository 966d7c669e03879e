"""The pg_dump and psql that fit the server which the host dumps."""

from __future__ import annotations

from pyinfra.api.deploy import deploy
from pyinfra.context import host

from provision.debian import files, packages
from provision.debian.system import System
from provision.postgres import layout
from provision.postgres import packages as clients
from provision.postgres.facts import SourcesNaming
from provision.settings import Settings


@deploy("PostgreSQL client", {"role": "backup"})
def postgres_client(settings: Settings, system: System, major: int) -> None:
    # A second entry for a repository that is there already, with another key's path, would stop apt altogether.
    suite = f"{system.codename}-pgdg"
    if not clients.comes_with_release(system.codename, major) and not host.get_fact(
        SourcesNaming, suite=suite, key=layout.REPOSITORY_KEY
    ):
        files.placed(
            name="Add PostgreSQL's own package repository, signed by its key",
            entries=layout.repository(settings, system.codename),
        )
    packages.installed(
        name="Install the pg_dump of the server's major version",
        names=[clients.client_package(major)],
    )
    if not settings.backup_restore_test_host and not settings.backup_encrypt_local:
        files.placed(
            name="Keep PostgreSQL's package from starting a server of its own",
            entries=layout.no_main_cluster(settings),
        )
        packages.installed(
            name="Install the server that restore tests start for themselves",
            names=[clients.server_package(major)],
        )
