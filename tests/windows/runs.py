"""pyinfra runs against the stand-in, through pyinfra's own API, as its command line makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from pyinfra.api import Config, Host, Inventory, State
from pyinfra.api import inventory as module
from pyinfra.api.connect import connect_all, disconnect_all
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.operations import run_ops
from pyinfra.api.state import StateStage
from pyinfra.context import ctx_config, ctx_host, ctx_inventory, ctx_state

from provision.engine import changes
from provision.winssh.connector import WinSSHConnector


@dataclass
class Result:
    """What a run found and did on its one host."""

    changes: int = 0
    failed: bool = False
    told: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)


@contextmanager
def connected(data: dict[str, Any]) -> Iterator[Host]:
    """A connected host; raises PyinfraError with the connection's own sentence when there is none."""
    config = Config(CONNECT_TIMEOUT=10)
    inventory = _inventory(data)
    state = State(inventory, config)
    with ctx_state.use(state), ctx_inventory.use(inventory), ctx_config.use(config):
        host = inventory.get_host("win1")
        said: list[str] = []
        with mock.patch("pyinfra.api.host.logger.error", lambda text, *a: said.append(str(text))):
            try:
                connect_all(state)
            except PyinfraError as error:
                raise PyinfraError("; ".join(said) or str(error)) from None
        try:
            with ctx_host.use(host):
                yield host
        finally:
            disconnect_all(state)
            host.connector.client.close()


def deploy(data: dict[str, Any], steps: Callable[[], None], *, dry: bool = False) -> Result:
    """Run some operations as a deploy does: all prepared, then (unless dry) all executed, up to the first failure."""
    changes._found.clear()
    with connected(data) as host:
        state = host.state
        state.set_stage(StateStage.Prepare)
        try:
            steps()
        except PyinfraError as error:
            return Result(failed=True, told=[str(error), *_told()])
        pending = state.get_meta_for_host(host).ops_change
        if dry:
            return Result(changes=pending, told=_told(), warned=changes.warned())
        state.set_stage(StateStage.Execute)
        try:
            run_ops(state)
        except PyinfraError as error:
            return Result(changes=pending, failed=True, told=[*_told(), str(error)])
        results = state.get_results_for_host(host)
        return Result(pending, bool(results.error_ops), _told(), changes.warned())


def _told() -> list[str]:
    return [each for run in changes._found.values() for sentences in run.values() for each in sentences]


def _inventory(data: dict[str, Any]) -> Inventory:
    # Whether or not this environment has the project installed, and so the connector's entry point.
    names = ("get_all_connectors", "get_execution_connectors")
    table = {name: {**getattr(module, name)(), "winssh": WinSSHConnector} for name in names}
    with mock.patch.multiple(module, **{name: lambda found=found: found for name, found in table.items()}):
        return Inventory(([("@winssh/win1", data)], {}))
