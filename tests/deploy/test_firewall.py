"""Redis' firewall before the first change: who would be cut off stops the deploy, and nobody is let out unasked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
import pytest
from pyinfra.connectors.fake import FakeConnector

from provision.engine.preflight import PreflightError
from provision.redis import admission
from tests.deploy.fake import ADDRESS, Fleet, began, commands

Fleets = Callable[[str], Fleet]
REDIS, APPS = "redis1.example.com", ("app1.example.com", "app2.example.com")
REACHED = [f"route 10.0.0.5 {ADDRESS}", "said -WRONGPASS invalid username-password pair"]


@pytest.fixture(autouse=True)
def _known_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission.secrets, "token_hex", lambda _: "0123")


@pytest.fixture
def deployed(fleet: Fleets) -> Fleet:
    hosts = fleet("production")
    hosts.deploy_already()
    return hosts


def said(hosts: Fleet, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, *options: str) -> str:
    hosts.run("-y", *options)
    printed = capsys.readouterr()
    records = [record.getMessage() for record in caplog.records]
    return " ".join(" ".join([printed.out, printed.err, *records]).split())


@pytest.fixture
def refused(capsys: Any, caplog: Any) -> Callable[..., str]:
    def run(hosts: Fleet, *options: str) -> str:
        text = said(hosts, capsys, caplog, *options)
        assert not began() and "no host was changed" in text and "Traceback" not in text
        return text

    return run


def visited(hosts: Fleet, *clients: str, log: tuple[str, ...] = ()) -> None:
    """Let Redis say that these are connected, and that the hosts' knock came from these addresses."""
    entries = [
        line
        for address in log
        for line in (
            "reason",
            "auth",
            "username",
            "deploy-0123",
            "age-seconds",
            "0.1",
            "client-info",
            f"id=9 addr={address}:5",
        )
    ]
    hosts.answers[REDIS] = {"echo deploy-": ["deploy-0123", "OK", *clients, "--8<--", *entries], **hosts.answers[REDIS]}
    hosts.answers[REDIS]["echo deploy-"] = ["deploy-0123", "OK", *clients, "--8<--", *entries]


def firewall_is(hosts: Fleet, *lines: str) -> None:
    hosts.answers[REDIS] = {"redis/look-at-firewall.sh": list(lines), **{
        key: value for key, value in hosts.answers[REDIS].items() if key != "redis/look-at-firewall.sh"
    }}  # fmt: skip


def test_a_stranger_who_is_connected_stops_it_with_the_setting(deployed: Fleet, refused: Any):
    visited(deployed, "id=3 addr=10.0.0.99:4000 name= user=medaction", f"id=4 addr={ADDRESS}:4001 user=medaction")
    text = refused(deployed)
    assert "@fake/redis1.example.com: connected to Redis, and no host that its firewall would let in" in text
    assert '10.0.0.99 (as medaction). To let them in, set redis_allow_from = ["app", "10.0.0.99"]' in text
    assert '"!10.0.0.99"' in text and f"{ADDRESS} (" not in text


def test_a_connection_that_is_refused_already_holds_nobody_up(deployed: Fleet, capsys: Any, caplog: Any):
    visited(deployed, "id=3 addr=10.0.0.99:4000 user=default")
    firewall_is(deployed, "up", f"allowed {ADDRESS}")
    said(deployed, capsys, caplog, "--dry")
    assert "no host was changed" not in caplog.text


@pytest.mark.parametrize("answer", [["app", "10.0.0.99"], ["app", "!10.0.0.99"], ["app", "10.0.0.0/24"]])
def test_either_answer_of_the_setting_lets_it_go_on(answer: list[str], deployed: Fleet, capsys: Any, caplog: Any):
    visited(deployed, "id=3 addr=10.0.0.99:4000 user=medaction")
    deployed.data[REDIS]["redis_allow_from"] = answer
    said(deployed, capsys, caplog, "--dry")
    assert "no host was changed" not in caplog.text


def test_a_socket_that_redis_does_not_tell_of_counts_too(deployed: Fleet, refused: Any):
    firewall_is(deployed, f"peer {ADDRESS}", "peer ::ffff:10.0.0.98")
    assert 'redis_allow_from = ["app", "10.0.0.98"]' in refused(deployed)


