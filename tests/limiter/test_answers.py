"""Every answer by which Redis says that it does not count here or now: nobody hangs, it is said, and it comes back."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from provision.redis.facts import login
from provision.settings import Settings
from provision.settings.render import FILES
from tests.limiter.deployed import redis_url
from tests.limiter.node import Node
from tests.limiter.redis_server import RedisServer, free_port
from tests.limiter.test_faults import until_redis_decides
from tests.limiter.waiting import until

pytestmark = pytest.mark.fault


class Anyone:
    """The same server, asked as a user who may do everything: for what no deploy ever does."""

    def __init__(self, redis: RedisServer, directory: Path) -> None:
        self._redis, users = redis, directory / "redis/users.acl"
        users.write_text(users.read_text() + "user root on nopass ~* &* +@all\n")
        assert redis.operator("ACL", "LOAD") == "OK"

    def __call__(self, *command: str) -> str:
        return self._redis.cli("root", "any", *command)


@pytest.fixture
def root(redis: RedisServer, tmp_path: Path) -> Anyone:
    return Anyone(redis, tmp_path)


@contextmanager
def readonly(root: Anyone, directory: Path) -> Iterator[None]:
    root("REPLICAOF", "127.0.0.1", str(free_port()))
    yield
    root("REPLICAOF", "NO", "ONE")


@contextmanager
def masterdown(root: Anyone, directory: Path) -> Iterator[None]:
    root("CONFIG", "SET", "replica-serve-stale-data", "no")
    with readonly(root, directory):
        yield


@contextmanager
def noreplicas(root: Anyone, directory: Path) -> Iterator[None]:
    root("CONFIG", "SET", "min-replicas-to-write", "1")
    yield
    root("CONFIG", "SET", "min-replicas-to-write", "0")


@contextmanager
def misconf(root: Anyone, directory: Path) -> Iterator[None]:
    aside = directory / "redis/dump.rdb"
    aside.mkdir()  # where the snapshot should go
    (aside / "in the way").touch()
    root("CONFIG", "SET", "save", "3600 1000000")
    root("BGSAVE")
    until(lambda: "rdb_last_bgsave_status:err" in root("INFO", "persistence"), "the snapshot fails")
    yield
    (aside / "in the way").unlink()
    aside.rmdir()
    root("BGSAVE")
    until(lambda: "rdb_last_bgsave_status:ok" in root("INFO", "persistence"), "the snapshot succeeds")


@contextmanager
def busy(root: Anyone, directory: Path) -> Iterator[None]:
    root("CONFIG", "SET", "busy-reply-threshold", "50")
    port = root("CONFIG", "GET", "port").split()[-1]
    command = ["redis-cli", "-p", port, "--user", "root", "--pass", "any", "EVAL", "while true do end", "0"]
    script = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: root("GET", "x").startswith("BUSY"), "Redis is busy")
    yield
    root("SCRIPT", "KILL")
    script.wait(10)


STATES = {"READONLY": readonly, "MASTERDOWN": masterdown, "NOREPLICAS": noreplicas, "MISCONF": misconf, "BUSY": busy}


@pytest.mark.parametrize("word", STATES)
def test_an_answer_that_counts_nothing_leaves_the_decision_to_the_process(
    redis: RedisServer, root: Anyone, node: Callable[..., Node], tmp_path: Path, word: str
):
    app = node()
    app.run("await inTurn(3, () => limiter.checkLoginRateLimit('192.0.2.1'))")
    with STATES[word](root, tmp_path):
        answers = app.run("return inTurn(4, () => limiter.checkLoginRateLimit('192.0.2.1'))")
        assert [answer["allowed"] for answer in answers] == [True, True, False, False]
        assert answers[0]["reason"] == "redis_away_within_limit"
        assert max(answer["ms"] for answer in answers) < 1000
        app.wait_for_log(rf"Redis ne compte pas .*{word}|injoignable")
    until_redis_decides(app)
    # What was let in meanwhile is in Redis' counter now.
    last = app.run("return limiter.checkLoginRateLimit('192.0.2.1')")
    assert (last["allowed"], last["reason"]) == (False, "limit_reached")


def test_behind_the_same_name_the_new_master_is_found(
    redis: RedisServer, root: Anyone, node: Callable[..., Node], tmp_path: Path
):
    """After a failover the old connection says READONLY for ever: a new one leads to the new master."""
    app = node()
    before = {line.split()[0] for line in root("CLIENT", "LIST").splitlines() if "user=medaction" in line}
    with readonly(root, tmp_path):
        app.run("await limiter.checkLoginRateLimit('192.0.2.1')")
        until(
            lambda: (
                {line.split()[0] for line in root("CLIENT", "LIST").splitlines() if "user=medaction" in line} - before
            ),
            "a connection anew",
        )


@contextmanager
def loading(tmp_path: Path, settings: Settings) -> Iterator[RedisServer]:
    """A Redis that takes two seconds to read its data."""
    server = RedisServer(tmp_path / "redis", settings).start()
    for i in range(50):
        server.app("SET", f"medaction:{i}", secrets.token_hex(1000))
    server.operator("BGREWRITEAOF")  # a snapshot: while it reads one, Redis answers
    until(
        lambda: (
            server.operator("INFO", "persistence").count("aof_rewrites:1")
            and "aof_rewrite_in_progress:0" in server.operator("INFO", "persistence")
        ),
        "the file is rewritten",
    )
    server.kill()
    conf = tmp_path / "redis/redis.conf"
    conf.write_text(conf.read_text() + "key-load-delay 40000\nloading-process-events-interval-bytes 1024\n")
    try:
        server.launch()
        until(lambda: server.operator("DBSIZE").startswith("LOADING"), "Redis loads")
        yield server
    finally:
        server.kill()


def test_a_redis_that_is_still_loading_is_waited_for(tmp_path: Path, settings: Settings, node: Callable[..., Node]):
    with loading(tmp_path, settings):
        app = node(connected=False)
        answer = app.run("return limiter.checkLoginRateLimit('192.0.2.1')")
        assert answer["reason"] == "redis_away_within_limit"
        until_redis_decides(app)


def test_a_deploy_goes_on_when_redis_has_read_its_data(tmp_path: Path, settings: Settings):
    with loading(tmp_path, settings) as server:
        subprocess.run(
            ["sh", FILES / "redis/loaded.sh", str(settings.redis_port)], check=True, timeout=30, text=True,
            input=login(settings.redis_operator_password.get_secret_value()),
        )  # fmt: skip
        assert server.operator("DBSIZE") == "50"


def test_a_cluster_without_slots_counts_nothing(tmp_path: Path, settings: Settings, node: Callable[..., Node]):
    directory = tmp_path / "redis"
    server = RedisServer(directory, settings, has_function=False)
    conf = directory / "redis.conf"
    conf.write_text(conf.read_text() + f"cluster-enabled yes\ncluster-port {free_port()}\n")
    server.start()
    try:
        app = node(connected=False, REDIS_URL=redis_url(settings))
        answers = app.run("return inTurn(6, () => limiter.checkLoginRateLimit('192.0.2.1'))")
        assert [answer["allowed"] for answer in answers] == [True] * 5 + [False]
        app.wait_for_log("Redis ne compte pas|injoignable")
    finally:
        server.kill()
