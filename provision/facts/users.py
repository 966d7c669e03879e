"""The groups of a user."""

from __future__ import annotations

from pyinfra.api import FactBase, QuoteString, StringCommand
from typing_extensions import override


class GroupsOf(FactBase[frozenset[str]]):
    """Given a user name, return its groups, whatever the host knows them from (files, LDAP, ...).

    A user has one at least: none means that there is no such user.
    """

    @override
    def command(self, user: str) -> StringCommand:
        return StringCommand("id -nG --", QuoteString(user), "2>/dev/null | tr ' ' '\\n'; true")

    @staticmethod
    @override
    def default() -> frozenset[str]:
        return frozenset()

    @override
    def process(self, output: list[str]) -> frozenset[str]:
        return frozenset(output)
