"""The public halves of keys that hosts have made, kept in `inventories/keys/ENVIRONMENT/`.

A vault has three pairs, made on it and never elsewhere: `ssh` (how it reaches backup hosts), `age` (what opens its
copies), `sign` (what says that it has restored one). A backup host is known to the vaults by its `host` key.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from provision.engine import environments
from provision.engine.inventory import Member
from provision.settings.project import PROJECT

VAULT_KINDS = ("ssh", "age", "sign")
HOST_KINDS = ("host",)


def kinds_of(member: Member) -> tuple[str, ...]:
    """Which public keys of a host the project keeps; of a Windows host none yet."""
    if member.is_windows:
        return ()
    return (VAULT_KINDS if "vault" in member.groups else ()) + (HOST_KINDS if "backup" in member.groups else ())


def path_of(environment: str, host: str, kind: str) -> Path:
    return environments.INVENTORIES / "keys" / environment / f"{host.removeprefix('@')}.{kind}.pub"


def kept(environment: str, member: Member) -> dict[str, str]:
    """A host's public keys as the project keeps them, those that it has."""
    paths = {kind: path_of(environment, member.name, kind) for kind in kinds_of(member)}
    return {kind: path.read_text(encoding="ascii").strip() for kind, path in paths.items() if path.exists()}


def keep(environment: str, member: Member, found: Mapping[str, str]) -> None:
    """Keep a host's public keys. What is kept already stays: see `changed`."""
    for kind in kinds_of(member):
        path = path_of(environment, member.name, kind)
        if kind in found and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(found[kind] + "\n", encoding="ascii")


def lacking(environment: str, members: list[Member]) -> list[Member]:
    """The hosts of whose keys some are not kept yet: a first stage makes and fetches them. None without a vault."""
    if not any("vault" in member.groups for member in members):
        return []
    return [member for member in members if set(kinds_of(member)) - set(kept(environment, member))]


def changed(environment: str, member: Member, found: Mapping[str, str]) -> str:
    """What is wrong with the keys that a host has: a sentence, or "" when they are those that are kept."""
    for kind, key in kept(environment, member).items():
        if found.get(kind) != key:
            path = path_of(environment, member.name, kind)
            shown = path.relative_to(PROJECT) if path.is_relative_to(PROJECT) else path
            has = "is not the one" if kind in found else "is not there: no longer the one"
            return (
                f"its {kind} key {has} that {shown} holds: if the host was made anew on purpose, remove that file,"
                " and the next deploy takes the new key; if not, somebody else answers there"
            )
    return ""
