"""The lock against a second deploy, on a Windows host."""

from __future__ import annotations

from pyinfra.api import Host, StringCommand

from provision.engine import lock
from provision.engine.run import is_dry
from provision.windows import snippets

NAME = "provision-deploy.lock"  # in Windows' own directory: nobody but administrators can hold it, or put a link there


def locked(host: Host) -> None:
    """From here to the end of this run no other deploy or removal changes the host. Raise PreflightError while one
    does.

    Not for a dry run, which changes nothing.
    """
    if is_dry():
        return
    held = snippets.script("hold-lock", {"name": NAME, "who": lock.us(), "seconds": lock.GIVEN_UP_AFTER_SECONDS})
    lock.hold(host, StringCommand(held), f"see that we may write {NAME} in Windows' directory")
