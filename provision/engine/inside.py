"""What an operation of ours does inside another one, outside of any fact, or beside a host's commands.

pyinfra documents none of it.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, ParamSpec

from paramiko import Transport
from pyinfra.api import Host, StringCommand
from pyinfra.api.arguments import CONNECTOR_ARGUMENT_KEYS, pop_global_arguments
from pyinfra.api.arguments_typed import PyinfraOperation
from pyinfra.connectors.local import LocalConnector
from pyinfra.connectors.ssh import SSHConnector

P = ParamSpec("P")


def commands_of(operation: PyinfraOperation[P], *args: P.args, **kwargs: P.kwargs) -> Generator[Any, None, None]:
    """The commands of an operation as a part of another.

    `_inner` is what pyinfra's own operations use for that (files.put calls files.directory._inner).
    """
    return operation._inner(*args, **kwargs)


def output_of(host: Host, command: StringCommand) -> list[str]:
    """What a command prints, run as the current operation runs its own (_sudo, ...).

    Not a fact: pyinfra prints what a fact returns (-vvv), and this may hold passwords. The operation's own arguments
    stand in `current_op_global_arguments` alone.
    """
    given: Any = host.current_op_global_arguments or {}
    arguments: Any = {key: value for key, value in given.items() if key in CONNECTOR_ARGUMENT_KEYS}
    _, output = host.run_shell_command(command, **arguments)
    return output.stdout_lines


def arguments_of(host: Host) -> dict[str, Any]:
    """How the host's inventory has a command run there (`_sudo`, ...): what facts and operations have by themselves."""
    given, _ = pop_global_arguments(host.state, host, {})
    return {key: value for key, value in given.items() if key in CONNECTOR_ARGUMENT_KEYS}


def is_this_machine(host: Host) -> bool:
    return isinstance(host.connector, LocalConnector)


def transport_of(host: Host) -> Transport | None:
    """The SSH connection that a host's commands go through; None where it is another kind, or not there yet.

    `connector.client` is paramiko's client, which pyinfra keeps for itself.
    """
    if not isinstance(host.connector, SSHConnector) or host.connector.client is None:
        return None
    return host.connector.client.get_transport()
