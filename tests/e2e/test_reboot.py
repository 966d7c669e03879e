"""A host that was off is as it was when it is back, and makes up for the nights it missed."""

from __future__ import annotations

import pytest

from tests.e2e.operator import Operator
from tests.sandbox import docker

pytestmark = pytest.mark.servers


def test_nights_that_the_host_slept_through_are_caught_up_after_boot(deployed: Operator) -> None:
    store = "cd /opt/medaction/backups && "
    deployed.read("db1", store + "rm -rf medaction_2* weekly/* monthly/*")
    docker.run("stop", "medaction-sandbox-db1")
    deployed.python("-m", "tests.sandbox", "up")
    deployed.read(
        "db1",
        store + "for _ in $(seq 200); do ls weekly/medaction_2*.sql.gz medaction_2*.sql.gz && exit 0; sleep 0.5; done;"
        " tail /var/log/medaction/backup.log; exit 1",
    )
    # One night is made up for once: what is there now is not made again.
    deployed.read("db1", "cd /opt/medaction && runuser -u medaction-backup -- ./scripts/backup-database.sh --if-missed")
    assert deployed.read("db1", store + "ls | grep -c 'medaction_2.*gz$' | head -1").strip() == "2"  # and its roles


def test_redis_is_back_after_a_boot_once_the_network_is_up(deployed: Operator) -> None:
    docker.run("restart", "medaction-sandbox-redis1")
    deployed.python("-m", "tests.sandbox", "up")
    order = deployed.read("redis1", "systemctl show redis-server -p After -p Wants")
    assert all("network-online.target" in line for line in order.splitlines())
    assert deployed.plan("redis1").returncode == 0
