"""Which hosts an inventory asks the sandbox for, how they are reached, and their database's password."""

from pathlib import Path

import pytest

from tests.sandbox import fleet, lifecycle, paths, ssh
from tests.sandbox.errors import SandboxError
from tests.sandbox.fleet import Host
from tests.sandbox.hosts import Container
from tests.sandbox.profiles import postgresql

BARE = {"sandbox_release": "bookworm", "sandbox_address": "10.213.86.11", "sandbox_profile": "bare"}


def hosts_of(**groups: object) -> list[Host]:
    return fleet.hosts_of(groups, Path("inventory.py"))


def test_the_sandboxs_own_inventory_is_valid():
    hosts = {host.name: host for host in fleet.read(paths.DEFAULT_INVENTORY)}
    assert hosts["db1"].profile == "postgresql"
    assert {host.release for host in hosts.values()} == {"bookworm", "trixie"}


def test_the_sandbox_goes_without_win1_where_no_powershell_is_at_hand_and_says_why(monkeypatch, tmp_path):
    monkeypatch.setenv("POWERSHELL_ARCHIVES", str(tmp_path))
    assert "win1" not in {host.name for host in fleet.read(paths.DEFAULT_INVENTORY)}
    assert str(tmp_path) in fleet.without(paths.DEFAULT_INVENTORY)["win1"]
    (tmp_path / "powershell-windows-x64-7.6.9.tar.xz").touch()
    assert "win1" in {host.name for host in fleet.read(paths.DEFAULT_INVENTORY)}
    assert fleet.without(paths.DEFAULT_INVENTORY) == {}


def test_a_host_in_several_groups_is_booted_once():
    app1 = ("app1", BARE)
    assert hosts_of(app=[app1], backup=[app1]) == [Host("app1", "bookworm", "10.213.86.11", "bare")]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"sandbox_release": "sid"}, "not one of bookworm, trixie"),
        ({"sandbox_profile": "mainframe"}, "not one of bare"),
        ({"sandbox_address": "10.213.86.300"}, "10.213.86.300"),
        ({"sandbox_address": "10.213.86.1"}, "reserved"),
    ],
)
def test_a_value_that_cannot_be_booted_is_refused_by_name(change: dict[str, str], complaint: str):
    with pytest.raises(SandboxError, match=f"inventory.py: app1: .*{complaint}"):
        hosts_of(app=[("app1", BARE | change)])


def test_a_host_without_sandbox_values_is_refused():
    with pytest.raises(SandboxError, match="app1 has no sandbox_release"):
        hosts_of(app=[("app1", {})])


def test_a_host_that_contradicts_itself_is_refused():
    with pytest.raises(SandboxError, match="app1 stands in two groups"):
        hosts_of(app=[("app1", BARE)], backup=[("app1", BARE | {"sandbox_release": "trixie"})])


def test_two_hosts_cannot_share_an_address():
    with pytest.raises(SandboxError, match="share one sandbox_address"):
        hosts_of(app=[("app1", BARE), ("app2", BARE)])


def test_hosts_of_two_networks_are_refused():
    with pytest.raises(SandboxError, match="in one /24"):
        hosts_of(app=[("app1", BARE), ("app2", BARE | {"sandbox_address": "10.9.9.9"})])


def test_ssh_config_reaches_each_host_by_name_and_checks_its_key():
    config = ssh.config({"app1": "10.213.86.11", "db1": "10.213.86.31"}, Path("/srv/app/.sandbox"))
    assert "Host app1\n    HostName 10.213.86.11\n" in config
    assert "Host app1 db1\n    User root\n    IdentityFile /srv/app/.sandbox/id_ed25519\n" in config
    assert "StrictHostKeyChecking yes" in config


def test_connections_are_not_shared_where_the_path_is_too_long_for_a_socket():
    assert "ControlPath" in ssh.config({"a": "10.0.0.2"}, Path("/srv/app/.sandbox"))
    assert "ControlPath" not in ssh.config({"a": "10.0.0.2"}, Path("/" + "x" * 60))


def test_a_path_with_a_space_is_quoted_for_ssh():
    assert 'IdentityFile "/my work/id_ed25519"' in ssh.config({"a": "10.0.0.2"}, Path("/my work"))


def test_a_host_is_known_by_its_name_and_by_its_address():
    assert ssh.known_hosts({"app1": "10.0.0.2"}, {"app1": "ssh-ed25519 AAAA"}) == "app1,10.0.0.2 ssh-ed25519 AAAA\n"


def test_a_password_is_read_verbatim_to_the_end_of_its_line():
    secrets = "redis_password=x\npostgres_password= p=@ss'\\\"é \n"
    assert postgresql.value_of("postgres_password", secrets) == " p=@ss'\\\"é "


def test_a_secrets_file_without_the_password_is_named():
    with pytest.raises(SandboxError, match=r"sandbox\.env has no line postgres_password="):
        postgresql.value_of("postgres_password", "redis_password=x\n")


def test_a_quote_in_a_password_stays_inside_its_literal():
    assert postgresql.alter_role("medaction", r"a'; DROP ROLE b; --\'") == (
        "ALTER ROLE medaction PASSWORD 'a''; DROP ROLE b; --\\''';\n"
    )


def _of_another_checkout(checkout: Path, state: str) -> Container:
    return Container("medaction-sandbox-app1", state, "10.0.0.2", "image", str(checkout), "specification")


def test_running_hosts_of_another_checkout_are_refused_with_what_to_do(tmp_path):
    with pytest.raises(SandboxError, match=f"make -C {tmp_path} sandbox-down"):
        lifecycle.require_ownership([_of_another_checkout(tmp_path, "running")])


def test_hosts_that_nobody_can_be_working_with_are_taken_over(tmp_path):
    lifecycle.require_ownership(
        [_of_another_checkout(tmp_path, "exited"), _of_another_checkout(tmp_path / "gone", "running")]
    )


def test_some_of_the_hosts_can_be_meant_and_an_unknown_one_is_named(tmp_path):
    inventory = tmp_path / "inventory.py"
    inventory.write_text(f"app = [('app1', {BARE}), ('app2', {BARE | {'sandbox_address': '10.213.86.12'}})]")
    assert [host.name for host in fleet.read(inventory, ["app2"])] == ["app2"]
    with pytest.raises(SandboxError, match=r"has no host app3$"):
        fleet.read(inventory, ["app1", "app3"])


def test_a_paused_host_keeps_its_name_and_one_that_is_gone_has_none(monkeypatch):
    states = {"app1": "running", "app2": "paused", "db1": "exited"}
    there = {
        name: Container(f"medaction-sandbox-{name}", state, f"10.0.0.{number}", "", str(paths.CHECKOUT), "")
        for number, (name, state) in enumerate(states.items(), 2)
    }
    written: dict[str, str] = {}
    monkeypatch.setattr(lifecycle.hosts, "existing", lambda: there)
    monkeypatch.setattr(lifecycle.hosts, "host_key", lambda name: f"key of {name}")
    monkeypatch.setattr(lifecycle.ssh, "write_files", lambda addresses, keys: written.update(addresses))
    lifecycle._write_ssh_files()
    assert written == {"app1": "10.0.0.2", "app2": "10.0.0.3"}
