"""Redis' port on real hosts: open to the app's hosts, closed to the rest, beside other people's rules, after a boot."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from provision.engine.private import PrivateInput
from provision.redis.running import quoted
from provision.settings import secrets
from tests.e2e.operator import Operator
from tests.e2e.test_redis_modes import ADDRESS, assert_refused, edit, settings_of, until_it_answers
from tests.limiter.waiting import until
from tests.sandbox import docker

pytestmark = pytest.mark.servers

TABLE = "nft list table inet medaction-redis"
FLUSH = "nft delete table inet medaction-redis"
FILE = "/etc/medaction-redis/firewall.nft"
# Somebody's own rules, in a table of theirs and in iptables' own.
THEIRS = """set -e
apt-get -qq -y --no-install-recommends install iptables >/dev/null
nft 'add table inet theirs; add chain inet theirs in { type filter hook input priority 0; }'
nft 'add rule inet theirs in tcp dport 9 drop'
iptables -A INPUT -p tcp --dport 9 -j DROP
iptables -t nat -A PREROUTING -p tcp --dport 16379 -j REDIRECT --to-ports 6379
"""
WITHOUT_OURS = "nft -s list ruleset | sed '/^table inet medaction-redis/,/^}/d'"


def knock(operator: Operator, host: str, to: str, port: int = 6379) -> str:
    """What comes of a connection from a host to another's port."""
    command = f"timeout 5 bash -c 'exec 3<>/dev/tcp/{ADDRESS[to]}/{port}' 2>&1 && echo open"
    said = operator.on(host, command).stdout
    return "open" if said == "open\n" else "refused" if "Connection refused" in said else said


def is_closed_to_all_but_the_app(operator: Operator, redis: str) -> bool:
    seen = {host: knock(operator, host, redis) for host in ("app1", "app2", "db1")}
    return seen == {"app1": "open", "app2": "open", "db1": "refused"}


@contextmanager
def connected(operator: Operator, host: str, to: str, login: str) -> Iterator[None]:
    """Somebody on a host who stays connected to a Redis, logged in or not."""
    operator.read(host, "umask 077; cat > /run/e2e-login", PrivateInput(f"{login}\r\n"))
    stay = f"exec 3<>/dev/tcp/{ADDRESS[to]}/6379; cat /run/e2e-login >&3; cat <&3 >/run/e2e-said"
    operator.read(host, f"rm -f /run/e2e-said; systemd-run -q --collect --unit=e2e-stranger bash -c '{stay}'")
    try:
        until(lambda: operator.on(host, "grep . /run/e2e-said").returncode == 0, f"Redis has answered {host}")
        yield
    finally:
        operator.on(host, "systemctl stop e2e-stranger; rm -f /run/e2e-login /run/e2e-said")


def app_login() -> str:
    password = secrets.read("redis_password", None, "sandbox").get_secret_value()
    return f"AUTH medaction {quoted(password)}"


@pytest.fixture
def without_firewall(deployed: Operator) -> Iterator[Operator]:
    """Redis on redis1 as before it had a firewall."""
    deployed.on("redis1", FLUSH)
    yield deployed
    # Whoever was cut off could not say that it is gone.
    deployed.redis("redis1", "CLIENT KILL TYPE normal SKIPME yes")
    Operator().deploy("redis1,app1,app2")


def test_a_host_that_is_not_in_app_is_refused_and_uses_up_no_connection(deployed: Operator) -> None:
    assert is_closed_to_all_but_the_app(deployed, "redis1")
    there = f"/dev/tcp/{ADDRESS['redis1']}"
    scan = f"for p in $(seq 6370 6390) 22; do timeout 2 bash -c 'exec 3<>{there}/'$p 2>/dev/null && echo $p; done; true"
    assert deployed.read("db1", scan).split() == ["22"]
    many = f"for i in $(seq 1100); do {{ exec {{fd}}<>{there}/6379; }} 2>/dev/null && echo held; done; true"
    assert "held" not in deployed.read("db1", f"bash -c '{many}'")
    assert "PONG" in deployed.redis("redis1", "PING") and knock(deployed, "app1", "redis1") == "open"
    assert ADDRESS["db1"] in deployed.read("redis1", "nft list set inet medaction-redis refused4")