def test_an_app_host_behind_nat_is_let_in_as_redis_sees_it(deployed: Fleet):
    for app in APPS:
        deployed.answers[app]["redis/knock.sh"] = REACHED
    visited(deployed, log=("192.0.2.7",))
    deployed.run("-y")
    written = "\n".join(commands())
    assert began() and "firewall.nft" in written


def test_app_hosts_that_get_no_answer_are_waited_for_side_by_side(
    deployed: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: Any, caplog: Any
):
    """Each takes up to five seconds: of a hundred app hosts that would be minutes."""
    run, at_work, most = FakeConnector.run_shell_command, 0, 0

    def counted(self: FakeConnector, command: Any, *flags: bool, **arguments: Any) -> Any:
        nonlocal at_work, most
        is_knock = "deploy-afterwards" in str(command)
        at_work += is_knock
        most = max(most, at_work)
        gevent.sleep(0.05 if is_knock else 0)
        at_work -= is_knock
        return run(self, command, *flags, **arguments)

    monkeypatch.setattr(FakeConnector, "run_shell_command", counted)
    text = said(deployed, capsys, caplog, "-y")
    assert most == len(APPS)
    for app in APPS:
        assert f"@fake/{app} does not reach Redis at 10.0.0.5:6379; no firewall of ours did that" in text


def test_an_app_host_that_is_lost_as_it_knocks_is_told_without_a_traceback(
    deployed: Fleet, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: Any
):
    run = FakeConnector.run_shell_command

    def lost(self: FakeConnector, command: Any, *flags: bool, **arguments: Any) -> Any:
        if "deploy-0123" in str(command) and "app1" in self.host.name:
            raise PreflightError("app1: is gone")
        return run(self, command, *flags, **arguments)

    monkeypatch.setattr(FakeConnector, "run_shell_command", lost)
    deployed.run("-y")
    told = "".join(capfd.readouterr())
    assert "app1: is gone" in told + caplog.text
    assert "Traceback" not in told and "Greenlet" not in told, told


def test_an_app_host_whose_redis_host_leads_elsewhere_stops_it(deployed: Fleet, refused: Any):
    deployed.answers[REDIS] = {"redis/existing.sh 6379": ["address 10.0.0.5", "conf ours"], **deployed.answers[REDIS]}
    deployed.answers[REDIS]["redis/existing.sh 6379 medaction-redis"] = ["address 10.0.0.5", "conf ours"]
    deployed.answers[APPS[0]]["redis/knock.sh"] = ["route 10.9.9.9 10.0.0.11"]
    deployed.answers[APPS[1]]["redis/knock.sh"] = []
    text = refused(deployed)
    assert (
        "@fake/app1.example.com: its redis_host (10.0.0.5) leads to 10.9.9.9, which no host of the role redis" in text
    )
    assert "@fake/app2.example.com: its redis_host (10.0.0.5) leads to no address" in text


def test_an_app_host_that_a_list_of_ones_own_lacks_stops_it(deployed: Fleet, refused: Any):
    for app in APPS:
        deployed.answers[app]["redis/knock.sh"] = REACHED
    visited(deployed, log=("10.0.0.31",))
    deployed.data[REDIS]["redis_allow_from"] = ["10.0.0.40"]
    assert 'sees as 10.0.0.31: set redis_allow_from = ["10.0.0.40", "10.0.0.31"]' in refused(deployed)


@pytest.fixture
def refusing(deployed: Fleet) -> Fleet:
    """Redis listens, its firewall has refused somebody, and no knock can be read there."""
    answers = deployed.answers[REDIS]
    listening = ["address 10.0.0.5", "conf ours", "listener\tredis-server\t7\tredis\tredis-server.service"]
    deployed.answers[REDIS] = {"redis/existing.sh 6379 medaction-redis": listening, **{
        key: value for key, value in answers.items() if "existing.sh" not in key
    }}  # fmt: skip
    firewall_is(deployed, "up", *(f"host @fake/{app} {ADDRESS}" for app in APPS), "refused 192.0.2.7")
    return deployed


