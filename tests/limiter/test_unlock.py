"""The counter that `make unlock` deletes is the one that the module counts in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from provision.app.clients import counter
from tests.limiter.deployed import redis_url, settings_with
from tests.limiter.node import Node, bundle
from tests.limiter.redis_server import RedisServer

WHO = [
    "192.0.2.1", "192.0.2.1:4711", " 192.0.2.1 ", "2001:DB8:1:2::1", "[2001:db8::1]:4711", "::ffff:192.0.2.7", "::1",
    "1::", "fe80::1%eth0", "2001:db8:0:0:1::", "jean", "Jean@Example.FR", " jean@example.fr ", "\uff2aean", "ÉLODIE",
    "x" * 64, "x" * 65, "🔑" * 32, "🔑" * 33, "192.0.2", "300.1.1.1", "%", "", "a b", "İstanbul", "ΣΑΣ",
]  # fmt: skip


def test_it_finds_everybodys_counter(app_of: Callable[..., Path], redis: RedisServer):
    values = {"rate_limits": {"account": "3/h"}, "rate_limits_ignore_case": ["account"]}
    settings = settings_with(**values)
    limiters = {limiter.name: limiter for limiter in settings.rate_limiters}
    app = Node(bundle(app_of(**values), "driver.ts"), {"REDIS_URL": redis_url(redis.settings)})
    for who in WHO:
        for name, function in (("login", "checkLoginRateLimit"), ("account", "checkAccountRateLimit")):
            before = set(redis.counters())
            app.run(f"return limiter.{function}({json.dumps(who)})")
            ours = counter(settings, limiters[name], who)
            assert set(redis.counters()) - before <= {ours} and redis.operator("DEL", ours) == "1", (name, who)
    app.stop()
