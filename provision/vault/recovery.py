"""Dumps on their way back from a vault to a backup host, through this machine and onto none of its disks.

A vault opens its copies with its own key; a directory of its files is opened with people's offline key. What either
says is held against the signature, whose public half this project keeps, and against the sums in what was signed.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import pyrage
from pyinfra.api import Host
from typing_extensions import override

from provision.vault import offline, transfer
from provision.vault.transfer import RecoveryError, Sink

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# What a copy consists of: the dump itself, or its directory as one archive, and what accompanies it.
ENDINGS = ("", ".tar", ".globals.gz", ".properties.json", ".json")
_DUMP = re.compile(r"[a-z][\w.%-]*\.(sql\.gz|sql\.zst|dump|dir)", re.ASCII)
_LONGEST_HEAD = 65536  # bytes of a file of age's, for hundreds of recipients


@dataclass(frozen=True)
class Offer:
    """A copy as a vault lists it: `fetched` in seconds since 1970; `suspect` tells what it lacks of an earlier one."""

    tier: str
    dump: str
    database: str
    proof: str
    fetched: int
    signed: bool
    suspect: str = ""

    @property
    def manifest(self) -> str:
        return f"{self.tier}/{self.dump}.manifest.json"


class NotGenuineError(RecoveryError):
    """What lies there is not what a vault has signed, or not that of the name that it bears."""


class EmptyError(OSError):
    """Nothing came of a file."""


class Copies(Protocol):
    """Where copies come from. Each method raises RecoveryError for what it cannot read."""

    @property
    def name(self) -> str: ...

    def offers(self, source: str) -> list[Offer]:
        """What there is of a backup host, the newest of each database first."""
        ...

    def read(self, source: str, file: str, into: Sink) -> None:
        """A file of it, TIER/NAME, opened when it is encrypted."""
        ...


@dataclass(frozen=True)
class OfVault:
    """The copies of a vault that can be reached: `program` is its own."""

    vault: Host
    program: str

    @property
    def name(self) -> str:
        return self.vault.name

    def offers(self, source: str) -> list[Offer]:
        text = b"".join(transfer.output(self.vault, [self.program, "--offer", source])).decode()
        try:
            return [Offer(**_json(line, self.name)) for line in text.splitlines()]
        except TypeError:
            raise RecoveryError(f"{self.name}: its list of copies is none: deploy this version to the vault") from None

    def read(self, source: str, file: str, into: Sink) -> None:
        for chunk in transfer.output(self.vault, [self.program, "--export", source, file]):
            into.write(chunk)


@dataclass(frozen=True)
class OfDirectory:
    """A copy of a vault's directory on this machine: people's own key opens it, the vault's is gone."""

    root: Path
    identity: Path

    @property
    def name(self) -> str:
        return str(self.root)

    def offers(self, source: str) -> list[Offer]:
        found = (self.root / "store" / source).glob("*/*.manifest.json")
        return [_offer(path) for path in sorted(found, key=lambda each: each.name, reverse=True)]

    def read(self, source: str, file: str, into: Sink) -> None:
        path = self.root / "store" / source / file
        try:
            keys = offline.identities(self.identity)
            stored = path.open("rb")
        except offline.KeyFileError as error:
            raise RecoveryError(str(error)) from None
        except OSError as error:
            raise RecoveryError(f"{path}: cannot be read ({error.strerror}): copy the directory whole") from None
        with stored:
            if not file.endswith(".age"):
                into.write(stored.read())
                return
            try:
                open_copy(stored, into, keys)
            except (OSError, pyrage.DecryptError) as error:
                raise RecoveryError(f"{path}: {self.identity} does not open it: {error}") from None


