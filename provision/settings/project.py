"""Where this project lies on the machine that deploys, and which version of it that is."""

from importlib import metadata
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def version() -> str:
    """The project's version, as pyproject.toml has it; `make` installs it anew when that changes."""
    return metadata.version("provision")
