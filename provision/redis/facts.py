"""What the Redis server on a host runs with, asked from the server itself."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from pyinfra.api import FactBase, StringCommand
from typing_extensions import override

from provision.debian.programs import program
from provision.redis.existing import OPERATOR, Listener, Site
from provision.redis.running import Live, quoted, users

_MARK = "--8<--"


def question(operator_password: str) -> str:
    """What to send on standard input: the password never is an argument, nor in the environment."""
    return (
        login(operator_password)
        + f"ECHO {_MARK}\nCONFIG GET *\nECHO {_MARK}\nACL LIST\nECHO {_MARK}\nFUNCTION LIST WITHCODE\n"
    )


class Redis(FactBase[Live]):
    """The configuration and users of the server on a loopback port. Call with `_stdin=question(password)`."""

    @override
    def command(self, port: int) -> StringCommand:
        return StringCommand(f"redis-cli -h 127.0.0.1 -p {port} 2>/dev/null || true")

    @staticmethod
    @override
    def default() -> Live:
        return Live()

    @override
    def process(self, output: Sequence[str]) -> Live:
        sections = "\n".join(output).split(_MARK)
        let_in = sections[0].strip() == "OK"
        if len(sections) < 3 or not let_in:
            return Live(answers=bool(sections[0].strip()))
        values = sections[1].split("\n")[1:-1]  # a value may be empty, the last one too
        config = dict(zip(values[::2], values[1::2], strict=False))
        return Live(
            answers=True, operator_let_in=True, config=config, users=users(sections[2]), libraries="".join(sections[3:])
        )


class Keys(FactBase[int | None]):
    """How many keys the server on a loopback port holds; None where it does not tell.

    Call with `_stdin=PrivateInput(login(password) + COUNT)`, or with COUNT alone for a server without passwords.
    """

    @override
    def command(self, port: int) -> StringCommand:
        return program("redis/ask.sh", str(port))

    @staticmethod
    @override
    def default() -> None:
        return None

    @override
    def process(self, output: Sequence[str]) -> int | None:
        last = output[-1].strip() if output else ""
        return int(last) if last.isdigit() else None


COUNT = "DBSIZE\n"


def login(operator_password: str) -> str:
    """The first line of what is sent to Redis on standard input."""
    return f"AUTH {OPERATOR} {quoted(operator_password)}\n"


class RedisSite(FactBase[Site]):
    """What a host has of Redis, of Docker and of Compose files, in one command."""

    @override
    def command(self, port: int, container: str, app_dir: str) -> StringCommand:
        return StringCommand(program("redis/existing.sh", str(port), container, app_dir), "2>/dev/null; true")

    @staticmethod
    @override
    def default() -> Site:
        return Site()

    @override
    def process(self, output: Sequence[str]) -> Site:
        found: dict[str, list[str]] = {}
        for line in output:
            word, _, rest = line.replace("\t", " ", 1).partition(" ")
            found.setdefault(word, []).append(rest)
        compose = found.get("compose", [""])[0].lstrip("v").partition("-")[0].split(".")
        return Site(
            listeners=tuple(Listener(*rest.split("\t")) for rest in found.get("listener", [])),
            redis_conf=found.get("conf", ["missing"])[0],
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
        )  # fmt: skip


def compose(compose_file: str) -> str:
    """Docker Compose with our file alone; never with an app's `.env`, which Compose may be unable to read."""
    return f"docker compose --env-file /dev/null -f {shlex.quote(compose_file)} --profile cache"


class Container(FactBase[tuple[str, bool]]):
    """How our container is ("running", "exited", ..., "" for absent), and whether it is the Compose file's own."""

    @override
    def command(self, container: str, compose_file: str) -> StringCommand:
        label = '{{index .Config.Labels "com.docker.compose.config-hash"}}'
        return StringCommand(
            f"docker inspect -f '{{{{.State.Status}}}} redis {label}' {container} 2>/dev/null || echo;",
            f"{compose(compose_file)} config --hash redis 2>/dev/null || echo",
        )  # fmt: skip

    @staticmethod
    @override
    def default() -> tuple[str, bool]:
        return "", False

    @override
    def process(self, output: Sequence[str]) -> tuple[str, bool]:
        running, wanted = [*output, "", ""][:2]
        status, _, made_from = running.partition(" ")
        return status, bool(wanted) and made_from == wanted


class UnreadUnits(FactBase[bool]):
    """Whether systemd has not yet read what Redis' unit says now."""

    @override
    def command(self) -> str:
        return "systemctl show -p NeedDaemonReload --value redis-server.service 2>/dev/null || true"

    @staticmethod
    @override
    def default() -> bool:
        return False

    @override
    def process(self, output: Sequence[str]) -> bool:
        return "yes" in output
