"""Two instances of an app on two hosts share one limit: the deployed module, the deployed `.env`, a real Redis."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from provision.engine.private import PrivateInput
from tests.e2e.operator import Operator
from tests.e2e.test_redis_modes import ADDRESS, edit, until_it_answers
from tests.limiter.node import bundle, install_packages, make_app
from tests.limiter.waiting import until

HOSTS = ("app1", "app2")
MODULES = ("lib/security/rate-limiter-redis.ts", "lib/security/rate-limits.ts")
WINDOW_SECONDS = 15 * 60
# As a proxy in front of the app would: it adds the client's address.
ASK = """fetch('http://127.0.0.1:3000/login', {method: 'POST', headers: {'X-Forwarded-For': '%s'}}).then(async r =>
console.log(JSON.stringify({status: r.status, retryAfter: r.headers.get('retry-after'), ...await r.json()})))"""


@dataclass(frozen=True)
class Mode:
    """Which host has the Redis that the app hosts use, and how its server is killed."""

    redis_host: str
    kill: str


MODES = {
    "package": Mode("redis1", "systemctl kill -s KILL redis-server"),
    "compose": Mode("docker1", "kill -KILL $(docker inspect -f '{{.State.Pid}}' medaction-redis)"),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Operator], str]:
    """The small server with the module that a deploy placed, as one file of JavaScript."""

    def made_with(operator: Operator) -> str:
        on_one, on_other = (
            {path: operator.read(host, f"cat /opt/medaction/{path}") for path in MODULES} for host in HOSTS
        )
        assert on_one == on_other
        install_packages()
        app = make_app(tmp_path_factory.mktemp("app"), on_one)
        return bundle(app, "server.ts").read_text()

    return made_with


@pytest.fixture(
    params=[
        pytest.param(MODES["package"], id="package", marks=pytest.mark.servers),
        pytest.param(MODES["compose"], id="compose"),
    ]
)
def two_apps(
    request: pytest.FixtureRequest, project_copy: Operator, server: Callable[[Operator], str]
) -> Iterator[tuple[Operator, Mode]]:
    """Both app hosts run the server as the app's own user, with the Redis of a mode."""
    mode: Mode = request.param
    edit(project_copy, "group_data/sandbox.py", f'"{ADDRESS["redis1"]}"', f'"{ADDRESS[mode.redis_host]}"')
    project_copy.deploy("app")
    assert project_copy.plan("app").returncode == 0
    script = PrivateInput(server(project_copy))
    try:
        for host in HOSTS:
            project_copy.read(host, "command -v node || apt-get -qq -y --no-install-recommends install nodejs")
            project_copy.on(host, "cat > /opt/e2e-server.js", script)
            run = "systemd-run -q --collect --unit=e2e-login --uid=medaction node /opt/e2e-server.js"
            project_copy.read(host, f"systemctl stop e2e-login 2>/dev/null; {run}")
            until(lambda host=host: "listening" in log_of(project_copy, host), f"the server on {host}")
            login(project_copy, host, "192.0.2.1")  # the first request asks for the connection
        await_connections(project_copy, times=1)
        yield project_copy, mode
    finally:
        for host in HOSTS:
            project_copy.on(host, "systemctl stop e2e-login; rm -f /opt/e2e-server.js")
        Operator().deploy("app")


def a_client() -> str:
    """An address that was in no earlier run: a window lasts 15 minutes."""
    return ".".join(["93", *(str(random.randint(1, 250)) for _ in range(3))])


def login(operator: Operator, host: str, client: str) -> dict:
    return json.loads(operator.read(host, f'node -e "{ASK % client}"'))


def log_of(operator: Operator, host: str) -> str:
    return operator.read(
        host, "journalctl --no-pager -o cat _SYSTEMD_INVOCATION_ID=$(systemctl show -P InvocationID e2e-login)"
    )


def has_counted(operator: Operator, host: str, times: int) -> bool:
    """Whether the app has said so often that Redis counts for it, which it does with a first request."""
    login(operator, host, "192.0.2.200")
    return log_of(operator, host).count("✅ Connecté à Redis") >= times


def await_connections(operator: Operator, times: int) -> None:
    for host in HOSTS:
        until(lambda host=host: has_counted(operator, host, times), f"{host} is connected")


def test_the_sixth_login_is_refused_by_either_host_and_after_a_crash_too(two_apps: tuple[Operator, Mode]) -> None:
    operator, mode = two_apps

    def keys() -> set[str]:
        return set(operator.redis(mode.redis_host, "SCAN 0 MATCH medaction:* COUNT 1000000").split()[2:])

    known = keys()
    client = a_client()
    for number in range(5):
        answer = login(operator, HOSTS[number % 2], client)
        assert (answer["status"], answer["remaining"], answer["reason"]) == (200, 4 - number, "within_limit")

    def assert_refused_by_both() -> None:
        for host in HOSTS:
            refused = login(operator, host, client)
            assert (refused["status"], refused["reason"]) == (429, "limit_reached"), refused
            left = int(operator.redis(mode.redis_host, f"PTTL {key}").split()[1]) / 1000
            assert 0 < left <= WINDOW_SECONDS and abs(int(refused["retryAfter"]) - left) <= 3

    (key,) = keys() - known
    assert_refused_by_both()
    assert {login(operator, host, a_client())["status"] for host in HOSTS} == {200}
    operator.read(mode.redis_host, f"sleep 1.1; {mode.kill}")
    until_it_answers(operator, mode.redis_host)
    await_connections(operator, times=2)
    assert_refused_by_both()
