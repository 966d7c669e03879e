"""What a removal finds on a Windows host, before the first change on any."""

from __future__ import annotations

from pyinfra.api import Host, OperationError

from provision.engine.preflight import PreflightError
from provision.record.undo import Wanted
from provision.settings import Settings
from provision.windows import layout, removal
from provision.windows.operations import listed_before, paths_now


def going(host: Host, settings: Settings, wanted: Wanted) -> tuple[removal.Listed, removal.Removal] | None:
    """What the host's list says, and what goes by it; None where it has nothing of that role.

    Raise PreflightError for a list that cannot be read, or that does not tell roles apart.
    """
    path = layout.record(settings)
    if wanted.app != settings.app_name:
        raise PreflightError(
            f"{host.name}: APP={wanted.app}: on Windows only what the app {settings.app_name} has can be taken away; no"
            " host was changed. Deploy that app's own project once more to remove it from there"
        )
    try:
        listed = listed_before(path) if path in paths_now(path) else removal.Listed()
    except OperationError as error:
        raise PreflightError(f"{host.name}: {error}; no host was changed") from None
    if any(listed.ours.values()) and not listed.of and not listed.left:
        raise PreflightError(
            f"{host.name}: {path} is of version {listed.version or 'unknown'}, which did not record which role each"
            " entry belongs to; no host was changed. Deploy once with this version, then remove"
        )
    found = removal.removal(listed, wanted.role)
    return None if found.empty else (listed, found)
