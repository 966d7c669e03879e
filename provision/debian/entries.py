"""A file or a directory as it should lie on a host; what differs, told in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import PurePosixPath


@dataclass(frozen=True)
class Directory:
    """A directory, its owner and mode. What is in it is not ours to say."""

    path: str
    user: str = "root"
    group: str = "root"
    mode: int = 0o755
    formerly: tuple[str, ...] = ()  # whose it may be before us, besides root: it is taken over from them

    @property
    def owners(self) -> frozenset[str]:
        return frozenset({"root", self.user, *self.formerly})


@dataclass(frozen=True)
class File:
    """A text file, whole: its content ends with a line break. `check` is a command that must accept it, given its path
    aside, before it is put in place."""

    path: str
    content: str
    user: str = "root"
    group: str = "root"
    mode: int = 0o644
    keep_previous: bool = False
    check: str = ""

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


# Who may write in /usr/local (Debian Policy 9.1.2) and in Ubuntu's /var/log: root has put them there.
_ROOTS_OWN_GROUPS = frozenset({"root", "staff", "syslog"})


@dataclass(frozen=True)
class Step:
    """One step on the way to a path, itself included, as it is with no link followed. `leads_to` is a link's end."""

    kind: str
    mode: int
    user: str
    group: str
    leads_to: str = ""

    @property
    def is_link(self) -> bool:
        return self.kind == "symbolic link"

    @property
    def is_closed(self) -> bool:
        """Whether nobody but root can put another thing in the place of what lies in this directory."""
        if self.user != "root":
            return False
        others = self.mode & 0o022 if self.group not in _ROOTS_OWN_GROUPS else self.mode & 0o002
        return self.is_link or not others or bool(self.mode & 0o1000)


def way_to(path: str) -> tuple[str, ...]:
    """The directories on the way to a path, from the root, without the path itself."""
    return tuple(str(each) for each in reversed(PurePosixPath(path).parents))


def refusals(entries: Sequence[Entry], steps: Mapping[str, Step], within: Sequence[Directory] = ()) -> list[str]:
    """Why root must not touch these entries: a sentence for each thing that somebody else has put in their way.

    On the way to an entry lie directories of root's that nobody else may write in (or only beside, with the sticky
    bit), or directories of our own list with an owner that the list gives them. A link is followed where root made
    it. `steps` has what exists of each entry and of its way, and of what the links lead to.
    """
    ours = {entry.path: entry for entry in (*within, *entries) if isinstance(entry, Directory)}
    found = []
    for entry in entries:
        for path in (*way_to(entry.path), entry.path):
            told = _refusal(path, entry, steps, ours)
            if told and told not in found:
                found.append(told)
    return found


def _refusal(path: str, entry: Entry, steps: Mapping[str, Step], ours: Mapping[str, Directory]) -> str | None:
    step, itself = steps.get(path), path == entry.path
    if step is None:
        return None
    if step.is_link:
        return _refused_link(path, entry, step, steps)
    if itself and not isinstance(entry, Directory) and step.kind == "directory":
        return (
            f"{path}: is a directory of {step.user}'s, where a file belongs: see what is in it, then move it away"
            " and deploy again"
        )
    owners = ours[path].owners if path in ours else frozenset({"root"})
    if itself and not isinstance(entry, Directory):
        return None  # a file is replaced whole, never written into; a log's owner is told as a difference
    if step.user not in owners or (not itself and path not in ours and not step.is_closed):
        who = f"belongs to {step.user}" if step.user not in owners else f"can be written in by others ({step.mode:04o})"
        return (
            f"{path}: {who}, so root does not touch {'it' if itself else entry.path}: see what is in it, then give it"
            f" to root (chown -h root {path}; chmod go-w {path}), or move it away"
        )
    return None


def _refused_link(path: str, entry: Entry, link: Step, steps: Mapping[str, Step]) -> str | None:
    behind = steps.get(link.leads_to)
    on_the_way = [steps[each] for each in way_to(link.leads_to) if each in steps]
    to_a_directory = behind is not None and behind.kind == "directory"
    may_be_one = path != entry.path or isinstance(entry, Directory)
    if link.user == "root" and to_a_directory and may_be_one and all(step.is_closed for step in on_the_way):
        return None
    return (
        f"{path}: is a link of {link.user}'s to {link.leads_to or 'nowhere'}, which root does not follow:"
        f" see who made it, then remove it (rm {path}) and deploy again"
    )


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
