"""The hosts that an inventory file asks for, read without pyinfra and validated before anything boots."""

import ipaddress
import re
import runpy
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from tests.sandbox import profiles
from tests.sandbox.errors import SandboxError

RELEASES = {"bookworm": 12, "trixie": 13}
"""Debian's codenames that can be booted, with the number that goes with each."""

PREFIX = "medaction-sandbox-"


@dataclass(frozen=True)
class Host:
    """One disposable host, as its inventory describes it."""

    name: str
    release: str
    address: str
    profile: str

    @property
    def container(self) -> str:
        return PREFIX + self.name


def read(inventory: Path, only: Collection[str] = ()) -> list[Host]:
    """Return the hosts of an inventory file (or `only` these), each once, in the order of their first appearance.

    Raise SandboxError naming the file and the host when a value is missing, unknown or used twice.
    """
    hosts = hosts_of(_executed(inventory), inventory)
    if unknown := set(only) - {host.name for host in hosts}:
        raise SandboxError(f"{inventory} has no host {', '.join(sorted(unknown))}")
    return [host for host in hosts if not only or host.name in only]


def without(inventory: Path) -> dict[str, str]:
    """Return the hosts that an inventory goes without on this machine (its `_without`), each with the reason."""
    left_out = _executed(inventory).get("_without", {})
    assert isinstance(left_out, dict)
    return left_out


def _executed(inventory: Path) -> dict[str, object]:
    if not inventory.is_file():
        raise SandboxError(f"there is no inventory {inventory}")
    try:
        return runpy.run_path(str(inventory))
    except Exception as error:
        raise SandboxError(f"{inventory} cannot be read as Python: {type(error).__name__}: {error}") from error


def hosts_of(names: dict[str, object], inventory: Path) -> list[Host]:
    """Return the hosts in an inventory's module-level lists; a host in several groups counts once."""
    hosts: dict[str, Host] = {}
    for group, members in names.items():
        if group.startswith("_") or not isinstance(members, list):
            continue
        for name, data in (member for member in members if isinstance(member, tuple)):
            name = name.removeprefix("@winssh/")  # the connector, which is not part of the host's name
            host = _host(name, data, inventory)
            if hosts.setdefault(name, host) != host:
                raise SandboxError(f"{inventory}: {name} stands in two groups with different sandbox_ values")
    if not hosts:
        raise SandboxError(f"{inventory} names no host with sandbox_ values")
    subnet(list(hosts.values()))
    return list(hosts.values())


def subnet(hosts: list[Host]) -> ipaddress.IPv4Network:
    """Return the /24 that holds every host's address: the sandbox's network."""
    addresses = [host.address for host in hosts]
    if len(set(addresses)) != len(addresses):
        raise SandboxError("two hosts share one sandbox_address: " + ", ".join(sorted(addresses)))
    networks = {ipaddress.IPv4Network(f"{address}/24", strict=False) for address in addresses}
    if len(networks) != 1:
        raise SandboxError("sandbox_address: all hosts must be in one /24, found " + ", ".join(map(str, networks)))
    return networks.pop()


def _host(name: str, data: dict[str, str], inventory: Path) -> Host:
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,40}", name):
        raise SandboxError(f"{inventory}: {name!r} cannot be a host name: small letters, digits and dashes")
    values = {}
    for key in ("release", "address", "profile"):
        if f"sandbox_{key}" not in data:
            raise SandboxError(f"{inventory}: {name} has no sandbox_{key}")
        values[key] = data[f"sandbox_{key}"]
    if values["release"] not in RELEASES:
        raise SandboxError(
            f"{inventory}: {name}: sandbox_release is {values['release']!r}, not one of {', '.join(RELEASES)}"
        )
    if values["profile"] not in profiles.names():
        raise SandboxError(
            f"{inventory}: {name}: sandbox_profile is {values['profile']!r}, not one of {', '.join(profiles.names())}"
        )
    try:
        last_byte = ipaddress.IPv4Address(values["address"]).packed[-1]
    except ValueError as error:
        raise SandboxError(f"{inventory}: {name}: sandbox_address: {error}") from error
    if last_byte in (0, 1, 255):  # .1 is the bridge itself
        raise SandboxError(f"{inventory}: {name}: sandbox_address {values['address']} is reserved by the network")
    return Host(name=name, **values)
