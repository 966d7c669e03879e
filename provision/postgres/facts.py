"""Which package repositories a host has, which clients a repository has, and who reads dumps of a host's own server."""

from __future__ import annotations

from dataclasses import dataclass

from pyinfra.api import QuoteString, StringCommand
from typing_extensions import override

from provision.debian.programs import program
from provision.engine.facts import Fact, asked


class SourcesNaming(Fact[tuple[str, ...]]):
    """Given a suite and a key's path, return apt's source files that name the suite and are not signed by that key."""

    @override
    def command(self, suite: str, key: str) -> StringCommand:
        named = f"^[^#]*{suite}"
        return asked(
            "for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do",
            'if [ -f "$f" ] && grep -qs -e', QuoteString(named), '"$f" && ! grep -qF -e', QuoteString(key),
            '"$f"; then echo "$f"; fi; done',
        )  # fmt: skip

    @staticmethod
    @override
    def default() -> tuple[str, ...]:
        return ()

    @override
    def read(self, lines: list[str]) -> tuple[str, ...]:
        if not all(line.startswith("/") for line in lines):
            raise ValueError("not paths")
        return tuple(lines)


class ClientMajors(Fact[frozenset[int]]):
    """The major versions of postgresql-client that a package repository has; empty where it cannot be read.

    Asked with apt's own downloader, which every Debian has and which knows the host's proxies.
    """

    @override
    def command(self, repository: str, codename: str) -> StringCommand:
        index = f"{repository}/dists/{codename}-pgdg/main/binary-$(dpkg --print-architecture)/Packages.gz"
        return asked(
            "d=$(mktemp -d) &&",
            f'/usr/lib/apt/apt-helper download-file "{index}" "$d/Packages.gz" >/dev/null 2>&1',
            r"""&& zcat "$d/Packages.gz" | sed -n 's/^Package: postgresql-client-\([0-9]*\)$/\1/p'; rm -rf "$d" """,
        )

    @staticmethod
    @override
    def default() -> frozenset[int]:
        return frozenset()

    @override
    def read(self, lines: list[str]) -> frozenset[int]:
        return frozenset(int(line) for line in lines)


@dataclass(frozen=True)
class OwnServer:
    """The PostgreSQL on a host itself: when it was started ("": there is none that lets the host's root in), what the
    role that makes the dumps lacks, in words, and whether that role is somebody else's."""

    started: str = ""
    lacks: tuple[str, ...] = ()
    foreign: bool = False


class DumpRole(Fact[OwnServer]):
    """Given a port, the role that makes the dumps and the comment that marks it as ours, return the OwnServer."""

    @override
    def command(self, port: int, role: str, ours: str) -> StringCommand:
        return asked(program("postgres/dump-role-lacks.sh", str(port), role, ours))

    @staticmethod
    @override
    def default() -> OwnServer:
        return OwnServer()

    @override
    def read(self, lines: list[str]) -> OwnServer:
        found: dict[str, list[str]] = {"started": [], "lacks": [], "foreign": []}
        for key, _, value in (line.partition("=") for line in lines):
            found[key].append(value)
        # One that ended half-way has said nothing.
        started = found["started"][0] if found["started"] else ""
        return OwnServer(started, tuple(found["lacks"]), bool(found["foreign"]))
