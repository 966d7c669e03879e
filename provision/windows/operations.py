"""What a Windows host should have. Nothing is sent when nothing differs; what differs is told in words.

A file's content goes over SFTP only: it is in no command, no argument list and no output. A private one is
born empty with its final access list.
"""

from __future__ import annotations

import io
import ntpath
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, NoReturn

from pyinfra.api import FileUploadCommand, OperationError, StringCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.context import host

from provision.app.dotenv import differing, merge
from provision.engine.changes import note, warn
from provision.engine.inside import commands_of
from provision.engine.reach import LONG
from provision.record.removal import UNUSED
from provision.windows import acl, removal, snippets, task
from provision.windows.facts import Accounts, NewestBackup, Paths, PostgresClients, ScheduledTasks
from provision.winssh.connector import ANSWERED


@dataclass(frozen=True)
class Directory:
    """A directory; without `access` its access list is whatever it inherits."""

    path: str
    access: acl.Private | None = None


@dataclass(frozen=True)
class File:
    """A file, whole. `content` is never shown."""

    path: str
    content: bytes = field(repr=False)
    access: acl.Private | None = None

    @property
    def sha256(self) -> str:
        return sha256(self.content).hexdigest()


Entry = File | Directory


@operation()
def placed(entries: Sequence[Entry]) -> Generator[PyinfraCommand, None, None]:
    """Every entry is on the host as described. Directories come before what lies in them."""
    yield from _placed(entries, paths_now(*(entry.path for entry in entries)))


def _placed(entries: Sequence[Entry], found: Mapping[str, dict[str, str]]) -> Generator[PyinfraCommand, None, None]:
    told = [_told(entry, found.get(entry.path)) for entry in _resolved(entries)]
    # All of it before the first command: there pyinfra stops when it prepares, and what is refused changes nothing.
    note(host, *(sentence for each in told for sentence in (*each.content, *each.access)))
    # One script for all of them: PowerShell takes a second to start.
    steps = [step for each in told if (step := each.step())]
    if steps:
        yield snippet("place", entries=steps)
    for each in told:
        if isinstance(each.entry, File) and each.content:
            yield FileUploadCommand(
                io.BytesIO(each.entry.content), each.entry.path, remote_temp_filename=_aside(each.entry)
            )


@dataclass(frozen=True)
class _Told:
    """What differs about an entry, in words: what it is or holds, and who may open it."""

    entry: Entry
    content: list[str]
    access: list[str]

    def step(self) -> dict[str, str | None] | None:
        """What PowerShell has to do for it, before a file's content comes; None for nothing."""
        if isinstance(self.entry, File) and self.content:
            # A private file is private before it has a content.
            return _step("file", _aside(self.entry), self.entry) if self.entry.access else None
        if isinstance(self.entry, Directory) and (self.content or self.access):
            return _step("directory", self.entry.path, self.entry)
        return _step(None, self.entry.path, self.entry) if self.access else None


def _step(kind: str | None, path: str, entry: Entry) -> dict[str, str | None]:
    return {"kind": kind, "path": path, "sddl": _sddl(entry)}


def _aside(entry: File) -> str:
    return f"{entry.path}.new"


def _told(entry: Entry, there: dict[str, str] | None) -> _Told:
    content = _content_told(entry, there)
    return _Told(entry, content, _access_told(entry, there))