def is_refused_here(address: str) -> bool:
    """Whether this machine, which is no app host, is refused at Redis' port."""
    try:
        socket.create_connection((address, 6379), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.docker1
def test_dockers_published_port_is_closed_too_and_after_docker_was_restarted(deployed: Operator) -> None:
    deployed.on("docker1", FLUSH)
    assert not is_refused_here(ADDRESS["docker1"])  # so it is the table that refuses
    deployed.deploy("docker1")
    for command in ("true", "systemctl restart docker", "docker restart medaction-redis"):
        deployed.read("docker1", command)
        until_it_answers(deployed, "docker1")
        assert is_refused_here(ADDRESS["docker1"]), command
    assert deployed.plan("docker1").returncode == 0


@pytest.mark.docker1
def test_a_container_beside_redis_is_told_before_it_is_cut_off(deployed: Operator) -> None:
    """It comes by the published port, from an address that Redis itself never sees."""
    deployed.read("docker1", f"{FLUSH}; docker network create theirs")
    try:
        ask = f"exec 3<>/dev/tcp/{ADDRESS['docker1']}/6379; cat <&3"
        run = "docker run -d --rm --name theirs --network theirs --entrypoint bash redis:7.2-alpine -c"
        deployed.read("docker1", f"{run} '{ask}'")
        address = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        inside = deployed.read("docker1", f"docker inspect -f '{address}' theirs").strip()
        peers = "ss -Htn state established 'sport = :6379'"
        until(lambda: inside in deployed.on("docker1", peers).stdout, "it connects")
        assert_refused(deployed.command("deploy", "docker1"), f'redis_allow_from = ["app", "{inside}"]')
    finally:
        deployed.on("docker1", "docker rm -f theirs; docker network rm theirs")
        Operator().deploy("docker1")


def test_other_peoples_rules_stay_and_their_reload_leaves_ours(deployed: Operator) -> None:
    deployed.read("redis1", THEIRS)
    try:
        before = deployed.read("redis1", WITHOUT_OURS)
        assert "theirs" in before and "dport 16379" in before
        deployed.on("redis1", FLUSH)
        planned = deployed.plan("redis1")
        assert planned.returncode == 2 and "table inet medaction-redis) is not loaded" in planned.stdout
        deployed.deploy("redis1")
        assert deployed.read("redis1", WITHOUT_OURS) == before
        # A redirection of theirs is no way around it.
        assert (
            knock(deployed, "db1", "redis1", 16379) == "refused" and knock(deployed, "app1", "redis1", 16379) == "open"
        )
        for command in ("start", "reload", "restart", "stop nftables; systemctl start"):
            deployed.read("redis1", f"systemctl {command} nftables")
            assert "theirs" not in deployed.read("redis1", "nft list tables")  # Debian's file begins with a flush
            until(lambda: is_closed_to_all_but_the_app(deployed, "redis1"), f"it is there after {command}", seconds=10)
        assert deployed.plan("redis1").returncode == 0
    finally:
        deployed.on("redis1", "systemctl disable --now nftables; systemctl restart medaction-redis-firewall")


NOT_LOADED, NOT_AT_A_BOOT = "is not loaded as it should be", "is not what brings it up at a boot"


def test_what_was_changed_by_hand_is_told_and_mended(deployed: Operator) -> None:
    for by_hand, told in (
        ("nft flush chain inet medaction-redis guarded", NOT_LOADED),
        (f"nft add element inet medaction-redis allowed4 '{{ {ADDRESS['db1']} }}'", NOT_LOADED),
        ("nft insert rule inet medaction-redis entering accept", NOT_LOADED),
        ("systemctl disable -q medaction-redis-firewall", NOT_AT_A_BOOT),
        (f"echo '# by hand' >> {FILE}", f"{FILE}: its content differs"),
    ):
        deployed.read("redis1", f"systemctl restart medaction-redis-firewall; {by_hand}")
        planned = deployed.plan("redis1")
        assert planned.returncode == 2 and told in " ".join(planned.stdout.split()), planned.stdout
    deployed.deploy("redis1")
    assert deployed.plan("redis1").returncode == 0 and is_closed_to_all_but_the_app(deployed, "redis1")


def test_it_is_up_before_redis_at_a_boot(deployed: Operator) -> None:
    docker.run("restart", "medaction-sandbox-redis1")
    deployed.python("-m", "tests.sandbox", "up")
    until_it_answers(deployed, "redis1")
    when = "systemctl show --value -p {} {}"
    firewall_loaded, redis = (
        int(deployed.read("redis1", when.format(*asked)))
        for asked in (
            ("ActiveEnterTimestampMonotonic", "medaction-redis-firewall"),
            ("ExecMainStartTimestampMonotonic", "redis-server"),
        )
    )
    assert 0 < firewall_loaded < redis and is_closed_to_all_but_the_app(deployed, "redis1")
    assert (
        float(
            deployed.read(
                "redis1", "systemd-analyze security medaction-redis-firewall | sed -n 's/.*: \\([0-9.]*\\) .*/\\1/p'"
            )
        )
        <= 2.0
    )


@pytest.mark.parametrize("logged_in", [True, False])
def test_a_stranger_who_is_connected_stops_the_deploy(logged_in: bool, without_firewall: Operator) -> None:
    with connected(without_firewall, "db1", "redis1", app_login() if logged_in else "PING"):
        who = f"{ADDRESS['db1']} ({'as medaction' if logged_in else 'not logged in'})"
        line = f'set redis_allow_from = ["app", "{ADDRESS["db1"]}"]'
        assert_refused(without_firewall.command("deploy", "redis1,app1,app2"), who, line)
        assert without_firewall.on("redis1", TABLE).returncode != 0


@pytest.mark.prove
def test_either_answer_about_a_stranger_lets_the_deploy_go_on(
    without_firewall: Operator, project_copy: Operator
) -> None:
    settings_of(project_copy, f'redis_allow_from = ["app", "{ADDRESS["db1"]}"]')
    with connected(without_firewall, "db1", "redis1", app_login()):
        project_copy.deploy("redis1,app1,app2")
        assert knock(without_firewall, "db1", "redis1") == "open"
    edit(project_copy, "group_data/sandbox.py", f'"{ADDRESS["db1"]}"]', f'"!{ADDRESS["db1"]}"]')
    with connected(without_firewall, "db1", "redis1", "PING"):
        project_copy.deploy("redis1,app1,app2")
        assert is_closed_to_all_but_the_app(without_firewall, "redis1")


@pytest.fixture
def behind_nat(deployed: Operator) -> Iterator[str]:
    """The address that others see of app1, which is not its own."""
    address = "10.213.86.99"
    chain = "add table ip way; add chain ip way out { type nat hook postrouting priority 100; };"
    rule = f"nft '{chain} add rule ip way out ip daddr {ADDRESS['redis1']} tcp dport 6379 snat to {address}'"
    deployed.read("app1", f"ip addr add {address}/32 dev eth0; {rule}")
    yield address
    deployed.on("app1", f"nft delete table ip way; ip addr del {address}/32 dev eth0")
    Operator().deploy("redis1,app1,app2")


def test_an_app_host_behind_nat_is_let_in_as_redis_sees_it(without_firewall: Operator, behind_nat: str) -> None:
    without_firewall.deploy("redis1,app1,app2")
    assert f"# host app1 {behind_nat}\n" in without_firewall.read("redis1", f"cat {FILE}")
    assert is_closed_to_all_but_the_app(without_firewall, "redis1")


def test_an_app_host_that_nat_has_cut_off_is_named_with_the_setting(deployed: Operator, behind_nat: str) -> None:
    assert knock(deployed, "app1", "redis1") == "refused"
    done = deployed.command("deploy", "redis1,app1")
    # A verification may have knocked in the last minute too, from hosts that are to be refused.
    assert_refused(done, "as it would behind NAT", 'set redis_allow_from = ["app", "')
    refused = re.search(r"has refused ([^ ]+(?:, [^ ]+)*) just now", " ".join(done.stdout.split()))
    assert refused and behind_nat in refused[1].split(", "), done.stdout


@pytest.mark.prove
def test_a_first_deploy_looks_whether_the_app_hosts_get_in(without_firewall: Operator, behind_nat: str) -> None:
    """Redis does not run yet: the address is guessed from the route, and the guess is wrong."""
    without_firewall.read("redis1", "systemctl stop redis-server")
    done = without_firewall.command("deploy", "redis1,app1,app2")
    assert done.returncode == 1, done.stdout
    flat = " ".join(done.stdout.split())
    assert f"app1 does not reach Redis at {ADDRESS['redis1']}:6379" in flat and f"has refused {behind_nat}" in flat


def test_a_deploy_of_redis_alone_keeps_the_others_let_in(deployed: Operator) -> None:
    before = deployed.read("redis1", TABLE)
    deployed.read("redis1", f"echo >> {FILE}; {FLUSH}")
    deployed.deploy("redis1")
    assert deployed.read("redis1", TABLE).split("refused4")[0] == before.split("refused4")[0]
    assert is_closed_to_all_but_the_app(deployed, "redis1")


def test_the_list_on_the_host_names_its_file_and_its_unit(deployed: Operator) -> None:
    listed = deployed.read("redis1", "cat /var/lib/medaction-deploy/host.json")
    assert f'"{FILE}"' in listed and '"medaction-redis-firewall.service"' in listed
