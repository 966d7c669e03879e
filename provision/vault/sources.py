"""Who fetches from whom in an environment: the vaults as a backup host sees them, the backup hosts as a vault does."""

from __future__ import annotations

from dataclasses import dataclass

from provision.engine.inventory import Member
from provision.vault import keys

UNMADE = "(made by the deploy in its first stage)"


@dataclass(frozen=True)
class Vault:
    """A vault as backup hosts know it: its name, its account there, what logs in, what opens its copies."""

    name: str
    account: str
    ssh: str
    age: str


@dataclass(frozen=True)
class Source:
    """A backup host as vaults know it: its name, where its sshd answers, its host key."""

    name: str
    address: str
    port: int
    host_key: str


def account(app_name: str, vault: str) -> str:
    """The name of a vault's account on backup hosts: the app's and the vault's first label, 32 characters at most."""
    label = "".join(c if c.isalnum() else "-" for c in vault.removeprefix("@").split(".")[0].lower())
    return f"{app_name}-at-{label}"[:32].rstrip("-")


def vaults(environment: str, members: list[Member]) -> list[Vault]:
    found = []
    for member in members:
        if "vault" in member.groups:
            kept = keys.kept(environment, member)
            name = account(member.settings.app_name, member.name)
            found.append(Vault(member.name, name, kept.get("ssh", UNMADE), kept.get("age", UNMADE)))
    return found


def sources(environment: str, members: list[Member]) -> list[Source]:
    found = []
    for member in members:
        if "backup" in member.groups and not member.is_windows:
            address = member.settings.backup_vault_address or member.name.removeprefix("@")
            kept = keys.kept(environment, member).get("host", UNMADE)
            found.append(Source(member.name, address, member.data.get("ssh_port") or 22, kept))
    return found
