"""A stand-in for a Windows host: a Debian server where Administrator meets a shim that knows our PowerShell.

It proves the connector, the operations, drift and failures; it runs no PowerShell (see windows_standin/shim.py).
"""

from pathlib import Path

from tests.sandbox.profiles import Profile

_FOLDER = Path(__file__).resolve().parents[1] / "windows_standin"

PROFILE = Profile(recipe=(_FOLDER / "recipe.sh", _FOLDER / "shim.py", _FOLDER / "install.py"))
