"""Scripts (EVAL), with which an app can stop Redis for everybody: who has them, and how they go."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.hostile import slow_commands_on
from tests.e2e.operator import Operator
from tests.limiter.waiting import until

STATE = "/var/lib/medaction-redis/scripts"
SCRIPT = "EVAL 'return 7' 0"
GRANT = "sed -i '/^user medaction /s/$/ +eval +evalsha/' /etc/redis/users.acl"


@pytest.fixture
def taken_over(deployed: Operator) -> Iterator[Operator]:
    """As version 1.0.0 left it: the app may run scripts."""
    deployed.read("redis1", GRANT)
    assert deployed.redis("redis1", "ACL LOAD").endswith("OK\n")
    yield deployed
    deployed.read("redis1", f"rm -f {STATE}; sed -i 's/ +eval +evalsha//' /etc/redis/users.acl")
    deployed.redis("redis1", "ACL LOAD")
    deployed.deploy("redis1")


def run_id(operator: Operator) -> str:
    return operator.redis("redis1", "INFO server").split("run_id:")[1].split()[0]


def look(operator: Operator) -> list[int]:
    """What the timer's service has seen once it has looked again: since, used, asked."""
    operator.read("redis1", "systemctl start medaction-redis-scripts.service")
    return [int(word) for word in operator.read("redis1", f"cat {STATE}").split()[:3]]


def let_days_pass(operator: Operator, days: int) -> None:
    """As if no script had been run for so long."""
    operator.read("redis1", f"sed -i -E 's/^[0-9]+ [0-9]+/1 '$(($(date +%s) - {days} * 86400))'/' {STATE}")


def test_a_new_redis_lets_nobody_run_scripts(deployed: Operator) -> None:
    assert "NOPERM" in deployed.redis("redis1", SCRIPT, user="medaction")
    assert deployed.on("redis1", "systemctl cat medaction-redis-scripts.timer").returncode != 0


@pytest.mark.prove
def test_no_command_keeps_another_client_of_a_new_redis_waiting(deployed: Operator) -> None:
    assert slow_commands_on(deployed, "redis1") == {}


def test_scripts_stay_while_they_are_used_and_go_once_they_are_not(taken_over: Operator) -> None:
    before = run_id(taken_over)
    assert "can stop Redis for everybody" in taken_over.deploy("redis1").stdout
    assert taken_over.redis("redis1", SCRIPT, user="medaction").endswith("7\n")
    since, used, asked = look(taken_over)
    assert since <= used == asked
    assert taken_over.plan("redis1").returncode == 0
    # A restart begins Redis' own counting anew; what was seen stays.
    taken_over.read("redis1", "systemctl restart redis-server")
    until(lambda: "PONG" in taken_over.redis("redis1", "PING"), "Redis is back")
    assert look(taken_over)[1] == used
    after = run_id(taken_over)
    # Sixteen days pass: thirteen without a script are not enough.
    for days, allowed in ((13, True), (16, False)):
        let_days_pass(taken_over, days)
        taken_over.deploy("redis1")
        assert ("NOPERM" in taken_over.redis("redis1", SCRIPT, user="medaction")) is not allowed
    assert run_id(taken_over) == after != before
    assert taken_over.on("redis1", "systemctl cat medaction-redis-scripts.timer").returncode != 0
    assert taken_over.plan("redis1").returncode == 0


def test_the_users_password_may_no_longer_stop_the_service(deployed: Operator) -> None:
    """A script by who may (nobody but an administrator): the operator ends it, and so does a restart, in time."""
    shown = deployed.read("redis1", "systemctl show redis-server -p TimeoutStopUSec -p MemoryMax -p NeedDaemonReload")
    most = 2 * (256 + 8) + 128  # its data and its clients, twice, and what it holds besides, in MiB
    assert set(shown.split()) == {"TimeoutStopUSec=20s", f"MemoryMax={most << 20}", "NeedDaemonReload=no"}
    assert "NOTBUSY" in deployed.redis("redis1", "SCRIPT KILL")
    assert "NOTBUSY" in deployed.redis("redis1", "FUNCTION KILL")
