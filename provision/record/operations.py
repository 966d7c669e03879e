"""The list of what of a host came from us, brought up to date at the end of a deploy."""

from __future__ import annotations

import posixpath
from collections.abc import Generator, Sequence

from pyinfra.api import QuoteString, StringCommand, operation
from pyinfra.context import host
from typing_extensions import override

from provision.debian.entries import Directory, File
from provision.debian.files import Paths, placed, refusal
from provision.engine.claims import KINDS, claims, written
from provision.engine.claims import placed as seen
from provision.engine.facts import Fact, asked
from provision.engine.inside import commands_of
from provision.record import layout

_JOURNAL = "==journal=="


class Listed(Fact[tuple[str, list[str]]]):
    """The text of the list on the host ("" where there is none) and the lines of the journal."""

    @override
    def command(self, path: str, journal: str) -> StringCommand:
        return asked(
            "cat --", QuoteString(path), f"2>/dev/null; echo {_JOURNAL}; cat --", QuoteString(journal),
            "2>/dev/null; true",
        )  # fmt: skip

    @staticmethod
    @override
    def default() -> tuple[str, list[str]]:
        return "", []

    @override
    def read(self, lines: list[str]) -> tuple[str, list[str]]:
        if not lines:
            return self.default()
        at = lines.index(_JOURNAL)
        return "\n".join(lines[:at]), lines[at + 1 :]


@operation()
def listed(
    path: str, journal: str, history: str, version: str, roles: Sequence[str]
) -> Generator[StringCommand, None, None]:
    """The file says the version, the roles, and all that came from us, by this deploy or an earlier one."""
    before, journalled = host.get_fact(Listed, path=path, journal=journal)
    try:
        earlier = layout.ours(before, journalled)
    except ValueError:
        yield refusal(f"{path} is not what a deploy has written: fix it, or remove it to begin a new list")
        return
    directory = posixpath.dirname(path)
    # The history is written at the very end, by the command: it is ours whether or not it is there yet.
    seen([directory, path, history])
    written([path, history])
    ours = {kind: earlier[kind] | claims().ours[kind] for kind in KINDS}
    ours["directories"].add(directory)
    gone = _gone(ours["files"] | ours["directories"])
    ours["files"] -= gone
    ours["directories"] -= gone
    yield from commands_of(placed, [Directory(directory), File(path, layout.text(version, roles, ours))])
    if journalled or claims().began:
        yield StringCommand("rm -f --", QuoteString(journal))


def _gone(paths: set[str]) -> set[str]:
    """Those of the paths that this deploy does not see to, and that are not on the host any more."""
    others = sorted(paths - claims().placed)
    return set(others) - host.get_fact(Paths, paths=tuple(others)).keys() if others else set()
