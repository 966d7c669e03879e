"""What a removal finds on a host, before the first change on any."""

from __future__ import annotations

import posixpath

from pyinfra.api import Host

from provision.engine.preflight import PreflightError
from provision.record import layout, removal, undo
from provision.record.operations import Lists


def asked(host: Host) -> undo.Wanted:
    """What this process was asked to remove. Raise PreflightError where that was nothing."""
    if undo.wanted is None:
        raise PreflightError(f"{host.name}: what is to be removed? Say it by `make remove`; no host was changed")
    return undo.wanted


def going(host: Host, wanted: undo.Wanted) -> tuple[str, layout.Listed, removal.Removal | None]:
    """Where the host's list lies, what it says, and what goes by it; None where it has nothing of that role.

    Raise PreflightError for a list that cannot be read, or that does not tell roles apart.
    """
    path = layout.path_of(wanted.app)
    answer = host.get_fact(Lists, path=path, journal=posixpath.join(posixpath.dirname(path), "journal"))
    try:
        listed = layout.read(answer.text, answer.journal)
        others = [layout.read(text) for text in answer.others.values()]
    except ValueError as error:
        raise PreflightError(
            f"{host.name}: {path}, or the list of another app beside it, {error}; no host was changed. Fix or remove"
            " it: a deploy writes it anew"
        ) from None
    if any(listed.ours.values()) and not listed.of and not listed.left:
        raise PreflightError(
            f"{host.name}: {path} is of version {listed.version or 'unknown'}, which did not record which role"
            f" each entry belongs to; no host was changed. Deploy once with this version, then remove"
        )
    found = removal.removal(listed, wanted.role, others)
    return path, listed, None if found.empty else found
