"""An environment's hosts and their Settings, read the same way inside and outside a pyinfra run."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import runpy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import pyinfra_cli.inventory as pyinfras
from pydantic import SecretStr
from pyinfra.api import State
from pyinfra.api.arguments import all_global_arguments
from pyinfra.api.inventory import Inventory
from pyinfra.connectors.ssh import ConnectorData
from pyinfra.context import ctx_state

from provision.settings import OPTIONAL_SECRETS, SECRET_SETTINGS, Fault, Settings, check, secrets
from provision.settings.project import PROJECT
from provision.winssh.connector import is_windows

# Another directory's environments, with group_data/ beside them: how the bench brings its own.
INVENTORIES = PROJECT / os.environ.get("INVENTORIES", "inventories")
ROLES = ("redis", "app", "backup", "vault")


# Of the 255 bytes of a file's name; a DNS name may have 253.
_LONGEST_NAME = 240
# A host's name, maybe behind pyinfra's `@connector/`: no pattern of a LIMIT=, and no way out of a directory.
_HOST_NAME = re.compile(r"@\w+|(@\w+/)?[\w:][\w.:%@+-]*|@\w+(/[\w:][\w.:%@+-]*)+")


class InventoryError(Exception):
    """The environment cannot be deployed as it is described; the text lists every reason and its remedy."""


@dataclass(frozen=True)
class Member:
    """One host of an environment: name, groups, Settings, connection data, and whether it is reached as a Windows."""

    name: str
    groups: tuple[str, ...]
    settings: Settings
    data: dict[str, Any]
    is_windows: bool = False


class Environment:
    """An environment, its files read once: they may ask a cloud or a password store, and a person for a finger."""

    def __init__(self, name: str, *, with_secrets: bool = True) -> None:
        """Raise InventoryError when there is none of this name, or its files cannot be read.

        Without secrets, where all may be lost but what lies in a safe, none is read, and nothing that needs one.
        """
        self.name, self.path = name, path_of(name)
        self._executed: dict[str, dict[str, Any]] = {}
        self.hosts = self._load()
        if not with_secrets:
            _members[self.hosts] = _read(self.hosts, name, with_secrets=False)

    @property
    def members(self) -> list[Member]:
        """Its hosts. Raise InventoryError with all faults of all hosts."""
        return members_of(self.hosts, self.name)

    def chosen(self, limit: str | None = None, skip: str | None = None) -> list[Member]:
        """Return its hosts, or those named by `limit` and not by `skip`: hosts or groups, commas between.

        Raise InventoryError with all faults of all hosts, when a name matches none, or when none is left.
        """
        members = self.members
        wanted = _named("LIMIT", limit, members, self.name) if limit else {member.name for member in members}
        wanted -= _named("SKIP", skip, members, self.name) if skip else set()
        if not wanted:
            raise InventoryError(f"SKIP={skip} leaves no host of {self.name} to work on")
        return [member for member in members if member.name in wanted]

    def fresh(self) -> Inventory:
        """Pyinfra's own Inventory, for one run: its hosts keep what the run did."""
        inventory = self._load()
        if self.hosts in _members:
            _members[inventory] = self.members
        return inventory

    def secrets_pointed_at(self) -> set[str]:
        """The secret settings for which every host names a source of its own."""
        data = [host.data.dict() for host in self.hosts]
        return {name for name in SECRET_SETTINGS if all(each.get(name) is not None for each in data)}

    def _load(self) -> Inventory:
        try:
            with ctx_state.use(State()), _executing_once(self._executed):
                inventory: Inventory = pyinfras.make_inventory(str(self.path), cwd=str(PROJECT))
        except (Exception, SystemExit) as error:  # group data is a person's Python, which may raise anything
            if str(self.path) in self._executed:
                _checked(self._executed[str(self.path)], self.path)
            file = getattr(error, "filename", None) or self.path
            raise _unreadable(file, getattr(error, "exception", None) or error) from None
        _groups[inventory] = _checked(self._executed[str(self.path)], self.path)
        _refuse_data_of_nobody({group for host in inventory for group in host.groups})
        return inventory


