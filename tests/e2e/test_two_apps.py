"""Two apps on one Redis host, each with a server, a port and users of its own; and what would take from the other."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provision.engine.private import PrivateInput
from tests.e2e.conftest import copied
from tests.e2e.operator import Operator
from tests.limiter.waiting import until
from tests.sandbox import docker

pytestmark = pytest.mark.docker1

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
    user = "medaction" if operator.environment == "sandbox" else operator.environment
    text = "\n".join([f"AUTH {user} {held['redis_password']}", *commands]) + "\n"
    return [line for line in operator.on(HOST, f"redis-cli -p {port}", PrivateInput(text)).stdout.split("\n") if line]


@pytest.mark.prove
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


# --- Without Docker: redis_mode = 'instance' ------------------------------------------------------------

OWN = 'app_name = "third"\nredis_port = 6380\nredis_mode = "instance"\nredis_exporter_bind = "127.0.0.1"\n'
PACKAGES = 'app_name = "clinic"\n'
ASLEEP = "systemctl start {0}-server; systemctl is-active {0}-server; ss -Hltn 'sport = :6379'"


@pytest.fixture
def apps(tmp_path: Path) -> Iterator[tuple[Operator, Operator]]:
    """Two apps, each with the environment of its name, on one host that nothing was ever deployed to."""
    first = copied(tmp_path / "project", "inventories", "provision", "templates", "files", "tests/verify")
    clinic, third = Operator(first.checkout, "clinic"), Operator(first.checkout, "third")
    for operator, settings in ((clinic, PACKAGES), (third, OWN)):
        environment(operator, settings)
        operator.python("-m", "provision", "secrets", "--env", operator.environment)
    clinic.bare(HOST)
    yield clinic, third
    clinic.bare(HOST)


def remove(operator: Operator, *words: str) -> str:
    argv = ("-m", "provision", "remove", "--env", operator.environment, "--limit", HOST, "--role", "redis", *words)
    return operator.python(*argv).stdout


def begun(operator: Operator, unit: str) -> str:
    """Which start of a unit it is that runs."""
    return operator.read(HOST, f"systemctl is-active -q {unit} && systemctl show -P InvocationID {unit}")


def rebooted(operator: Operator) -> None:
    docker.run("restart", f"medaction-sandbox-{HOST}")
    Operator().python("-m", "tests.sandbox", "up", HOST)
    operator.read(HOST, "systemctl is-system-running --wait || true")


def assert_refused(operator: Operator, settings: str, said: str) -> None:
    environment(operator, settings)
    done = operator.plan()
    assert done.returncode == 1 and said in " ".join(done.stdout.split()), done.stdout


def test_a_service_of_its_own_beside_another_apps_redis_of_the_package(apps: tuple[Operator, Operator]) -> None:
    clinic, third = apps
    third.deploy()
    assert third.on(HOST, ASLEEP.format("redis")).stdout == "inactive\n"
    assert asked(third, 6380, "SET third:kept 8") == ["OK", "OK"]
    second = begun(third, "third-redis")
    clinic.deploy()
    theirs = "sha256sum /etc/redis/*; systemctl cat redis-server; stat -c '%n %U %a' /etc/redis /var/lib/redis"
    first, held = begun(clinic, "redis-server"), clinic.read(HOST, theirs)
    assert asked(clinic, 6379, "SET clinic:kept 7") == ["OK", "OK"]
    assert clinic.plan().returncode == 0 and third.plan().returncode == 0 and begun(third, "third-redis") == second
    assert asked(third, 6380, "GET third:kept", "GET clinic:kept")[1:] == ["8", "NOPERM No permissions to access a key"]
    assert asked(clinic, 6380)[0].startswith("WRONGPASS") and asked(third, 6379)[0].startswith("WRONGPASS")
    for user in ("redis", "third-exporter", "nobody"):
        read = third.on(HOST, f"runuser -u {user} -- cat /etc/third-redis/users.acl /var/lib/third-redis/*/*")
        assert read.stdout == "" and read.stderr.count("Permission denied") == 4, read.stderr

    assert_refused(third, OWN.replace("6380", "6379"), "6379 is where the Redis of the package serves the app clinic")
    fourth = Operator(third.checkout, "fourth")
    (third.checkout / ".secrets/fourth.env").write_text((third.checkout / ".secrets/third.env").read_text())
    (third.checkout / ".secrets/fourth.env").chmod(0o600)
    assert_refused(fourth, OWN.replace("third", "fourth"), "third-redis.service), which serves the app third: choose")
    assert_refused(fourth, 'app_name = "fourth"\n', "Set redis_mode = 'instance' (or 'compose', where Docker is)")
    environment(third, OWN)

    # A crash of one is none of the other's, and it comes back by itself with what it counted a second before.
    third.read(HOST, "sleep 1.1; systemctl kill -s KILL third-redis")
    until(lambda: asked(third, 6380, "GET third:kept") == ["OK", "8"], "a Redis that was killed is back")
    assert begun(third, "third-redis") != second and begun(clinic, "redis-server") == first

    assert "/var/lib/third-redis: stays, it is data" in remove(third)
    assert begun(clinic, "redis-server") == first and clinic.read(HOST, theirs) == held
    assert asked(clinic, 6379, "GET clinic:kept") == ["OK", "7"] and clinic.plan().returncode == 0
    remove(third, "--data", "delete", "--host", HOST)
    left = third.read(
        HOST,
        "ls -d /etc/third* /etc/systemd/system/third* /var/lib/third-redis 2>/dev/null; getent passwd"
        " third-redis; ss -Hltn 'sport = :6380'; systemctl list-units --all --no-legend 'third*' || true",
    )
    assert left == ""


@pytest.mark.prove
@pytest.mark.parametrize("package", ["redis", "valkey"])
def test_a_service_of_its_own_is_alone_until_an_app_takes_the_packages(
    apps: tuple[Operator, Operator], package: str
) -> None:
    clinic, third = apps
    wanted = f'redis_package = "{package}"\n'
    environment(third, OWN + wanted)
    third.deploy()
    asleep = ASLEEP.format(package)
    assert third.on(HOST, asleep).stdout == "inactive\n"
    assert asked(third, 6380, "SET third:kept 8") == ["OK", "OK"]
    rebooted(third)
    assert asked(third, 6380, "GET third:kept") == ["OK", "8"] and third.on(HOST, asleep).stdout == "inactive\n"
    assert third.plan().returncode == 0 and third.status()[HOST]["redis"] == "up"

    # What settings change holds without a start; what the unit says of the service, from one that a deploy makes.
    now = begun(third, "third-redis")
    environment(third, OWN + wanted + "redis_max_memory_mb = 300\n")
    third.deploy()
    bound = int(third.read(HOST, "systemctl show -P MemoryMax third-redis"))
    assert begun(third, "third-redis") == now and bound == (2 * (300 + 8) + 128) << 20
    third.read(HOST, "echo '#' >>/etc/systemd/system/third-redis.service; systemctl daemon-reload")
    third.read(HOST, "systemctl stop third-redis; chmod 644 /etc/third-redis/users.acl")
    assert third.plan().returncode == 2
    third.deploy()
    assert asked(third, 6380, "GET third:kept") == ["OK", "8"] and third.plan().returncode == 0
    third.read(HOST, "touch /etc/systemd/system/third-redis.service; systemctl daemon-reload")
    now, planned = begun(third, "third-redis"), third.plan()
    assert planned.returncode == 2 and "it begins anew, with all its counters" in planned.stdout
    third.deploy()
    assert begun(third, "third-redis") != now and asked(third, 6380, "GET third:kept") == ["OK", "8"]

    third.read(HOST, "systemctl stop third-redis; printf '\\0\\0\\0' >>/var/lib/third-redis/*/*.incr.aof")
    assert "its append-only file is damaged" in third.plan().stdout
    third.deploy()
    assert asked(third, 6380, "GET third:kept") == ["OK", "8"]

    # The package's own service wakes for an app of mode 'package', and sleeps again without it.
    environment(clinic, PACKAGES + wanted)
    clinic.deploy()
    assert asked(clinic, 6379, "SET clinic:kept 7") == ["OK", "OK"] and third.plan().returncode == 0
    now, said = begun(third, "third-redis"), remove(clinic)
    assert (
        f"{package}-server.service: stops, and starts no more" in said and f"/var/lib/{package}: stays, it is" in said
    )
    rebooted(third)
    assert third.on(HOST, f"{asleep}; ls /etc/{package}").stdout == "inactive\n"
    assert asked(third, 6380, "GET third:kept") == ["OK", "8"] and third.plan().returncode == 0


@pytest.mark.prove
def test_an_app_that_moves_to_a_service_of_its_own_says_so_and_moves_back(apps: tuple[Operator, Operator]) -> None:
    clinic, third = apps
    clinic.deploy()
    assert asked(clinic, 6379, "SET clinic:kept 7") == ["OK", "OK"]
    own = PACKAGES + 'redis_mode = "instance"\n'
    assert_refused(clinic, own, "Redis of mode 'package' runs there with 1 key(s): the limits would count anew")
    environment(clinic, own + "redis_take_over = True\n")
    clinic.deploy()
    environment(clinic, own)
    assert clinic.plan().returncode == 0 and asked(clinic, 6379, "EXISTS clinic:kept", "SET clinic:new 1")[2:] == ["OK"]
    assert clinic.on(HOST, "systemctl is-active redis-server; systemctl is-enabled redis-server").stdout == (
        "inactive\ndisabled\n"
    )
    assert_refused(clinic, PACKAGES, "Redis of mode 'instance' runs there with 1 key(s)")
    environment(clinic, PACKAGES + "redis_take_over = True\n")
    clinic.deploy()
    environment(clinic, PACKAGES)
    assert clinic.plan().returncode == 0 and asked(clinic, 6379, "GET clinic:kept") == ["OK", "7"]
    assert clinic.on(HOST, "systemctl is-active clinic-redis").stdout == "inactive\n"
    # Another's beside it leaves the package, which was there, as it is.
    first = begun(clinic, "redis-server")
    third.deploy()
    assert begun(clinic, "redis-server") == first and clinic.plan().returncode == 0 and third.plan().returncode == 0
    assert third.read(HOST, "ls /etc/systemd/system/redis-server.service.d") == "clinic.conf\n"
    # Its counters of then are data still, where mode 'package' keeps what is worth nothing without it.
    assert "/var/lib/clinic-redis: stays, it is data" in remove(clinic)
    clinic.read(HOST, "ls /var/lib/clinic-redis/appendonlydir/*.incr.aof")
