"""What lies on a host after a deploy, as text that two tools' results can be compared by."""

from __future__ import annotations

import difflib

from bench import BenchError
from bench.deploy import ENVIRONMENT
from bench.deploy.hosts import on_each
from provision.engine import inventory
from provision.redis.facts import Redis, question

_LOOK = r"""cat >/run/question
echo '== packages'; dpkg-query -W -f '${Package} ${Version} ${db:Status-Status}\n' | sort
echo '== files'; find /etc/redis APP -printf '%p %y %m %u:%g\n' | sort
find /etc/redis APP -type f -print0 | sort -z | xargs -0 sha256sum
echo '== user'; getent passwd USER | cut -d: -f 1,5-
echo '== service'; systemctl is-active redis-server; systemctl is-enabled redis-server
echo '== redis'
redis-cli -p PORT </run/question; rm /run/question
"""


def of_hosts() -> dict[str, str]:
    """Each host's packages, files, user, service, and what its Redis runs with."""
    settings = inventory.read(ENVIRONMENT)[0].settings
    look = _LOOK.replace("APP", settings.app_dir).replace("USER", settings.app_user)
    look = look.replace("PORT", str(settings.redis_port))
    seen = on_each("umask 077;" + look, question(settings.redis_operator_password.get_secret_value()))
    return {host: _in_order(text) for host, text in seen.items()}


def require_equal(one: dict[str, str], other: dict[str, str]) -> None:
    """Raise BenchError, showing the first differences, unless both tools left the same."""
    for host, text in one.items():
        lines = list(difflib.unified_diff(text.splitlines(), other[host].splitlines(), lineterm="", n=0))
        if lines:
            raise BenchError(f"{host}: the tools did not leave the same:\n" + "\n".join(lines[2:22]))


def _in_order(text: str) -> str:
    # CONFIG GET answers in an order that changes with every start of the server.
    system, mark, redis = text.partition("== redis\n")
    live = Redis().read(redis.splitlines())
    if not live.operator_let_in:
        raise BenchError("Redis does not let the operator in")
    config = [f"{name} {value}" for name, value in live.config.items() if value]
    users = [f"user {name} {' '.join(sorted(rights))}" for name, rights in live.users.items()]
    return system + mark + "\n".join(sorted(config) + sorted(users))
