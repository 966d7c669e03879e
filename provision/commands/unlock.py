"""`make unlock`: one client of one limiter begins anew. Who it is comes on standard input, and is printed nowhere."""

from __future__ import annotations

import sys
from argparse import Namespace

from pyinfra.api import Config, Host, State, StringCommand
from pyinfra.api.connect import connect_all, disconnect_all
from pyinfra.context import ctx_config, ctx_host, ctx_state
from typing_extensions import override

from provision.app.clients import counter
from provision.engine import inventory
from provision.engine.facts import Fact, asked
from provision.engine.private import PrivateInput
from provision.redis.facts import login
from provision.settings import Settings


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
    members = [each for each in inventory.read(arguments.env, arguments.limit) if _has_redis(each)]
    if not members:
        raise inventory.InventoryError(
            f"{arguments.env} has no Redis of its own to unlock somebody in: delete the counter where its Redis is"
        )
    limiters = {limiter.name: limiter for limiter in members[0].settings.rate_limiters}
    if arguments.limiter not in limiters:
        raise inventory.InventoryError(f"LIMITER={arguments.limiter} is none of: {', '.join(limiters)}")
    identifier = sys.stdin.readline().rstrip("\r\n")
    if not identifier:
        raise inventory.InventoryError("who is it? Write the address or the account, one line, on standard input")
    key = counter(members[0].settings, limiters[arguments.limiter], identifier)
    answers = {member.name: _delete(arguments.env, member, key) for member in members}
    for name, answer in answers.items():
        print(f"{name}: {_in_words(answer, arguments.limiter)}")
    return 0 if all(answer in ("0", "1") for answer in answers.values()) else 1


def _has_redis(member: inventory.Member) -> bool:
    return "redis" in member.groups and not member.is_windows and member.settings.redis_mode != "external"


def _in_words(answer: str, limiter: str) -> str:
    words = {
        "1": f"unlocked: {limiter} begins anew for this client",
        "0": f"{limiter} has counted nothing of this client",
    }
    return words.get(answer) or f"not unlocked: {answer or 'Redis gives no answer'}"


def _delete(environment: str, member: inventory.Member, key: str) -> str:
    state = State()
    with ctx_state.use(state):
        hosts = inventory.load(environment)
        wanted = hosts.get_host(member.name)
        config = Config()
        with ctx_config.use(config):
            state.init(hosts, config, initial_limit=[wanted])
            connect_all(state)
            try:
                return _ask(wanted, member.settings, key)
            finally:
                disconnect_all(state)


def _ask(host: Host, settings: Settings, key: str) -> str:
    lines = login(settings.redis_operator_password.get_secret_value()) + f"DEL {key}\n"
    with ctx_host.use(host):
        return host.get_fact(Unlocked, port=settings.redis_port, _stdin=PrivateInput(lines))
