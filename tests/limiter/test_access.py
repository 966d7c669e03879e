"""Who may do what in Redis, and that the app gets in with any password through the `.env` of a deploy."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provision.redis.running import users
from provision.settings.render import render
from tests.limiter.deployed import env_text, redis_url, settings_with
from tests.limiter.node import PACKAGES, Node, bundle
from tests.limiter.redis_server import RedisServer

AWKWARD = [
    "p@ss:/?#[]!$&'()*+,;=% \"\\`",
    "é漢🔑",
    "%41%%2F+",
    "$HOME ${REDIS_URL}",
    "\\n\\t'\"",
    " spaces at both ends ",
    "#hash //comment",
    "a",
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Callable[[str], RedisServer]]:
    started = []

    def start(password: str) -> RedisServer:
        settings = settings_with(redis_password=password)
        started.append(RedisServer(tmp_path / "redis", settings).start())
        (tmp_path / ".env").write_text(env_text(settings))
        return started[-1]

    yield start
    for one in started:
        one.kill()


READERS = {
    "dotenv": ("require('dotenv').config({path: process.argv[1] + '/.env', quiet: true})", ()),
    "next": ("require('@next/env').loadEnvConfig(process.argv[1])", ()),
    "node": ("", ("--env-file=.env",)),
}


@pytest.mark.parametrize("password", AWKWARD)
def test_every_reader_of_env_gets_the_same_url(server: Callable[[str], RedisServer], tmp_path: Path, password: str):
    redis = server(password)
    for reader, (code, flags) in READERS.items():
        script = f"{code}; console.log(JSON.stringify(process.env.REDIS_URL))"
        command = ["node", *flags, "-e", script, str(tmp_path)]
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "NODE_PATH": str(PACKAGES)}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout.splitlines()[-1]) == redis_url(redis.settings), reader


@pytest.mark.parametrize("ioredis", ["ioredis", "ioredis6"])
@pytest.mark.parametrize("password", AWKWARD)
def test_the_app_gets_in_with_any_password(
    server: Callable[[str], RedisServer], node: Callable[..., Node], password: str, ioredis: str
):
    redis = server(password)
    app = node(ioredis=ioredis, REDIS_URL=redis_url(redis.settings))
    assert app.run("return limiter.checkLoginRateLimit('192.0.2.1')")["reason"] == "within_limit"
    assert redis.operator("ACL", "LOG") == ""  # not one command that its user may not give


def test_the_server_reads_the_deployed_env(
    server: Callable[[str], RedisServer], app_of: Callable[..., Path], tmp_path: Path
):
    redis = server(AWKWARD[0])
    script = bundle(app_of(), "server.ts")
    environment = {"ENV_FILE": str(tmp_path / ".env"), "PORT": "0"}
    process = Node(script, environment)
    process.wait_for_log("listening on")
    port = json.loads(process.logs[-1].removeprefix("listening on "))["port"]
    answers = [login(port) for _ in range(6)]
    process.stop()
    assert [status for status, _ in answers] == [200] * 5 + [429]
    assert 880 < int(answers[-1][1]["Retry-After"]) <= 900
    assert redis.counters()


def login(port: int) -> tuple[int, dict[str, str]]:
    command = ["curl", "-s", "-o", "/dev/null", "-D", "-", "-X", "POST", f"http://127.0.0.1:{port}/login"]
    status, *lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().splitlines()
    return int(status.split()[1]), dict(line.split(": ", 1) for line in lines)


@pytest.mark.parametrize(
    "command",
    [
        "KEYS *", "SCAN 0", "FLUSHALL", "FLUSHDB", "CONFIG GET *", "CONFIG SET maxmemory 0", "ACL LIST", "ACL WHOAMI",
        "CLIENT LIST", "SHUTDOWN NOSAVE", "MONITOR", "SCRIPT FLUSH", "SAVE", "REPLICAOF NO ONE",
        "GET other:key", "SET other:key 1", "GET medactionother", "RENAME medaction:a medaction:b", "PUBLISH c m",
        "MODULE LIST", "SELECT 1", "SWAPDB 0 1",
    ],
)  # fmt: skip
def test_the_app_is_denied(redis: RedisServer, command: str):
    assert redis.app(*command.split()).startswith("NOPERM")


@pytest.mark.parametrize(
    "command",
    ["EVAL x 0", "EVALSHA x 0", "EVAL_RO x 0", "SCRIPT LOAD x", "FUNCTION LOAD x", "FUNCTION KILL", "FUNCTION FLUSH"],
)
def test_the_app_brings_no_program_of_its_own(redis: RedisServer, command: str):
    assert redis.app(*command.split()).startswith("NOPERM")


def test_the_app_may_count_nothing_but_its_own_keys(redis: RedisServer):
    assert redis.app("FCALL", "rate_limit_take", "1", "other:key", "60", "5", "1").startswith("NOPERM")
    keys = [f"medaction:{i}" for i in range(65)]
    assert "at most 64" in redis.app("FCALL", "rate_limit_take", "65", *keys, "60", "5", *["1"] * 65)


@pytest.mark.parametrize("call", ["'FLUSHALL'", "'GET', 'other:key'", "'KEYS', '*'", "'PUBLISH', 'c', 'm'"])
def test_the_app_is_denied_in_scripts_too(tmp_path: Path, call: str):
    """On a host taken over from version 1.0.0, whose limiters count by a script."""
    redis = RedisServer(tmp_path / "redis", settings_with(), allow_eval=True).start()
    assert "can't" in redis.app("EVAL", f"return redis.call({call})", "0")
    redis.kill()


def test_the_default_user_is_off(redis: RedisServer):
    assert redis.cli("", "", "PING").startswith("NOAUTH")
    assert redis.cli("default", "", "PING").startswith(("NOAUTH", "WRONGPASS", "AUTH failed"))


def test_the_operator_can_look_and_set_but_not_make_users(redis: RedisServer):
    for command in ("PING", "INFO", "ACL LIST", "CONFIG GET maxmemory", "CLIENT LIST", "SLOWLOG LEN", "DBSIZE"):
        assert not redis.operator(*command.split()).startswith("NOPERM")
    assert redis.operator("CONFIG", "SET", "maxmemory", "64mb") == "OK"
    assert redis.operator("ACL", "LOAD") == "OK"
    for command in (
        "ACL SETUSER x on",
        "FLUSHALL",
        "EVAL return(1) 0",
        "FCALL rate_limit_take 0 1 1",
        "SHUTDOWN NOSAVE",
    ):
        assert redis.operator(*command.split()).startswith("NOPERM")


def test_redis_lists_the_users_as_they_are_written(redis: RedisServer):
    """A deploy compares the two: a difference in wording alone would make every deploy load them again."""
    assert users(redis.operator("ACL", "LIST")) == users(render("redis/users.acl.j2", redis.settings, allow_eval=False))


def test_no_password_stands_in_the_users_file(redis: RedisServer):
    text = render("redis/users.acl.j2", redis.settings, allow_eval=False)
    assert redis.settings.redis_password.get_secret_value() not in text
    assert redis.settings.redis_operator_password.get_secret_value() not in text
