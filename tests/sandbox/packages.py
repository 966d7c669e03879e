"""Debian packages that the tests need on this machine, installed when they are missing."""

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.sandbox import machine
from tests.sandbox.errors import SandboxError

_LOCK = Path(tempfile.gettempdir()) / "medaction-tests-apt.lock"
_POLICY = Path("/usr/sbin/policy-rc.d")  # Debian asks it before a package may start its service


def install(*names: str, start_services: bool = True) -> None:
    """Install Debian packages on this machine; the package lists are refreshed only when that fails."""
    if not machine.is_debian_family() or os.geteuid() != 0:
        raise SandboxError(f"please install {', '.join(names)} (as root on Debian that is done for you)")
    with only_one(), contextlib.nullcontext() if start_services else _no_service_starts():
        problem = _apt_get("install", *names)
        if problem:
            # The usual reasons are absent or outdated lists; what the update itself complains about may be
            # a third party's repository that we do not need, so only the second attempt decides.
            _apt_get("update")
            problem = _apt_get("install", *names)
    if problem:
        raise SandboxError(f"apt-get could not install {', '.join(names)}: {problem}")


def ensure(tool: str, package: str) -> None:
    """Install the Debian package of a program that is not here."""
    if not shutil.which(tool):
        install(package, start_services=False)


def update() -> None:
    """Refresh this machine's package lists as far as its repositories answer."""
    with only_one():
        _apt_get("update")


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """One at a time: levels of tests run side by side, and apt waits for one of its two locks alone."""
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _no_service_starts() -> Iterator[None]:
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()


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
