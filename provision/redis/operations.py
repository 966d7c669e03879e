"""A running Redis brought to its configuration: live where it can be, restarted where it must.

Not "restart when the file changed": a deploy that is cut off between the two would never restart. The
server is asked what it runs with, so whatever was left undone is found by the next deploy.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from pydantic import SecretStr
from pyinfra.api import QuoteString, StringCommand, operation
from pyinfra.context import host

from provision.debian.entries import Entry, File, differences
from provision.debian.files import Paths, refusal
from provision.debian.programs import program
from provision.engine.changes import note
from provision.engine.private import PrivateInput
from provision.redis.facts import Container, Redis, UnreadUnits, compose, login, question
from provision.redis.running import Live, config_differences, directives, quoted, user_differences, users


@operation()
def unit_read(entries: Sequence[Entry]) -> Generator[StringCommand, None, None]:
    """systemd knows the units as they lie there: else a bound holds from the next boot alone."""
    found = host.get_fact(Paths, paths=tuple(entry.path for entry in entries))
    differ = any(sentence for entry in entries for sentence in differences(entry, found.get(entry.path)))
    if differ or host.get_fact(UnreadUnits):
        note(host, "systemd has not read what its units say now")
        yield StringCommand("systemctl daemon-reload")


@operation()
def unwatched(timer: str, paths: Sequence[str]) -> Generator[StringCommand, None, None]:
    """Nothing counts scripts any more."""
    if host.get_fact(Paths, paths=tuple(paths)):
        note(host, "nobody may run scripts any more: what counted them goes")
        yield StringCommand(f"systemctl disable --now {timer} || true")
        yield StringCommand("rm -f --", *(QuoteString(path) for path in paths))
        yield StringCommand("systemctl daemon-reload")


@operation()
def accepted(config: File, acl: File, image: str = "") -> Generator[StringCommand, None, None]:
    """Redis itself starts with these files; tried aside (in a container of `image`), when they are new to the host."""
    found = host.get_fact(Paths, paths=(config.path, acl.path))
    if any(file.path not in found or found[file.path].sha256 != file.sha256 for file in (config, acl)):
        note(host, "the configuration is new: it is tried by a server of its own first")
        aside = f"docker run --rm -i --network none --user redis --entrypoint sh {image} -c" if image else "sh -c"
        candidate = f"{config.content}==users==\n{acl.content}"
        yield StringCommand(program("redis/try.sh", shell=aside), _stdin=PrivateInput(candidate))


@operation()
def stopped(mode: str, container: str) -> Generator[StringCommand, None, None]:
    """The Redis of this mode does not run, nor come back at the next boot; its data stay where they are."""
    note(host, f"the Redis of mode {mode!r} gives way to the other, and its data stay behind")
    if mode == "compose":
        yield StringCommand(f"docker stop {container} && docker rm {container}")
    else:
        yield StringCommand("systemctl disable --now redis-server")


@dataclass(frozen=True)
class Server:
    """How a Redis server is restarted, and where it says what ails it."""

    restart: str
    log: str


# A unit that failed five times in ten seconds refuses to start until it is reset (systemd.unit(5)).
SERVICE = Server(
    "systemctl reset-failed redis-server; systemctl restart redis-server",
    "`journalctl -u redis-server` and /var/log/redis/redis-server.log",
)


def in_container(container: str, compose_file: str, port: int) -> Server:
    """The server of our Compose file; a restart of it waits until it answers."""
    ours = compose(compose_file)
    answers = f"redis-cli -h 127.0.0.1 -p {port} PING 2>/dev/null | grep -q -e PONG -e NOAUTH"
    wait = f"for _ in $(seq 100); do if {answers}; then break; fi; sleep 0.1; done"
    return Server(f"{ours} up -d redis && {ours} restart redis && {{ {wait}; }}", f"`docker logs {container}`")


@operation()
def composed(container: str, compose_file: str) -> Generator[StringCommand, None, None]:
    """The container runs, made from the Compose file as it is now: `docker compose --profile cache up -d redis`."""
    status, is_current = host.get_fact(Container, container=container, compose_file=compose_file)
    if status == "running" and is_current:
        return
    note(host, f"Redis' container is {status or 'missing'}{'' if is_current or not status else ', of another making'}")
    yield StringCommand(f"{compose(compose_file)} up -d redis")


@operation()
def configured(
    config: File, acl: File, library: str, port: int, operator_password: SecretStr, server: Server = SERVICE
) -> Generator[StringCommand, None, None]:
    """The running server has this configuration, these users and these functions, and says so itself."""
    wanted, wanted_users = directives(config.content), users(acl.content)
    load = _command(port, operator_password, f"FUNCTION LOAD REPLACE {quoted(library)}")
    live = _ask(port, operator_password)
    if not live.operator_let_in:
        said = "does not let the operator in: it runs with another configuration" if live.answers else "does not answer"
        note(host, f"Redis {said}")
        yield StringCommand(server.restart)
    else:
        unlike = list(config_differences(wanted, live))
        users_differ = user_differences(wanted_users, live)
        for name, running, value in unlike:
            note(host, f"Redis runs with {name} {running!r}, should with {value!r}")
        if users_differ:
            note(host, f"Redis runs with other rights for: {', '.join(users_differ)}")
        if not live.has(library):
            note(host, "Redis has not the limiters' function of this version")
            yield load  # before the app's rights, where the operator may: an app that loses EVAL goes on with it
        elif not unlike and not users_differ:
            return
        for name, _, value in unlike:
            yield _command(port, operator_password, f"CONFIG SET {name} {quoted(value)}")
        if users_differ:
            yield _command(port, operator_password, "ACL LOAD")
    live = _ask(port, operator_password)
    if live.operator_let_in and not live.has(library):
        yield load
    # Read back: what could not be set live needs a restart (and AOF keeps every counter over it).
    if _unsettled(wanted, wanted_users, _ask(port, operator_password)):
        yield StringCommand(server.restart)
        if not _ask(port, operator_password).has(library):
            yield load
        left = _unsettled(wanted, wanted_users, _ask(port, operator_password))
        if left:
            yield refusal(f"Redis was restarted and still differs in: {', '.join(left)}; look at {server.log}")


def _ask(port: int, operator_password: SecretStr) -> Live:
    return host.get_fact(Redis, port=port, _stdin=PrivateInput(question(operator_password.get_secret_value())))


def _unsettled(wanted: dict[str, str], wanted_users: dict[str, frozenset[str]], live: Live) -> list[str]:
    if not live.operator_let_in:
        return ["its operator's password"]
    return [name for name, _, _ in config_differences(wanted, live)] + user_differences(wanted_users, live)


def _command(port: int, operator_password: SecretStr, command: str) -> StringCommand:
    # Redis' own refusal (a directive that cannot be set live) is no failure: the read-back finds it.
    lines = f"{login(operator_password.get_secret_value())}{command}\n"
    return StringCommand(f"redis-cli -h 127.0.0.1 -p {port} >/dev/null 2>&1 || true", _stdin=PrivateInput(lines))