def environments() -> list[str]:
    return sorted(path.stem for path in INVENTORIES.glob("*.py"))


def path_of(environment: str) -> Path:
    """Given an environment's name, return its inventory file. Raise InventoryError when there is none."""
    path = INVENTORIES / f"{environment}.py"
    if environment not in environments():
        raise InventoryError(f"ENV={environment}: there is no such environment; there are: {', '.join(environments())}")
    if environment in (*ROLES, "all"):
        raise InventoryError(
            f"{_shown(path)}: all hosts of a file are in the group of its name, so each of them would be in"
            f" {environment}: give the file another name"
        )
    if not path.is_file():
        raise InventoryError(f"{_shown(path)} is no file: see where it leads")
    return path


def read(environment: str, limit: str | None = None, skip: str | None = None) -> list[Member]:
    """The hosts that `Environment.chosen` gives, where nothing else is asked of the environment."""
    return Environment(environment).chosen(limit, skip)


def _named(option: str, names: str, members: list[Member], environment: str) -> set[str]:
    """The hosts that these names of hosts or groups stand for. Raise InventoryError for a name that matches none."""
    found: set[str] = set()
    for name in names.split(","):
        matching = {member.name for member in members if name == member.name or name in member.groups}
        if not matching:
            known = ", ".join(member.name for member in members)
            raise InventoryError(f"{option}={name} matches no host of {environment}; its hosts are: {known}")
        found |= matching
    return found


# What was read of an inventory, for as long as there is this inventory: what its file defines, and its hosts.
_groups: WeakKeyDictionary[Inventory, dict[str, Any]] = WeakKeyDictionary()
_members: WeakKeyDictionary[Inventory, list[Member]] = WeakKeyDictionary()


def members_of(inventory: Inventory, environment: str) -> list[Member]:
    """Given a loaded pyinfra inventory, return its hosts. Raise InventoryError with all faults of all hosts."""
    if inventory not in _members:
        if inventory not in _groups:  # pyinfra's own command has read it
            _groups[inventory] = _checked(_executed(path_of(environment)), path_of(environment))
        _members[inventory] = _read(inventory, environment)
    return _members[inventory]


def _unread(setting: str, reference: object) -> SecretStr:
    return SecretStr("not-read")


_NEED_SECRETS = ("backup_offsite", "backup_offsite_root_certificate")


def _read(inventory: Inventory, environment: str, *, with_secrets: bool = True) -> list[Member]:
    read_secret = secrets.Reader(environment).read if with_secrets else _unread
    passed_over = () if with_secrets else (*OPTIONAL_SECRETS, *_NEED_SECRETS)
    members: list[Member] = []
    faults: dict[tuple[Fault, str], list[str]] = {}
    has_vault = any("vault" in host.groups for host in inventory)
    groups = {host.name: set(host.groups) for host in inventory}
    for host in inventory:
        data = {key: value for key, value in host.data.dict().items() if key not in passed_over}
        checked = check(data, read_secret)
        of_settings = [
            *_faults_of_pyinfras(host, environment),
            *_faults_of_settings(host, checked, environment, has_vault=has_vault),
        ]
        others = set().union(*(of for name, of in groups.items() if name != host.name))
        for found in [*_faults_of_roles(host, environment, others), *of_settings]:
            faults.setdefault(found, []).append(host.name)
        if isinstance(checked, Settings):
            members.append(Member(host.name, tuple(host.groups), checked, data, is_windows(host)))
    for fault, names in _faults_between(members):
        faults.setdefault((fault, _shown(path_of(environment))), []).extend(names)
    if faults:
        lines = [_line(fault, where, hosts) for (fault, where), hosts in faults.items()]
        raise InventoryError(
            f"{len(lines)} fault(s) in the settings of {environment}; no host was touched\n" + "\n".join(lines)
        )
    if not members:
        raise InventoryError(f"{_shown(path_of(environment))} lists no host")
    return members


