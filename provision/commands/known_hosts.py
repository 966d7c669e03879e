"""`make known-hosts`: ask the hosts for their keys, show them, keep them: from then on no other is connected to."""

from __future__ import annotations

import base64
import binascii
import os
import re
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

from paramiko import SSHConfig, SSHException

from provision.engine import environments, hostkeys, inventory
from provision.engine.inventory import Member
from provision.engine.shown import shown
from provision.settings.project import PROJECT, at

SECONDS = 10
_LINE = re.compile(r"\S+ ((?:ssh-|ecdsa-sha2-)[\w-]+) ([A-Za-z0-9+/=]+)", re.ASCII)
_LOCAL = "@local"


def run(arguments: Namespace) -> int:
    """Write the file of known hosts that the inventory names. Exit 1 when a host gave no key: its old ones stay."""
    members = [each for each in inventory.read(arguments.env, arguments.limit, arguments.skip) if each.name != _LOCAL]
    files = {member.name: _file(member, arguments.env) for member in members}
    silent = [member.name for member in members if not _pin(member, files[member.name])]
    if pinned := sorted({file for file in files.values() if hostkeys.is_pinned(file)}):
        for file in pinned:
            print(f"{file} is pinned: a host with another key is not connected to. Commit it.")
        print("Compare with what `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` says on the hosts' own consoles.")
    if silent:
        print(f"no key from: {', '.join(silent)} (what was pinned of them stays)", file=sys.stderr)
    return 1 if silent else 0


def _file(member: Member, environment: str) -> Path:
    """The file that a host's connections read. Raise InventoryError where its inventory names none."""
    named = member.data.get("ssh_known_hosts_file")
    if not named:
        raise environments.InventoryError(
            f"{member.name}: the inventory names no file for its keys: add the line"
            f' ssh_known_hosts_file = "inventories/known_hosts/{environment}"'
            f" to inventories/group_data/{environment}.py, and run this again"
        )
    return PROJECT / at(str(named))


def _pin(member: Member, file: Path) -> bool:
    """Ask a host for its keys, show them, and put them in the place of those in the file; whether it gave any."""
    address, port = _address(member)
    found = _scanned(member.name, address, port)
    if not found and not hostkeys.is_pinned(file):
        return False  # an empty file would refuse every host
    names = sorted({_name(address, port), _name(member.name, port)})
    kept = [line for line in _lines(file) if not set(names) & set(line.split(" ")[0].split(","))]
    known = {line for line in _lines(file) if line not in kept}
    if not found:
        kept += sorted(known)
    for kind, key in found:
        line = f"{','.join(names)} {kind} {key}"
        is_new = not any(each.split(" ")[1:3] == [kind, key] for each in known)
        replaces = any(each.split(" ")[1:2] == [kind] for each in known)
        state = "as before" if not is_new else "CHANGED" if replaces else "new"
        print(f"{member.name}: {hostkeys.fingerprint(base64.b64decode(key))} ({kind}), {state}")
        kept.append(line)
    _write(file, kept)
    return bool(found)


def _address(member: Member) -> tuple[str, int]:
    """Where a host is connected to, as the inventory and its ssh_config say."""
    address = member.data.get("ssh_hostname") or member.name
    config = PROJECT / at(str(member.data.get("ssh_config_file") or "~/.ssh/config"))
    try:
        found = SSHConfig.from_path(str(config)).lookup(address) if config.is_file() else {}
    except (SSHException, ValueError) as error:
        raise environments.InventoryError(f"{config} cannot be read: {type(error).__name__}: {error}") from None
    port = str(member.data.get("ssh_port") or found.get("port", 22))
    if not re.fullmatch(r"\d{1,5}", port, re.ASCII):
        raise environments.InventoryError(f"{member.name}: ssh_port = {port!r}: must be a number, such as 22")
    return found.get("hostname", address), int(port)


def _scanned(name: str, address: str, port: int) -> list[tuple[str, str]]:
    """The kinds and keys that a host offers. Its words are looked at before they are used."""
    argv = ["ssh-keyscan", "-T", str(SECONDS), "-p", str(port), "--", address]
    try:
        done = subprocess.run(argv, capture_output=True, check=False, timeout=6 * SECONDS, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return []
    except FileNotFoundError:
        raise environments.InventoryError("ssh-keyscan is missing: install OpenSSH's client") from None
    lines = [_LINE.fullmatch(line) for line in done.stdout.decode(errors="replace").splitlines()]
    found = sorted({(line[1], line[2]) for line in lines if line and _is_base64(line[2])})
    if not found:
        why = shown(done.stderr.decode(errors="replace").strip().rpartition("\n")[2].strip()[-200:])
        print(f"{name}: {address}:{port} gives no key: {why or 'no answer'} ({_hint(why, name)})")
    return found


def _hint(why: str, name: str) -> str:
    if "getaddrinfo" in why:
        return (
            f'no name server knows it: give its address, ("{name}", {{"ssh_hostname": "192.0.2.7"}}) in the inventory'
        )
    return "behind a jump host: add its line by hand"


def _is_base64(text: str) -> bool:
    try:
        return bool(base64.b64decode(text, validate=True))
    except binascii.Error:
        return False


def _name(host: str, port: int) -> str:
    """As a file of known hosts has it."""
    return host if port == 22 else f"[{host}]:{port}"


def _lines(file: Path) -> list[str]:
    if not file.exists():
        return []
    return [line for line in file.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]


def _write(file: Path, lines: list[str]) -> None:
    """In one step: a deploy that runs meanwhile never reads half of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f"{file.name}.{os.getpid()}.part")
    aside.write_text(hostkeys.PINNED + "".join(f"{line}\n" for line in sorted(lines)), encoding="utf-8")
    aside.replace(file)
