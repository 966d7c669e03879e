"""A Windows host behind a private sshd on a loopback port, with its own configuration: PowerShell for Windows in wine.

Needs root (sshd, chroot). Where openssh-server is missing it is installed, with no service started.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox import packages
from tests.sandbox.errors import SandboxError
from tests.scripts import conftest as scripts
from tests.windows import host as deployed
from tests.windows import relay, wine
from tests.windows.settings import default_settings, hostile_settings

RELAY = Path(relay.__file__)
SSHD = Path("/usr/sbin/sshd")
SID = "S-1-5-21-0-0-0-1000"  # of WIN1\\root, an account of wine's that is no built-in one

# The same private PostgreSQL server as the Linux scripts are tried on.
cluster = scripts.cluster
# The scripts as they are deployed, in a directory of this machine.
host = deployed.host
warm_pwsh = deployed.warm_pwsh


@pytest.fixture(scope="session")
def machine() -> Iterator[wine.Windows]:
    """Windows as far as wine goes, for all tests of a run."""
    try:
        with wine.running() as machine:
            yield machine
    except wine.Missing as missing:
        pytest.skip(f"not run: {missing}")


@pytest.fixture(scope="session")
def warm(machine: wine.Windows) -> wine.Windows:
    """The machine with a PowerShell that runs already."""
    wine.warm(machine)
    return machine


@pytest.fixture(scope="session")
def postgres(machine: wine.Windows) -> wine.Windows:
    """The machine with a server on it that has the databases of the tests' settings."""
    wine.start_postgres(machine)
    for found in (default_settings(), hostile_settings()):
        wine.new_database(machine, found.postgres_database, found.postgres_user)
    return machine


@dataclass
class WindowsHost:
    """The running host: where to reach it, and its insides for a test to look at and break."""

    port: int
    key: Path
    place: Path
    machine: wine.Windows | None = None

    def file(self, windows: str) -> Path:
        assert self.machine
        return self.machine.file(windows)

    def task(self, folder: str, name: str) -> Path:
        """Where the Task Scheduler keeps a task: text in UTF-16."""
        return self.file(f"C:\\Windows\\System32\\Tasks{folder}\\{name}")

    def fail(self, **faults: Any) -> None:
        """Have the host fail from now on as relay.py says, and not as before."""
        (self.place / "faults.json").write_text(json.dumps(faults))

    def sent(self) -> list[dict[str, str]]:
        """The scripts that the host was sent: the snippet's name as `script`, and the `text`."""
        journal = self.place / "journal.jsonl"
        return [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []

    def texts(self) -> list[str]:
        """All that PowerShell's logging of scripts and the Task Scheduler may tell: what was sent, scripts, tasks.

        What stands there in base64 as well.
        """
        drives = (self.file("C:"), self.file("D:"))
        scripts = [path.read_text("utf-8-sig") for drive in drives for path in drive.rglob("*.ps1") if path.is_file()]
        tasks = self.file("C:\\Windows\\System32\\Tasks").rglob("*")
        found = [sent["text"] for sent in self.sent()] + scripts
        found += [path.read_text("utf-16") for path in tasks if path.is_file()]
        packed = [word for text in found for word in re.findall(r"[A-Za-z0-9+/]{12,}", text)]
        return found + [base64.b64decode(word[: len(word) // 4 * 4]).decode(errors="replace") for word in packed]

    @property
    def data(self) -> dict[str, Any]:
        return {
            "ssh_hostname": "127.0.0.1",
            "ssh_port": self.port,
            "ssh_user": "root",
            "ssh_key": str(self.key),
            "ssh_known_hosts_file": str(self.place / "known_hosts"),
            "ssh_config_file": "/dev/null",
            "ssh_strict_host_key_checking": "no",
        }


@pytest.fixture(scope="session")
def sshd_program() -> Path:
    if os.geteuid() != 0:
        pytest.skip("a private sshd with a chroot needs root")
    if not SSHD.exists():
        try:
            packages.install("openssh-server", start_services=False)
        except SandboxError as error:
            pytest.skip(str(error))
    return SSHD


@pytest.fixture
def win(sshd_program: Path, warm: wine.Windows, tmp_path: Path) -> Iterator[WindowsHost]:
    warm.wipe()
    yield from windows(sshd_program, warm, tmp_path)


@pytest.fixture
def win_without_sftp(sshd_program: Path, warm: wine.Windows, tmp_path: Path) -> Iterator[WindowsHost]:
    """A host whose sshd_config has no Subsystem line."""
    yield from windows(sshd_program, warm, tmp_path, subsystem=False)


@pytest.fixture
def unix_host(sshd_program: Path, tmp_path: Path) -> Iterator[WindowsHost]:
    """An sshd that is plain Debian."""
    yield from serve(sshd_program, tmp_path, "")


def windows(sshd: Path, machine: wine.Windows, place: Path, subsystem: bool = True) -> Iterator[WindowsHost]:
    reached = {"root": str(machine.drives), "address": machine.address, "port": wine.WARM_PORT}
    (place / "machine.json").write_text(json.dumps(reached))
    yield from serve(sshd, place, f"ForceCommand {sys.executable} -I -S {RELAY} {place}", machine, subsystem)


def serve(
    sshd: Path, place: Path, extra: str, machine: wine.Windows | None = None, subsystem: bool = True
) -> Iterator[WindowsHost]:
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place / name)], check=True)
    shutil.copy(place / "user_key.pub", place / "authorized_keys")
    port = _free_port()
    config = place / "sshd_config"
    # SHLVL: bash under sshd reads .bashrc, which may be slow, unless it is a shell in a shell.
    lines = [
        f"Port {port}", "ListenAddress 127.0.0.1", f"HostKey {place}/host_key", f"PidFile {place}/sshd.pid",
        f"AuthorizedKeysFile {place}/authorized_keys", "PasswordAuthentication no", "UsePAM no", "StrictModes no",
        "PermitRootLogin yes", "LogLevel ERROR", "SetEnv SHLVL=2",
        *(["Subsystem sftp internal-sftp"] if subsystem else []), extra,
    ]  # fmt: skip
    config.write_text("\n".join(lines) + "\n")
    Path("/run/sshd").mkdir(exist_ok=True)
    with (place / "sshd.log").open("w") as log:
        process = subprocess.Popen([str(sshd), "-D", "-e", "-f", str(config)], stderr=log)
        try:
            _wait_for(port, process)
            yield WindowsHost(port, place / "user_key", place, machine)
        finally:
            process.terminate()
            process.wait(10)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(100):
        if process.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("the private sshd did not start")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
