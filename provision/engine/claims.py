"""What of a host came from us: each operation says it here; `provision.record` writes it on the host.

A file that we write whole is ours. A directory, a user, a package is ours when it was missing: what was there before
belongs to somebody else, whatever we make of it. That cannot be seen afterwards, so it is put into a journal on the
host before the thing is made: a deploy that is cut off or fails in between leaves it to the next one.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from pyinfra.api import Host, QuoteString, StringCommand
from pyinfra.context import ctx_host

KINDS = ("directories", "files", "users", "packages")


@dataclass
class Claims:
    """By kind, what this run found to be ours; the paths that it places, whosever; where the journal lies, if any."""

    ours: dict[str, set[str]] = field(default_factory=lambda: {kind: set() for kind in KINDS})
    placed: set[str] = field(default_factory=set)
    journal: str | None = None
    began: bool = False  # whether this run has put anything into the journal


_of_hosts: WeakKeyDictionary[Host, Claims] = WeakKeyDictionary()


def claims() -> Claims:
    """The claims on the host that pyinfra is at."""
    return _of_hosts.setdefault(ctx_host.get(), Claims())


def written(files: Iterable[str]) -> None:
    """These files are written whole, whatever was there."""
    claims().ours["files"].update(files)


def placed(paths: Iterable[str]) -> None:
    """These paths are what this deploy sees to, whoever made them."""
    claims().placed.update(paths)


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