class _Begun(io.RawIOBase):
    """What was read of a file, and then the rest of it."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self._head, self._rest = head, rest

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer)
        part = self._head[: len(view)] or self._rest.read(len(view))
        self._head = self._head[len(part) :]
        view[: len(part)] = part
        return len(part)


def open_copy(stored: IO[bytes], into: Sink, keys: Sequence[pyrage.x25519.Identity]) -> None:
    """Write what a file of age's holds. Raise OSError or pyrage.DecryptError.

    age holds a file's head in memory until that ends: of one that has none, whoever made it, all of the file.
    """
    head = stored.read(_LONGEST_HEAD)
    if not head:
        raise EmptyError("it is empty")
    if not head.startswith(b"age-encryption.org/v1\n") or not re.search(rb"\n--- [^\n]*\n", head):
        raise pyrage.DecryptError("it does not begin as age writes it")
    pyrage.decrypt_io(io.BufferedReader(_Begun(head, stored), 1 << 20), into, keys)


def _offer(path: Path) -> Offer:
    """Of a manifest that lies in a directory. Whoever could write there may have put any file beside the others: one
    that cannot be read is no proven copy, and hides none of the others. Raise RecoveryError."""
    dump = path.name.removesuffix(".manifest.json")
    manifest = _read(path)
    proof = _read(path.with_name(f"{dump}.proof.json"), otherwise={})
    suspect = "what was said of it cannot be read" if proof is None else proof.get("suspect")
    if path.with_name(f"{dump}.accepted.json").exists():
        suspect = ""
    try:
        return Offer(
            tier=path.parent.name, dump=dump, database=str((manifest or {}).get("database")),
            proof="its manifest cannot be read" if manifest is None else str((proof or {}).get("verdict") or ""),
            fetched=int(path.stat().st_mtime), suspect=str(suspect or ""),
            signed=manifest is not None and path.with_name(f"{path.name}.sig").exists(),
        )  # fmt: skip
    except OSError as error:
        raise RecoveryError(f"{path}: cannot be read ({error.strerror}): take another copy of the store") from None


def _read(path: Path, otherwise: dict[str, Any] | None = None) -> dict[str, Any] | None:
    """The object in a file; None where there is another thing, `otherwise` where there is no file."""
    try:
        return _json(path.read_bytes(), str(path))
    except FileNotFoundError:
        return otherwise
    except (OSError, RecoveryError):
        return None


def newest(found: list[Offer], is_genuine: Callable[[Offer], bool]) -> list[Offer]:
    """Of each database the newest one that is signed, lacks nothing, and is what it says."""
    chosen: dict[str, Offer] = {}
    for offer in found:
        if offer.signed and not offer.suspect and offer.database not in chosen and is_genuine(offer):
            chosen[offer.database] = offer
    return list(chosen.values())


def manifest_of(copies: Copies, source: str, offer: Offer, sign_keys: Collection[str]) -> dict[str, Any]:
    """The manifest of a copy; of a signed one only with a signature that is good. Raise RecoveryError, of which
    NotGenuineError is about this copy alone."""
    text = _text(copies, source, offer.manifest)
    try:
        manifest = _json(text, offer.dump)
    except RecoveryError:  # a vault reads some of what this language does not: that hides none of the others
        raise NotGenuineError(f"{offer.dump}: its manifest cannot be read as JSON: take another one") from None
    if not re.fullmatch(r"[a-z][a-z0-9-]*", str(manifest.get("app"))):  # it becomes an argument
        raise NotGenuineError(f"{offer.dump}: its manifest is of no app: take another one")
    if offer.signed:
        signature = _text(copies, source, f"{offer.manifest}.sig")
        if not any(is_signed(text, signature, f"{manifest.get('app')}-backup", key) for key in sign_keys):
            raise NotGenuineError(
                f"{offer.dump}: its signature is not the vault's: take another one, and see the vault"
            )
    try:
        _refuse_another(manifest, source, offer)
    except (KeyError, TypeError):
        raise NotGenuineError(f"{offer.dump}: its manifest lacks what each has: take another one") from None
    return manifest


def _refuse_another(manifest: Mapping[str, Any], source: str, offer: Offer) -> None:
    if (manifest["dump"], manifest["tier"], manifest["source"]) != (offer.dump, offer.tier, source):
        raise NotGenuineError(
            f"{offer.dump}: its manifest is that of another dump: take another one, and see the vault"
        )
    if not _DUMP.fullmatch(offer.dump):
        raise NotGenuineError(f"{offer.dump}: is no name of a dump: take another one")
    for file in manifest["files"]:  # they become paths: of one that nobody has signed they may be anything
        if file["plain_name"] not in [offer.dump + ending for ending in ENDINGS]:
            raise NotGenuineError(f"{offer.dump}: its manifest names a file that is none of a dump's: take another one")
        if file["name"] != f"{file['plain_name']}.age":
            raise NotGenuineError(f"{offer.dump}: its manifest names a file that is not encrypted: take another one")


def _json(text: str | bytes, what: str) -> dict[str, Any]:
    """An object. Raise RecoveryError for anything else, which a copy of a store may well hold."""
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict):
        raise RecoveryError(f"{what}: cannot be read as JSON: take another copy")
    return read


def _text(copies: Copies, source: str, file: str) -> bytes:
    into = io.BytesIO()
    copies.read(source, file, into)
    return into.getvalue()


def is_signed(text: bytes, signature: bytes, namespace: str, sign_key: str) -> bool:
    """Whether the holder of a public key has signed a text, for this purpose (man ssh-keygen, `-n`)."""
    with tempfile.TemporaryDirectory() as directory:
        signers, file = Path(directory) / "signers", Path(directory) / "signature"
        signers.write_text(f"vault {sign_key}\n", encoding="ascii")
        file.write_bytes(signature)
        done = subprocess.run(
            ["ssh-keygen", "-Y", "verify", "-f", signers, "-I", "vault", "-n", namespace, "-s", file],
            input=text, capture_output=True, check=False,
        )  # fmt: skip
        return done.returncode == 0


def bring(copies: Copies, to: Host, manifest: dict[str, Any], backup_dir: str, user: str) -> list[str]:
    """Put all files of a copy on a host, opened, as a night's dump lies there. Return their paths."""
    tier = manifest["tier"]
    directory = backup_dir if tier == "daily" else f"{backup_dir}/{tier}"
    transfer.run(to, transfer.program("prepare", backup_dir, user))
    paths = []
    # The dump itself last: without it what accompanies it counts for nothing.
    mains = (manifest["dump"], f"{manifest['dump']}.tar")
    for file in sorted(manifest["files"], key=lambda each: each["plain_name"] in mains):
        path = f"{directory}/{file['plain_name']}"
        with transfer.arriving(to, path, user, file["plain_sha256"]) as into:
            copies.read(manifest["source"], f"{tier}/{file['name']}", into)
        if path.endswith(".tar"):
            transfer.run(to, [*transfer.as_user(user), *transfer.program("unpack", path)])
        paths.append(path.removesuffix(".tar"))
    return paths


def point_latest(host: Host, user: str, link: str, path: str) -> None:
    """`latest` is this dump, as after a night's run."""
    relative = path.removeprefix(link.rpartition("/")[0] + "/")
    transfer.run(host, [*transfer.as_user(user), "ln", "-sfn", "--", relative, link])
