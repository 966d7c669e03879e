"""The lock against a second deploy or recovery, on a Debian host."""

from __future__ import annotations

from pyinfra.api import Host

from provision.debian.programs import program
from provision.engine import lock
from provision.engine.run import is_dry
from provision.winssh.connector import is_windows

PATH = "/run/provision-deploy.lock"  # root's directory: nobody else can hold it, or put a link there


def locked(host: Host) -> None:
    """From here to the end of this run no other deploy or recovery changes the host. Raise PreflightError while one
    does.

    Not on Windows, which has its own, and not for a dry run, which changes nothing.
    """
    if is_dry() or is_windows(host):
        return
    command = program("debian/hold-lock.sh", PATH, lock.us(), str(lock.GIVEN_UP_AFTER_SECONDS), shell="bash -c")
    lock.hold(host, command, f"see that bash and flock are there, and room for {PATH}")
