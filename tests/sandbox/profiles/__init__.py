"""What a host has before we deploy: one module per profile, found by its name.

A profile `some-thing` is the module `some_thing`, whose `PROFILE` says how it differs from a bare server.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

RECIPES = Path(__file__).resolve().parents[1] / "recipes"


@dataclass(frozen=True)
class Profile:
    """How a host of this kind differs from a bare Debian server."""

    recipe: tuple[Path, ...] = ()
    """A shell script that builds the image on the release's bare one, and the files it reads beside itself."""

    fetched: Callable[[], tuple[Path, ...]] = tuple
    """More files that the recipe reads, fetched when the image is built; which ones, the recipe itself says."""

    volumes: tuple[str, ...] = ()
    """Directories kept out of the container's own layers; they are removed with the host."""

    at_up: Callable[[str], None] | None = None
    """Called with the container's name at every `up`, when the host runs."""


def names() -> list[str]:
    """Return the names of all profiles."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def get(name: str) -> Profile:
    """Return the profile of that name, which must be one of `names()`."""
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}").PROFILE
