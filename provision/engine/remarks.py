"""What a person should know of a host that no deploy mends: a plan and a deploy say it, and it is no change."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from pyinfra import logger
from pyinfra.api import Host, State
from pyinfra.context import ctx_state

# Of each run (host name, sentence), in the order in which they were found.
_found: WeakKeyDictionary[State, dict[tuple[str, str], None]] = WeakKeyDictionary()


def remark(host: Host, sentence: str) -> None:
    """Say a sentence of a host, once in a run."""
    found = _found.setdefault(ctx_state.get(), {})
    if (host.name, sentence) not in found:
        found[host.name, sentence] = None
        logger.warning(f"{host.print_prefix}{sentence}")


def remarked() -> list[tuple[str, str]]:
    """The remarks of this run: host and sentence."""
    return list(_found.get(ctx_state.get(), ())) if ctx_state.isset() else []
