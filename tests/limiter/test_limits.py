"""What the limiters allow while all is well."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from provision.settings import Settings
from tests.limiter.deployed import settings_with
from tests.limiter.node import Node
from tests.limiter.redis_server import RedisServer
from tests.limiter.waiting import until

GUIDE = {
    "checkLoginRateLimit": (5, 900),
    "checkApiRateLimit": (100, 60),
    "checkMobileApiRateLimit": (30, 60),
    "checkReclamationRateLimit": (5, 3600),
    "checkRegistrationRateLimit": (3, 3600),
    "checkPasswordResetRateLimit": (3, 3600),
}


@pytest.mark.parametrize("function", GUIDE)
@pytest.mark.parametrize("ioredis", ["ioredis", "ioredis6"])
def test_each_of_the_six_limits_is_exact(redis: RedisServer, node: Callable[..., Node], function: str, ioredis: str):
    points, seconds = GUIDE[function]
    results = node(ioredis=ioredis).run(f"return inTurn({points + 1}, () => limiter.{function}('192.0.2.1'))")

    assert [result["remaining"] for result in results] == [*range(points - 1, -1, -1), 0]
    assert {result["reason"] for result in results[:points]} == {"within_limit"}
    assert all(result["allowed"] and result["retryAfterSeconds"] == 0 for result in results[:points])
    last = results[-1]
    assert (last["allowed"], last["reason"], last["limit"]) == (False, "limit_reached", points)
    assert seconds - 30 <= last["retryAfterSeconds"] <= seconds


def test_clients_and_limiters_do_not_share_a_counter(redis: RedisServer, node: Callable[..., Node]):
    app = node()
    app.run("await inTurn(3, () => limiter.checkRegistrationRateLimit('192.0.2.1'))")
    assert not app.run("return limiter.checkRegistrationRateLimit('192.0.2.1')")["allowed"]
    assert app.run("return limiter.checkRegistrationRateLimit('192.0.2.2')")["remaining"] == 2
    assert app.run("return limiter.checkPasswordResetRateLimit('192.0.2.1')")["remaining"] == 2


def test_two_processes_share_a_limit(redis: RedisServer, node: Callable[..., Node]):
    apps = [node(), node()]
    answers = [apps[i % 2].run("return limiter.checkLoginRateLimit('192.0.2.1')")["allowed"] for i in range(6)]
    assert answers == [True] * 5 + [False]


@pytest.mark.parametrize("connected", [True, False], ids=["at work", "just started"])
def test_four_processes_of_fifty_never_admit_one_too_many(
    redis: RedisServer, node: Callable[..., Node], connected: bool
):
    apps = [node(connected=connected) for _ in range(4)]
    for app in apps:
        app.begin("return atOnce(50, () => limiter.checkCrowdRateLimit('192.0.2.1'))")
    results = [result for app in apps for result in app.result()]
    assert len(results) == 200
    assert sum(result["allowed"] for result in results) == 150
    assert {result["reason"] for result in results} == {"within_limit", "limit_reached"}


def test_a_process_that_starts_anew_admits_nobody_again(redis: RedisServer, node: Callable[..., Node]):
    node().run("await inTurn(5, () => limiter.checkLoginRateLimit('192.0.2.1'))")
    answer = node(connected=False).run("return limiter.checkLoginRateLimit('192.0.2.1')")
    assert (answer["allowed"], answer["reason"]) == (False, "limit_reached")


def test_a_process_that_is_busy_at_its_start_admits_nobody_again(redis: RedisServer, node: Callable[..., Node]):
    """As Next.js is when it is cold: its own stall is not taken for Redis' silence."""
    node().run("await inTurn(5, () => limiter.checkLoginRateLimit('192.0.2.1'))")
    answer = node(connected=False).run(
        "const check = limiter.checkLoginRateLimit('192.0.2.1');"
        "for (const end = performance.now() + 600; performance.now() < end;);"
        "return check"
    )
    assert (answer["allowed"], answer["reason"]) == (False, "limit_reached")


