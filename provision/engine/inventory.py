"""An environment's hosts and their Settings, read the same way inside and outside a pyinfra run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import pyinfra_cli.inventory as pyinfras
from pydantic import SecretStr
from pyinfra.api import State
from pyinfra.api.inventory import Inventory
from pyinfra.context import ctx_state

from provision.engine import environments, faults
from provision.engine.environments import InventoryError
from provision.settings import OPTIONAL_SECRETS, SECRET_SETTINGS, Fault, Settings, check, secrets
from provision.settings.project import PROJECT
from provision.winssh.connector import is_windows


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
        self.name, self.path = name, environments.path_of(name)
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
            with ctx_state.use(State()), environments.executing_once(self._executed):
                inventory: Inventory = pyinfras.make_inventory(str(self.path), cwd=str(PROJECT))
        except (Exception, SystemExit) as error:  # group data is a person's Python, which may raise anything
            if str(self.path) in self._executed:
                environments.checked(self._executed[str(self.path)], self.path)
            file = getattr(error, "filename", None) or self.path
            raise environments.unreadable(file, getattr(error, "exception", None) or error) from None
        _groups[inventory] = environments.checked(self._executed[str(self.path)], self.path)
        environments.refuse_data_of_nobody({group for host in inventory for group in host.groups})
        return inventory


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
            file = environments.path_of(environment)
            _groups[inventory] = environments.checked(environments.executed(file), file)
        _members[inventory] = _read(inventory, environment)
    return _members[inventory]


def _unread(setting: str, reference: object) -> SecretStr:
    return SecretStr("not-read")


_NEED_SECRETS = ("backup_offsite", "backup_offsite_root_certificate")


def _read(inventory: Inventory, environment: str, *, with_secrets: bool = True) -> list[Member]:
    read_secret = secrets.Reader(environment).read if with_secrets else _unread
    passed_over = () if with_secrets else (*OPTIONAL_SECRETS, *_NEED_SECRETS)
    members: list[Member] = []
    found: dict[tuple[Fault, str], list[str]] = {}
    files = faults.Files(environment, _groups[inventory])
    has_vault = any("vault" in host.groups for host in inventory)
    groups = {host.name: set(host.groups) for host in inventory}
    for host in inventory:
        data = {key: value for key, value in host.data.dict().items() if key not in passed_over}
        checked = check(data, read_secret)
        others = set().union(*(of for name, of in groups.items() if name != host.name))
        for fault in faults.of_host(host, checked, files, others, has_vault=has_vault):
            found.setdefault(fault, []).append(host.name)
        if isinstance(checked, Settings):
            members.append(Member(host.name, tuple(host.groups), checked, data, is_windows(host)))
    for between, names in _faults_between(members):
        found.setdefault((between, files.inventory), []).extend(names)
    if found:
        lines = [faults.told(fault, where, hosts) for (fault, where), hosts in found.items()]
        raise InventoryError(
            f"{len(lines)} fault(s) in the settings of {environment}; no host was touched\n" + "\n".join(lines)
        )
    if not members:
        raise InventoryError(f"{files.inventory} lists no host")
    return members


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
