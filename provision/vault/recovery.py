"""Dumps on their way back from a vault to a backup host, through this machine and onto none of its disks.

The vault opens its copies with its own key; what it says is held against the signature, whose public half this
project keeps, and against the sums in what was signed.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paramiko import Channel
from pyinfra.api import Host

CHUNK_BYTES = 1 << 20

# Private from its first byte, whole under its name or not there at all.
_RECEIVE = r"""set -eu; umask 077
cat >"$1.part"; sync "$1.part"; mv -fT "$1.part" "$1"
"""
# A dump of the directory format travels as one tar.
_UNPACK = r"""set -eu; umask 077; cd "$(dirname "$1")"; rm -rf -- "${1%.tar}"
tar --extract --no-same-owner --file "$1"; rm -f -- "$1"
"""
_PREPARE = r"""set -eu
getent group "$2" >/dev/null || groupadd --system -- "$2"
id -u "$2" >/dev/null 2>&1 ||
    useradd --system --gid "$2" --no-create-home --shell /usr/sbin/nologin --home-dir "$1" -- "$2"
install -d -m 0755 "$(dirname "$1")"
install -d -m 0750 -o "$2" -g "$2" "$1" "$1/weekly"
"""


class RecoveryError(Exception):
    """The dumps could not be brought back; the text says why, and that nothing half is left under a dump's name."""


@dataclass(frozen=True)
class Offer:
    """A copy as a vault lists it: `fetched` in seconds since 1970."""

    tier: str
    dump: str
    database: str
    proof: str
    fetched: int
    signed: bool


def offers(vault: Host, program: str, source: str) -> list[Offer]:
    """What a vault holds of a backup host, the newest of each database first. Raise RecoveryError."""
    text = b"".join(_output(vault, [program, "--offer", source])).decode()
    return [Offer(**json.loads(line)) for line in text.splitlines()]


def newest(found: list[Offer]) -> list[Offer]:
    """Of each database the newest signed one."""
    chosen: dict[str, Offer] = {}
    for offer in found:
        if offer.signed:
            chosen.setdefault(offer.database, offer)
    return list(chosen.values())


def manifest_of(vault: Host, program: str, source: str, offer: Offer, sign_key: str) -> dict[str, Any]:
    """The manifest of a copy; of a signed one only with a signature that is good. Raise RecoveryError."""
    name = f"{offer.tier}/{offer.dump}.manifest.json"
    text = b"".join(_output(vault, [program, "--export", source, name]))
    if offer.signed:
        signature = b"".join(_output(vault, [program, "--export", source, f"{name}.sig"]))
        if not is_signed(text, signature, sign_key):
            raise RecoveryError(f"{offer.dump}: its signature is not the vault's: take another one, and see the vault")
    manifest: dict[str, Any] = json.loads(text)
    if (manifest["dump"], manifest["tier"], manifest["source"]) != (offer.dump, offer.tier, source):
        raise RecoveryError(f"{offer.dump}: its manifest is that of another dump: take another one, and see the vault")
    return manifest


def is_signed(text: bytes, signature: bytes, sign_key: str) -> bool:
    """Whether the holder of a public key has signed a manifest."""
    with tempfile.TemporaryDirectory() as directory:
        signers, file = Path(directory) / "signers", Path(directory) / "signature"
        signers.write_text(f"vault {sign_key}\n", encoding="ascii")
        file.write_bytes(signature)
        namespace = _namespace(text)
        done = subprocess.run(
            ["ssh-keygen", "-Y", "verify", "-f", signers, "-I", "vault", "-n", namespace, "-s", file],
            input=text, capture_output=True, check=False,
        )  # fmt: skip
        return done.returncode == 0


def _namespace(manifest: bytes) -> str:
    return f"{json.loads(manifest)['app']}-backup"


def bring(vault: Host, program: str, to: Host, manifest: dict[str, Any], backup_dir: str, user: str) -> list[str]:
    """Put all files of a copy on a host, opened, as a night's dump lies there. Return their paths."""
    tier = manifest["tier"]
    directory = backup_dir if tier == "daily" else f"{backup_dir}/{tier}"
    _run(to, ["sh", "-c", _PREPARE, "prepare", backup_dir, user])
    paths = []
    # The dump itself last: without it what accompanies it counts for nothing.
    mains = (manifest["dump"], f"{manifest['dump']}.tar")
    for file in sorted(manifest["files"], key=lambda each: each["plain_name"] in mains):
        path = f"{directory}/{file['plain_name']}"
        stream = _output(vault, [program, "--export", manifest["source"], f"{tier}/{file['name']}"])
        _receive(to, path, user, stream, file["plain_sha256"])
        if path.endswith(".tar"):
            _run(to, [*_as(user), "sh", "-c", _UNPACK, "unpack", path])
        paths.append(path.removesuffix(".tar"))
    return paths


def _as(user: str) -> list[str]:
    """The directory is this user's, who may have put anything into it: root writes nothing there."""
    return ["setpriv", "--reuid", user, "--regid", user, "--init-groups", "--"]


def _receive(host: Host, path: str, user: str, stream: Iterator[bytes], sha256: str) -> None:
    """Write a stream to a file of a host; one whose sum is wrong is not left there. Raise RecoveryError."""
    arriving = f"{path}.arriving"
    channel = _open(host, [*_as(user), "sh", "-c", _RECEIVE, "receive", arriving])
    digest = hashlib.sha256()
    for chunk in stream:
        digest.update(chunk)
        channel.sendall(chunk)
    channel.shutdown_write()
    _finish(host, channel)
    if digest.hexdigest() != sha256:
        _run(host, [*_as(user), "rm", "-f", "--", arriving])
        raise RecoveryError(f"{path}: what arrived is not what the manifest says: it was removed; take another dump")
    _run(host, [*_as(user), "mv", "-fT", "--", arriving, path])


def point_latest(host: Host, user: str, link: str, path: str) -> None:
    """`latest` is this dump, as after a night's run."""
    relative = path.removeprefix(link.rpartition("/")[0] + "/")
    _run(host, [*_as(user), "ln", "-sfn", "--", relative, link])


def _run(host: Host, argv: list[str]) -> None:
    for _ in _output(host, argv):
        pass


def _output(host: Host, argv: list[str]) -> Iterator[bytes]:
    """What a command prints on a host, in pieces. Raise RecoveryError when it fails."""
    channel = _open(host, argv)
    channel.shutdown_write()
    while chunk := channel.recv(CHUNK_BYTES):
        yield chunk
    _finish(host, channel)


def _open(host: Host, argv: list[str]) -> Channel:
    client = getattr(host.connector, "client", None)
    transport = client.get_transport() if client else None
    if transport is None:
        raise RecoveryError(f"{host.name}: is not reached over SSH: recovery goes over SSH")
    channel: Channel = transport.open_session()
    channel.exec_command(shlex.join([*(["sudo", "-n", "--"] if host.data.get("_sudo") else []), *argv]))
    return channel


def _finish(host: Host, channel: Channel) -> None:
    # A command that says this much on stderr has ended; its reason is at the beginning.
    said = channel.makefile_stderr("rb").read(4096).decode(errors="replace").strip()
    code = channel.recv_exit_status()
    channel.close()
    if code:
        raise RecoveryError(f"{host.name}: exit code {code}: {said or 'it gave no reason'}")
