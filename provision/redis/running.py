"""What a Redis server should run with, and what it runs with: parse both, tell the difference. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

# ACL tokens that Redis adds by itself when it lists a user (redis.io/commands/acl-list).
_IMPLIED = {"sanitize-payload", "resetchannels", "resetkeys", "resetpass", "reset", "clearselectors", "-@all"}
# ... and the words for which it lists another (redis.io, "ACL rules").
_ALIASES = {"allkeys": "~*", "allchannels": "&*", "allcommands": "+@all", "nocommands": "-@all"}


@dataclass(frozen=True)
class Live:
    """What a server on a host answers. `config`, `users` and `libraries` are empty unless the operator was let in."""

    answers: bool = False
    operator_let_in: bool = False
    config: dict[str, str] = field(default_factory=dict)
    users: dict[str, frozenset[str]] = field(default_factory=dict)
    libraries: str = ""

    def has(self, library: str) -> bool:
        """Whether this library of functions is loaded, to the letter."""
        return library.strip() in self.libraries


def directives(config_text: str) -> dict[str, str]:
    """Given redis.conf, return each directive's value. The template writes values as CONFIG GET does."""
    found = {}
    for line in config_text.splitlines():
        name, _, value = line.strip().partition(" ")
        if name and not name.startswith("#"):
            found[name.lower()] = value.strip().strip('"')
    return found


def users(acl_lines: str) -> dict[str, frozenset[str]]:
    """Given users.acl or ACL LIST, return each user's rights, without what Redis implies."""
    found = {}
    for line in acl_lines.splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "user":
            name, *rights = rest.split()
            found[name] = frozenset(_ALIASES.get(right, right) for right in rights) - _IMPLIED
    return found


def config_differences(wanted: dict[str, str], live: Live) -> Iterator[tuple[str, str, str]]:
    """Each (directive, running value, wanted value) that differs."""
    for name, value in wanted.items():
        if live.config.get(name) != value:
            yield name, live.config.get(name, "unset"), value


def user_differences(wanted: dict[str, frozenset[str]], live: Live) -> list[str]:
    """The names of the users whose rights or passwords differ, or who should not be there."""
    names = sorted(wanted.keys() | live.users.keys())
    return [name for name in names if wanted.get(name) != live.users.get(name)]


def quoted(word: str) -> str:
    """One argument of a command line that redis-cli reads from standard input (sdssplitargs in sds.c)."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in word.encode()) + '"'
