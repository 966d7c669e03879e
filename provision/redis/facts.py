"""What the Redis server on a host runs with, asked from the server itself."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Literal

from pyinfra.api import QuoteString, StringCommand
from typing_extensions import override

from provision.debian.programs import program
from provision.engine.facts import Fact, YesOrNo, asked
from provision.redis.existing import OPERATOR, Listener, Site
from provision.redis.running import Live, quoted, refusal, users

_MARK = "--8<--"


def question(operator_password: str) -> str:
    """What to send on standard input: the password never is an argument, nor in the environment."""
    return (
        login(operator_password)
        + f"ECHO {_MARK}\nCONFIG GET *\nECHO {_MARK}\nACL LIST\n"
        + f"ECHO {_MARK}\nINFO\nECHO {_MARK}\nFUNCTION LIST WITHCODE\n"
    )


class Redis(Fact[Live]):
    """The configuration and users of the server on a loopback port. Call with `_stdin=question(password)`."""

    @override
    def command(self, port: int) -> StringCommand:
        return asked(f"redis-cli -h 127.0.0.1 -p {port} 2>/dev/null || true")

    @staticmethod
    @override
    def default() -> Live:
        return Live()

    @override
    def read(self, lines: list[str]) -> Live:
        sections = "\n".join(lines).split(_MARK)
        let_in = sections[0].strip() == "OK"
        if len(sections) < 3 or not let_in:
            # AUTH may be answered where all else is refused (BUSY, LOADING).
            said = [line for line in lines if refusal(line)] or [sections[0].strip()]
            return Live(answers=bool(sections[0].strip()), said=said[0])
        values = sections[1].split("\n")[1:-1]  # a value may be empty, the last one too
        config = dict(zip(values[::2], values[1::2], strict=True))
        info = dict(line.strip().split(":", 1) for line in "".join(sections[3:4]).splitlines() if ":" in line)
        return Live(
            answers=True, operator_let_in=True, config=config, users=users(sections[2]), info=info,
            libraries="".join(sections[4:]),
        )  # fmt: skip


class BrokenAof(Fact[tuple[int, int] | None]):
    """Of a Redis that does not run: how many bytes at the end of its append-only file are no commands, of how many.

    (0, 0) where redis-check-aof does not say; None where all is well, and of a Redis that runs.
    """

    @override
    def command(self, runs: str, check: str) -> StringCommand:
        return asked(f"if ! {runs}; then {check}; fi 2>/dev/null; true")

    @staticmethod
    @override
    def default() -> None:
        return None

    @override
    def read(self, lines: list[str]) -> tuple[int, int] | None:
        if not lines:
            return None
        word, *words = lines[-1].split()
        if word != "broken":
            raise ValueError(word)
        return (int(words[0]), int(words[1])) if len(words) == 2 else (0, 0)


class Keys(Fact[int | None]):
    """How many keys the server on a loopback port holds; None where it does not tell.

    Call with `_stdin=PrivateInput(login(password) + COUNT)`, or with COUNT alone for a server without passwords.
    """

    @override
    def command(self, port: int) -> StringCommand:
        return asked(program("redis/ask.sh", str(port)))

    @staticmethod
    @override
    def default() -> None:
        return None

    @override
    def read(self, lines: list[str]) -> int | None:
        last = lines[-1].strip() if lines else ""
        return int(last) if last.isdigit() else None


COUNT = "DBSIZE\n"


def login(operator_password: str) -> str:
    """The first line of what is sent to Redis on standard input."""
    return f"AUTH {OPERATOR} {quoted(operator_password)}\n"


# The first words of what files/redis/existing.sh prints, and what it may say of redis.conf.
_WORDS = {
    "address", "listener", "conf", "user", "service", "docker", "compose", "published", "container", "entry",
    "including", "own", "shadowed", "override",
}  # fmt: skip
_CONF: dict[str, Literal["missing", "ours", "debian", "changed"]] = {
    "missing": "missing", "ours": "ours", "debian": "debian", "changed": "changed",
}  # fmt: skip


class RedisSite(Fact[Site]):
    """What a host has of Redis, of Docker and of Compose files, in one command."""

    @override
    def command(self, port: int, container: str, app_dir: str) -> StringCommand:
        return asked(program("redis/existing.sh", str(port), container, app_dir), "2>/dev/null; true")

    @staticmethod
    @override
    def default() -> Site:
        return Site()

    @override
    def read(self, lines: list[str]) -> Site:
        found: dict[str, list[str]] = {}
        for line in lines:
            word, _, rest = line.replace("\t", " ", 1).partition(" ")
            found.setdefault(word, []).append(rest)
        if unknown := found.keys() - _WORDS:
            raise ValueError(f"{len(unknown)} unknown words")
        compose = found.get("compose", [""])[0].lstrip("v").partition("-")[0].split(".")
        return Site(
            listeners=tuple(Listener(*rest.split("\t")) for rest in found.get("listener", [])),
            redis_conf=_CONF[found.get("conf", ["missing"])[0]],
            service_is_on="service" in found,
            docker_answers="docker" in found,
            compose_version=tuple(int(part) for part in compose if part.isdigit()),
            addresses=frozenset(found.get("address", [])),
            users=frozenset(found.get("user", [])),
            published_by=tuple(found.get("published", [])),
            has_container="container" in found,
            has_compose_entry="entry" in found,
            compose_files=(
                *((path, True) for path in found.get("including", [])),
                *((path, False) for path in found.get("own", [])),
            ),
            shadowed=tuple(found.get("shadowed", [])),
            has_override="override" in found,
        )  # fmt: skip


def compose(compose_file: str) -> str:
    """Docker Compose with our file alone; never with an app's `.env`, which Compose may be unable to read."""
    return f"docker compose --env-file /dev/null -f {shlex.quote(compose_file)} --profile cache"


class Container(Fact[tuple[str, bool]]):
    """How our container is ("running", "exited", ..., "" for absent), and whether it is the Compose file's own."""

    @override
    def command(self, container: str, compose_file: str) -> StringCommand:
        label = '{{index .Config.Labels "com.docker.compose.config-hash"}}'
        return asked(
            # Where there is none, docker prints an empty line besides its error.
            f"echo is $(docker inspect -f '{{{{.State.Status}}}} redis {label}' {container} 2>/dev/null);",
            f"echo wanted $({compose(compose_file)} config --hash redis 2>/dev/null)",
        )  # fmt: skip

    @staticmethod
    @override
    def default() -> tuple[str, bool]:
        return "", False

    @override
    def read(self, lines: list[str]) -> tuple[str, bool]:
        told = {word: rest for word, _, rest in (line.partition(" ") for line in lines)}
        status, _, made_from = told.pop("is", "").partition(" ")
        wanted = told.pop("wanted", "")
        if told:
            raise ValueError(len(told))
        return status, bool(wanted) and made_from == wanted


class UnreadUnits(YesOrNo):
    """Given the drop-ins of Redis' unit, return whether systemd has not yet read what it says now.

    NeedDaemonReload knows nothing of a directory that was made after systemd had looked: so its list is asked as well.
    """

    @override
    def command(self, drop_ins: Sequence[str]) -> StringCommand:
        show = "systemctl show redis-server.service --value -p"
        return asked(
            f"{show} NeedDaemonReload 2>/dev/null; for p in", *(QuoteString(path) for path in drop_ins),
            f"; do {show} DropInPaths 2>/dev/null | tr ' ' '\\n' | grep -qxF -e \"$p\" || echo yes; done; true",
        )  # fmt: skip
