"""What the Redis server on a host runs with, asked from the server itself."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Literal

from pyinfra.api import Host, QuoteString, StringCommand
from typing_extensions import override

from provision.debian.programs import program
from provision.engine.facts import Fact, Lines, YesOrNo, asked
from provision.redis.existing import OPERATOR, Listener, Site
from provision.redis.firewall import Before, Client, Knock, Visitors, normal
from provision.redis.running import Live, quoted, refusal, users
from provision.settings import Settings

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
    "including", "own", "shadowed", "override", "other", "lacks", "instance", "instance-on",
}  # fmt: skip
_CONF: dict[str, Literal["missing", "ours", "debian", "changed"]] = {
    "missing": "missing", "ours": "ours", "debian": "debian", "changed": "changed",
}  # fmt: skip


class RedisSite(Fact[Site]):
    """What a host has of Redis, of Docker and of Compose files, in one command."""

    @override
    def command(self, port: int, container: str, app_dir: str, package: str) -> StringCommand:
        return asked(program("redis/existing.sh", str(port), container, app_dir, package), "2>/dev/null; true")

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
            other_package="".join(found.get("other", [])),
            lacks_package="lacks" in found,
            instance="".join(found.get("instance", [])),
            instance_is_on="instance-on" in found,
        )  # fmt: skip


def site_of(host: Host, settings: Settings) -> Site:
    """What a host has of Redis as these settings want it."""
    return host.get_fact(
        RedisSite, port=settings.redis_port, container=settings.redis_container, app_dir=settings.app_dir,
        package=settings.redis_package,
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
    """Given Redis' unit and its drop-ins, return whether systemd has not yet read what it says now.

    NeedDaemonReload knows nothing of a directory that was made after systemd had looked: so its list is asked as well.
    """

    @override
    def command(self, unit: str, drop_ins: Sequence[str]) -> StringCommand:
        show = f"systemctl show {unit} --value -p"
        return asked(
            f"{show} NeedDaemonReload 2>/dev/null; for p in", *(QuoteString(path) for path in drop_ins),
            f"; do {show} DropInPaths 2>/dev/null | tr ' ' '\\n' | grep -qxF -e \"$p\" || echo yes; done; true",
        )  # fmt: skip


class Knocks(Fact[Knock]):
    """How a host reaches a Redis, and what that says to a login by a name that nobody has."""

    @override
    def command(self, server: str, port: int, caller: str) -> StringCommand:
        return asked(program("redis/knock.sh", server, str(port), caller, shell="bash -c"))

    @staticmethod
    @override
    def default() -> Knock:
        return Knock()

    @override
    def read(self, lines: list[str]) -> Knock:
        found: dict[str, list[str]] = {"route": [], "said": []}
        for line in lines:
            word, _, rest = line.strip().partition(" ")
            found[word].append(rest)
        routes = (line.partition(" ")[::2] for line in found["route"])
        return Knock(tuple((normal(there), own and normal(own)) for there, own in routes), "".join(found["said"]))


class RedisVisitors(Fact[Visitors]):
    """Who is connected to the server on a loopback port, and from where somebody tried to log in.

    Call with `_stdin=PrivateInput(who_visits(password))`. `names` are those that were tried.
    """

    @override
    def command(self, port: int, names: Sequence[str]) -> StringCommand:
        return asked(f"echo {','.join(names)}; redis-cli -h 127.0.0.1 -p {port} 2>/dev/null || true")

    @staticmethod
    @override
    def default() -> Visitors:
        return Visitors()

    @override
    def read(self, lines: list[str]) -> Visitors:
        if not lines:
            return Visitors()
        names, answers = lines[0].split(","), lines[1:]
        at = answers.index(_MARK) if _MARK in answers else len(answers)
        listed = [dict(word.partition("=")[::2] for word in line.split()) for line in answers[:at]]
        clients = [
            Client(_without_port(each["addr"]), each.get("user", ""), each.get("name", ""))
            for each in listed
            if ":" in each.get("addr", "") and not each["addr"].startswith("/")
        ]
        # Others choose what stands here besides our names, which they cannot guess.
        log, seen = answers[at:], {}
        for number, line in enumerate(log):
            if line in names and log[number - 1] == "username":
                about = log[number + 1 :][: log[number + 1 :].index("client-info") + 2][-1]
                seen[line] = _without_port(dict(word.partition("=")[::2] for word in about.split())["addr"])
        return Visitors(tuple(clients), seen)


def who_visits(operator_password: str) -> str:
    """What to send on standard input for `RedisVisitors`."""
    return login(operator_password) + f"CLIENT LIST\nECHO {_MARK}\nACL LOG 128\n"


def _without_port(address: str) -> str:
    return normal(address.rpartition(":")[0].strip("[]"))


class FirewallBefore(Fact[Before]):
    """What a Redis host lets in now, whom it refuses, and who is connected."""

    @override
    def command(self, port: int, file: str, table: str, container: str) -> StringCommand:
        return asked(program("redis/look-at-firewall.sh", str(port), file, table, container))

    @staticmethod
    @override
    def default() -> Before:
        return Before()

    @override
    def read(self, lines: list[str]) -> Before:
        found: dict[str, list[str]] = {word: [] for word in ("host", "up", "allowed", "refused", "peer", "inside")}
        for line in lines:
            word, _, rest = line.strip().partition(" ")
            found[word].append(rest)
        hosts: dict[str, tuple[str, ...]] = {}
        for name, _, address in (each.partition(" ") for each in found["host"]):
            hosts[name] = (*hosts.get(name, ()), normal(address))
        return Before(
            hosts, bool(found["up"]), tuple(found["allowed"]), tuple(map(normal, found["refused"])),
            tuple(map(normal, found["peer"])), tuple(found["inside"]),
        )  # fmt: skip


def firewall_before(host: Host, settings: Settings) -> Before:
    """What a Redis host's firewall is as it stands."""
    return host.get_fact(
        FirewallBefore, port=settings.redis_port, file=settings.redis_firewall_file,
        table=settings.redis_firewall_table, container=settings.redis_container,
    )  # fmt: skip


