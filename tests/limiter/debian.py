"""Redis and Node for these tests: Debian's packages, installed when they are missing, no service ever started."""

from __future__ import annotations

import shutil

from tests.sandbox import packages


def require(program: str, *names: str) -> None:
    """Have `program`: install Debian's packages as root where it is missing. Raise SandboxError elsewhere."""
    if not shutil.which(program):
        packages.install(*names, start_services=False)
