"""Real Redis servers, real Node processes, and the module between them as a deploy renders it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provision.app.layout import limiters
from provision.settings import Settings
from tests.limiter.debian import require
from tests.limiter.deployed import redis_url, settings_with
from tests.limiter.node import Node, bundle, install_packages, make_app
from tests.limiter.redis_server import RedisServer


@pytest.fixture(scope="session", autouse=True)
def tools() -> None:
    require("redis-server", "redis-server", "redis-tools")
    install_packages()


@pytest.fixture(scope="session")
def app_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`app_of(rate_limits=...)`: an app directory with the module of these settings."""

    def make(ioredis: str = "ioredis", **values: object) -> Path:
        return make_app(tmp_path_factory.mktemp("app"), limiters(settings_with(**values)), ioredis)

    return make


@pytest.fixture(scope="session")
def driver_of(app_of: Callable[..., Path]) -> Callable[..., Path]:
    """The bundled driver for these settings, made once."""

    @functools.cache
    def make(ioredis: str = "ioredis", trusted: tuple[str, ...] | None = None) -> Path:
        values = {} if trusted is None else {"app_trusted_proxies": list(trusted)}
        return bundle(app_of(ioredis, **values), "driver.ts")

    return make


@pytest.fixture
def settings() -> Settings:
    return settings_with()


@pytest.fixture
def redis(tmp_path: Path, settings: Settings) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis", settings)
    yield server.start()
    server.kill()


@pytest.fixture
def node(driver_of: Callable[..., Path], settings: Settings) -> Iterator[Callable[..., Node]]:
    """`node()`: a process of the app; all are stopped after the test."""
    processes: list[Node] = []

    def start(
        *flags: str, connected: bool = True, port: int | None = None, ioredis: str = "ioredis", **env: str
    ) -> Node:
        environment = {"REDIS_URL": redis_url(settings, port), **env}
        process = Node(driver_of(ioredis=ioredis), environment, *flags)
        processes.append(process)
        if connected:
            connect(process)
        return process

    yield start
    for process in processes:
        process.stop()


def connect(process: Node) -> None:
    """The first check asks for the connection; from its log line on, Redis decides."""
    process.run("await limiter.checkApiRateLimit('somebody who is in no test')")
    process.wait_for_log("✅ Connecté à Redis")