@operation()
def listed(
    path: str,
    version: str,
    environment: str,
    of: Mapping[str, removal.Things],
    sums: Mapping[str, str],
    tasks: Sequence[task.Task],
    mark: str,
    pg_dump: str,
) -> Generator[PyinfraCommand, None, None]:
    """`path` holds, as JSON, what of this host comes from us: what this deploy is about to make, and before.

    `of` is what each role needs, `sums` what we write whole. Written before anything is made, so that a deploy that
    fails half-way has told of all that it began. What was there before the first deploy is not ours, unless we write it
    whole. Raise OperationError when `path` is no such list.
    """  # fmt: skip
    directory = Directory(ntpath.dirname(path), acl.Private(directory=True))
    needed = removal.things({kind: set().union(*(each[kind] for each in of.values())) for kind in removal.KINDS})
    there = paths_now(path, directory.path, *sorted(needed["files"] | needed["directories"]))
    earlier = listed_before(path) if path in there else None
    # A host of a version that kept no list is known by its tasks.
    known = earlier is None and any(_is_there_and_ours(each, mark) for each in tasks)
    now = earlier or removal.Listed()
    now.version, now.sums = version, {**now.sums, **sums}
    now.ours["files"] |= {each for each in needed["files"] if each in sums or each not in there} | {path}
    now.ours["directories"] |= {each for each in needed["directories"] if known or each not in there} | {directory.path}
    now.ours["tasks"] |= needed["tasks"]
    if needed["packages"] and not host.get_fact(PostgresClients, pg_dump=pg_dump):
        now.ours["packages"] |= needed["packages"]
    before = (needed["directories"] & there.keys()) - now.ours["directories"]
    now.access = {each: there[each]["sddl"] for each in before} | now.access
    _told_of_leftovers(now, of, environment)
    yield from _placed([directory, File(path, removal.text(now, of).encode(), acl.Private())], there)


def _told_of_leftovers(now: removal.Listed, of: Mapping[str, removal.Things], environment: str) -> None:
    """Tell what no deploy takes away by itself, with the command that does, as far as it is there."""
    former = removal.former(now, of)
    now.of |= of
    for role, paths in former.items():
        there = paths & paths_now(*sorted(paths)).keys()
        for each in sorted(there):
            warn(
                host,
                f"{each} is where {role} had its data before a setting named another place: what lies there stays, and"
                " nothing looks there any more. Move it to the new place, or delete it",
            )
        now.left |= {role: removal.things({"data": there, "directories": there & now.ours["directories"]})}
        now.left = {name: found for name, found in now.left.items() if any(found.values())}
    for role, found in removal.leftovers(now, of).items():
        files = found["files"] & paths_now(*sorted(found["files"])).keys()
        still = {"files": files, "tasks": there_of(found["tasks"])}
        if any(still.values()):
            whose = "what no setting asks for any more" if role == UNUSED else f"what it had as {role}"
            warn(
                host,
                f"still has {whose}: {removal.in_words(still)}. `make remove ENV={environment} LIMIT={host.name}"
                f" ROLE={role}` takes it away",
            )


def there_of(tasks: Iterable[str]) -> set[str]:
    """Those of the tasks that the host has."""
    split = {each: each.rpartition("\\") for each in tasks}
    return {each for each, (folder, _, name) in split.items() if name in tasks_now(folder)}


def listed_before(path: str) -> removal.Listed:
    """What the list at a path says. Raise OperationError when it is none, or not an administrator's.

    A removal goes by it, and in C:\\ProgramData anybody may make a directory of that name.
    """
    there = paths_now(path, ntpath.dirname(path))
    for entry in (Directory(ntpath.dirname(path)), File(path, b"")):
        _require_kind(entry, there[entry.path])
        _refuse_anothers(entry.path, there[entry.path]["sddl"])
    try:
        return removal.read(_read_text(path))
    except ValueError:
        refuse(f"{path} is not what a deploy has written: mend it, or remove it to begin a new list")


def _is_there_and_ours(wanted: task.Task, mark: str) -> bool:
    there = tasks_now(wanted.folder).get(wanted.name)
    return there is not None and task.is_ours(there["xml"], mark)


@operation()
def scheduled_task(wanted: task.Task, mark: str) -> Generator[StringCommand, None, None]:
    """The task is registered as described. One of that name without our mark is left alone, and fails the step."""
    there = tasks_now(wanted.folder).get(wanted.name)
    accounts = {} if wanted.service_account else {wanted.user: _sid(wanted.user)}
    if there is None:
        told = [f"{wanted.path}: is missing"]
    elif not task.is_ours(there["xml"], mark):
        told = [f"{wanted.path}: a task of that name is somebody else's and is left alone; rename or remove it"]
    else:
        told = task.differences(wanted, there["xml"], accounts)
    note(host, *told)
    if told:
        yield _register(wanted, mark)


