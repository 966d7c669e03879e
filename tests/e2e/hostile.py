"""What the app's password can do to a host's Redis, tried through ssh, so that the host's own firewall lets us in."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from provision.settings import secrets
from provision.settings.project import PROJECT
from tests.e2e.operator import Operator
from tests.limiter.hostile import Connection, Login, Neighbour, slow_commands
from tests.limiter.redis_server import free_port
from tests.limiter.waiting import until


def slow_commands_on(operator: Operator, host: str) -> dict[str, float]:
    """Those commands of a host's Redis with which the app's password keeps another client waiting."""
    commands = operator.redis(host, "COMMAND LIST").split()[1:]
    assert len(commands) > 200
    app, other = (
        Login(user, secrets.read(setting, None, "sandbox").get_secret_value())
        for user, setting in (("medaction", "redis_password"), ("operator", "redis_operator_password"))
    )
    # A connection to the host for each: one would wait while the other's million words are on their way.
    with _tunnel(host, app) as ours, _tunnel(host, other) as its:
        neighbour = Neighbour(its, other)
        try:
            return slow_commands(commands, ours, app, neighbour)
        finally:
            neighbour.close()


@contextmanager
def _tunnel(host: str, login: Login) -> Iterator[int]:
    port = free_port()
    options = [
        "-F",
        PROJECT / ".sandbox/ssh_config",
        "-o",
        "ControlPath=none",
        "-N",
        "-L",
        f"127.0.0.1:{port}:127.0.0.1:6379",
    ]
    with subprocess.Popen(["ssh", *map(str, options), host], stdin=subprocess.DEVNULL) as ssh:
        try:
            until(lambda: _answers(port, login), f"a way to {host}'s Redis")
            yield port
        finally:
            ssh.terminate()


def _answers(port: int, login: Login) -> bool:
    try:
        Connection(port, login).close()
    except (OSError, AssertionError):
        return False
    return True