def test_an_app_host_whose_knock_redis_has_answered_gets_in_though_the_operator_may_not_read_it(refusing: Fleet):
    """As while the operator's password changes: what Redis has is not yet what the deploy brings."""
    for app in APPS:
        route = refusing.answers[app]["redis/knock.sh"]
        refusing.answers[app]["redis/knock.sh"] = [*route, "said -WRONGPASS invalid username-password pair"]
    assert refusing.run("-y").exit_code == 0 and began()


def test_an_app_host_that_the_firewall_refuses_already_stops_it(refusing: Fleet, refused: Any):
    text = refused(refusing)
    assert f"lets in {ADDRESS}, its own address, and has refused 192.0.2.7 just now, as it would behind NAT" in text
    assert 'redis_allow_from = ["app", "192.0.2.7"]' in text


def test_a_host_that_the_run_leaves_alone_stays_let_in(deployed: Fleet, capsys: Any, caplog: Any):
    text = said(deployed, capsys, caplog, "--limit", f"@fake/{REDIS}")
    assert began() and "cannot reach Redis" not in text
    assert not [each for each in commands() if "mktemp" in each and "firewall.nft" in each]


SILENT = {"ssh_hostname": "127.0.0.1", "ssh_port": 1, "ssh_connect_retries": 0}
ONLY_REDIS = ("--limit", f"@fake/{REDIS}")


def wrote_a_firewall() -> bool:
    return any("firewall.nft" in each and "mktemp" in each for each in commands())


def test_a_host_that_the_run_leaves_alone_is_asked_once(fleet: Fleets, capsys: Any, caplog: Any):
    hosts = fleet("production")
    said(hosts, capsys, caplog, *ONLY_REDIS)
    assert wrote_a_firewall() and len([each for each in commands() if "redis/knock.sh" in each]) >= 2
    hosts.deploy_already()
    said(hosts, capsys, caplog, *ONLY_REDIS)
    assert not [each for each in commands() if "redis/knock.sh" in each]


def test_a_redis_that_is_in_use_gets_no_firewall_without_the_addresses_of_all(fleet: Fleets, capsys: Any, caplog: Any):
    hosts = fleet("production")
    hosts.data[APPS[1]] = SILENT
    hosts.answers[REDIS] = {
        "redis/existing.sh 6379 medaction-redis": [
            "conf ours",
            "listener\tredis-server\t7\tredis\tredis-server.service",
        ],
        **{key: value for key, value in hosts.answers[REDIS].items() if "existing.sh" not in key},
    }
    text = said(hosts, capsys, caplog, *ONLY_REDIS)
    assert "Redis' port stays open to everybody: the addresses of app2.example.com are not known" in text
    assert began() and not wrote_a_firewall()


def test_a_new_redis_gets_one_with_the_addresses_that_are_known(fleet: Fleets, capsys: Any, caplog: Any):
    hosts = fleet("production")
    hosts.data[APPS[1]] = SILENT
    text = said(hosts, capsys, caplog, *ONLY_REDIS)
    assert "app2.example.com cannot reach Redis until a deploy that can ask" in text and wrote_a_firewall()


@pytest.mark.parametrize(("unlike", "told"), [("table", "is not loaded as it should be"), ("unit", "at a boot")])
def test_a_table_that_was_changed_or_flushed_is_told_and_mended(unlike: str, told: str, deployed: Fleet):
    deployed.answers[REDIS]["redis/firewall-loaded.sh"] = [unlike]
    (step,) = [step for step in deployed.run("--dry").steps if step.changes]
    assert step.host == f"@fake/{REDIS}" and told in " ".join(step.differences)
    deployed.run("-y")
    assert [each for each in commands() if "systemctl restart medaction-redis-firewall.service" in each]


def test_a_redis_that_listens_on_loopback_alone_needs_it_no_longer(deployed: Fleet):
    for name in deployed.hosts:
        deployed.data[name] = {**deployed.data[name], "redis_host": "127.0.0.1", "redis_bind": ["127.0.0.1"]}
    deployed.groups["app"] = [REDIS]
    deployed.answers[REDIS]["[ ! -e /etc/medaction-redis/firewall.nft"] = ["yes"]
    (step,) = [each for each in deployed.run("--dry").steps if "firewall" in each.name]
    assert step.name == "Redis | Remove the firewall that Redis needs no longer" and step.changes
