"""The shared Redis: closed to strangers, durable, and refusing rather than forgetting."""

from __future__ import annotations

import ipaddress

from tests.verify.target import Target


def test_runs_now_and_after_a_boot(redis_host: Target) -> None:
    in_container = redis_host.settings.redis_mode == "compose"
    service = redis_host.host.service("docker" if in_container else "redis-server")
    assert service.is_running and service.is_enabled
    if in_container:
        asked = "{{.State.Status}} {{.HostConfig.RestartPolicy.Name}} {{.State.Health.Status}}"
        said = redis_host.text(f"docker inspect -f '{asked}' {redis_host.settings.redis_container}").split()
        assert said in (["running", "unless-stopped", "healthy"], ["running", "unless-stopped", "starting"])


def test_refuses_who_has_no_password(redis_host: Target) -> None:
    assert "NOAUTH" in redis_host.redis("PING")


def test_refuses_a_wrong_password(redis_host: Target) -> None:
    settings = redis_host.settings
    assert "WRONGPASS" in redis_host.redis("PING", user=settings.redis_user, password="not the password")


def test_default_user_is_off(redis_host: Target) -> None:
    users = redis_host.redis_as_operator("ACL LIST").splitlines()
    assert [line.split()[2] for line in users if line.startswith("user default ")] == ["off"]


def test_listens_where_it_should_and_nowhere_else(redis_host: Target) -> None:
    lines = redis_host.text(f"ss -Hltn 'sport = :{redis_host.settings.redis_port}'").splitlines()
    listening = {ipaddress.ip_address(line.split()[3].rsplit(":", 1)[0].strip("[]")) for line in lines}
    asked = redis_host.settings.redis_listens_on
    required = {ipaddress.ip_address(address) for address in asked if not address.startswith("-")}
    allowed = {ipaddress.ip_address(address.removeprefix("-")) for address in asked}
    assert required <= listening <= allowed


def test_keeps_its_counters_over_a_crash(redis_host: Target) -> None:
    persistence = dict(
        line.split(":", 1) for line in redis_host.redis_as_operator("INFO persistence").split() if ":" in line
    )
    assert (persistence["aof_enabled"], persistence["aof_last_write_status"]) == ("1", "ok")
    assert redis_host.redis_as_operator("CONFIG GET appendfsync").split()[-1] == "everysec"


def test_refuses_writes_at_its_memory_limit_and_never_evicts(redis_host: Target) -> None:
    answers = redis_host.redis_as_operator("CONFIG GET maxmemory-policy", "CONFIG GET maxmemory").split()
    assert answers == [
        "OK",
        "maxmemory-policy",
        "noeviction",
        "maxmemory",
        str(redis_host.settings.redis_max_memory_mb << 20),
    ]


def test_its_users_file_is_private(redis_host: Target) -> None:
    assert redis_host.run(f"runuser -u nobody -- cat {redis_host.settings.redis_acl_file}").returncode != 0
