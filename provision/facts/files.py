"""What lies at many paths, in one command."""

from __future__ import annotations

from collections.abc import Sequence

from pyinfra.api import FactBase, QuoteString, StringCommand
from typing_extensions import override

from provision.files import Found


class Paths(FactBase[dict[str, Found]]):
    """Given paths, return what was found at each; a path with nothing there is absent from the result.

    A symbolic link is followed to a directory (a person may keep the app on another disk), and is told as
    the link that it is otherwise: a file is replaced, never what a link in its place points at.
    """

    @override
    def command(self, paths: Sequence[str]) -> StringCommand:
        quoted = [QuoteString(path) for path in paths]
        # GNU stat's own word for an empty file is "regular empty file", in English in the C locale alone; %F cannot
        # hold a tab.
        return StringCommand(
            "for p in", *quoted, '; do if [ -d "$p" ]; then set -- -L; else set --; fi;',
            r"LC_ALL=C stat $1 --printf='%F\t%a\t%U\t%G\t%n\n' -- " + '"$p" 2>/dev/null;',
            'if [ -f "$p" ] && [ ! -L "$p" ]; then sha256sum -- "$p"; fi; done; true',
        )  # fmt: skip

    @staticmethod
    @override
    def default() -> dict[str, Found]:
        return {}

    @override
    def process(self, output: list[str]) -> dict[str, Found]:
        found: dict[str, Found] = {}
        for line in output:
            if "\t" in line:
                kind, mode, user, group, path = line.split("\t")
                found[path] = Found(kind.replace("regular empty", "regular"), int(mode, 8), user, group)
            else:
                digest, _, path = line.partition("  ")
                if path in found:
                    at = found[path]
                    found[path] = Found(at.kind, at.mode, at.user, at.group, digest)
        return found
