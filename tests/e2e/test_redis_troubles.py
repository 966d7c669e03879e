"""A Redis that is there and does not count, or cannot start: it is told by its name, and mended."""

from __future__ import annotations

import pytest

from provision.engine.private import PrivateInput
from tests.e2e.operator import Operator
from tests.limiter.waiting import until

pytestmark = pytest.mark.servers
INCR = (
    "/var/lib/redis/appendonlydir/$(sed -n 's/^file \\(.*incr.aof\\) .*/\\1/p' /var/lib/redis/appendonlydir/*.manifest)"
)
KEY = "medaction:e2e-troubles"


def redis_is(operator: Operator) -> str:
    return operator.status("redis1")["redis1"]["redis"]


def test_status_says_that_every_write_is_refused_and_why(deployed: Operator) -> None:
    assert redis_is(deployed) == "up"
    deployed.redis("redis1", "CONFIG SET maxmemory 1")
    assert redis_is(deployed) == "up, refuses writes: its memory is full (OOM)"
    assert deployed.redis("redis1", f"SET {KEY} 1 EX 900", user="medaction").startswith("OK\nOOM")
    deployed.deploy("redis1")
    deployed.redis("redis1", "CONFIG SET min-replicas-to-write 1")
    assert redis_is(deployed) == "up, refuses writes: too few replicas (NOREPLICAS)"
    deployed.redis("redis1", "CONFIG SET min-replicas-to-write 0")
    assert redis_is(deployed) == "up"


def test_connections_that_are_used_up_are_no_other_configuration(deployed: Operator) -> None:
    deployed.redis("redis1", "CONFIG SET maxclients 1")

    holder = "exec 3<>/dev/tcp/127.0.0.1/6379; sleep 60"
    deployed.read("redis1", f"systemd-run -q --collect --unit=e2e-holder bash -c '{holder}'")
    try:
        until(lambda: "max number of clients" in deployed.redis("redis1", "PING"), "all connections are taken")
        assert redis_is(deployed) == "full: all its connections are taken (redis_max_clients)"
        planned = deployed.plan("redis1")
        assert "is full: all its connections are taken" in planned.stdout, planned.stdout
        assert "another configuration" not in planned.stdout
    finally:
        deployed.on("redis1", "systemctl stop e2e-holder")
    deployed.deploy("redis1")
    assert redis_is(deployed) == "up"


def test_more_connections_need_no_restart(project_copy: Operator) -> None:
    run_id = project_copy.redis("redis1", "INFO server").split("run_id:")[1].split()[0]
    data = project_copy.checkout / "inventories/group_data/sandbox.py"
    data.write_text(data.read_text() + "\nredis_max_clients = 1800\n")
    project_copy.deploy("redis1")
    assert project_copy.redis("redis1", "CONFIG GET maxclients").split()[-1] == "1800"
    assert run_id in project_copy.redis("redis1", "INFO server")
    Operator().deploy("redis1")


@pytest.mark.parametrize("damage", ["head -c 5000 /dev/zero", "printf 'not a command\\r\\n'"])
def test_a_file_that_a_power_loss_left_damaged_is_mended_and_its_loss_told(deployed: Operator, damage: str) -> None:
    assert deployed.redis("redis1", f"SET {KEY} 4 EX 900", user="medaction") == "OK\nOK\n"
    deployed.read("redis1", "sleep 1.2; systemctl stop redis-server")  # appendfsync everysec
    before = int(deployed.read("redis1", f"stat -c %s {INCR}"))
    deployed.read("redis1", "sh -s; systemctl start redis-server || true", PrivateInput(f"{damage} >> {INCR}\n"))
    added = int(deployed.read("redis1", f"stat -c %s {INCR}")) - before
    until(lambda: deployed.on("redis1", "systemctl is-failed -q redis-server").returncode == 0, "it gives up", 60)
    planned = deployed.plan("redis1")
    assert planned.returncode == 2, planned.stdout
    said = f"the last {added} of its {before + added} bytes are no commands"
    assert said in planned.stdout, planned.stdout
    assert said in " ".join(deployed.deploy("redis1").stdout.split())
    assert deployed.redis("redis1", f"GET {KEY}", user="medaction").endswith("4\n")
    kept = deployed.read("redis1", "ls -d /var/lib/redis/appendonlydir.broken-*").split()[-1]
    assert int(deployed.read("redis1", f"stat -c %s {kept}/*.incr.aof")) == before + added
    deployed.read("redis1", "rm -r /var/lib/redis/appendonlydir.broken-*")
    assert deployed.plan("redis1").returncode == 0
