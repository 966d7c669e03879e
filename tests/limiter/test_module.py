"""The module as source: TypeScript agrees with it, the guide's sample runs on it, it follows its settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from provision.app.layout import limiters
from tests.limiter.deployed import redis_url, settings_with
from tests.limiter.node import HERE, MODULE, Node, bundle, complaints_of_typescript
from tests.limiter.redis_server import RedisServer

# The guide's sample leaves these three names to the reader.
PRELUDE = """import { NextRequest, NextResponse } from 'next/server';
import { getClientIP } from '@/lib/security/rate-limiter-redis';
"""
CALL_IT = """
void (async () => {
  for (let i = 0; i < 6; i += 1) {
    const request = new NextRequest('http://app.test/login', { headers: { 'x-forwarded-for': '192.0.2.1' } });
    const response = await POST(request);
    console.log(`answer ${response?.status} ${JSON.stringify(await response?.json())}`);
    while (i === 0 && (await checkApiRateLimit('x')).reason !== 'within_limit') {
      await new Promise((resolve) => setTimeout(resolve, 10)); // the first check asked for the connection
    }
  }
})();
"""


@pytest.mark.parametrize("ioredis", ["ioredis", "ioredis6"])
def test_strict_typescript_agrees(app_of: Callable[..., Path], ioredis: str):
    app = app_of(ioredis)
    assert complaints_of_typescript(app, MODULE, "driver.ts", "server.ts", "load.ts") == ""


def test_the_guides_sample_compiles_and_runs_unchanged(app_of: Callable[..., Path], redis: RedisServer):
    app = app_of()
    sample = PRELUDE + (HERE / "guide_sample.ts").read_text()
    (app / "route.ts").write_text(sample)
    # The sample imports checkApiRateLimit and leaves it unused, and answers nothing when all is well.
    assert [line for line in complaints_of_typescript(app, "route.ts").splitlines() if "TS6133" not in line] == []
    (app / "run.ts").write_text(sample + CALL_IT)
    process = Node(bundle(app, "run.ts"), {"REDIS_URL": redis_url(redis.settings)})
    process.wait_for_log("answer", times=6)
    answers = [line for line in process.logs if line.startswith("answer")]
    process.stop()
    assert answers[:5] == ["answer undefined undefined"] * 5
    assert answers[5].startswith('answer 429 {"error":"Trop de tentatives","retryAfter":')


def test_a_limit_that_is_added_gets_its_function(app_of: Callable[..., Path], redis: RedisServer):
    app = app_of(rate_limits={"export_pdf": "2/d", "login": "1/min"})
    process = Node(bundle(app, "driver.ts"), {"REDIS_URL": redis_url(redis.settings)})
    results = process.run("return inTurn(3, () => limiter.checkExportPdfRateLimit('x'))")
    login = process.run("return limiter.checkLoginRateLimit('x')")
    others = process.run("return typeof limiter.checkReclamationRateLimit")
    process.stop()
    assert [result["allowed"] for result in results] == [True, True, False]
    assert 86300 < results[0]["resetAfterSeconds"] <= 86400
    assert (login["limit"], login["resetAfterSeconds"]) == (1, 60)
    assert others == "function"


@pytest.mark.parametrize(
    ("header", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("6.6.6.6, 192.0.2.1", "192.0.2.1"),  # what the client wrote itself is on the left
        ("6.6.6.6, 192.0.2.1, 10.1.2.3, 127.0.0.1", "192.0.2.1"),
        ("10.9.9.9, 10.1.2.3", "10.9.9.9"),
        ("unknown, 10.1.2.3", "10.1.2.3"),
        ("<script>, 192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ("[2001:DB8::1]:4711", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("6.6.6.6, 192.0.2.1, ::ffff:10.1.2.3", "192.0.2.1"),
        ("2001:db8::1, fd00::7", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("300.1.1.1", "unknown"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_who_the_client_is(client_of: Callable[..., str], header: str | None, client: str):
    assert client_of(header) == client


def test_a_peer_that_is_no_proxy_is_the_client_whatever_it_says(client_of: Callable[..., str]):
    assert client_of("6.6.6.6", "192.0.2.1") == "192.0.2.1"
    assert client_of("192.0.2.1", "10.0.0.1") == "192.0.2.1"


@pytest.fixture(scope="module")
def client_of(driver_of: Callable[..., Path]):
    process = Node(driver_of(trusted=("10.0.0.0/8", "127.0.0.1", "fd00::/8")), {})

    def ask(header: str | None, peer: str | None = None) -> str:
        headers = "{}" if header is None else f"{{'x-forwarded-for': {header!r}}}"
        ip = "undefined" if peer is None else repr(peer)
        return process.run(f"return limiter.getClientIP({{headers: new Headers({headers}), ip: {ip}}})")

    yield ask
    process.stop()


def test_the_header_of_the_proxy_can_be_chosen(app_of: Callable[..., Path]):
    process = Node(bundle(app_of(app_client_ip_header="X-Real-IP"), "driver.ts"), {})
    headers = "new Headers({'x-real-ip': '192.0.2.1', 'x-forwarded-for': '6.6.6.6'})"
    assert process.run(f"return limiter.getClientIP({{headers: {headers}}})") == "192.0.2.1"
    process.stop()


def test_the_module_says_who_manages_it_and_is_always_the_same():
    first = limiters(settings_with())
    assert all("Managed by the" in "".join(text.splitlines()[:2]) for text in first.values())
    assert first == limiters(settings_with())


def test_the_module_holds_no_secret():
    made = limiters(settings_with(redis_password="zq-secret-1", redis_operator_password="zq-secret-2"))
    assert "zq-" not in "".join(made.values())
