"""What the limiters decide, and how fast, when something between them and their counters is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from provision.settings import Settings
from tests.limiter.node import Node
from tests.limiter.proxy import Proxy
from tests.limiter.redis_server import RedisServer
from tests.limiter.waiting import until

LOGIN = "() => limiter.checkLoginRateLimit('192.0.2.1')"
RECOVERY_SECONDS = 10

pytestmark = pytest.mark.fault


def slowest_of_a_hundred(results: list[dict[str, Any]]) -> float:
    """The 99th percentile of the decisions, in milliseconds."""
    return sorted(result["ms"] for result in results)[len(results) * 99 // 100]


def until_redis_decides(app: Node) -> None:
    def decides() -> bool:
        return app.run("return limiter.checkApiRateLimit('who waits')")["reason"] in ("within_limit", "limit_reached")

    until(decides, "Redis decides again", RECOVERY_SECONDS)


def assert_decides_alone(app: Node, who: str, p99_ms: float = 20) -> None:
    """Each limiter keeps its policy, in milliseconds: login strict, api open after its own limit."""
    login = app.run(f"return inTurn(200, () => limiter.checkLoginRateLimit('{who}'))")
    assert sum(result["allowed"] for result in login) == 5
    assert {result["reason"] for result in login} == {"redis_away_within_limit", "redis_away_limit_reached"}
    assert 880 <= login[-1]["retryAfterSeconds"] <= 900
    check_api = f"atOnce(50, () => limiter.checkApiRateLimit('{who}'))"
    api = app.run(f"const all = []; for (let k = 0; k < 20; k += 1) all.push(...(await {check_api})); return all")
    assert all(result["allowed"] for result in api)
    assert sum(result["reason"] == "redis_away_within_limit" for result in api) == 100
    assert {result["reason"] for result in api[100:]} == {"redis_away_open"}
    assert slowest_of_a_hundred(login) < p99_ms
    assert slowest_of_a_hundred(api) < p99_ms


def test_redis_down_the_policy_decides_at_once(redis: RedisServer, node: Callable[..., Node]):
    app = node()
    redis.kill()
    app.wait_for_log("Redis injoignable")
    assert_decides_alone(app, "192.0.2.9")
    redis.start()
    until_redis_decides(app)
    assert app.count_logs("✅ Connecté à Redis") == 2
    assert app.count_logs("injoignable") == 1


def test_redis_frozen_nobody_hangs(redis: RedisServer, node: Callable[..., Node]):
    app = node()
    redis.freeze()
    noticing = app.run(f"return atOnce(50, {LOGIN})")
    assert max(result["ms"] for result in noticing) < 1000
    assert_decides_alone(app, "192.0.2.9")
    redis.thaw()
    until_redis_decides(app)


def test_a_long_freeze_costs_only_the_first_call(redis: RedisServer, node: Callable[..., Node]):
    """Longer than a whole cycle of reconnecting (connect, AUTH that is not answered, close, wait)."""
    app = node()
    redis.freeze()
    app.run(f"await atOnce(2, {LOGIN})")
    results = app.run(
        "const results = []; const end = performance.now() + 6000;"
        "while (performance.now() < end) {"
        "  results.push(...(await atOnce(5, (i) => limiter.checkApiRateLimit('client ' + i))));"
        "  await new Promise((resolve) => setTimeout(resolve, 5));"
        "} return results"
    )
    assert slowest_of_a_hundred(results) < 20
    assert max(result["ms"] for result in results) < 250
    redis.thaw()
    until_redis_decides(app)


def test_network_cut_and_back(redis: RedisServer, node: Callable[..., Node], settings: Settings):
    network = Proxy(settings.redis_port)
    app = node(port=network.port)
    network.cut()
    noticing = app.run(f"return atOnce(50, {LOGIN})")
    assert max(result["ms"] for result in noticing) < 1000
    assert_decides_alone(app, "192.0.2.9")
    until(network.has_been_dialled, "ioredis dials again")  # and is left without an answer to AUTH
    network.mend()
    until_redis_decides(app)
    network.close()


def test_app_started_before_redis(tmp_path: Path, settings: Settings, node: Callable[..., Node]):
    app = node(connected=False)
    assert app.run(f"return ({LOGIN})()")["reason"] == "redis_away_within_limit"
    app.wait_for_log("Redis injoignable")
    server = RedisServer(tmp_path / "late", settings).start()
    try:
        until_redis_decides(app)
        assert app.count_logs("injoignable") == 1
    finally:
        server.kill()


def test_an_outage_neither_forgets_nor_forgives(redis: RedisServer, node: Callable[..., Node]):
    app, other = node(), node()
    app.run(f"await inTurn(3, {LOGIN})")
    redis.wait_until_written()
    redis.kill()
    app.wait_for_log("injoignable")
    during = app.run(f"return inTurn(3, {LOGIN})")
    assert [result["allowed"] for result in during] == [True, True, False]  # three were used before it
    redis.start()
    until_redis_decides(app)
    until_redis_decides(other)
    assert not app.run(f"return ({LOGIN})()")["allowed"]  # and tells Redis of the two
    assert not other.run(f"return ({LOGIN})()")["allowed"]


def commands(redis: RedisServer) -> int:
    return int(redis.operator("INFO", "stats").split("total_commands_processed:")[1].split()[0])


def seconds_up(redis: RedisServer) -> int:
    return int(redis.operator("INFO", "server").split("uptime_in_seconds:")[1].split()[0])


def test_sigkill_in_traffic_counters_survive(redis: RedisServer, node: Callable[..., Node]):
    app = node()
    assert not app.run(f"return inTurn(6, {LOGIN})")[-1]["allowed"]
    redis.wait_until_written()
    written = commands(redis)
    app.begin(
        "const stop = performance.now() + 3000;"
        "for (let i = 0; performance.now() < stop; i += 1) await limiter.checkCrowdRateLimit('client ' + (i % 50))"
    )
    # Traffic goes on for more than the second, then Redis is killed in its midst.
    until(lambda: seconds_up(redis) >= 3 and commands(redis) > written + 500, "a second of traffic")
    redis.kill()
    app.result()
    redis.start()
    until_redis_decides(app)
    fresh = node()
    refused = fresh.run(f"return ({LOGIN})()")
    assert (refused["allowed"], refused["reason"]) == (False, "limit_reached")
    assert 850 < refused["retryAfterSeconds"] <= 900


def test_memory_full_the_policy_decides(redis: RedisServer, node: Callable[..., Node]):
    app = node()
    app.run("await inTurn(3, () => limiter.checkRegistrationRateLimit('192.0.2.1'))")
    redis.operator("CONFIG", "SET", "maxmemory", "1")
    assert_decides_alone(app, "192.0.2.9", p99_ms=250)  # Redis itself is asked, and answers
    app.wait_for_log("Redis ne compte pas .*OOM")
    assert app.count_logs("OOM") == 1
    # A refusal needs no memory: who was over the limit still is, says Redis.
    assert app.run("return limiter.checkRegistrationRateLimit('192.0.2.1')")["reason"] == "limit_reached"
    # ... and says so too to a process that knows nothing of it, in one batch with somebody who is new.
    newcomer = node()
    who = "['192.0.2.8', '192.0.2.1', '192.0.2.7'][i]"
    paired = newcomer.run(f"return atOnce(3, (i) => limiter.checkRegistrationRateLimit({who}))")
    local = "redis_away_within_limit"
    assert [answer["reason"] for answer in paired] == [local, "limit_reached", local]
    redis.operator("CONFIG", "SET", "maxmemory", "64mb")
    until_redis_decides(app)


@pytest.mark.parametrize("hours", [-2, 2])
def test_the_apps_clock_is_not_read(redis: RedisServer, node: Callable[..., Node], hours: int):
    app = node()
    app.run(f"await inTurn(5, {LOGIN})")
    set_clock = f"const real = Date.now; Date.now = () => real() + {hours} * 3600e3"
    app.run(set_clock)
    refused = app.run(f"return ({LOGIN})()")
    assert (refused["allowed"], refused["reason"]) == (False, "limit_reached")
    assert 880 < refused["retryAfterSeconds"] <= 900
    redis.kill()
    app.wait_for_log("injoignable")
    app.run(set_clock)
    alone = app.run(f"return ({LOGIN})()")
    assert (alone["allowed"], alone["reason"]) == (False, "redis_away_limit_reached")
    assert 880 < alone["retryAfterSeconds"] <= 900


def test_redis_clock_set_back_does_not_lock_a_client_out(redis: RedisServer, node: Callable[..., Node]):
    """A counter's end is a date on Redis' clock: an hour set back makes it an hour further away."""
    app = node()
    app.run(f"await inTurn(6, {LOGIN})")
    key = next(key for key in redis.counters() if ":login:" in key)
    assert redis.app("EXPIRE", key, str(900 + 3600)) == "1"
    assert app.run(f"return ({LOGIN})()")["retryAfterSeconds"] == 900
    assert int(redis.operator("TTL", key)) <= 900


def test_a_stall_of_the_app_is_not_taken_for_silence_of_redis(redis: RedisServer, node: Callable[..., Node]):
    app = node()
    results = app.run(
        "const checks = atOnce(50, (i) => limiter.checkLoginRateLimit('client ' + i));"
        "await new Promise(setImmediate);"
        "for (const end = performance.now() + 600; performance.now() < end;);"
        "return checks"
    )
    assert {result["reason"] for result in results} == {"within_limit"}
    assert app.count_logs("injoignable") == 0


@pytest.mark.parametrize("url", ["", "redis://user:%zz@", "nonsense", "redis://127.0.0.1:1"])
def test_a_wrong_redis_url_limits_locally_and_says_so(node: Callable[..., Node], url: str):
    app = node(connected=False, REDIS_URL=url)
    results = app.run(f"return inTurn(6, {LOGIN})")
    assert [result["allowed"] for result in results] == [True] * 5 + [False]
    app.wait_for_log(r"\[RATE_LIMITER\] ⚠️")
    assert not any("user" in line for line in app.logs)


def test_a_wrong_password_is_said_without_it_and_mends_by_itself(
    redis: RedisServer, node: Callable[..., Node], settings: Settings
):
    users = Path(redis.operator("CONFIG", "GET", "aclfile").split()[-1])
    right = users.read_text()
    users.write_text(right.replace(f"user {settings.redis_user} on", f"user {settings.redis_user} off"))
    assert redis.operator("ACL", "LOAD") == "OK"
    app = node(connected=False)
    app.run(f"await ({LOGIN})()")
    app.wait_for_log("WRONGPASS")
    assert not any(settings.redis_password.get_secret_value() in line for line in app.logs)
    users.write_text(right)
    redis.operator("ACL", "LOAD")
    until_redis_decides(app)
