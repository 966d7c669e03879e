"""What came from us on a Windows host, taken away again. Each step looks first: a removal that was cut off goes on."""

from __future__ import annotations

import ntpath
from collections.abc import Collection, Generator, Mapping
from typing import Any

from pyinfra.api import OperationError, StringCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.context import host, state

from provision.engine.changes import note, warn
from provision.engine.inside import commands_of
from provision.windows import acl, removal
from provision.windows.facts import Remains
from provision.windows.operations import (
    Directory,
    File,
    listed_before,
    paths_now,
    placed,
    refuse,
    scheduled_task_absent,
    snippet,
    there_of,
)  # fmt: skip

Tree = Mapping[str, Mapping[str, int]]


@operation()
def tasks_gone(tasks: Collection[str], mark: str) -> Generator[StringCommand, None, None]:
    """None of these tasks of ours is registered, nor a folder in which there was nothing else."""
    for path in sorted(there_of(tasks)):
        folder, _, name = path.rpartition("\\")
        yield from commands_of(scheduled_task_absent, folder, name, mark)


@operation()
def paths_gone(
    going: removal.Removal, sums: Mapping[str, str], aside: str, *, with_data: bool
) -> Generator[StringCommand, None, None]:
    """None of these files is there, nor a directory in which nothing is left; with_data: nor the data. What was changed
    by hand is kept below `aside` first; a directory that was there before us has its access list as it was."""
    there = paths_now(*sorted({*going.goes["files"], *going.goes["directories"], *going.data, *going.scratch}))
    for each in sorted(path for path in going.goes["directories"] & there.keys() if there[path]["kind"] == "link"):
        refuse(f"{each}: is a link or junction: see who made it, remove it, and run this again")
    tree = _remains({*going.goes["directories"], *going.data} & there.keys())
    data = {path for path in going.data & there.keys() if not removal.is_data(ntpath.dirname(path), going.data)}
    trees = data if with_data else set()
    single = {*(each for each in going.goes["files"] if not removal.is_data(each, going.data)), *going.scratch}
    files = single & there.keys()
    kept = {path for path in data - trees if _files(path, tree) > len(_below(path, files))}
    directories = _emptied(going, files, trees, kept, tree)
    access = {
        path: sddl for path, sddl in going.access.items() if paths_now(path).get(path, {}).get("sddl", sddl) != sddl
    }
    changed = {path: _aside(path, aside) for path in files if path in sums and there[path]["sha256"] != sums[path]}
    _tell(files, trees, directories, changed, tree)
    for path in access:
        note(host, f"{path}: its access list is given back")
    for path in sorted(kept):
        count = _files(path, tree) - len(_below(path, files))
        _told(f"{path}: stays, it is data ({count} file(s), {tree[path]['bytes'] / 1e6:.1f} MB)")
    if files or trees or directories or access:
        yield _take_away(
            aside=changed, files=sorted(files), trees=sorted(trees), directories=directories, access=access
        )  # fmt: skip


def _tell(files: set[str], trees: set[str], directories: list[str], changed: Mapping[str, str], tree: Tree) -> None:
    for path in sorted(files):
        note(
            host,
            f"{path}: goes" + (f"; it was changed by hand, and is kept as {changed[path]}" if path in changed else ""),
        )
    for path in sorted(changed):
        warn(host, f"{path}: was changed by hand since a deploy wrote it, and is kept as {changed[path]}")
    for path in sorted(trees):
        note(host, f"{path}: goes with {_files(path, tree)} file(s)")
    for path in directories:
        note(host, f"{path}: goes, there is nothing in it")


def _emptied(going: removal.Removal, files: set[str], trees: set[str], kept: set[str], tree: Tree) -> list[str]:
    """The directories in which nothing is left once these have gone, the deepest first."""
    gone, emptied = {path: 1 for path in files if not removal.is_data(path, trees)}, []
    gone |= {path: 1 + tree[path]["entries"] for path in trees}
    for path in sorted(going.goes["directories"] & tree.keys(), key=lambda each: (-each.count("\\"), each)):
        if removal.is_data(path, {*trees, *kept}):
            continue
        if tree[path]["entries"] == sum(gone[each] for each in _below(path, gone)):
            gone[path] = 1
            emptied.append(path)
    return emptied


def _below(path: str, paths: Collection[str]) -> set[str]:
    return {each for each in paths if removal.is_data(ntpath.dirname(each), [path])}


def _files(path: str, tree: Tree) -> int:
    return tree[path]["files"] if path in tree else 0


def _aside(path: str, aside: str) -> str:
    return ntpath.join(aside, path.replace(":", ""))


def _remains(paths: Collection[str]) -> Tree:
    if not paths:
        return {}
    found: Tree | None = host.get_fact(Remains, paths=tuple(sorted(paths)))
    if found is None:
        raise OperationError("the host did not say what lies in its directories")
    return found


@operation()
def unlisted(path: str, role: str, going: removal.Removal) -> Generator[PyinfraCommand, None, None]:
    """The list names nothing of this role any more but what is there still."""
    if path not in paths_now(path):
        return
    left, directory = _left(going), ntpath.dirname(path)
    for each in sorted(left["directories"]):
        if not removal.is_data(each, going.data):
            _told(f"{each}: stays, it is not empty")
    now = removal.without(listed_before(path), role, left)
    if now.of or now.left or any(now.ours[kind] - {path, directory} for kind in ("files", "directories", "tasks")):
        yield from commands_of(
            placed, [Directory(directory), File(path, removal.text(now, now.of).encode(), acl.Private())]
        )
        return
    yield _take_away(files=[path], directories=[directory])


def _left(going: removal.Removal) -> removal.Things:
    """What of a removal is on the host still, by kind, and what of that is data."""
    asked = {*going.goes["files"], *going.goes["directories"], *going.data}
    there = paths_now(*sorted(asked)).keys()
    left: Any = {kind: going.goes[kind] & there for kind in ("files", "directories")}
    return removal.things(left | {"data": going.data & there, "tasks": there_of(going.goes["tasks"])})


def _told(sentence: str) -> None:
    """What stays is told once it is known for sure."""
    if state.is_executing:
        warn(host, sentence)


def _take_away(**what: object) -> StringCommand:
    nothing: dict[str, object] = {"aside": {}, "files": [], "trees": [], "directories": [], "access": {}}
    return snippet("take-away", **nothing | what)