@operation()
def scheduled_task_absent(folder: str, task_name: str, mark: str) -> Generator[StringCommand, None, None]:
    """There is no task of ours of that name; somebody else's is not touched, and is no difference."""
    there = tasks_now(folder).get(task_name)
    if there is not None and task.is_ours(there["xml"], mark):
        note(host, rf"{folder}\{task_name}: is there, should not be")
        yield snippet("task-remove", folder=folder, name=task_name, mark=mark)


@operation()
def variables_set(path: str, variables: Mapping[str, str], reader: str | None) -> Generator[PyinfraCommand, None, None]:
    """`path` sets each of these (quoted) variables once; other lines stay, and so does their kind of line end.

    SYSTEM, the administrators and the account `reader` may read it.
    """
    access = acl.Private(() if reader is None else (reader,))
    there = paths_now(path).get(path)
    if there:
        _require_kind(File(path, b""), there)  # what is no file, or leads elsewhere, is not even read
    text = _read_text(path) if there else ""
    ending = "\r\n" if "\r\n" in text else "\n"
    plain = text.replace("\r\n", "\n")
    for name in differing(plain, variables) if there else ():
        note(host, f"{path}: {name} is not what the settings say")
    merged = merge(plain, variables).replace("\n", ending)
    yield from commands_of(placed, [File(path, merged.encode(), access)])


@operation()
def elevated() -> Generator[StringCommand, None, None]:
    """Whoever we connect as may change the machine. Raise OperationError otherwise; nothing is ever changed."""
    found = host.connector_data[ANSWERED]
    if not found["elevated"]:
        raise OperationError(f"{found['user']} is no administrator there: set ssh_user to one")
    yield from ()


@operation()
def scripts_allowed() -> Generator[StringCommand, None, None]:
    """No group policy keeps our scripts from running. Raise OperationError otherwise; nothing is ever changed."""
    policy = host.connector_data[ANSWERED].get("policy", "")
    if policy.lower() in ("allsigned", "restricted"):
        refuse(
            f"a group policy there ({policy}) keeps scripts that are not signed from running, and wins over"
            " -ExecutionPolicy Bypass: no backup would ever run. Exempt the host from it, or have 'Turn on Script"
            " Execution' allow local scripts (RemoteSigned)"
        )
    yield from ()


@operation()
def postgres_client(pg_dump: str, winget_package: str | None) -> Generator[StringCommand, None, None]:
    """The host has a pg_dump.exe: where PostgreSQL is installed, or where `pg_dump` says; else winget brings it.

    `winget_package` is None where winget may not be used.
    """
    clients = host.get_fact(PostgresClients, pg_dump=pg_dump) or {}
    if pg_dump and pg_dump not in clients:
        raise OperationError(f"windows_pg_dump = {pg_dump!r}: there is no pg_dump that runs at that path")
    if clients:
        return
    if winget_package is None:
        raise OperationError(
            "there is no pg_dump.exe: install PostgreSQL's command line tools with EDB's installer"
            " (postgresql-<version>-windows-x64.exe, from https://www.postgresql.org/download/windows/), or point"
            " windows_pg_dump at one, or set windows_allow_winget = True"
        )
    note(host, f"pg_dump.exe: is missing, winget installs {winget_package}")
    yield StringCommand(snippet("winget", package=winget_package), _timeout=LONG)


def _sid(account: str) -> str:
    sid = (host.get_fact(Accounts, names=(account,)) or {}).get(account)
    if sid is None:
        raise OperationError(f"the host knows no account {account!r}: create it there, or name another")
    return sid


def _read_text(path: str) -> str:
    # Not a fact: pyinfra prints what a fact returns (-vvv), and this holds passwords.
    content = io.BytesIO()
    try:
        is_read = host.get_file(path, content)
    except OSError as error:
        raise OperationError(f"{path} cannot be read: {error}") from None
    if not is_read:
        raise OperationError(f"{path} cannot be read")
    try:
        return content.getvalue().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise OperationError(f"{path} is not UTF-8 text: save it as UTF-8, and deploy again") from None


@operation()
def backup_made(script: str, places: Sequence[str], pattern: str) -> Generator[StringCommand, None, None]:
    """There is a complete dump in one of `places`; else `script` makes one now, and its failure fails the step."""
    newest = host.get_fact(NewestBackup, places=tuple(places), pattern=pattern, script=script)
    if newest is None or not newest["complete"]:
        note(host, "no complete backup lies there yet" if not newest or newest["path"] is None else
             f"{newest['path']}: the newest backup is not complete")  # fmt: skip
        yield StringCommand(snippet("run-backup", script=script), _timeout=LONG)


