"""What a hostile review found in whole runs, each kept from coming back."""

from __future__ import annotations

from argparse import Namespace

import pytest

from provision import inventory
from provision.commands import plan


def test_plan_never_asks_whether_to_go_on_without_a_lost_host(fleet, monkeypatch, capsys):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("pyinfra asked"))
    production = fleet("production")
    production.data["app2.example.com"] = {"ssh_hostname": "127.0.0.1", "ssh_port": 1}
    production.write()
    assert plan.run(Namespace(env="production", limit="", json=False)) == 1
    said = capsys.readouterr().err
    assert "app2.example.com: cannot be reached" in said and "{" not in said


def test_a_host_in_no_role_is_a_fault_and_not_a_deploy_of_nothing(fleet):
    path = fleet("production").write()
    path.write_text(path.read_text().replace("backup =", "backups ="))
    with pytest.raises(inventory.InventoryError, match="is in no role"):
        inventory.read("production")
