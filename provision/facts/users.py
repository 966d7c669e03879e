"""Which of some users a host has, and the groups of one."""

from __future__ import annotations

from collections.abc import Sequence

from pyinfra.api import FactBase, QuoteString, StringCommand
from typing_extensions import override


class _Names(FactBase[frozenset[str]]):
    """What a command prints, one name a line."""

    @staticmethod
    @override
    def default() -> frozenset[str]:
        return frozenset()

    @override
    def process(self, output: list[str]) -> frozenset[str]:
        return frozenset(output)


class KnownUsers(_Names):
    """Given user names, return those that the host knows, whatever it knows them from (files, LDAP, ...)."""

    @override
    def command(self, users: Sequence[str]) -> StringCommand:
        return StringCommand("getent passwd --", *(QuoteString(user) for user in users), "| cut -d: -f1; true")


class GroupsOf(_Names):
    """Given a user name, return its groups; none where there is no such user."""

    @override
    def command(self, user: str) -> StringCommand:
        return StringCommand("id -nG --", QuoteString(user), "2>/dev/null | tr ' ' '\\n'; true")