def _faults_of_roles(host: Any, environment: str, others: set[str]) -> Iterator[tuple[Fault, str]]:
    """What is wrong with a host's name and groups, and in which file that stands; `others` are other hosts' groups."""
    file = _shown(path_of(environment))
    groups = [group for group in dict.fromkeys(host.groups) if group != environment]
    meant = [(group, close[0]) for group in groups if (close := _role_meant(group, host.groups))]
    for group, role in meant:
        yield Fault("", None, f"is in {group}, which is no role, and not in {role}: did you mean that?"), file
    if not meant and not set(ROLES) & set(host.groups):
        yield Fault("", None, f"is in no role ({', '.join(ROLES)}): nothing would be deployed to it"), file
    elif not _HOST_NAME.fullmatch(host.name):
        reason = (
            'has a name that is none of a host: give it one of letters, digits and "-", and its address beside it:'
            ' ("db1", {"ssh_hostname": "its address"})'
        )
        yield Fault("", None, reason), file
    if host.name in others:
        reason = (
            f"is called as a group of other hosts is, and LIMIT={host.name} could not tell them apart: give it another"
            ' name, and its address beside it: ("db1", {"ssh_hostname": "its address"})'
        )
        yield Fault("", None, reason), file
    if not _belongs(host, environment):
        reason = (
            f"is not in the group {environment} last: leave that list out, pyinfra puts all hosts of the file in it"
        )
        yield Fault("", None, reason), file
    for setting, where in _contradictions(host):
        reason = f"stands beside this host in {' and in '.join(where)}, with another value in each: write it once"
        yield Fault(setting, None, reason), file
    if {"backup", "vault"} <= set(host.groups):
        reason = "is in backup and in vault: whoever takes it over would have both; move the vault"
        yield Fault("", None, reason), file
    if len(host.name.encode()) > _LONGEST_NAME:
        length = len(host.name.encode())
        reason = (
            f"has a name of {length} bytes, and files are named after it, which leaves {_LONGEST_NAME}:"
            ' give it a shorter one, and its address beside it: ("db1", {"ssh_hostname": "its address"})'
        )
        yield Fault("", None, reason), file


# What an app and the Redis that it counts in must mean alike.
_SHARED = ("redis_port", "redis_user", "redis_password", "redis_key_prefix")


def _faults_between(members: list[Member]) -> Iterator[tuple[Fault, list[str]]]:
    """What hosts of `app` say otherwise than the host of `redis` at the address at which they look for it."""
    for redis in (each for each in members if "redis" in each.groups and each.settings.redis_mode != "external"):
        for setting in _SHARED:
            others = [
                app.name
                for app in members
                if "app" in app.groups and app.settings.redis_mode != "external" and _looks_at(app, redis)
                and getattr(app.settings, setting) != getattr(redis.settings, setting)
            ]  # fmt: skip
            if others:
                yield (
                    Fault(setting, None, f"is another than {redis.name} has, whose Redis they use: say it once"),
                    others,
                )


def _looks_at(app: Member, redis: Member) -> bool:
    """Whether an app's host looks for Redis at the address of this one."""
    if app.settings.redis_is_local or redis.settings.redis_is_local:
        return app == redis
    return app.settings.redis_host == redis.settings.redis_host


def _role_meant(group: str, groups: Iterable[str]) -> list[str]:
    """The role that a group is called almost like, where the host is not in that one too; none otherwise."""
    close = difflib.get_close_matches(group.lower(), ROLES, 1, 0.8)
    return [role for role in close if group not in ROLES and role not in groups]


def _belongs(host: Any, environment: str) -> bool:
    """Whether pyinfra's groups of a host say that it is of this environment, which is all that a deploy asks."""
    with contextlib.suppress(InventoryError):
        return environment_of(host.groups) == environment
    return False


