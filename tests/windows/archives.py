"""PowerShell for the tests: unpacked once from the archives in $POWERSHELL_ARCHIVES (built as docs/windows.md says).

`pwsh` of the machine serves where there is no archive for Linux.
"""

from __future__ import annotations

import fcntl
import lzma
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
HOW = "set POWERSHELL_ARCHIVES to a directory with the archives; docs/windows.md says how to build them"
_CACHE = CHECKOUT / ".pytest_cache" / "powershell"


def directory() -> Path:
    """Where the archives are looked for."""
    return Path(os.environ.get("POWERSHELL_ARCHIVES") or CHECKOUT.parent / "shared" / "tools")


def archive(pattern: str) -> Path | None:
    """The newest archive of that kind, such as `pwsh-linux-*.tar.xz`."""
    found = sorted(directory().glob(pattern)) if directory().is_dir() else []
    return found[-1] if found else None


@cache
def pwsh() -> str | None:
    """PowerShell for Linux: the archive's, else the machine's; None where there is neither."""
    packed = archive("pwsh-linux-*.tar.xz")
    if packed is None:
        return shutil.which("pwsh")
    return str(next(unpacked(packed).glob("*/bin/pwsh")))


@cache
def net472_members() -> frozenset[str] | None:
    """Every public type and member of .NET Framework 4.7.2, a line each; None where the list is not at hand."""
    packed = archive("net472-members.txt.xz")
    return None if packed is None else frozenset(lzma.open(packed, "rt", encoding="utf-8").read().splitlines())


def unpacked(packed: Path) -> Path:
    """Where an archive lies unpacked; done once."""
    target = _CACHE / packed.name.removesuffix(".tar.xz")
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            aside = target.with_name(f"{target.name}.part")
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir()
            # Not `tarfile`: the Python of Debian 12 knows no filter yet, and newer ones want one.
            subprocess.run(["tar", "-xf", packed, "-C", aside, "--no-same-owner"], check=True)
            aside.rename(target)
    return target
