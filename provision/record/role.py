"""What of a host came from us, written on the host itself."""

from __future__ import annotations

from collections.abc import Sequence

from pyinfra.api.deploy import deploy

from provision.engine.claims import claims
from provision.record import layout, operations
from provision.settings import Settings
from provision.settings.project import version


def begin(settings: Settings) -> None:
    """From here on, what is made is put into the journal first."""
    claims().journal = layout.journal(settings)


@deploy("Record")
def record(settings: Settings, roles: Sequence[str]) -> None:
    operations.listed(
        name="List what on this host came from us",
        path=layout.path(settings), journal=layout.journal(settings), history=layout.history(settings),
        version=version(), roles=roles,
    )  # fmt: skip
