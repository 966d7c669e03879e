"""What an operation of ours does inside another one, or outside of any fact. pyinfra documents neither."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, ParamSpec

from pyinfra.api import Host, StringCommand
from pyinfra.api.arguments import CONNECTOR_ARGUMENT_KEYS
from pyinfra.api.arguments_typed import PyinfraOperation

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
