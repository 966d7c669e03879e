"""What a run finds different, in words: the plan prints it, a deploy logs it as it goes.

pyinfra knows that an operation will change something, not what. Our operations say it here.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

from pyinfra import logger
from pyinfra.api import Host, State
from pyinfra.context import ctx_state

from provision.engine.shown import shown

# Of each run (host name, operation hash) -> sentences, in the order in which they were found.
_found: WeakKeyDictionary[State, dict[tuple[str, str | None], list[str]]] = WeakKeyDictionary()


def note(host: Host, sentence: str) -> None:
    """Say one difference between the host and what it should be. Never name a secret's value."""
    sentence = shown(sentence)  # it may quote what the host says
    found = _found.setdefault(ctx_state.get(), {})
    sentences = found.setdefault((host.name, host.current_op_hash), [])
    if sentence not in sentences:
        sentences.append(sentence)
    if ctx_state.get().is_executing:
        logger.info(f"{host.print_prefix}{sentence}")


def noted(host_name: str, operation_hash: str) -> list[str]:
    """The differences that an operation found on a host, in this run."""
    return _found.get(ctx_state.get(), {}).get((host_name, operation_hash), [])


# What of a run somebody should know although no deploy changes it.
_warned: WeakKeyDictionary[State, list[str]] = WeakKeyDictionary()


def warn(host: Host, sentence: str) -> None:
    """Tell, in a plan and in a deploy, what only a person can change. Never name a secret's value."""
    told = _warned.setdefault(ctx_state.get(), [])
    sentence = shown(sentence)
    line = f"{host.name}: {sentence}"
    if line not in told:
        told.append(line)
        logger.warning(f"{host.print_prefix}{sentence}")


def warned() -> list[str]:
    """What this run has warned of, each with its host."""
    return list(_warned.get(ctx_state.get(), []))
