"""Where this project lies on the machine that deploys, and which version of it that is."""

import subprocess
from importlib import metadata
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def version() -> str:
    """The project's version, as pyproject.toml has it; `make` installs it anew when that changes."""
    return metadata.version("provision")


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
