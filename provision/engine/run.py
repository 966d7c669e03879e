"""One pyinfra run in this process, and what came of it.

pyinfra's own exit code is 0 for an inventory that does not exist, a limit that matches nothing and an
interrupt. Those are settled before (`provision.engine.environments`, `.inventory`) and here.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import click
import pyinfra as pyinfra_package
import pyinfra_cli.cli as pyinfras
from pyinfra.api import Config, Host, Inventory, State
from pyinfra.api.connect import connect_all, disconnect_all
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.state import StateStage
from pyinfra.context import ctx_config, ctx_state
from pyinfra_cli.cli import cli
from pyinfra_cli.log import LogHandler

from provision.engine import changes, interrupt, kept, reach, speed
from provision.engine.environments import InventoryError
from provision.engine.inventory import Environment
from provision.settings.project import PROJECT

# Those of the run that this process is at; pyinfra tells its deploys nothing of them.
_options: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Step:
    """One operation on one host: whether it changes something (in words, where ours), whether it failed."""

    host: str
    name: str
    changes: bool
    failed: bool
    differences: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """How a run ended: an exit code as of a shell, the steps in order, the hosts that were given up, what only a person
    can change, and whether it came to its first step."""

    exit_code: int
    steps: tuple[Step, ...]
    failed_hosts: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    began: bool = False


def pyinfra(environment: Environment, *options: str, script: str = "deploy.py") -> Outcome:
    """Run deploy.py on an environment, as `pyinfra INVENTORY deploy.py OPTIONS` does. It prints as it goes.

    Raise KeyboardInterrupt where a person interrupts it, whichever way pyinfra tells that.
    """
    global _options
    handlers = list(logging.getLogger("pyinfra").handlers)
    speed.look_up_no_source()
    interrupt.in_main_greenlet()
    reach.watched()
    pyinfra_package.is_cli, _options = True, options
    arguments = [str(environment.path), script, "--chdir", str(PROJECT), *options]
    try:
        with _as_read(environment):
            cli.main(arguments, standalone_mode=False)
        code = 0
    except click.ClickException as error:
        error.show()
        code = 1
    except click.exceptions.Abort:
        raise KeyboardInterrupt from None
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        kept.end_all()
        # Each run adds its own: the lines of a second one in this process would be printed twice.
        logging.getLogger("pyinfra").handlers[:] = handlers
    return _outcome(code)


def is_dry() -> bool:
    """Whether the present run only looks: one of `pyinfra` above, or of pyinfra's own command."""
    return "--dry" in (sys.argv if _options is None else _options)


@contextlib.contextmanager
def _as_read(environment: Environment) -> Iterator[None]:
    """Have pyinfra's command take the inventory as it was read, where it would execute the files again."""
    make_inventory = pyinfras.make_inventory
    pyinfras.make_inventory = lambda *_, **__: _limited(environment)
    try:
        yield
    finally:
        pyinfras.make_inventory = make_inventory


@contextlib.contextmanager
def connected(environment: Environment, names: Collection[str]) -> Iterator[list[Host]]:
    """These hosts of an environment, connected to side by side; one that was not reached says so by `.connected`."""
    reach.watched()
    interrupt.in_main_greenlet()
    state, config, inventory = State(), Config(), _limited(environment)
    with ctx_state.use(state), ctx_config.use(config), _told():
        hosts = [inventory.get_host(name) for name in names]
        state.init(inventory, config, initial_limit=hosts)
        # Files of keys stand in an inventory as the project sees them, and whoever calls may be elsewhere.
        with contextlib.chdir(PROJECT), contextlib.suppress(PyinfraError):  # no host at all was reached
            connect_all(state)
        try:
            yield hosts
        finally:
            kept.end_all()
            disconnect_all(state)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """What pyinfra says of hosts goes to standard error as its own command has it: in colours to a terminal alone."""
    handler = LogHandler(logging.WARNING)
    logger = logging.getLogger("pyinfra")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _limited(environment: Environment) -> Inventory:
    """The inventory for one run, whose hosts have the limits of their settings."""
    inventory = environment.fresh()
    with contextlib.suppress(InventoryError):  # the preflight tells it, of all hosts
        for member in environment.members:
            reach.limit(inventory.get_host(member.name), member.settings)
    return inventory


def unreached(environment: Environment, names: Collection[str]) -> list[str]:
    """Which of these hosts of an environment cannot be connected to; the connections are closed again."""
    with connected(environment, names) as hosts:
        return [host.name for host in hosts if not host.connected]


def _outcome(code: int) -> Outcome:
    if not ctx_state.isset() or not ctx_state.get().initialised:
        return Outcome(code or 1, (), ())
    state = ctx_state.get()
    steps = []
    for host in state.inventory:
        for operation in sorted(state.ops[host], key=lambda each: state.op_meta[each].op_order):
            meta = state.ops[host][operation].operation_meta
            done = meta.is_complete()
            steps.append(
                Step(
                    host=host.name,
                    name=", ".join(sorted(state.op_meta[operation].names)),
                    # Of a dry run nothing else says whether an operation would change something.
                    changes=meta.did_change() if done else bool(meta._maybe_is_change),
                    failed=done and meta.did_error(),
                    differences=tuple(changes.noted(host.name, operation)),
                )
            )
    failed = tuple(sorted(host.name for host in state.failed_hosts))
    began = state.current_stage >= StateStage.Execute
    return Outcome(code or (1 if failed else 0), tuple(steps), failed, tuple(changes.warned()), began)
