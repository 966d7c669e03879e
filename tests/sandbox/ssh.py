"""How the hosts are reached: a generated key, known_hosts taken from the hosts themselves, one ssh_config."""

import contextlib
import re
import shutil
import subprocess
from pathlib import Path

from tests.sandbox import packages, paths
from tests.sandbox.errors import SandboxError

# sockaddr_un has 108 bytes for a path, of which ssh itself takes 18 for the name it uses while connecting.
LONGEST_CONTROL_PATH = 108 - 18 - 1
LONGEST_CONTROL_NAME = len("/ssh-admin@") + 41


def ensure_key() -> None:
    """Generate the key that opens every host, unless it is there."""
    if shutil.which("ssh-keygen") is None:
        packages.install("openssh-client")
    paths.STATE.mkdir(mode=0o700, exist_ok=True)
    if paths.PRIVATE_KEY.exists() and paths.PUBLIC_KEY.exists():
        return
    paths.PRIVATE_KEY.unlink(missing_ok=True)
    result = subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "medaction-sandbox", "-f", str(paths.PRIVATE_KEY)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if result.returncode != 0:
        raise SandboxError(f"ssh-keygen could not make {paths.PRIVATE_KEY}: {result.stderr.strip()}")


def write_files(addresses: dict[str, str], host_keys: dict[str, str]) -> None:
    """Write known_hosts and ssh_config for these hosts, names to addresses and names to public keys."""
    _replace(paths.KNOWN_HOSTS, known_hosts(addresses, host_keys))
    _replace(paths.SSH_CONFIG, config(addresses, paths.STATE))


def known_hosts(addresses: dict[str, str], host_keys: dict[str, str]) -> str:
    """Return the text of known_hosts: each host by its name and by its address."""
    return "".join(f"{name},{addresses[name]} {key}\n" for name, key in sorted(host_keys.items()))


def config(addresses: dict[str, str], state: Path) -> str:
    """Return the text of ssh_config, all paths absolute, for OpenSSH and paramiko alike."""
    blocks = [f"Host {name}\n    HostName {address}\n" for name, address in sorted(addresses.items())]
    common = [
        "User root",
        f"IdentityFile {quoted(state / paths.PRIVATE_KEY.name)}",
        "IdentitiesOnly yes",
        f"UserKnownHostsFile {quoted(state / paths.KNOWN_HOSTS.name)}",
        "StrictHostKeyChecking yes",
        "ConnectTimeout 10",
        "ServerAliveInterval 15",
    ]
    if len(str(state)) + LONGEST_CONTROL_NAME <= LONGEST_CONTROL_PATH:
        common += ["ControlMaster auto", f"ControlPath {quoted(state / 'ssh-%r@%n')}", "ControlPersist 60s"]
    names = " ".join(sorted(addresses))
    shared = f"Host {names}\n" + "".join(f"    {line}\n" for line in common) if names else ""
    return "# Written by `python -m tests.sandbox up`.\n" + "\n".join([*blocks, shared])


def quoted(path: Path) -> str:
    """Return a path as OpenSSH and paramiko take it from an ssh_config: in quotes where it is more than a word."""
    return str(path) if re.fullmatch(r"[\w./-]+", str(path)) else f'"{path}"'


def close_connections(name: str) -> None:
    """End the shared connections to a host that is about to go: they would hang, not fail."""
    for socket in paths.STATE.glob(f"ssh-*@{name}"):
        with contextlib.suppress(subprocess.TimeoutExpired, FileNotFoundError):
            subprocess.run(
                ["ssh", "-o", f"ControlPath={quoted(socket)}", "-O", "exit", name],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=5,
            )
        socket.unlink(missing_ok=True)


def _replace(path: Path, text: str) -> None:
    """Write a file in one step, so that a deploy that runs meanwhile never reads half of it."""
    if path.exists() and path.read_text() == text:
        return
    aside = path.with_name(path.name + ".part")
    aside.write_text(text)
    aside.replace(path)
