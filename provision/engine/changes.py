"""What a run finds different, in words: the plan prints it, a deploy logs it as it goes.

pyinfra knows that an operation will change something, not what. Our operations say it here.
"""

from __future__ import annotations

from collections.abc import Iterable
from weakref import WeakKeyDictionary

from pyinfra import logger
from pyinfra.api import Host, State
from pyinfra.context import ctx_state

from provision.engine.shown import shown

MANY = 5  # of one directory, with one difference

# Of each run (host name, operation hash) -> sentences, in the order in which they were found.
_found: WeakKeyDictionary[State, dict[tuple[str, str | None], list[str]]] = WeakKeyDictionary()


def note(host: Host, *sentences: str) -> None:
    """Say the differences between the host and what it should be. Never name a secret's value."""
    told = list(dict.fromkeys(map(shown, sentences)))  # it may quote what the host says
    found = _found.setdefault(ctx_state.get(), {}).setdefault((host.name, host.current_op_hash), [])
    found += [sentence for sentence in told if sentence not in found]
    if ctx_state.get().is_executing:
        for line in in_few_lines(told):
            logger.info(f"{host.print_prefix}{line}")


def in_few_lines(sentences: Iterable[str]) -> list[str]:
    """Sentences of the form `PATH: what differs` for a person: many of one directory that say the same are one."""
    alike: dict[tuple[str, str], list[str]] = {}
    for sentence in sentences:
        path, _, what = sentence.partition(": ")
        directory = path[: max(path.rfind("/"), path.rfind("\\")) + 1]
        alike.setdefault((directory, what) if directory and what else (sentence, ""), []).append(sentence)
    return [line for told in alike.values() for line in _in_one(told)]


def _in_one(told: list[str]) -> list[str]:
    path, _, what = told[0].partition(": ")
    return told if len(told) < MANY else [f"{path} and {len(told) - 1} more beside it: {what}"]


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
