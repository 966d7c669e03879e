"""People's own key, which lies on no machine: what it opens, and an environment's secrets sealed to it.

age makes another text of the same secrets each time. So what was sealed is kept beside them, and made anew only when
they or the keys are others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pyrage

from provision.settings import secrets


class KeyFileError(Exception):
    """A key cannot be used; the text names the file and why, and shows nothing of it."""


def identities(path: Path) -> list[pyrage.x25519.Identity]:
    """The private keys in a file, whatever people have written beside them. Raise KeyFileError when there is none."""
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise KeyFileError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or 'no path'})") from None
    if b"age-encryption.org/v1" in data or b"BEGIN AGE ENCRYPTED FILE" in data:
        raise KeyFileError(f"{path}: is protected by a passphrase: `age --decrypt` opens it into a file: name that")
    words = data.decode("utf-8-sig", errors="replace").split()
    try:
        found = [pyrage.x25519.Identity.from_str(word) for word in words if word.startswith("AGE-SECRET-KEY-")]
    except pyrage.IdentityError:
        raise KeyFileError(f"{path}: a letter of the key is missing or wrong: take another copy of it") from None
    if not found:
        raise KeyFileError(f"{path}: holds no key such as `make keys` makes")
    return found


def sealed(environment: str, recipients: Sequence[str]) -> str:
    """The environment's generated secrets, for these public keys alone; "" where there are none of either."""
    path = secrets.file_of(environment)
    if not recipients or not path.exists():
        return ""
    plain, keys = path.read_bytes(), sorted(set(recipients))
    told = hashlib.sha256("\0".join([hashlib.sha256(plain).hexdigest(), *keys]).encode()).hexdigest()
    beside = path.with_suffix(".sealed")
    kept = beside.read_text(encoding="ascii") if beside.exists() else ""
    if not kept.startswith(f"{told}\n"):
        text = pyrage.encrypt(plain, [pyrage.x25519.Recipient.from_str(key) for key in keys], armored=True).decode()
        kept = f"{told}\n{text.rstrip()}\n"
        secrets.write_private(beside, kept.encode())
    return kept.partition("\n")[2]


def bring_back(environment: str, file: Path, identity: Path) -> Path:
    """Open sealed secrets to where the project reads them. Raise KeyFileError; what is there is never replaced."""
    path = secrets.file_of(environment)
    if path.exists():
        raise KeyFileError(f"{path}: is there already: move it away, when what is sealed is to take its place")
    try:
        plain = pyrage.decrypt(file.read_bytes(), identities(identity))
    except OSError as error:
        raise KeyFileError(f"{file}: cannot be read ({error.strerror}): copy the vault's directory whole") from None
    except pyrage.DecryptError as error:
        raise KeyFileError(f"{file}: {identity} does not open it: {error}") from None
    secrets.write_private(path, plain)
    return path
