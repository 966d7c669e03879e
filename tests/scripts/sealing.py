"""Hosts whose dumps lie encrypted, and what somebody with a key finds in them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from .host import Host
from .unprivileged import give_to_user

MARKER = "Marqueur-Q7 Dupont"


def key_pair(path: Path) -> str:
    """An age identity in this file, 0600 and root's where the test runs as root; returns its public key."""
    path.unlink(missing_ok=True)
    subprocess.run(["age-keygen", "-o", path], check=True, capture_output=True)
    return subprocess.run(["age-keygen", "-y", path], check=True, capture_output=True, text=True).stdout.strip()


def encrypt_to(host: Host, *keys: str, **settings: object) -> None:
    host.configure(backup_encrypt_local=True, **settings)
    host.place("".join(f"{key}\n" for key in keys), Path(host.settings.backup_recipients_file), 0o644)


def newest(host: Host) -> Path:
    return (host.backups / f"medaction_latest{host.settings.backup_suffix}").resolve()


def made(host: Host, *arguments: str, **options) -> Path:
    done = host.backup(*arguments, **options)
    assert done.returncode == 0, done.stderr
    return newest(host)


def opened(path: Path, identity: Path) -> bytes:
    return subprocess.run(["age", "--decrypt", "-i", identity, path], check=True, capture_output=True).stdout


def sum_of(content: bytes) -> str:
    return subprocess.run(["sha256sum"], input=content, capture_output=True, check=True).stdout.split()[0].decode()


def readable_to_the_user(identity: Path, host: Host) -> Path:
    path = host.directory / f"{identity.name}-of-the-user"
    path.write_bytes(identity.read_bytes())
    path.chmod(0o600)
    give_to_user(path)
    return path
