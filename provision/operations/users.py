"""System users that services run as.

`pyinfra.operations.server.user` also puts an existing user's home and shell to what it is told. A user that
was there before us has them for a reason, so here one is created or left as it is.
"""

from __future__ import annotations

from collections.abc import Generator

from pyinfra.api import QuoteString, StringCommand, operation
from pyinfra.context import host

from provision.changes import note
from provision.facts.users import GroupsOf, KnownUsers


@operation()
def service_user(user: str, home: str) -> Generator[StringCommand, None, None]:
    """The host knows this user; where it does not, it gets one that nobody can log in as, and its group."""
    if user not in host.get_fact(KnownUsers, users=(user,)):
        note(host, f"there is no user {user}")
        yield StringCommand(
            "useradd --system --user-group --no-create-home --shell /usr/sbin/nologin",
            "--home-dir", QuoteString(home), "--", QuoteString(user),
        )  # fmt: skip


@operation()
def in_group(user: str, group: str) -> Generator[StringCommand, None, None]:
    """The user is in this group too; its others stay."""
    if group not in host.get_fact(GroupsOf, user=user):
        note(host, f"{user} is not in the group {group}")
        yield StringCommand("usermod --append --groups", QuoteString(group), "--", QuoteString(user))