def test_a_window_ends_when_it_says(redis: RedisServer, node: Callable[..., Node]):
    app = node()
    refused = app.run("return inTurn(4, () => limiter.checkMomentRateLimit('192.0.2.1'))")[-1]
    assert refused["retryAfterSeconds"] in (1, 2)
    key = until(lambda: [key for key in redis.counters() if ":moment:" in key], "the counter")[0]
    left = int(redis.operator("PTTL", key))
    waited = app.run(
        "const start = performance.now();"
        "while (!(await limiter.checkMomentRateLimit('192.0.2.1')).allowed);"
        "return performance.now() - start"
    )
    assert left - 500 < waited < left + 100


def test_refusals_write_nothing(redis: RedisServer, node: Callable[..., Node]):
    app = node()
    app.run("await inTurn(6, () => limiter.checkLoginRateLimit('192.0.2.1'))")
    redis.wait_until_written()
    before = redis.operator("INFO", "persistence").split("aof_current_size:")[1].split()[0]
    app.run("await atOnce(100, () => limiter.checkLoginRateLimit('192.0.2.1'))")
    redis.wait_until_written()
    assert redis.operator("INFO", "persistence").split("aof_current_size:")[1].split()[0] == before
    key = next(key for key in redis.counters() if ":login:" in key)
    assert redis.operator("GET", key) == "5"


def test_headers_say_what_was_decided(redis: RedisServer, node: Callable[..., Node]):
    app = node()
    allowed, refused = app.run(
        "const results = await inTurn(4, () => limiter.checkRegistrationRateLimit('192.0.2.1'));"
        "return [limiter.rateLimitHeaders(results[0]), limiter.rateLimitHeaders(results[3])]"
    )
    assert allowed == {"RateLimit-Limit": "3", "RateLimit-Remaining": "2", "RateLimit-Reset": "3600"}
    assert refused["RateLimit-Remaining"] == "0"
    assert refused["Retry-After"] == refused["RateLimit-Reset"]


def test_no_address_is_in_a_key_and_every_key_has_the_prefix(
    redis: RedisServer, node: Callable[..., Node], settings: Settings
):
    app = node(connected=False)
    app.run("await limiter.checkLoginRateLimit('192.0.2.77'); await limiter.checkLoginRateLimit('jean@example.com')")
    keys = redis.counters()
    assert len(keys) == 2
    assert all(key.startswith(f"{settings.redis_key_prefix}:") for key in keys)
    assert not any("192.0.2" in key or "jean" in key for key in keys)


@pytest.mark.parametrize(
    ("one", "other", "are_one_client"),
    [
        ("2001:db8:1:2::1", "2001:DB8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("::1", "::2", True),
        ("1::", "2::", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("user-1", "user-2", False),
        ("x" * 70, "x" * 71, False),
    ],
)
def test_who_counts_as_one_client(
    redis: RedisServer, node: Callable[..., Node], one: str, other: str, are_one_client: bool
):
    remaining = node().run(
        f"await limiter.checkLoginRateLimit({one!r});return (await limiter.checkLoginRateLimit({other!r})).remaining"
    )
    assert remaining == (3 if are_one_client else 4)


def test_a_long_text_for_a_name_costs_no_time(redis: RedisServer, node: Callable[..., Node]):
    (answer,) = node().run("return atOnce(1, () => limiter.checkLoginRateLimit('%'.repeat(200000) + '\\nx'))")
    assert answer["remaining"] == 4 and answer["ms"] < 1000


def test_nothing_connects_at_import(redis: RedisServer, node: Callable[..., Node]):
    app = node(connected=False)
    app.run("return 1")
    assert "name=" in redis.operator("CLIENT", "LIST", "TYPE", "normal")
    assert f"user={settings_with().redis_user}" not in redis.operator("CLIENT", "LIST")
    assert app.logs == []


def test_the_connection_is_told_once(redis: RedisServer, node: Callable[..., Node]):
    app = node()
    app.run("await atOnce(100, (i) => limiter.checkApiRateLimit(String(i)))")
    assert app.count_logs("RATE_LIMITER") == 1
