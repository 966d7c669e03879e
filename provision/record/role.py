"""What of a host came from us, written on the host itself."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from pyinfra.api.deploy import deploy
from pyinfra.context import host

from provision.engine.changes import warn
from provision.engine.claims import claims
from provision.record import layout, operations, removal, undo
from provision.settings import Settings
from provision.settings.project import version


def begin(settings: Settings) -> None:
    """From here on, what is made is put into the journal first."""
    claims().journal = layout.journal(settings)


@deploy("Record")
def record(settings: Settings, roles: Sequence[str], environment: str) -> None:
    operations.listed(
        name="List what on this host came from us",
        path=layout.path(settings), journal=layout.journal(settings), history=layout.history(settings),
        version=version(), environment=environment, roles=roles,
    )  # fmt: skip


@deploy("Remove")
def remove(going: removal.Removal, listed: layout.Listed, role: str, path: str, *, with_data: bool) -> None:
    """Take away from the host what a role of the app has there: what starts by itself first, users last."""
    directory = posixpath.dirname(path)
    cron = {each for each in going.goes["files"] if each.startswith("/etc/cron.d/")}
    files = {each for each in going.goes["files"] - cron if not removal.is_data(each, going.data)}
    aside, packages = f"{directory}/changed", going.goes["packages"]
    for sentence in going.stays:
        warn(host, sentence)
    undo.files_gone(name="Take away its cron files", files=cron, sums=listed.sums, aside=aside)
    undo.units_gone(name="Stop its units and timers, now and after every boot", units=going.units)
    undo.containers_gone(name="Take away its containers", compose_files=going.goes["compose"], with_data=with_data)
    if going.rests:
        undo.servers_rest(
            name="Stop a package's service that no app uses any more",
            services=going.rests, with_data=with_data,
        )  # fmt: skip
    undo.packages_gone(
        name="Take away the packages that nobody else needs",
        names=packages, with_data=with_data,
    )  # fmt: skip
    undo.tables_gone(name="Take away its firewall", tables=going.goes["tables"])
    undo.files_gone(
        name="Take away its files, and keep those that were changed by hand",
        files=files, sums=listed.sums, aside=aside, going={*packages, *going.rests},
    )  # fmt: skip
    undo.directories_gone(
        name="Take away its directories in which nothing is left",
        directories=going.goes["directories"], scratch=going.scratch, data=going.data, with_data=with_data,
    )  # fmt: skip
    undo.users_gone(
        name="Take away its users and groups that own nothing any more",
        users=going.goes["users"], groups=going.goes["groups"], where=going.data,
    )  # fmt: skip
    undo.unlisted(
        name="Strike it off the list of what came from us",
        path=path, journal=f"{directory}/journal", role=role, going=going,
    )  # fmt: skip
