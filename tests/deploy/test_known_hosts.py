"""`make known-hosts` against a server that speaks SSH: what it writes is what OpenSSH and pyinfra then believe."""

from __future__ import annotations

import subprocess
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyinfra_cli.util import PYTHON_CODES

from provision.commands import known_hosts
from provision.engine import environments, hostkeys, inventory
from provision.engine import run as runs
from tests.deploy.ssh_server import server
from tests.deploy.test_reach import make_key


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Namespace]:
    """An environment of hosts at these ports of this machine, whose keys stand in `known`."""

    def of(named: bool = True, **ports: int) -> Namespace:
        hosts = [(name, {"ssh_hostname": "127.0.0.1", "ssh_port": port}) for name, port in ports.items()]
        (tmp_path / "test.py").write_text(f"app = {hosts!r}\n")
        (tmp_path / "group_data").mkdir(exist_ok=True)
        line = f"ssh_known_hosts_file = {str(tmp_path / 'keys/known')!r}\n" if named else ""
        (tmp_path / "group_data/all.py").write_text('redis_host = "10.0.0.5"\npostgres_host = "10.0.0.8"\n' + line)
        monkeypatch.setattr(environments, "INVENTORIES", tmp_path)
        PYTHON_CODES.clear()  # pyinfra compiles a file once in a process
        return Namespace(env="test", limit="", skip="")

    return of


@pytest.fixture
def hostkey(tmp_path: Path) -> Path:
    return make_key(tmp_path / "hostkey")


@pytest.fixture
def port(hostkey: Path) -> Iterator[int]:
    with server(hostkey) as (number, _):
        yield number


def fingerprint(key: Path) -> str:
    told = subprocess.run(["ssh-keygen", "-lf", key], capture_output=True, text=True, check=True)
    return told.stdout.split()[1]


def believed(known: Path, name: str) -> str:
    """What OpenSSH reads there."""
    return subprocess.run(["ssh-keygen", "-F", name, "-f", known], capture_output=True, text=True).stdout


def test_keys_are_shown_and_pinned_for_both_names_of_a_host(
    environment: Any, port: int, hostkey: Path, tmp_path: Path, capsys: Any
) -> None:
    assert known_hosts.run(environment(app1=port)) == 0
    assert f"app1: {fingerprint(hostkey)} (ssh-ed25519), new" in capsys.readouterr().out
    known = tmp_path / "keys/known"
    key = hostkey.with_suffix(".pub").read_text().split()[1]
    assert key in believed(known, f"[127.0.0.1]:{port}") and key in believed(known, f"[app1]:{port}")
    assert hostkeys.is_pinned(known)
    assert known_hosts.run(environment(app1=port)) == 0
    assert "as before" in capsys.readouterr().out and known.read_text().count(key) == 1


def test_a_changed_key_is_told_and_replaced_and_others_stay(
    environment: Any, port: int, tmp_path: Path, capsys: Any
) -> None:
    other = make_key(tmp_path / "other").with_suffix(".pub").read_text().split()
    (tmp_path / "keys").mkdir()
    known = tmp_path / "keys/known"
    known.write_text(f"[127.0.0.1]:{port} {' '.join(other[:2])}\nelsewhere {' '.join(other[:2])}\n# a person's\n")
    assert known_hosts.run(environment(app1=port)) == 0
    assert "CHANGED" in capsys.readouterr().out
    assert other[1] not in believed(known, f"[127.0.0.1]:{port}") and other[1] in believed(known, "elsewhere")


def test_a_host_that_gives_no_key_keeps_its_old_one_and_the_others_are_pinned(
    environment: Any, port: int, hostkey: Path, tmp_path: Path, capsys: Any
) -> None:
    known = tmp_path / "keys/known"
    known_hosts.run(environment(app1=port))
    known.write_text(known.read_text() + "[127.0.0.1]:1 ssh-ed25519 AAAA\n")
    assert known_hosts.run(environment(app1=port, app2=1)) == 1
    said = capsys.readouterr()
    assert "no key from: app2" in said.err and "[127.0.0.1]:1 ssh-ed25519 AAAA" in known.read_text()
    assert hostkey.with_suffix(".pub").read_text().split()[1] in known.read_text()


def test_where_nobody_gives_a_key_nothing_is_pinned_and_an_unknown_name_is_told_what_to_add(
    environment: Any, tmp_path: Path, capsys: Any
) -> None:
    """An empty file would refuse every host from then on."""
    arguments = environment(app1=1)
    (tmp_path / "test.py").write_text('app = ["no-such-host.invalid"]\n')
    PYTHON_CODES.clear()
    assert known_hosts.run(arguments) == 1
    said = capsys.readouterr()
    assert not (tmp_path / "keys/known").exists() and "is pinned" not in said.out
    assert said.out.startswith("no-such-host.invalid: no-such-host.invalid:22 gives no key: getaddrinfo")
    assert '("no-such-host.invalid", {"ssh_hostname": "192.0.2.7"}) in the inventory' in said.out
    assert said.out.count("getaddrinfo") == 1 and "no key from: no-such-host.invalid" in said.err


def test_an_inventory_that_names_no_file_is_told_which_line_to_add(environment: Any, port: int) -> None:
    with pytest.raises(environments.InventoryError, match='ssh_known_hosts_file = "inventories/known_hosts/test"'):
        known_hosts.run(environment(named=False, app1=port))


def test_pinned_keys_hold_from_whichever_directory_a_command_is_run(
    port: int, hostkey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of keys stands in an inventory as the project sees it: relative to the project."""
    other = make_key(tmp_path / "other").with_suffix(".pub").read_text().split()
    (tmp_path / "known").write_text(f"{hostkeys.PINNED}[127.0.0.1]:{port} {' '.join(other[:2])}\n")
    data = {"ssh_hostname": "127.0.0.1", "ssh_port": port, "ssh_key": str(hostkey), "ssh_known_hosts_file": "known"}
    (tmp_path / "test.py").write_text(f"redis = [('one', {data!r})]\n")
    monkeypatch.setattr(environments, "INVENTORIES", tmp_path)
    monkeypatch.setattr(runs, "PROJECT", tmp_path)
    (elsewhere := tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(elsewhere)
    with runs.connected(inventory.Environment("test"), ["one"]) as (host,):
        assert not host.connected
    assert not list(elsewhere.iterdir()) and Path.cwd() == elsewhere
