"""The shared Redis: closed to strangers, durable, and refusing rather than forgetting."""

from __future__ import annotations

import ipaddress
import shlex
import socket

import pytest

from provision.settings import Settings
from provision.settings.render import plain
from tests.verify.target import Target


def test_runs_now_and_after_a_boot(redis_host: Target) -> None:
    in_container = redis_host.settings.redis_mode == "compose"
    service = redis_host.host.service("docker" if in_container else redis_host.settings.redis_service)
    redis_host.expect(service.is_running and service.is_enabled, f"{service.name} does not run, now or after a boot")
    if in_container:
        asked = "{{.State.Status}} {{.HostConfig.RestartPolicy.Name}} {{.State.Health.Status}}"
        said = redis_host.text(f"docker inspect -f '{asked}' {redis_host.settings.redis_container}").split()
        well = said in (["running", "unless-stopped", "healthy"], ["running", "unless-stopped", "starting"])
        redis_host.expect(well, f"Redis' container is {' '.join(said)}")


def test_refuses_who_has_no_password(redis_host: Target) -> None:
    redis_host.expect("NOAUTH" in redis_host.redis("PING"), "Redis answers without a password")


def test_refuses_a_wrong_password(redis_host: Target) -> None:
    settings = redis_host.settings
    answer = redis_host.redis("PING", user=settings.redis_user, password="not the password")
    redis_host.expect("WRONGPASS" in answer, "Redis lets a wrong password in")


def test_default_user_is_off(redis_host: Target) -> None:
    users = redis_host.redis_as_operator("ACL LIST").splitlines()
    states = [line.split()[2] for line in users if line.startswith("user default ")]
    redis_host.expect(states == ["off"], "Redis' user default is on: deploy again")


def test_the_app_may_run_no_script(redis_host: Target) -> None:
    """Or may yet, where version 1.0.0 of the limiters needs it: whose password can then stop Redis is told."""
    settings = redis_host.settings
    (rights,) = [
        line.split() for line in redis_host.redis_as_operator("ACL LIST").splitlines()
        if line.startswith(f"user {settings.redis_user} ")
    ]  # fmt: skip
    may = {"+eval", "+evalsha", "+@all", "+@scripting"} & set(rights)
    redis_host.expect(not may or settings.redis_allow_eval, "the app may run scripts (EVAL): deploy again")
    if may:
        redis_host.warn(
            f"the app may still run scripts (EVAL), so {settings.redis_user}'s password can stop Redis for everybody:"
            " build the app with this version's limiters; redis_allow_eval says when that right ends"
        )


def test_listens_where_it_should_and_nowhere_else(redis_host: Target) -> None:
    lines = redis_host.text(f"ss -Hltn 'sport = :{redis_host.settings.redis_port}'").splitlines()
    listening = {ipaddress.ip_address(line.split()[3].rsplit(":", 1)[0].strip("[]")) for line in lines}
    asked = redis_host.settings.redis_listens_on
    required = {ipaddress.ip_address(address) for address in asked if not address.startswith("-")}
    allowed = {ipaddress.ip_address(address.removeprefix("-")) for address in asked}
    shown = ", ".join(map(str, sorted(listening, key=str))) or "nothing"
    redis_host.expect(required <= listening <= allowed, f"Redis listens on {shown}, and should on {', '.join(asked)}")


def test_tells_prometheus_that_redis_is_up(redis_host: Target) -> None:
    settings = redis_host.settings
    if not settings.redis_exporter_bind:
        pytest.skip("nobody wants it: redis_exporter_bind is empty")
    program = shlex.quote(plain("redis/exporter-answers.sh"))
    said = redis_host.text(f"bash -c {program} ask {settings.redis_exporter_bind} {settings.redis_exporter_port}")
    redis_host.expect(
        said == "yes\n", f"redis_exporter: {said.strip()}: see journalctl -u {settings.redis_exporter_unit}"
    )


