"""`make unlock`: one client of one limiter begins anew. Who it is comes on standard input, and is printed nowhere."""

from __future__ import annotations

import sys
from argparse import Namespace

from pyinfra.api import Host, StringCommand
from pyinfra.context import ctx_host
from typing_extensions import override

from provision.app.clients import counter
from provision.engine import environments, inventory
from provision.engine import run as runs
from provision.engine.facts import Fact, asked
from provision.engine.private import PrivateInput
from provision.engine.shown import shown
from provision.redis.facts import login
from provision.settings import Settings
from provision.settings.rate_limits import Limiter


class Unlocked(Fact[str]):
    """Redis' answer to what stands on standard input."""

    @override
    def command(self, port: int) -> StringCommand:
        return asked(f"redis-cli -h 127.0.0.1 -p {port} 2>&1 || true")

    @staticmethod
    @override
    def default() -> str:
        return ""

    @override
    def read(self, lines: list[str]) -> str:
        return lines[-1].strip() if lines else ""


def run(arguments: Namespace) -> int:
    """Delete the client's counter on the environment's Redis. Exit 1 unless Redis says that it did, or had none."""
    environment = inventory.Environment(arguments.env)
    members = {each.name: each for each in environment.chosen(arguments.limit, arguments.skip) if _has_redis(each)}
    if not members:
        raise environments.InventoryError(
            f"{arguments.env} has no Redis of its own to unlock somebody in: delete the counter where its Redis is"
        )
    limiters = {name: _limiter(arguments.limiter, each) for name, each in members.items()}
    identifier = _identifier()
    keys = {name: counter(each.settings, limiters[name], identifier) for name, each in members.items()}
    with runs.connected(environment, members) as hosts:
        answers = {host.name: _delete(host, members[host.name].settings, keys[host.name]) for host in hosts}
    for name, answer in answers.items():
        print(f"{name}: {shown(_in_words(answer, arguments.limiter))}")
    return 0 if all(answer in ("0", "1") for answer in answers.values()) else 1


def _limiter(name: str, member: inventory.Member) -> Limiter:
    """A host's limiter of this name; its counters are called after its own settings."""
    limiters = {limiter.name: limiter for limiter in member.settings.rate_limiters}
    if name not in limiters:
        raise environments.InventoryError(f"LIMITER={name} is none of {member.name}'s: {', '.join(limiters)}")
    return limiters[name]


def _identifier() -> str:
    try:
        identifier = sys.stdin.readline().rstrip("\r\n")
        identifier.encode()
    except UnicodeError:
        raise environments.InventoryError("what stands on standard input is not UTF-8 text") from None
    if not identifier:
        raise environments.InventoryError("who is it? Write the address or the account, one line, on standard input")
    return identifier


def _has_redis(member: inventory.Member) -> bool:
    return "redis" in member.groups and not member.is_windows and member.settings.redis_mode != "external"


def _in_words(answer: str, limiter: str) -> str:
    words = {
        "1": f"unlocked: {limiter} begins anew for this client",
        "0": f"{limiter} has counted nothing of this client",
    }
    return words.get(answer) or f"not unlocked: {answer or 'Redis gives no answer'}"


def _delete(host: Host, settings: Settings, key: str) -> str:
    if not host.connected:
        return "cannot be reached"
    lines = login(settings.redis_operator_password.get_secret_value()) + f"DEL {key}\n"
    with ctx_host.use(host):
        return host.get_fact(Unlocked, port=settings.redis_port, _stdin=PrivateInput(lines))
