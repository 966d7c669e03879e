"""A file or a directory as it should lie on a host; what differs, told in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256


@dataclass(frozen=True)
class Directory:
    """A directory, its owner and mode. What is in it is not ours to say."""

    path: str
    user: str = "root"
    group: str = "root"
    mode: int = 0o755


@dataclass(frozen=True)
class File:
    """A text file, whole: its content ends with a line break."""

    path: str
    content: str
    user: str = "root"
    group: str = "root"
    mode: int = 0o644
    keep_previous: bool = False

    def __post_init__(self) -> None:
        if not self.content.endswith("\n"):
            raise ValueError(f"{self.path}: a text file ends with a line break")

    @property
    def size_bytes(self) -> int:
        return len(self.content.encode())

    @property
    def sha256(self) -> str:
        return sha256(self.content.encode()).hexdigest()


@dataclass(frozen=True)
class Log:
    """A file that others write: it exists with this owner and mode, its content is theirs.

    A log that root began is one that the job's own user cannot append to, and then the job never starts.
    """

    path: str
    user: str
    group: str
    mode: int = 0o640


Entry = File | Directory | Log


@dataclass(frozen=True)
class Found:
    """What lies on a host at a path. `sha256` is that of a regular file's content."""

    kind: str
    mode: int
    user: str
    group: str
    sha256: str | None = None


def differences(entry: Entry, found: Found | None) -> Iterator[str]:
    """What is different between an entry and what was found there, a sentence each."""
    if found is None:
        yield f"{entry.path}: is missing"
        return
    kind = "directory" if isinstance(entry, Directory) else "regular file"
    if found.kind != kind:
        yield f"{entry.path}: is a {found.kind}, should be a {kind}"
        return
    if isinstance(entry, File) and found.sha256 != entry.sha256:
        yield f"{entry.path}: its content differs"
    if found.mode != entry.mode:
        yield f"{entry.path}: mode is {found.mode:04o}, should be {entry.mode:04o}"
    if (found.user, found.group) != (entry.user, entry.group):
        yield f"{entry.path}: is owned by {found.user}:{found.group}, should be {entry.user}:{entry.group}"
