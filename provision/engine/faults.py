"""What is wrong with an environment's hosts, by their files alone, and in which of these it stands."""

from __future__ import annotations

import contextlib
import difflib
import re
import runpy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pyinfra.api.arguments import all_global_arguments
from pyinfra.connectors.ssh import ConnectorData

from provision.engine import environments
from provision.settings import Fault, Settings
from provision.winssh.connector import is_windows

# Of the 255 bytes of a file's name; a DNS name may have 253.
_LONGEST_NAME = 240
# A host's name, maybe behind pyinfra's `@connector/`: no pattern of a LIMIT=, and no way out of a directory.
_HOST_NAME = re.compile(r"@\w+|(@\w+/)?[\w:][\w.:%@+-]*|@\w+(/[\w:][\w.:%@+-]*)+")
# How hosts are reached and commands are run, in pyinfra's words.
_PYINFRAS = (*ConnectorData.__annotations__, *(name for name, _ in all_global_arguments()))


@dataclass(frozen=True)
class Files:
    """An environment's files, as what is said of a host is looked up in them."""

    environment: str
    defined: dict[str, Any]  # by the inventory's file: groups, each a list of hosts

    @property
    def inventory(self) -> str:
        return environments.shown(environments.path_of(self.environment))

    def beside(self, host: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        """What stands beside a host in the inventory, by group."""
        for group, members in self.defined.items():
            if group not in host.groups and group != "all":
                continue
            for entry in members[0] if isinstance(members, tuple) else members if isinstance(members, list) else []:
                if isinstance(entry, tuple) and entry[0].removeprefix("@winssh/").removeprefix("@ssh/") == host.name:
                    yield group, entry[1]

    def where(self, setting: str, host: Any) -> str:
        """The file in which a host's value of a setting stands; pyinfra merges without telling."""
        if any(setting in data for _, data in self.beside(host)):
            return self.inventory
        # Later groups win, and the environment's own file is the last of all.
        for group in [*reversed(list(host.groups)), "all"]:
            file = environments.INVENTORIES / "group_data" / f"{group}.py"
            if file.exists() and setting in runpy.run_path(str(file)):
                return environments.shown(file)
            if isinstance(self.defined.get(group), tuple) and setting in self.defined[group][1]:
                return self.inventory
        return f"set it in {environments.shown(environments.INVENTORIES / 'group_data' / f'{self.environment}.py')}"


def of_host(
    host: Any, checked: Settings | list[Fault], files: Files, others: set[str], *, has_vault: bool
) -> Iterator[tuple[Fault, str]]:
    """What is wrong with a host, and in which file that stands; `others` are other hosts' groups."""
    for fault in _of_groups(host, files, others):
        yield fault, files.inventory
    yield from _of_pyinfras_words(host, files)
    for fault in _of_settings(host, checked, has_vault=has_vault):
        yield fault, files.where(fault.setting.split(".")[0], host)


def _of_groups(host: Any, files: Files, others: set[str]) -> Iterator[Fault]:
    """What is wrong with a host's name and groups."""
    groups = [group for group in dict.fromkeys(host.groups) if group != files.environment]
    meant = [(group, close[0]) for group in groups if (close := _role_meant(group, host.groups))]
    for group, role in meant:
        yield Fault("", None, f"is in {group}, which is no role, and not in {role}: did you mean that?")
    if not meant and not set(environments.ROLES) & set(host.groups):
        yield Fault("", None, f"is in no role ({', '.join(environments.ROLES)}): nothing would be deployed to it")
    elif not _HOST_NAME.fullmatch(host.name):
        reason = (
            'has a name that is none of a host: give it one of letters, digits and "-", and its address beside it:'
            ' ("db1", {"ssh_hostname": "its address"})'
        )
        yield Fault("", None, reason)
    if host.name in others:
        reason = (
            f"is called as a group of other hosts is, and LIMIT={host.name} could not tell them apart: give it another"
            ' name, and its address beside it: ("db1", {"ssh_hostname": "its address"})'
        )
        yield Fault("", None, reason)
    if not _belongs(host, files.environment):
        reason = (
            f"is not in the group {files.environment} last: leave that list out, pyinfra puts all hosts of the file"
            " in it"
        )
        yield Fault("", None, reason)
    for setting, where in _contradictions(host, files):
        reason = f"stands beside this host in {' and in '.join(where)}, with another value in each: write it once"
        yield Fault(setting, None, reason)
    if {"backup", "vault"} <= set(host.groups):
        reason = "is in backup and in vault: whoever takes it over would have both; move the vault"
        yield Fault("", None, reason)
    if len(host.name.encode()) > _LONGEST_NAME:
        length = len(host.name.encode())
        reason = (
            f"has a name of {length} bytes, and files are named after it, which leaves {_LONGEST_NAME}:"
            ' give it a shorter one, and its address beside it: ("db1", {"ssh_hostname": "its address"})'
        )
        yield Fault("", None, reason)


def _role_meant(group: str, groups: Iterable[str]) -> list[str]:
    """The role that a group is called almost like, where the host is not in that one too; none otherwise."""
    close = difflib.get_close_matches(group.lower(), environments.ROLES, 1, 0.8)
    return [role for role in close if group not in environments.ROLES and role not in groups]


def _belongs(host: Any, environment: str) -> bool:
    """Whether pyinfra's groups of a host say that it is of this environment, which is all that a deploy asks."""
    with contextlib.suppress(environments.InventoryError):
        return environments.environment_of(host.groups) == environment
    return False


def _contradictions(host: Any, files: Files) -> Iterator[tuple[str, list[str]]]:
    """Each name that a host's data has in several groups with different values, and these groups: one would win."""
    said: dict[str, list[tuple[str, Any]]] = {}
    for group, data in files.beside(host):
        for name, value in data.items():
            said.setdefault(str(name), []).append((group, value))
    for name, values in said.items():
        if any(value != values[0][1] for _, value in values):
            yield name, list(dict.fromkeys(group for group, _ in values))


def _of_pyinfras_words(host: Any, files: Files) -> Iterator[tuple[Fault, str]]:
    """What is almost one of pyinfra's words, and would be passed over: a file of pinned keys, `_sudo`."""
    for key in host.data.dict():
        close = difflib.get_close_matches(str(key), _PYINFRAS, 1, 0.8)
        if close and str(key).startswith(("ssh_", "_")) and key not in _PYINFRAS:
            yield Fault(key, None, f"is not a setting; did you mean {close[0]}?"), files.where(key, host)


def _of_settings(host: Any, checked: Settings | list[Fault], *, has_vault: bool) -> Iterator[Fault]:
    """What is wrong with a host's settings."""
    if not isinstance(checked, Settings):
        yield from checked
    elif _is_far_from_redis(checked, host.groups):
        reason = "is this host itself, and it has no role redis: name the shared one"
        yield Fault("redis_host", repr(checked.redis_host), reason)
    elif checked.backup_encrypt_local and "backup" in host.groups and (is_windows(host) or not has_vault):
        reason = (
            "cannot be on a Windows host, which has no age: set it for the Debian hosts alone"
            if is_windows(host)
            else "leaves nobody who restores a dump as a test, since no key on this host opens one: name a host in the"
            " group vault (docs/vault.md)"
        )
        yield Fault("backup_encrypt_local", "True", reason)


def _is_far_from_redis(settings: Settings, groups: Iterable[str]) -> bool:
    """Whether a host's app would look for Redis on the host itself, where this environment puts none."""
    return "app" in groups and "redis" not in groups and settings.redis_mode != "external" and settings.redis_is_local


def told(fault: Fault, where: str, hosts: list[str]) -> str:
    """One line, as a person reads it."""
    value = "" if fault.found is None else f" = {fault.found}"
    subject = f"{fault.setting}{value}: " if fault.setting and value else f"{fault.setting} " if fault.setting else ""
    return f"  {', '.join(hosts)}: {subject}{fault.reason} [{where}]"