def _content_told(entry: Entry, there: dict[str, str] | None) -> list[str]:
    if there is None:
        return [f"{entry.path}: is missing"]
    _require_kind(entry, there)
    if isinstance(entry, File) and there["sha256"] != entry.sha256:
        return [f"{entry.path}: its content differs"]
    return []


def _require_kind(entry: Entry, there: dict[str, str]) -> None:
    kind = "file" if isinstance(entry, File) else "directory"
    if there["kind"] == "link":
        refuse(f"{entry.path}: is a link or junction: see who made it, remove it, and deploy again")
    if there["kind"] != kind:
        refuse(f"{entry.path}: is a {there['kind']}, should be a {kind}: move it away")


def _access_told(entry: Entry, there: dict[str, str] | None) -> list[str]:
    if there is None or entry.access is None:
        return []
    if isinstance(entry, Directory) and not isinstance(entry.access, acl.Shared):
        _refuse_anothers(entry.path, there["sddl"])
    return acl.differences(entry.path, entry.access, there["sddl"])


def _refuse_anothers(path: str, sddl: str) -> None:
    """A directory that only administrators may write in was made by one. Raise OperationError when it was not."""
    owner = acl.owner(sddl)
    built_in = owner == "LA" or owner.endswith("-500")  # the account Administrator itself
    if owner not in acl.TRUSTED_OWNERS and not built_in:
        refuse(
            f"{path}: is owned by {owner or 'nobody'}, who may have written what is there: look at it, then"
            f' move it away, or give it to the administrators with takeown /A /F "{path}", and deploy again'
        )


def refuse(sentence: str) -> NoReturn:
    """Raise OperationError, which pyinfra lets pass while it prepares: what is noted, a plan tells."""
    note(host, sentence)
    raise OperationError(sentence)


def _sddl(entry: Entry) -> str | None:
    return None if entry.access is None else entry.access.sddl


def paths_now(*names: str) -> dict[str, dict[str, str]]:
    """What lies at these paths; while a run is prepared, which changes nothing, each is asked for once.

    The list of what is ours comes first and asks for nearly all: PowerShell takes a second to start.
    """
    known: dict[str, dict[str, str] | None] = {} if host.state.is_executing else _prepared("paths")
    unknown = tuple(name for name in names if name not in known)
    if unknown:
        found = host.get_fact(Paths, paths=unknown)
        if found is None:  # not the same as "nothing is there"
            raise OperationError("the host did not say what lies at its paths")
        known.update({name: found.get(name) for name in unknown})
    return {name: there for name in names if (there := known[name]) is not None}


def _prepared(what: str) -> dict[str, Any]:
    """What the host has said while this run was prepared."""
    kept: dict[str, Any] = host.connector_data.setdefault(f"windows_{what}", {})
    return kept


def _resolved(entries: Sequence[Entry]) -> list[Entry]:
    """The entries with each account in an access list as its SID there."""
    names = {name for entry in entries if entry.access for name in entry.access.accounts}
    sids = {name: _sid(name) for name in sorted(names)}
    return [replace(entry, access=entry.access.resolved(sids)) if entry.access else entry for entry in entries]


def tasks_now(folder: str) -> dict[str, dict[str, str]]:
    known: dict[str, dict[str, dict[str, str]]] = {} if host.state.is_executing else _prepared("tasks")
    if folder not in known:
        found = host.get_fact(ScheduledTasks, folder=folder)
        if found is None:
            raise OperationError(f"the host did not say which tasks it has in {folder}")
        known[folder] = found
    return known[folder]


def _register(wanted: task.Task, mark: str) -> StringCommand:
    return snippet(
        "task-register",
        folder=wanted.folder,
        name=wanted.name,
        xml=wanted.to_xml(),
        user=wanted.user,
        service_account=wanted.service_account,
        mark=mark,
    )


def snippet(name: str, /, **arguments: object) -> StringCommand:
    return StringCommand(snippets.script(name, arguments))
