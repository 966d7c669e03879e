"""The pg_dump and psql that fit the server which the host dumps."""

from __future__ import annotations

from pyinfra.api.deploy import deploy
from pyinfra.context import host

from provision import layout, postgres_packages
from provision.facts.packages import SourcesNaming
from provision.facts.system import System
from provision.operations import files, packages
from provision.settings import Settings


@deploy("PostgreSQL client")
def postgres_client(settings: Settings, system: System, major: int) -> None:
    # A second entry for a repository that is there already, with another key's path, would stop apt altogether.
    suite = f"{system.codename}-pgdg"
    if not postgres_packages.comes_with_release(system.codename, major) and not host.get_fact(
        SourcesNaming, suite=suite, key=layout.REPOSITORY_KEY
    ):
        files.placed(
            name="Add PostgreSQL's own package repository, signed by its key",
            entries=layout.postgres_repository(settings, system.codename),
        )
    packages.installed(
        name="Install the pg_dump of the server's major version",
        names=[postgres_packages.client_package(major)],
    )
    if not settings.backup_restore_test_host:
        files.placed(
            name="Keep PostgreSQL's package from starting a server of its own",
            entries=layout.no_main_cluster(settings),
        )
        packages.installed(
            name="Install the server that restore tests start for themselves",
            names=[postgres_packages.server_package(major)],
        )