def _contradictions(host: Any) -> Iterator[tuple[str, list[str]]]:
    """Each name that a host's data has in several groups with different values, and these groups: one would win."""
    said: dict[str, list[tuple[str, Any]]] = {}
    for group, data in _own_data(host):
        for name, value in data.items():
            said.setdefault(str(name), []).append((group, value))
    for name, values in said.items():
        if any(value != values[0][1] for _, value in values):
            yield name, list(dict.fromkeys(group for group, _ in values))


def _own_data(host: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """What stands beside a host in the inventory, by group."""
    for group, members in _groups[host.inventory].items():
        if group not in host.groups and group != "all":
            continue
        for entry in members[0] if isinstance(members, tuple) else members if isinstance(members, list) else []:
            if isinstance(entry, tuple) and entry[0].removeprefix("@winssh/").removeprefix("@ssh/") == host.name:
                yield group, entry[1]


# How hosts are reached and commands are run, in pyinfra's words.
_PYINFRAS = (*ConnectorData.__annotations__, *(name for name, _ in all_global_arguments()))


def _faults_of_pyinfras(host: Any, environment: str) -> Iterator[tuple[Fault, str]]:
    """What is almost one of pyinfra's words, and would be passed over: a file of pinned keys, `_sudo`."""
    for key in host.data.dict():
        close = difflib.get_close_matches(str(key), _PYINFRAS, 1, 0.8)
        if close and str(key).startswith(("ssh_", "_")) and key not in _PYINFRAS:
            yield Fault(key, None, f"is not a setting; did you mean {close[0]}?"), _where(key, host, environment)


def _faults_of_settings(
    host: Any, checked: Settings | list[Fault], environment: str, *, has_vault: bool
) -> Iterator[tuple[Fault, str]]:
    """What is wrong with a host's settings, and where each of them stands."""
    if not isinstance(checked, Settings):
        yield from ((fault, _where(fault.setting.split(".")[0], host, environment)) for fault in checked)
    elif _is_far_from_redis(checked, host.groups):
        reason = "is this host itself, and it has no role redis: name the shared one"
        fault = Fault("redis_host", repr(checked.redis_host), reason)
        yield fault, _where("redis_host", host, environment)
    elif checked.backup_encrypt_local and "backup" in host.groups and (is_windows(host) or not has_vault):
        reason = (
            "cannot be on a Windows host, which has no age: set it for the Debian hosts alone"
            if is_windows(host)
            else "leaves nobody who restores a dump as a test, since no key on this host opens one: name a host in the"
            " group vault (docs/vault.md)"
        )
        fault = Fault("backup_encrypt_local", "True", reason)
        yield fault, _where("backup_encrypt_local", host, environment)


def _is_far_from_redis(settings: Settings, groups: Iterable[str]) -> bool:
    """Whether a host's app would look for Redis on the host itself, where this environment puts none."""
    return "app" in groups and "redis" not in groups and settings.redis_mode != "external" and settings.redis_is_local


def environment_of(groups: Iterable[str]) -> str:
    """Given a host's groups, return the one that is an inventory file: the environment."""
    found = [group for group in groups if group in environments()]
    if not found:
        raise InventoryError("deploy with an inventory file of this project, such as inventories/production.py")
    return found[-1]


@contextlib.contextmanager
def _executing_once(executed: dict[str, dict[str, Any]]) -> Iterator[None]:
    """Have pyinfra execute each file once, and keep what it defines: a role that pyinfra misreads it passes over."""
    execute = pyinfras.exec_file

    def exec_file(filename: str, *arguments: Any, **options: Any) -> Any:
        if filename not in executed:
            try:
                executed[filename] = execute(filename, *arguments, **options)
            except (Exception, SystemExit) as error:
                if not getattr(error, "filename", None):
                    error.filename = filename  # type: ignore[union-attr]
                raise
        return executed[filename]

    pyinfras.exec_file = exec_file
    try:
        yield
    finally:
        pyinfras.exec_file = execute


def _executed(path: Path) -> dict[str, Any]:
    try:
        return runpy.run_path(str(path))
    except (Exception, SystemExit) as error:
        raise _unreadable(path, error) from None


def _checked(groups: dict[str, Any], path: Path) -> dict[str, Any]:
    """What an inventory file defines. Raise InventoryError for a role that pyinfra would pass over or misread."""
    for role in ROLES:
        hosts = groups.get(role, [])
        if isinstance(hosts, tuple) and len(hosts) == 2 and isinstance(hosts[1], dict):
            hosts = hosts[0]  # pyinfra's (hosts, data of all of them)
        if not isinstance(hosts, list) or not all(_is_host(entry) for entry in hosts):
            raise InventoryError(
                f"{_shown(path)}: {role} must be a list of hosts, each a name or (name, {{its data}}),"
                f' such as {role} = ["host1.example.com"]'
            )
    for name, value in groups.items():
        if not name.startswith("_") and _is_misread(value):
            raise InventoryError(
                f"{_shown(path)}: {name} is taken for a group of hosts, and is none: begin the name of what is for this"
                f" file alone with an underscore, _{name}"
            )
    return groups


def _refuse_data_of_nobody(groups: set[str]) -> None:
    """Raise InventoryError for a file of group_data/ that is called almost like a group: it would hold nowhere."""
    known = {"all", *ROLES, *environments(), *groups}
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in INVENTORIES.glob("*.py") if path.is_file()]
    for file in sorted((INVENTORIES / "group_data").glob("*.py")):
        if file.stem in known or any(re.search(rf"\b{re.escape(file.stem)}\b", text) for text in texts):
            continue
        # What is called like none is of an environment that went.
        if close := difflib.get_close_matches(file.stem, sorted(known), 1, 0.8):
            raise InventoryError(
                f"{_shown(file)} is for no group, and what stands in it holds nowhere: did you mean {close[0]}.py?"
                " Rename it, or remove it"
            )


