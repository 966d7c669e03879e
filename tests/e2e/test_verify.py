"""A verification that finds something wrong: one cause is one line, in words, and nothing hangs."""

from __future__ import annotations

import time

from tests.e2e.operator import Operator
from tests.sandbox import docker


def test_silent_host_and_lost_redis_are_a_line_each_and_the_others_are_verified(deployed: Operator) -> None:
    docker.run("pause", "medaction-sandbox-app2")
    deployed.read("redis1", "systemctl stop redis-server")
    began = time.monotonic()
    try:
        done = deployed.command("verify")
    finally:
        docker.run("unpause", "medaction-sandbox-app2")
        deployed.read("redis1", "systemctl start redis-server")
    assert done.returncode != 0
    assert time.monotonic() - began < 60, "a host that says nothing holds everything up"
    lines = done.stdout.splitlines()
    assert len([line for line in lines if line.startswith("app2: ")]) == 1, done.stdout
    assert [line for line in lines if line.startswith("app1: ")] == [
        "app1: Redis at 10.213.86.21:6379 is not reached from here: connection refused"
    ], done.stdout
    assert "Traceback" not in done.stdout and "assert" not in done.stdout
    assert not [line for line in lines if line.startswith(("db1: ", "docker1: ", "win1: "))]
