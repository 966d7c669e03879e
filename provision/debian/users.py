"""System users that services run as.

`pyinfra.operations.server.user` also puts an existing user's home and shell to what it is told. A user that
was there before us has them for a reason, so here one is created or left as it is.
"""

from __future__ import annotations

from collections.abc import Generator

from pyinfra.api import QuoteString, StringCommand, operation
from pyinfra.context import host
from typing_extensions import override

from provision.engine.changes import note
from provision.engine.claims import made, needed
from provision.engine.facts import Fact, YesOrNo, asked


class GroupsOf(Fact[frozenset[str]]):
    """Given a user name, return its groups, whatever the host knows them from (files, LDAP, ...).

    A user has one at least: none means that there is no such user.
    """

    @override
    def command(self, user: str) -> StringCommand:
        return asked("id -nG --", QuoteString(user), "2>/dev/null | tr ' ' '\\n'; true")

    @staticmethod
    @override
    def default() -> frozenset[str]:
        return frozenset()

    @override
    def read(self, lines: list[str]) -> frozenset[str]:
        return frozenset(lines)


@operation()
def service_user(user: str, home: str) -> Generator[StringCommand, None, None]:
    """The host knows this user, in a group of that name; a new one is a user that nobody can log in as."""
    needed("users", [user])
    groups = host.get_fact(GroupsOf, user=user)
    if user in groups:
        return
    note(host, f"{user} is not in a group of its name" if groups else f"there is no user {user}")
    name = QuoteString(user)
    # `groupadd --force` is content with a group that is there already.
    yield StringCommand("groupadd --system --force --", name)
    if groups:
        yield StringCommand("usermod --append --groups", name, "--", name)
    else:
        yield from made("users", [user])
        home_dir = ["--home-dir", QuoteString(home)]
        yield StringCommand(
            "useradd --system --gid", name, "--no-create-home --shell /usr/sbin/nologin", *home_dir, "--", name
        )


class GroupExists(YesOrNo):
    """Whether the host knows a group of this name, from wherever."""

    @override
    def command(self, group: str) -> StringCommand:
        return asked("getent group --", QuoteString(group), ">/dev/null && echo yes; true")


@operation()
def group(name_of_group: str) -> Generator[StringCommand, None, None]:
    """There is a group of this name; a new one is the system's."""
    needed("groups", [name_of_group])
    if not host.get_fact(GroupExists, group=name_of_group):
        note(host, f"there is no group {name_of_group}")
        yield from made("groups", [name_of_group])
        yield StringCommand("groupadd --system --force --", QuoteString(name_of_group))


@operation()
def in_group(user: str, group: str) -> Generator[StringCommand, None, None]:
    """The user is in this group too; its others stay."""
    if group not in host.get_fact(GroupsOf, user=user):
        note(host, f"{user} is not in the group {group}")
        yield StringCommand("usermod --append --groups", QuoteString(group), "--", QuoteString(user))


@operation()
def not_in_group(user: str, group: str) -> Generator[StringCommand, None, None]:
    """The user is not in this group; its others stay."""
    if group in host.get_fact(GroupsOf, user=user):
        note(host, f"{user} is in the group {group}")
        yield StringCommand("gpasswd --delete", QuoteString(user), QuoteString(group))
