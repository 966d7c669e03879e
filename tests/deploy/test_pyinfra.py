"""What the project uses of pyinfra that pyinfra does not document: an upgrade that changes it fails here."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Callable
from pathlib import Path

import pyinfra
import pytest
from pyinfra.api import util
from pyinfra.operations import files as pyinfras_files
from pyinfra_cli import cli
from pyinfra_cli.inventory import make_inventory
from pyinfra_cli.util import PYTHON_CODES

from provision.__main__ import parser
from provision.commands import verify
from provision.debian.files import placed
from provision.engine import inventory, speed
from provision.engine import run as runs
from provision.engine.inside import commands_of
from provision.engine.private import PrivateInput
from provision.settings import secrets
from tests.deploy.fake import Fleet, state

PACKAGE = Path(inspect.getfile(speed)).parents[1]


def test_no_source_is_looked_up_for_an_operations_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(util, "stack", inspect.stack)
    monkeypatch.setattr(util, "getframeinfo", inspect.getframeinfo)
    looked_up: list[object] = []
    find = inspect.findsource
    monkeypatch.setattr(inspect, "findsource", lambda frame: looked_up.append(frame) or find(frame))
    location = util.get_call_location()
    assert looked_up, "pyinfra looks up sources no more: speed.look_up_no_source can go"
    speed.look_up_no_source()
    looked_up.clear()
    assert util.get_call_location().split(":")[0] == location.split(":")[0] and not looked_up


def test_an_operation_has_its_commands_for_another() -> None:
    assert commands_of(placed, []).__name__ == "placed"
    assert callable(pyinfras_files.put._inner)


def test_a_dry_run_says_of_each_operation_whether_it_would_change_something(fleet: Callable[[str], Fleet]) -> None:
    hosts = fleet("local")
    hosts.run("--dry")
    metas = [each.operation_meta for host in state().inventory for each in state().ops[host].values()]
    assert metas and all(meta._maybe_is_change is not None and not meta.is_complete() for meta in metas)
    hosts.deploy_already()
    hosts.run("--dry")
    assert not any(each.operation_meta._maybe_is_change for host in state().inventory
                   for each in state().ops[host].values())  # fmt: skip


def test_a_run_knows_its_hosts_steps_and_their_names(fleet: Callable[[str], Fleet]) -> None:
    fleet("local").run("--dry")
    (host,) = state().inventory
    for each in state().ops[host]:
        assert isinstance(state().op_meta[each].op_order, tuple) and state().op_meta[each].names
    assert hasattr(host, "current_op_hash") and hasattr(host, "current_op_global_arguments")
    assert isinstance(state().failed_hosts, set) and isinstance(pyinfra.is_cli, bool)


def test_what_the_commands_of_pyinfra_are_called() -> None:
    assert callable(cli.cli.main) and list(inspect.signature(make_inventory).parameters)[:1] == ["inventory"]


def test_standard_input_is_taken_as_lines_and_shown_nowhere() -> None:
    shown = util.get_kwargs_str({"_stdin": PrivateInput("secret")})
    assert "secret" not in shown


UNDOCUMENTED = (
    "_inner",
    "_maybe_is_change",
    "current_op_hash",
    "current_op_global_arguments",
    "op_meta",
    "ops",
    "executing_op_hash",
)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_is_not_documented_stands_in_the_engine_alone(path: Path) -> None:
    if path.parent.name in ("engine", "winssh"):
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert used.isdisjoint(UNDOCUMENTED) and not any(name.startswith("pyinfra_cli") for name in imported)


@pytest.mark.parametrize("command", ["plan", "status", "deploy", "render", "secrets"])
def test_a_command_executes_each_file_of_an_environment_once(
    fleet: Callable[[str], Fleet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    hosts = fleet("local")
    hosts.deploy_already()
    executed = tmp_path / "executed"
    files = [hosts.write(), tmp_path / "group_data/all.py"]
    for file in files:
        with file.open("a") as more:
            more.write(f"\nwith open({str(executed)!r}, 'a') as _file:\n    _file.write({file.name!r} + ' ')\n")
        PYTHON_CODES.pop(str(file), None)
    monkeypatch.setattr(verify, "verdicts", lambda *_: verify.Verdicts(0))  # a process of its own, which reads once
    monkeypatch.setattr(secrets, "generate_missing", lambda *_: [])
    options = ["--out", str(tmp_path / "out")] if command == "render" else []
    arguments = parser().parse_args([command, "--env", "local", *options])
    importlib.import_module(f"provision.commands.{command}").run(arguments)
    assert sorted(executed.read_text().split()) == sorted(file.name for file in files)


def test_an_environment_serves_one_run_after_the_other(fleet: Callable[[str], Fleet]) -> None:
    hosts = fleet("local")
    hosts.write()
    environment = inventory.Environment("local")
    first, second = (runs.pyinfra(environment, "--dry") for _ in range(2))
    assert first.steps == second.steps and first.steps
    assert second.exit_code == 0
