"""Where this project lies on the machine that deploys, and which version of it that is."""

import errno
import getpass
import os
import subprocess
from importlib import metadata
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def version() -> str:
    """The project's version, as pyproject.toml has it; `make` installs it anew when that changes."""
    return metadata.version("provision")


def at(path: str) -> Path:
    """A path as a person writes it, `~` and `~name` included. Raise OSError for somebody who is not there."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise FileNotFoundError(errno.ENOENT, "there is no such home directory", path) from None


def person() -> str:
    """Whose process this is; a number where the system knows no name, as in many a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return f"uid-{os.getuid()}"


def commit() -> str:
    """The commit that is checked out, with "+" where files differ from it; "" where git does not say."""
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"], cwd=PROJECT, check=False, timeout=10,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8", errors="replace",
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return said.stdout.strip()
