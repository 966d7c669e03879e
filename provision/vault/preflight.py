"""Whether the keys of an environment's hosts are those that the project keeps, asked before the first change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click
from pyinfra.api import Host, State

from provision.engine import environments
from provision.engine.inventory import Member
from provision.engine.preflight import PreflightError
from provision.postgres import server as database
from provision.settings import Settings
from provision.vault import keys
from provision.vault.facts import PublicKeys
from provision.vault.sources import Vault, account


def known_hosts_only(host: Host, state: State, member: Member, members: list[Member]) -> None:
    """Raise PreflightError for a key that changed, or that was never made where something would be built on it."""
    environment = environments.environment_of(host.groups)
    if not any("vault" in each.groups for each in members):
        return
    refuse_shared_account(members)
    if keys.kinds_of(member):
        has = found(host, member)
        refuse_offline_key(host, member, has)
        told = keys.changed(environment, member, has)
        if told:
            raise PreflightError(f"{host.name}: {told}; no host was changed")
    lacking = keys.lacking(environment, members)
    if lacking and keys.kinds_of(member) and not is_dry_run():
        names = ", ".join(each.name for each in lacking)
        raise PreflightError(
            f"{names}: inventories/keys/{environment} lacks keys of it, which are made in a first stage; no host was"
            f" changed. Run `make deploy ENV={environment}` with these hosts, or"
            f" `pyinfra inventories/{environment}.py vault-keys.py` and then this again"
        )


def refuse_shared_account(members: Sequence[Member]) -> None:
    """Raise PreflightError for vaults that backup hosts would know by the same account: but one could not log in."""
    names: dict[str, str] = {}
    for vault in (each for each in members if "vault" in each.groups):
        name = account(vault.settings.app_name, vault.name)
        other = names.setdefault(name, vault.name)
        if other != vault.name:
            raise PreflightError(
                f"{other}, {vault.name}: backup hosts would know both by the account {name}, of the first label"
                " of a name, 32 characters at most: give one another name in the inventory, and its address as"
                " ssh_hostname; no host was changed"
            )


def refuse_offline_key(host: Host, member: Member, has: Mapping[str, str]) -> None:
    """Raise PreflightError where people's own key lies on a vault, whose capture it should outlive."""
    if set(has.get("age", "").split()) & set(member.settings.backup_encrypt_to):
        raise PreflightError(
            f"{host.name}: {member.settings.vault_config_dir}/age holds a key of backup_encrypt_to, and an offline key"
            " lies on no machine: remove it there, make another one with `make keys`; no host was changed"
        )


def require_recipients(host: Host, settings: Settings, vaults: Sequence[Vault]) -> None:
    """Raise PreflightError where copies are to leave a backup host, and nobody is named who could open them."""
    if settings.backup_offsite and not vaults and not settings.backup_encrypt_to:
        raise PreflightError(
            f"{host.name}: backup_offsite = {settings.backup_offsite!r}, and there is neither a vault nor a key in"
            " backup_encrypt_to that could open what goes there: make one with `make keys`; no host was changed"
        )


def found(host: Host, member: Member) -> dict[str, str]:
    """The public keys that a host has."""
    return host.get_fact(PublicKeys, config_dir=member.settings.vault_config_dir)


def is_dry_run() -> bool:
    """Whether pyinfra was asked for a plan: then what is not made yet may be left open."""
    context = click.get_current_context(silent=True)
    return bool(context and context.params.get("dry"))


def postgres_majors(host: Host, state: State, member: Member, members: list[Member]) -> list[int]:
    """The major versions whose dumps a vault is to restore: what the servers of the connected backup hosts say.

    Raise PreflightError where there is none.
    """
    majors = set(member.settings.vault_postgres_majors)
    for other in members:
        source = state.inventory.get_host(other.name)
        asks = "backup" in other.groups and other.settings.postgres_mode == "direct" and not other.is_windows
        if asks and source.connected:
            majors.add(_major(source, other))
    return sorted(majors)


def _major(source: Host, other: Member) -> int:
    try:
        return database.ask(source, other.settings).major
    except database.DatabaseError as error:
        raise PreflightError(f"{source.name}: {error}; no host was changed") from None
