"""A stand-in Windows host on this machine: a private sshd on a loopback port, with its own configuration.

Needs root (sshd, chroot). Where openssh-server is missing it is installed, with no service started.
"""

from __future__ import annotations

import json
import os
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
from tests.sandbox.windows_standin import install
from tests.scripts import conftest as scripts
from tests.windows import host as deployed

SHIM = Path(install.__file__).with_name("shim.py")
SSHD = Path("/usr/sbin/sshd")

# The same private PostgreSQL server as the Linux scripts are tried on.
cluster = scripts.cluster
# The scripts as they are deployed, in a directory of this machine.
host = deployed.host


@dataclass
class StandIn:
    """The running stand-in: where to reach it, and its insides for a test to look at and break."""

    port: int
    key: Path
    root: Path
    config: Path

    def file(self, windows: str) -> Path:
        return self.root / windows.replace("\\", "/")

    def task(self, folder: str, name: str) -> Path:
        return self.root / "state" / "tasks" / folder.strip("\\") / f"{name}.xml"

    def set(self, name: str, **values: Any) -> None:
        (self.root / "state" / f"{name}.json").write_text(json.dumps(values))

    def scripts_run(self) -> list[str]:
        journal = self.root / "state" / "journal.jsonl"
        return [json.loads(line)["script"] for line in journal.read_text().splitlines()] if journal.exists() else []

    @property
    def data(self) -> dict[str, Any]:
        return {
            "ssh_hostname": "127.0.0.1",
            "ssh_port": self.port,
            "ssh_user": "root",
            "ssh_key": str(self.key),
            "ssh_known_hosts_file": str(self.config.parent / "known_hosts"),
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
def standin(sshd_program: Path, tmp_path: Path) -> Iterator[StandIn]:
    root = tmp_path / "windows"
    install.install(root)
    yield from _serve(sshd_program, tmp_path, root, f"ForceCommand {sys.executable} -I -S {SHIM} {root}")


@pytest.fixture
def unix_host(sshd_program: Path, tmp_path: Path) -> Iterator[StandIn]:
    """An sshd that is plain Debian."""
    yield from _serve(sshd_program, tmp_path, tmp_path, "")


@pytest.fixture
def standin_without_sftp(sshd_program: Path, tmp_path: Path) -> Iterator[StandIn]:
    """A stand-in whose sshd_config has no Subsystem line."""
    root = tmp_path / "windows"
    install.install(root)
    yield from _serve(
        sshd_program, tmp_path, root, f"ForceCommand {sys.executable} -I -S {SHIM} {root}", subsystem=False
    )


def _serve(sshd: Path, place: Path, root: Path, extra: str, subsystem: bool = True) -> Iterator[StandIn]:
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
            yield StandIn(port, place / "user_key", root, config)
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
