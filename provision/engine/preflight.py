"""What must be true before the first change on any host: asked of every host while pyinfra prepares.

An exception here ends the whole run with one sentence, and nothing was changed anywhere. Each subject asks what it
needs in a `preflight` of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from weakref import WeakKeyDictionary

from gevent.lock import BoundedSemaphore
from pyinfra.api import Host, State
from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import ctx_state

from provision.engine import environments, inventory, reach
from provision.engine.shown import shown


class PreflightError(PyinfraError):
    """The run stops before any change; the text names the host, the reason and the remedy."""

    def __init__(self, sentence: str) -> None:
        super().__init__(shown(sentence))  # it may quote what a host says


_members: WeakKeyDictionary[State, dict[str, inventory.Member]] = WeakKeyDictionary()  # of each run
_reading = BoundedSemaphore()  # the hosts are prepared side by side: one reads the settings, the others wait


def member(host: Host, state: State) -> inventory.Member:
    """Return the host's groups and valid Settings. Raise PreflightError for any fault of any host."""
    run = ctx_state.get()  # `state` itself is pyinfra's stand-in for it
    with _reading:
        if run not in _members:
            reach.watched()
            _members[run] = {each.name: each for each in _all(host, state)}
            for each in state.inventory:
                reach.limit(each, _members[run][each.name].settings)
    return _members[run][host.name]


@contextlib.contextmanager
def one_host(host: Host, state: State) -> Iterator[None]:
    """A host that has failed is given up alone: what follows from the answers that it did not give is not told."""
    try:
        yield
    except Exception:
        if host.name not in {failed.name for failed in state.failed_hosts}:
            raise


def members() -> list[inventory.Member]:
    """Every host of the environment, also those that this run leaves alone: there once `member` was called."""
    return list(_members[ctx_state.get()].values())


def _all(host: Host, state: State) -> list[inventory.Member]:
    try:
        found = inventory.members_of(state.inventory, environments.environment_of(host.groups))
    except environments.InventoryError as error:
        raise PreflightError(str(error)) from None
    unreached = [other.name for other in state.inventory if state.is_host_in_limit(other) and not other.connected]
    if unreached:
        raise PreflightError(
            f"{', '.join(unreached)}: cannot be reached (the reason stands above); no host was changed."
            " Mend the connection, or go on without: PARTIAL=1, or SKIP= with their names"
        )
    return found
