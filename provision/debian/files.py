"""Files and directories, each put in place in one step.

`pyinfra.operations.files.put` writes in place, and readable by others until a later chmod. Here the text
goes over the connection's standard input into a 0600 file beside the destination, is counted (a cut
connection must not pass as a short file), given its owner and mode, flushed to disk and renamed. It is in
no argument list and no output.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace

from pyinfra.api import QuoteString, StringCommand, operation
from pyinfra.context import host
from typing_extensions import override

from provision.debian.entries import Directory, Entry, File, Found, Log, Step, differences, refusals, way_to
from provision.debian.programs import program
from provision.engine import claims
from provision.engine.changes import note
from provision.engine.facts import Fact, asked
from provision.engine.private import PrivateInput


class Paths(Fact[dict[str, Found]]):
    """Given paths, return what was found at each; a path with nothing there is absent from the result.

    A symbolic link is followed to a directory (a person may keep the app on another disk), and is told as
    the link that it is otherwise: a file is replaced, never what a link in its place points at.
    """

    @override
    def command(self, paths: Sequence[str]) -> StringCommand:
        quoted = [QuoteString(path) for path in paths]
        # GNU stat's own word for an empty file is "regular empty file", in English in the C locale alone; %F cannot
        # hold a tab.
        return asked(
            "for p in", *quoted, '; do if [ -d "$p" ]; then set -- -L; else set --; fi;',
            r"LC_ALL=C stat $1 --printf='%F\t%a\t%U\t%G\t%n\n' -- " + '"$p" 2>/dev/null;',
            'if [ -f "$p" ] && [ ! -L "$p" ]; then sha256sum -- "$p"; fi; done; true',
        )  # fmt: skip

    @staticmethod
    @override
    def default() -> dict[str, Found]:
        return {}

    @override
    def read(self, lines: list[str]) -> dict[str, Found]:
        found: dict[str, Found] = {}
        for line in lines:
            if "\t" in line:
                kind, mode, user, group, path = line.split("\t")
                found[path] = Found(kind.replace("regular empty", "regular"), int(mode, 8), user, group)
            else:
                digest, path = line.split("  ", 1)
                found[path] = replace(found[path], sha256=digest)
        return found


class Steps(Fact[Mapping[str, Step]]):
    """Given paths, return what is at each, no link followed, and at each step of the way to where links lead."""

    @override
    def command(self, paths: Sequence[str]) -> StringCommand:
        return asked(program("debian/steps.sh", *paths))

    @staticmethod
    @override
    def default() -> Mapping[str, Step]:
        return {}

    @override
    def read(self, lines: list[str]) -> Mapping[str, Step]:
        found = {}
        # Where a link leads to nothing, there is nothing to tell.
        for kind, mode, user, group, path, leads_to in (line.split("\t") for line in lines if line[:1] != "\t"):
            found[path] = Step(kind, int(mode, 8), user, group, leads_to)
        return found


def refused(entries: Sequence[Entry], within: Sequence[Directory] = ()) -> list[StringCommand]:
    """A command that fails with its sentence for each thing that keeps root from these entries; a plan tells them."""
    wanted = dict.fromkeys(path for entry in entries for path in (*way_to(entry.path), entry.path))
    sentences = refusals(entries, host.get_fact(Steps, paths=tuple(wanted)), within)
    note(host, *sentences)
    return [refusal(sentence) for sentence in sentences]


@operation()
def placed(entries: Sequence[Entry], within: Sequence[Directory] = ()) -> Generator[StringCommand, None, None]:
    """Every entry is on the host as described: kind, content, owner, mode. One question, one write each.

    Directories come before what lies in them, in the order given. `within` are those that others own, and that an
    earlier step or a package has made.
    """
    needed(entries)
    if in_the_way := refused(entries, within):
        yield from in_the_way
        return
    found = host.get_fact(Paths, paths=tuple(entry.path for entry in entries))
    told = [(entry, list(differences(entry, found.get(entry.path)))) for entry in entries]
    # All are told before the first is mended: a plan listens only until then.
    note(host, *(sentence for _, sentences in told for sentence in sentences))
    yield from _claimed(entries, found)
    for entry in [entry for entry, sentences in told if sentences]:
        yield _mend(entry)


@operation()
def absent(paths: Sequence[str]) -> Generator[StringCommand, None, None]:
    """None of these files is on the host."""
    found = host.get_fact(Paths, paths=tuple(paths))
    for path in [path for path in paths if path in found]:
        note(host, f"{path}: should not be there")
        yield StringCommand("rm -f --", QuoteString(path))


def needed(entries: Sequence[Entry], *, as_they_are: bool = False) -> None:
    """The role at hand needs these; as_they_are: whatever is in them."""
    claims.placed(each.path for each in entries)
    claims.needed("directories", [each.path for each in entries if isinstance(each, Directory)])
    claims.needed("files", [each.path for each in entries if not isinstance(each, Directory)])
    claims.needed("data", [each.path for each in entries if isinstance(each, Log)])
    if not as_they_are:
        claims.summed({each.path: each.sha256 for each in entries if isinstance(each, File)})


def _claimed(entries: Sequence[Entry], found: dict[str, Found]) -> Generator[StringCommand, None, None]:
    """What of these is ours: files that hold our text alone, and what was missing."""
    shared = [
        each for each in entries if isinstance(each, Directory) or (isinstance(each, File) and each.keep_previous)
    ]
    claims.written(each.path for each in entries if each not in shared)
    missing = [each for each in shared if each.path not in found]
    yield from claims.made("directories", [each.path for each in missing if isinstance(each, Directory)])
    yield from claims.made("files", [each.path for each in missing if isinstance(each, File)])


def refusal(sentence: str) -> StringCommand:
    """A command that fails with this sentence. An exception would stop the other hosts too."""
    return StringCommand("echo", QuoteString(sentence), ">&2; exit 1")


def _mend(entry: Entry) -> StringCommand:
    match entry:
        case File():
            return _write(entry)
        case Directory():
            return _make(entry)
        case Log():
            return _begin(entry)


def _write(file: File) -> StringCommand:
    keep = "keep" if file.keep_previous else "replace"
    owner, mode = f"{file.user}:{file.group}", f"{file.mode:04o}"
    check = [file.check] if file.check else []
    write = program("debian/write.sh", file.path, str(file.size_bytes), owner, mode, keep, *check)
    return StringCommand(write, _stdin=PrivateInput(file.content))


def _make(directory: Directory) -> StringCommand:
    owner, owners = f"{directory.user}:{directory.group}", " ".join(sorted(directory.owners))
    return program("debian/make-directory.sh", directory.path, owner, f"{directory.mode:04o}", owners)


def _begin(log: Log) -> StringCommand:
    return program("debian/begin-log.sh", log.path, f"{log.user}:{log.group}", f"{log.mode:04o}")
