"""What the module offers beside a check, and what it makes of the surroundings that it finds."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from provision.app.layout import limiters
from provision.settings import Settings
from tests.limiter.deployed import redis_url, settings_with
from tests.limiter.node import HERE, PACKAGES, Node, bundle
from tests.limiter.redis_server import RedisServer


@pytest.fixture
def process(app_of: Callable[..., Path], redis: RedisServer):
    """`process(url=..., rate_limits=...)`: the module of these settings, in a process."""
    started: list[Node] = []

    def start(url: str | None = None, **values: object) -> Node:
        limits = {"crowd": "150/h", "account": "3/h"}
        app = bundle(app_of(**{"rate_limits": limits, **values}), "driver.ts")
        started.append(Node(app, {"REDIS_URL": url or redis_url(redis.settings)}))
        return started[-1]

    yield start
    for one in started:
        one.stop()


def test_eslint_reads_the_module_as_it_stands(tmp_path: Path):
    for path, text in limiters(settings_with()).items():
        (tmp_path / Path(path).name).write_text(text)
    shutil.copy(HERE / "eslint.config.mjs", tmp_path)
    (tmp_path / "node_modules").symlink_to(PACKAGES)
    command = ["node", PACKAGES / "eslint/bin/eslint.js", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_a_success_gives_back_what_it_took_and_never_more(process: Callable[..., Node], redis: RedisServer):
    app = process()
    login = "limiter.checkLoginRateLimit('192.0.2.1')"
    answers = app.run(
        f"const all = []; for (let i = 0; i < 9; i += 1) {{ all.push(await {login});"
        " await limiter.refundLoginRateLimit('192.0.2.1'); } return all"
    )
    assert [answer["remaining"] for answer in answers] == [4] * 9
    app.run("await limiter.refundLoginRateLimit('192.0.2.1')")  # there is nothing left to give back
    assert app.run(f"return {login}")["remaining"] == 4
    assert app.run("return limiter.refundLoginRateLimit('198.51.100.7')") is True  # who never asked
    assert app.run("return limiter.checkLoginRateLimit('198.51.100.7')")["remaining"] == 4
    assert all(int(redis.operator("TTL", key)) > 0 for key in redis.counters())


def test_a_reset_lets_a_refused_client_in_on_every_instance(process: Callable[..., Node]):
    one, other = process(), process()
    assert not one.run("return inTurn(6, () => limiter.checkLoginRateLimit('192.0.2.1'))")[-1]["allowed"]
    assert other.run("return limiter.resetLoginRateLimit('192.0.2.1')") is True
    assert one.run("return limiter.checkLoginRateLimit('192.0.2.1')")["remaining"] == 4


def test_a_reset_or_refund_without_redis_says_so_and_holds_here(process: Callable[..., Node], redis: RedisServer):
    app = process()
    app.run("await limiter.checkApiRateLimit('x')")
    redis.kill()
    app.wait_for_log("injoignable")
    assert not app.run("return inTurn(6, () => limiter.checkLoginRateLimit('192.0.2.1'))")[-1]["allowed"]
    assert app.run("return limiter.refundLoginRateLimit('192.0.2.1')") is False
    assert app.run("return limiter.checkLoginRateLimit('192.0.2.1')")["allowed"]
    assert app.run("return limiter.resetLoginRateLimit('192.0.2.1')") is False
    assert app.run("return limiter.checkLoginRateLimit('192.0.2.1')")["remaining"] == 4


def test_who_is_refused_by_one_of_two_limits_takes_nothing_from_the_other(process: Callable[..., Node]):
    app = process()
    ask = "limiter.checkRateLimits({ login: '192.0.2.1', account: 'jean' })"
    answers = app.run(f"return inTurn(5, () => {ask})")
    assert [answer["allowed"] for answer in answers] == [True] * 3 + [False] * 2
    assert answers[-1]["limit"] == 3
    assert app.run("return limiter.checkLoginRateLimit('192.0.2.1')")["remaining"] == 1


def test_no_limit_at_all_is_a_fault_of_the_caller_and_lets_nobody_in(process: Callable[..., Node]):
    told = process().run("return limiter.checkRateLimits({}).catch((fault) => fault.message)")
    assert told == "checkRateLimits: no limit is named, as in { login: address }"


def test_names_can_count_without_case_and_blanks(process: Callable[..., Node]):
    app = process(rate_limits_ignore_case=["account"])
    spelled = json.dumps(["Jean@Example.FR", " jean@example.fr", "JEAN\uff20example.fr", "jean@example.fr"])
    answers = app.run(f"const names = {spelled}; return inTurn(4, (i) => limiter.checkAccountRateLimit(names[i]))")
    assert [answer["allowed"] for answer in answers] == [True] * 3 + [False]
    login = app.run("return inTurn(2, (i) => limiter.checkLoginRateLimit(['Jean', 'jean'][i]))")
    assert [answer["remaining"] for answer in login] == [4, 4]


def test_every_decision_is_told_and_a_broken_listener_decides_nothing(process: Callable[..., Node]):
    app = process()
    app.run("globalThis.told = []; limiter.onDecision((name, { reason }) => globalThis.told.push([name, reason]))")
    app.run("await inTurn(4, () => limiter.checkRegistrationRateLimit('192.0.2.1'))")
    within, reached = ["registration", "within_limit"], ["registration", "limit_reached"]
    assert app.run("return globalThis.told") == [within] * 3 + [reached]
    app.run("limiter.onDecision(() => { throw new Error('metrics'); })")
    assert app.run("return limiter.checkApiRateLimit('x')")["allowed"]


# --- ioredis, and what is there of other packages ---


def test_the_log_promises_a_shared_count_only_when_one_was_made(process: Callable[..., Node], redis: RedisServer):
    redis.operator("FUNCTION", "DELETE", "rate_limit")
    app = process()
    assert app.run("return limiter.checkLoginRateLimit('192.0.2.1')")["reason"] == "redis_away_within_limit"
    app.wait_for_log("Redis ne compte pas")
    assert app.count_logs("Connecté") == 0


@pytest.mark.parametrize(("version", "counts"), [("4.28.5", False), ("5.4.0", True), ("6.0.0", True), ("7.1.0", False)])
def test_another_major_of_ioredis_is_refused_at_the_first_check(
    app_of: Callable[..., Path], redis: RedisServer, version: str, counts: bool
):
    script = bundle(app_of(), "driver.ts")
    (script.parent / "node_modules").unlink()
    package = script.parent / "node_modules/ioredis"
    package.mkdir(parents=True)
    (package / "package.json").write_text(json.dumps({"name": "ioredis", "version": version}))
    app = Node(script, {"REDIS_URL": redis_url(redis.settings)})
    reason = app.run("return limiter.checkLoginRateLimit('192.0.2.1')")["reason"]
    assert reason == ("within_limit" if counts else "redis_away_within_limit")
    if not counts:
        app.wait_for_log(f"ioredis {version} is installed, and 5 or 6 is needed")
    app.stop()


# --- REDIS_URL ---


@pytest.mark.parametrize("around", ['"{}"', "'{}'", " {} ", ' "{}"\n'])
def test_quotes_that_a_reader_of_env_left_are_no_part_of_the_url(
    process: Callable[..., Node], settings: Settings, around: str
):
    app = process(around.format(redis_url(settings)))
    assert app.run("return limiter.checkLoginRateLimit('192.0.2.1')")["reason"] == "within_limit"


@pytest.mark.parametrize(
    "url",
    [
        "/run/zq-redis.sock",
        '"redis://user:zq-secret@127.0.0.1:1',
        "http://user:zq-secret@127.0.0.1:6379",
        "unix://user:zq-secret@/run/redis.sock",
        "redis://user:zq#secret@127.0.0.1:6379",
        "redis://user:12#zq-secret@127.0.0.1:6379",
        "redis://user:zq/secret@127.0.0.1:6379",
        "redis://zq-secret:1/x@127.0.0.1",
        "redis:zq-secret",
        "redis://user:%zq@127.0.0.1:1",
        "redis://zq-secret.invalid:1",
    ],
)
def test_no_part_of_a_url_that_cannot_be_used_is_in_the_log(process: Callable[..., Node], url: str):
    app = process(url)
    assert app.run("return limiter.checkLoginRateLimit('192.0.2.1')")["reason"] == "redis_away_within_limit"
    app.wait_for_log("Redis (ne compte pas|injoignable)")
    assert not [line for line in app.logs if "zq" in line or "secret" in line], app.logs


# --- Who is asking ---


@pytest.mark.parametrize(
    ("given", "same"),
    [("undefined", "undefined"), ("null", "[]"), ('{"toString": 1}', '{"length": 7, "x": 1}'), ("42", "'42'")],
)
def test_what_is_no_text_is_one_client_and_breaks_nothing(process: Callable[..., Node], given: str, same: str):
    """As out of a JSON body, in which whoever sends it leaves the address out, or writes an object."""
    app = process()
    first, second = (app.run(f"return limiter.checkLoginRateLimit({each})")["remaining"] for each in (given, same))
    assert second == first - 1


@pytest.mark.parametrize(
    ("header", "client"),
    [
        ("for=192.0.2.1", "192.0.2.1"),
        ('for="192.0.2.1:4711";proto=https;by=10.0.0.1', "192.0.2.1"),
        ('For="[2001:DB8::1]:4711"', "2001:db8::1"),
        ("for=6.6.6.6, for=192.0.2.1;proto=https, for=10.1.2.3", "192.0.2.1"),
        ('for=6.6.6.6, proto=https;by="a,b\\"c";for=192.0.2.1 , for="10.1.2.3"', "192.0.2.1"),
        # What a client left open or wrote oddly is not read as a proxy's.
        ('";for=6.6.6.6", for="[2001:db8::1]:80"', "2001:db8::1"),
        ('x;for=6.6.6.6", for="[2001:db8::1]", for="10.1.2.3"', "2001:db8::1"),
        ('for="6.6.6.6, for=192.0.2.1, for=10.1.2.3', "192.0.2.1"),
        ("for=6.6.6.6\\, for=192.0.2.1", "192.0.2.1"),
        ('"a",x;for=6.6.6.6", for="192.0.2.1:1"', "192.0.2.1"),
        ("for=_hidden, for=10.1.2.3", "10.1.2.3"),
        ("for=unknown", "unknown"),
        ("proto=https", "unknown"),
        ("192.0.2.1", "unknown"),
        ("", "unknown"),
    ],
)
def test_the_standard_header_is_read_too(process: Callable[..., Node], header: str, client: str):
    app = process(app_client_ip_header="Forwarded", app_trusted_proxies=["10.0.0.0/8"])
    asked = f"limiter.getClientIP({{headers: new Headers({{forwarded: {json.dumps(header)}}})}})"
    assert app.run(f"return {asked}") == client


@pytest.mark.parametrize("header", ['for="' + '\\"' * 7900, '"' * 15_999, '"\\' * 7900, ",;" * 7900, " " * 15_999])
def test_no_header_keeps_the_process_busy(process: Callable[..., Node], header: str):
    """As long as Node takes them; a client may send one with each request."""
    app = process(app_client_ip_header="Forwarded", app_trusted_proxies=["10.0.0.0/8"])
    request = f"{{headers: {{get: () => {json.dumps(header)}}}}}"
    timed = "const began = performance.now(); for (let i = 0; i < 10; i += 1) limiter.getClientIP(request);"
    assert app.run(f"const request = {request}; {timed} return (performance.now() - began) / 10") < 20


@pytest.mark.parametrize(
    ("header", "warns"),
    [("192.0.2.1, 10.0.0.7", True), ("2001:db8::1, fd00::7", True), ("10.0.0.7", False), ("6.6.6.6, 192.0.2.1", False)],
)
def test_a_proxy_that_is_counted_as_the_client_is_told_once(process: Callable[..., Node], header: str, warns: bool):
    app = process()
    ask = f"limiter.getClientIP({{headers: new Headers({{'x-forwarded-for': {header!r}}})}})"
    app.run(f"for (let i = 0; i < 50; i += 1) {ask}; console.log('asked')")
    app.wait_for_log("asked")
    assert app.count_logs("app_trusted_proxies") == int(warns)
