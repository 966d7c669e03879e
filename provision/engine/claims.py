"""What of a host came from us, and which role has it: each operation says it here; `provision.record` writes it there.

A file that we write whole is ours. A directory, a user, a package is ours when it was missing: what was there before
belongs to somebody else, whatever we make of it. That cannot be seen afterwards, so it is put into a journal on the
host before the thing is made: a deploy that is cut off or fails in between leaves it to the next one. What a role
needs, whosever, is said at every deploy: it can be taken away again when no other role needs it.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from pyinfra.api import Host, QuoteString, StringCommand
from pyinfra.context import ctx_host

KINDS = ("directories", "files", "users", "groups", "packages", "tables", "compose")
# Of these, what a removal keeps until it is told twice, and what is worth nothing without the role.
CONTENTS = ("data", "scratch")


def nothing() -> dict[str, set[str]]:
    return {kind: set() for kind in (*KINDS, *CONTENTS)}


@dataclass
class Claims:
    """By kind, what this run found to be ours; the paths that it places, whosever; where the journal lies, if any."""

    ours: dict[str, set[str]] = field(default_factory=nothing)
    placed: set[str] = field(default_factory=set)
    journal: str | None = None
    began: bool = False  # whether this run has put anything into the journal
    of: dict[str, dict[str, set[str]]] = field(default_factory=dict)  # by role and kind what it needs, whosever
    sums: dict[str, str] = field(default_factory=dict)  # what we write into files, as SHA-256
    explained: set[str] = field(default_factory=set)  # what was left behind, and its role has said what to do with


_of_hosts: WeakKeyDictionary[Host, Claims] = WeakKeyDictionary()


def claims() -> Claims:
    """The claims on the host that pyinfra is at."""
    return _of_hosts.setdefault(ctx_host.get(), Claims())


def needed(kind: str, names: Iterable[str]) -> None:
    """The role at hand, as its `@deploy` names it in its data, needs these, whoever made them."""
    role = ctx_host.get().get_deploy_data().get("role")
    if role:
        claims().of.setdefault(role, nothing())[kind].update(names)


def written(files: Iterable[str]) -> None:
    """These files are written whole, whatever was there."""
    files = list(files)
    claims().ours["files"].update(files)
    needed("files", files)


def summed(sums: Mapping[str, str]) -> None:
    """What we write into these files, as SHA-256: what differs from it somebody else has written."""
    claims().sums.update(sums)


def placed(paths: Iterable[str]) -> None:
    """These paths are what this deploy sees to, whoever made them."""
    claims().placed.update(paths)


def kept(kind: str, names: Iterable[str]) -> None:
    """These are ours whenever they are there, and no deploy finds them missing: a table, a Compose file."""
    names = list(names)
    claims().ours[kind].update(names)
    needed(kind, names)


def made(kind: str, names: Iterable[str]) -> Iterator[StringCommand]:
    """These are missing and about to be made. Yields the command that says so in the journal, to run before that."""
    names = list(names)
    claims().ours[kind].update(names)
    journal = claims().journal
    if names and journal:
        claims().began = True
        lines = "".join(f"{kind}\t{name}\n" for name in names)
        yield StringCommand(
            "install -d -m 0755 --", QuoteString(posixpath.dirname(journal)),
            "&& printf %s", QuoteString(lines), ">>", QuoteString(journal), "&& sync --", QuoteString(journal),
        )  # fmt: skip
