"""Debian packages that the sandbox needs on this machine, installed when they are missing."""

import os
import subprocess

from tests.sandbox import machine
from tests.sandbox.errors import SandboxError


def install(*names: str) -> None:
    """Install Debian packages on this machine; the package lists are refreshed only when that fails."""
    if not machine.is_debian_family() or os.geteuid() != 0:
        raise SandboxError(f"please install {', '.join(names)} (as root on Debian that is done for you)")
    problem = _apt_get("install", *names)
    if problem:
        # The usual reasons are absent or outdated lists; what the update itself complains about may be
        # a third party's repository that we do not need, so only the second attempt decides.
        update()
        problem = _apt_get("install", *names)
    if problem:
        raise SandboxError(f"apt-get could not install {', '.join(names)}: {problem}")


def update() -> None:
    """Refresh this machine's package lists as far as its repositories answer."""
    _apt_get("update")


def _apt_get(command: str, *arguments: str) -> str:
    options = ["--no-install-recommends"] if command == "install" else []
    result = subprocess.run(
        ["apt-get", command, "--yes", "--quiet", "-o", "DPkg::Lock::Timeout=120", *options, *arguments],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if result.returncode == 0:
        return ""
    errors = [line for line in result.stderr.splitlines() if line.startswith("E:")]
    return errors[0] if errors else f"exit code {result.returncode}"
