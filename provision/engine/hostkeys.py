"""Which host keys are believed: those of the file that the inventory names, and while nothing is pinned a new host's.

`make known-hosts` writes that file and begins it with PINNED: from then on a host is one of it, or is not connected to.
Before that pyinfra's own rule holds (`accept-new`): an unknown key is accepted and kept, here also said; a key that is
another than the one kept is refused. A `ssh_strict_host_key_checking` of the inventory's own is left as it is.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
from pathlib import Path
from typing import Any

from paramiko import PKey, SSHException
from pyinfra.connectors.sshuserclient.client import AcceptNewPolicy, append_hostkey
from typing_extensions import override

from provision.engine.shown import shown

PINNED = "# Pinned by `make known-hosts`: hosts with other keys are not connected to.\n"
_PIN = "`make known-hosts` (with its ENV, and LIMIT= for this host alone)"

# What was accepted in this process: sentences, in order.
_accepted: list[str] = []


def accepted() -> list[str]:
    """A sentence for each key that was accepted unseen since the last call."""
    told = list(_accepted)
    _accepted.clear()
    return told


def fingerprint(key: bytes) -> str:
    """As OpenSSH shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def is_pinned(file: str | Path) -> bool:
    """Whether a file of known hosts was written by `make known-hosts`."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return Path(file).read_text(encoding="utf-8").startswith(PINNED)
    return False


def changed(name: str, key: PKey, expected: PKey, file: str) -> str:
    """The sentence about a host whose key is another than the one that was kept."""
    return shown(
        f"its host key is {fingerprint(key.asbytes())} ({key.get_name()}), and {file} says"
        f" {fingerprint(expected.asbytes())} for {name}: either somebody answers in its place, or it was made anew;"
        f" ask whoever runs it for its fingerprint, then {_PIN} replaces the old key"
    )


class AcceptAndSay(AcceptNewPolicy):
    """pyinfra's `accept-new`, which says what it accepts, and accepts nothing where keys are pinned."""

    @override
    def missing_host_key(self, client: Any, hostname: str, key: PKey) -> None:
        file = client._host_keys_filename  # paramiko has no other name for where pyinfra keeps new keys
        told = f"{hostname} has the host key {fingerprint(key.asbytes())} ({key.get_name()})"
        if file and is_pinned(file):
            raise SSHException(shown(f"{told}, which is not among those pinned in {file}: {_PIN} adds it"))
        if file:
            Path(file).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        append_hostkey(client, hostname, key)
        client.get_host_keys().add(hostname, key.get_name(), key)  # pyinfra reads the file once in a process
        _accepted.append(shown(f"{told}, accepted unseen and kept in {file}"))
