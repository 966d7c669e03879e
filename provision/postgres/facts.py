"""Which package repositories a host has, and which PostgreSQL clients a repository has."""

from __future__ import annotations

from pyinfra.api import FactBase, QuoteString, StringCommand
from typing_extensions import override


class SourcesNaming(FactBase[tuple[str, ...]]):
    """Given a suite and a key's path, return apt's source files that name the suite and are not signed by that key."""

    @override
    def command(self, suite: str, key: str) -> StringCommand:
        named = f"^[^#]*{suite}"
        return StringCommand(
            "for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do",
            "if grep -qs -e", QuoteString(named), '"$f" && ! grep -qF -e', QuoteString(key), '"$f"; then',
            'echo "$f"; fi; done',
        )  # fmt: skip

    @staticmethod
    @override
    def default() -> tuple[str, ...]:
        return ()

    @override
    def process(self, output: list[str]) -> tuple[str, ...]:
        return tuple(output)


class ClientMajors(FactBase[frozenset[int]]):
    """The major versions of postgresql-client that a package repository has; empty where it cannot be read.

    Asked with apt's own downloader, which every Debian has and which knows the host's proxies.
    """

    @override
    def command(self, repository: str, codename: str) -> StringCommand:
        index = f"{repository}/dists/{codename}-pgdg/main/binary-$(dpkg --print-architecture)/Packages.gz"
        return StringCommand(
            "d=$(mktemp -d) &&",
            f'/usr/lib/apt/apt-helper download-file "{index}" "$d/Packages.gz" >/dev/null 2>&1',
            r"""&& zcat "$d/Packages.gz" | sed -n 's/^Package: postgresql-client-\([0-9]*\)$/\1/p'; rm -rf "$d" """,
        )

    @staticmethod
    @override
    def default() -> frozenset[int]:
        return frozenset()

    @override
    def process(self, output: list[str]) -> frozenset[int]:
        return frozenset(int(line) for line in output if line.isdigit())
