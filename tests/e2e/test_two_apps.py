"""Two apps on one Redis host, each with a server, a port and users of its own; and what would take from the other."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pytest

from provision.engine.private import PrivateInput
from tests.e2e.operator import Operator

pytestmark = [pytest.mark.docker1, pytest.mark.prove]

HOST, ADDRESS = "docker1", "10.213.86.41"
INVENTORY = 'app = []\nredis = [("docker1", {})]\nbackup = []\nvault = []\n'
DATA = """ssh_config_file = ".sandbox/ssh_config"
ssh_known_hosts_file = ".sandbox/known_hosts"
redis_host = "10.213.86.41"
"""
CLINIC = 'app_name = "clinic"\nredis_port = 6380\n'


@pytest.fixture
def clinic(project_copy: Operator) -> Iterator[Operator]:
    """Who deploys another app, of another environment, from another clone, to the host of this one's Redis."""
    clinic = Operator(project_copy.checkout, "clinic")
    environment(clinic, CLINIC)
    clinic.python("-m", "provision", "secrets", "--env", "clinic")
    yield clinic
    project_copy.bare(HOST)


def environment(operator: Operator, settings: str) -> None:
    (operator.checkout / f"inventories/{operator.environment}.py").write_text(INVENTORY)
    (operator.checkout / f"inventories/group_data/{operator.environment}.py").write_text(DATA + settings)


def asked(operator: Operator, port: int, *commands: str) -> list[str]:
    """What the server on this port answers the app of an environment."""
    lines = (operator.checkout / f".secrets/{operator.environment}.env").read_text().splitlines()
    held = dict(line.partition("=")[::2] for line in lines)
    user = "clinic" if operator.environment == "clinic" else "medaction"
    text = "\n".join([f"AUTH {user} {held['redis_password']}", *commands]) + "\n"
    return [line for line in operator.on(HOST, f"redis-cli -p {port}", PrivateInput(text)).stdout.split("\n") if line]


def test_two_apps_on_one_redis_host_have_nothing_of_each_other(
    project_copy: Operator, clinic: Operator, proved: Callable[[str], None]
) -> None:
    medaction = project_copy
    assert asked(medaction, 6379, "SET medaction:kept 7") == ["OK", "OK"]
    clinic.deploy()
    assert clinic.plan().returncode == 0 and medaction.plan(HOST).returncode == 0
    assert asked(medaction, 6379, "GET medaction:kept") == ["OK", "7"]
    assert asked(clinic, 6380, "GET medaction:kept")[1].startswith("NOPERM")
    assert asked(clinic, 6379)[0].startswith("WRONGPASS") and asked(medaction, 6380)[0].startswith("WRONGPASS")
    tables = clinic.read(HOST, "nft list tables").split("\n")
    assert {"table inet medaction-redis", "table inet clinic-redis"} <= set(tables)

    environment(clinic, 'app_name = "clinic"\n')
    refused = clinic.plan()
    assert refused.returncode == 1 and "redis_port = 6379 is held by the container medaction-redis" in refused.stdout
    environment(clinic, 'redis_port = 6380\nredis_mode = "compose"\n')
    refused = clinic.plan()
    assert refused.returncode == 1 and "this host belongs to the environment sandbox" in refused.stdout
    third = Operator(clinic.checkout, "third")
    environment(third, 'app_name = "third"\nredis_port = 6381\n')
    third.python("-m", "provision", "secrets", "--env", "third")
    refused = third.plan()
    assert refused.returncode == 1 and "the Redis of the package serves the app clinic there" in refused.stdout

    environment(clinic, CLINIC)
    words = ("remove", "--env", "clinic", "--limit", HOST, "--role", "redis")
    removed = clinic.run(sys.executable, "-m", "provision", *words)
    assert removed.returncode == 0, removed.stdout
    assert asked(medaction, 6379, "GET medaction:kept") == ["OK", "7"]
    assert "6380" not in clinic.read(HOST, "ss -Hltn") and medaction.plan(HOST).returncode == 0
    proved(
        "a second app's Redis beside the first's: neither sees, loses or lets in the other; removed, the first stays"
    )