def _is_misread(value: Any) -> bool:
    """Whether pyinfra takes a value for a group, and breaks on it."""
    if isinstance(value, tuple):
        return len(value) != 2 or not isinstance(value[0], list) or not isinstance(value[1], dict)
    # A list with anything but names and tuples it passes over.
    is_group = isinstance(value, list) and all(isinstance(entry, str | tuple) for entry in value)
    return is_group and not all(_is_host(entry) for entry in value)


def _is_host(entry: Any) -> bool:
    match entry:
        case str(name) | (str(name), dict()):
            return bool(name)
    return False


def _shown(path: Path) -> str:
    return str(path.relative_to(PROJECT) if path.is_relative_to(PROJECT) else path)


def _unreadable(file: Any, error: BaseException) -> InventoryError:
    where = _shown(Path(file or INVENTORIES)) + (f", line {error.lineno}" if isinstance(error, SyntaxError) else "")
    return InventoryError(f"{where} cannot be read: {type(error).__name__}: {getattr(error, 'msg', error)}")


def _line(fault: Fault, where: str, hosts: list[str]) -> str:
    value = "" if fault.found is None else f" = {fault.found}"
    subject = f"{fault.setting}{value}: " if fault.setting and value else f"{fault.setting} " if fault.setting else ""
    return f"  {', '.join(hosts)}: {subject}{fault.reason} [{where}]"


def _where(setting: str, host: Any, environment: str) -> str:
    """The file in which a host's value of a setting stands; pyinfra merges without telling."""
    groups, inventory_file = _groups[host.inventory], _shown(path_of(environment))
    if any(setting in data for _, data in _own_data(host)):
        return inventory_file
    # Later groups win, and the environment's own file is the last of all.
    for group in [*reversed(list(host.groups)), "all"]:
        file = INVENTORIES / "group_data" / f"{group}.py"
        if file.exists() and setting in runpy.run_path(str(file)):
            return _shown(file)
        if isinstance(groups.get(group), tuple) and setting in groups[group][1]:
            return inventory_file
    return f"set it in {_shown(INVENTORIES / 'group_data' / f'{environment}.py')}"
