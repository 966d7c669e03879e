"""Redis for these tests: Debian's package, installed when it is missing, its service never started."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

_POLICY = Path("/usr/sbin/policy-rc.d")  # Debian asks it before a package may start its service


def require(program: str, *packages: str) -> None:
    """Have `program`: install Debian's packages as root where it is missing. Raise RuntimeError elsewhere."""
    if shutil.which(program):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise RuntimeError(f"these tests need {program}: apt-get install {' '.join(packages)}")
    is_ours = not _POLICY.exists()
    if is_ours:
        _POLICY.write_text("#!/bin/sh\nexit 101\n")
        _POLICY.chmod(0o755)
    try:
        _apt("update", "-q")
        _apt("install", "-y", "-q", "--no-install-recommends", *packages)
    finally:
        if is_ours:
            _POLICY.unlink()


def _apt(*arguments: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "-o", "DPkg::Lock::Timeout=300", *arguments]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
