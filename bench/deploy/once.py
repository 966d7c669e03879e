"""`python -m bench.deploy.once [OUT]`: deploy the bench's hosts as `make deploy` does, without verifying.

The last line of its output is the number of changes. With OUT, everything sent to the hosts is written there:
per host, each command as it goes over the wire and what it gets on its standard input. That may be a
password: OUT is made 0600.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from typing import Any

from pyinfra.connectors.ssh import SSHConnector
from pyinfra.connectors.util import make_unix_command_for_host

from bench.deploy import ENVIRONMENT
from provision.engine import inventory, run, speed


def main() -> int:
    sent = listen() if sys.argv[1:] else None
    outcome = run.pyinfra(inventory.Environment(ENVIRONMENT), "-y")
    if sent is not None:
        with os.fdopen(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(sent, file)
    print(sum(step.changes for step in outcome.steps))
    return outcome.exit_code


def listen() -> dict[str, list[dict[str, str]]]:
    """Have pyinfra's SSH connector write down what it sends."""
    # What the connector keeps to itself; all other arguments say how the command is wrapped (sudo, ...).
    not_in_the_command = {"_get_pty", "_timeout", "_stdin", "_success_exit_codes"}
    sent: dict[str, list[dict[str, str]]] = {}
    send = SSHConnector.run_shell_command

    def listening(self: SSHConnector, command: Any, *flags: bool, **arguments: Any) -> Any:
        kept = {key for key in arguments if key.startswith("_")} - not_in_the_command
        wrapping = {key: arguments[key] for key in kept}
        wire = make_unix_command_for_host(self.state, self.host, command, **wrapping).get_raw_value()
        stdin = "".join(lines_of(arguments.get("_stdin")))
        sent.setdefault(self.host.name, []).append({"command": wire, "stdin": stdin})
        return send(self, command, *flags, **arguments)

    SSHConnector.run_shell_command = listening
    return sent


def lines_of(stdin: str | Iterable[str] | None) -> list[str]:
    """What pyinfra writes for a command's `_stdin`: a text, or lines, each ended."""
    lines = [stdin] if isinstance(stdin, str) else list(stdin or [])
    return [line if line.endswith("\n") else line + "\n" for line in lines]


if __name__ == "__main__":
    speed.leave(main())