class UnitUnlike(Lines):
    """What of a unit is not as its files say: "stopped", "disabled", "unread", "old"."""

    @override
    def command(self, unit: str, files: Sequence[str]) -> StringCommand:
        return asked(program("redis/unit-runs.sh", unit, *files))

    @override
    def read(self, lines: list[str]) -> list[str]:
        if unknown := set(lines) - {"stopped", "disabled", "unread", "old"}:
            raise ValueError(f"{len(unknown)} unknown words")
        return lines


class ExporterSilence(Fact[str]):
    """Why Prometheus is told nothing of Redis by the redis_exporter of an address; "" where it is told."""

    @override
    def command(self, address: str, port: int) -> StringCommand:
        return asked(program("redis/exporter-answers.sh", address, str(port), shell="bash -c"))

    @staticmethod
    @override
    def default() -> str:
        return "it could not be asked"

    @override
    def read(self, lines: list[str]) -> str:
        (said,) = lines
        return "" if said == "yes" else said


class HasFirewall(YesOrNo):
    """Whether a host has a firewall of ours for Redis, of this deploy or an earlier one."""

    @override
    def command(self, file: str) -> StringCommand:
        return asked("[ ! -e", QuoteString(file), "] || echo yes")


class FirewallUnlike(Lines):
    """What of the loaded firewall and of its unit differs from the file: "table", "unit"; nothing where all is well."""

    @override
    def command(self, file: str, table: str, unit: str, drop_in: str) -> StringCommand:
        return asked(program("redis/firewall-loaded.sh", file, table, unit, drop_in))

    @override
    def read(self, lines: list[str]) -> list[str]:
        if unknown := set(lines) - {"table", "unit"}:
            raise ValueError(f"{len(unknown)} unknown words")
        return lines
