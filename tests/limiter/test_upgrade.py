"""An app with the module of version 1.0.0 beside one with today's: before, while and after Redis gets the function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provision.settings import Settings
from provision.settings.project import PROJECT
from provision.settings.render import plain, render
from tests.limiter.conftest import connect
from tests.limiter.deployed import redis_url
from tests.limiter.node import MODULE, Node, bundle, make_app
from tests.limiter.redis_server import RedisServer
from tests.limiter.test_faults import until_redis_decides

OLD_MODULE = (PROJECT / "tests/data/limiter/rate-limiter-redis-1.0.0.ts").read_text(encoding="utf-8")
CROWD = "return atOnce(100, () => limiter.checkCrowdRateLimit('192.0.2.1'))"


@pytest.fixture(scope="module")
def old_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle(make_app(tmp_path_factory.mktemp("old"), {MODULE: OLD_MODULE}), "driver.ts")


@pytest.fixture
def old_node(old_driver: Path, settings: Settings) -> Iterator[Node]:
    process = Node(old_driver, {"REDIS_URL": redis_url(settings)})
    yield process
    process.stop()


@pytest.fixture
def taken_over(tmp_path: Path, settings: Settings) -> Iterator[RedisServer]:
    """As version 1.0.0 left it: the app may run scripts, and there is no function."""
    server = RedisServer(tmp_path / "redis", settings, allow_eval=True, has_function=False)
    users = tmp_path / "redis/users.acl"
    users.write_text(users.read_text().replace(" +fcall", ""))
    yield server.start()
    server.kill()


def grant(redis: RedisServer, tmp_path: Path, *, allow_eval: bool) -> None:
    """What a deploy does on a host that is taken over: rights, then the function."""
    text = render("redis/users.acl.j2", redis.settings, allow_eval=allow_eval)
    (tmp_path / "redis/users.acl").write_text(text)
    assert redis.operator("ACL", "LOAD") == "OK"
    assert redis.operator("FUNCTION", "LOAD", "REPLACE", plain("redis/rate-limit.lua")) == "rate_limit"


def admitted(*apps: Node) -> int:
    for app in apps:
        app.begin(CROWD)
    results = [result for app in apps for result in app.result()]
    assert {result["reason"] for result in results} == {"within_limit", "limit_reached"}
    return sum(result["allowed"] for result in results)


def test_old_and_new_hold_one_limit_before_the_function_is_there(
    taken_over: RedisServer, old_node: Node, node: Callable[..., Node]
):
    connect(old_node)
    assert admitted(old_node, node()) == 150


def test_old_and_new_hold_one_limit_once_the_function_is_there(
    taken_over: RedisServer, old_node: Node, node: Callable[..., Node], tmp_path: Path
):
    grant(taken_over, tmp_path, allow_eval=True)
    connect(old_node)
    assert admitted(old_node, node()) == 150
    assert "cmdstat_fcall:calls" in taken_over.operator("INFO", "commandstats")


def test_a_new_app_goes_on_when_scripts_are_withdrawn_under_it(
    taken_over: RedisServer, node: Callable[..., Node], tmp_path: Path
):
    app = node()
    app.run("await inTurn(3, () => limiter.checkLoginRateLimit('192.0.2.1'))")
    assert "cmdstat_fcall:calls=0," in taken_over.operator("INFO", "commandstats")  # it asked, and may not
    grant(taken_over, tmp_path, allow_eval=False)
    until_redis_decides(app)
    answers = app.run("return inTurn(3, () => limiter.checkLoginRateLimit('192.0.2.1'))")
    assert [answer["allowed"] for answer in answers] == [True, True, False]
    assert {answer["reason"] for answer in answers} == {"within_limit", "limit_reached"}


def test_what_an_outage_left_owed_is_paid_through_the_function(redis: RedisServer, node: Callable[..., Node]):
    app = node()
    redis.kill()
    app.wait_for_log("injoignable")
    app.run("await inTurn(2, () => limiter.checkLoginRateLimit('192.0.2.1'))")
    redis.start()
    until_redis_decides(app)
    assert app.run("return limiter.checkLoginRateLimit('192.0.2.1')")["remaining"] == 2