def test_keeps_its_counters_over_a_crash(redis_host: Target) -> None:
    persistence = dict(
        line.split(":", 1) for line in redis_host.redis_as_operator("INFO persistence").split() if ":" in line
    )
    written = (persistence.get("aof_enabled"), persistence.get("aof_last_write_status"))
    redis_host.expect(written == ("1", "ok"), f"Redis' append-only file: on and last write are {written}")
    often = redis_host.redis_as_operator("CONFIG GET appendfsync").split()[-1]
    redis_host.expect(often == "everysec", f"appendfsync is {often}, should be everysec: deploy again")


def test_refuses_writes_at_its_memory_limit_and_never_evicts(redis_host: Target) -> None:
    answers = redis_host.redis_as_operator("CONFIG GET maxmemory-policy", "CONFIG GET maxmemory").split()
    wanted = ["maxmemory-policy", "noeviction", "maxmemory", str(redis_host.settings.redis_max_memory_mb << 20)]
    redis_host.expect(answers[1:] == wanted, f"Redis runs with {' '.join(answers[1:])}, should be {' '.join(wanted)}")


def test_its_users_file_is_private(redis_host: Target) -> None:
    file = redis_host.settings.redis_acl_file
    redis_host.expect(redis_host.run(f"runuser -u nobody -- cat {file}").returncode != 0, f"anybody can read {file}")


def test_its_firewall_is_loaded_before_it(redis_host: Target) -> None:
    settings = redis_host.settings
    if not settings.redis_needs_firewall:
        return
    table, unit = settings.redis_firewall_table, settings.redis_firewall_unit
    rules = redis_host.run(f"nft list table inet {table}").stdout
    guarded = all(f"hook {hook}" in rules for hook in ("prerouting", "input")) and "reject" in rules
    redis_host.expect(
        guarded,
        f"Redis' firewall (nftables, table inet {table}) is not loaded, so its port is open to everybody: deploy again,"
        " once every app host can be connected to",
    )
    redis_host.expect(redis_host.host.service(unit).is_enabled, f"{unit} does not load it at a boot: deploy again")
    server = "docker" if settings.redis_mode == "compose" else settings.redis_service
    before = redis_host.text(f"systemctl show -P Before {unit}").split()
    redis_host.expect(f"{server}.service" in before, f"{unit} is not ordered before {server}: deploy again")


def test_who_is_not_let_in_does_not_reach_it(redis_host: Target, strangers: list[Target]) -> None:
    """Tried from the environment's other hosts, and from this machine where Redis' own address is reached from it."""
    settings = redis_host.settings
    table = settings.redis_firewall_table
    if not settings.redis_needs_firewall or redis_host.run(f"nft list table inet {table}").returncode != 0:
        return  # that there is none is told by the check above
    known = redis_host.run(f"sed -n 's/^# host [^ ]* //p' {settings.redis_firewall_file}").stdout.split()
    open_to = [*known, *(str(each) for each in settings.redis_allowed_networks)]
    redis_host.expect(not reached_from_here(settings, open_to), _PORT_IS_OPEN.format("this machine"))
    knock = f"timeout 5 bash -c 'exec 3<>/dev/tcp/{settings.redis_host}/{settings.redis_port}'"
    for other in strangers:
        own = other.run(f"ip -o route get $(getent ahosts {settings.redis_host} | awk '{{print $1; exit}}')").stdout
        address = own.partition(" src ")[2].partition(" ")[0]
        if not settings.redis_is_local and not is_within(address, open_to):
            got_in = other.run(f"{knock} 2>/dev/null && echo yes || echo no").stdout.strip()
            redis_host.expect(got_in != "yes", _PORT_IS_OPEN.format(f"{other.member.name} ({address})"))


_PORT_IS_OPEN = "its firewall lets {} reach Redis, which is no app host: deploy again, or see redis_allow_from"


def reached_from_here(settings: Settings, open_to: list[str]) -> bool:
    try:
        with socket.create_connection((settings.redis_host, settings.redis_port), timeout=3) as connection:
            address = connection.getsockname()[0]
            return address != connection.getpeername()[0] and not is_within(address, open_to)
    except OSError:
        return False


def is_within(address: str, networks: list[str]) -> bool:
    return bool(address) and any(ipaddress.ip_address(address) in ipaddress.ip_network(each) for each in networks)
