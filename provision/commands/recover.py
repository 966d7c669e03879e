"""`make recover`: a backup host's newest proven dumps, from a vault back to it, ready for the restore runbook."""

from __future__ import annotations

import sys
from argparse import Namespace

from pyinfra.api import Host

from provision.backup import layout as backup
from provision.engine import inventory
from provision.engine import run as runs
from provision.engine.inventory import InventoryError, Member
from provision.engine.shown import shown
from provision.vault import keys, recovery


def run(arguments: Namespace) -> int:
    environment = inventory.Environment(arguments.env)
    members = {member.name: member for member in environment.members}
    target, vaults = _target(arguments, members), _vaults(arguments, members)
    with runs.connected(environment, [target.name, *(vault.name for vault in vaults)]) as hosts:
        try:
            return _recover(arguments, hosts[0], target, {host.name: host for host in hosts}, vaults)
        except recovery.RecoveryError as error:
            raise InventoryError(str(error)) from None


def _target(arguments: Namespace, members: dict[str, Member]) -> Member:
    found = members.get(arguments.host)
    if found is None or "backup" not in found.groups or found.is_windows:
        names = ", ".join(name for name, each in members.items() if "backup" in each.groups and not each.is_windows)
        raise InventoryError(
            f"HOST={arguments.host} is no Debian host in backup; those of {arguments.env} are: {names}"
        )
    return found


def _vaults(arguments: Namespace, members: dict[str, Member]) -> list[Member]:
    found = [each for name, each in members.items() if "vault" in each.groups and arguments.vault in ("", name)]
    if not found:
        raise InventoryError(
            f"{arguments.env} has no vault{' of that name' if arguments.vault else ''} to recover from"
        )
    return found


def _recover(arguments: Namespace, to: Host, target: Member, hosts: dict[str, Host], vaults: list[Member]) -> int:
    if not to.connected:
        raise recovery.RecoveryError(f"{to.name}: cannot be reached (the reason stands above)")
    for member in vaults:
        vault = hosts[member.name]
        if vault.connected:
            return _from_vault(arguments, vault, member, to, target)
    raise recovery.RecoveryError(f"{', '.join(each.name for each in vaults)}: no vault can be reached")


def _from_vault(arguments: Namespace, vault: Host, member: Member, to: Host, target: Member) -> int:
    program = backup.program(member.settings, "vault.sh")
    sign_key = keys.kept(arguments.env, member).get("sign", "")
    for offer in _chosen(arguments, recovery.offers(vault, program, target.name), vault.name):
        manifest = recovery.manifest_of(vault, program, target.name, offer, sign_key)
        settings = target.settings
        paths = recovery.bring(vault, program, to, manifest, settings.backup_dir, settings.backup_user)
        ending = next(each for each in (".sql.gz", ".sql.zst", ".dump", ".dir") if offer.dump.endswith(each))
        link = f"{settings.backup_dir}/{offer.dump.rsplit('_', 2)[0]}_latest{ending}"
        recovery.point_latest(to, settings.backup_user, link, paths[-1])
        proof = "proven" if offer.signed else "NOT PROVEN"
        print(shown(f"{to.name}: {offer.database}: {paths[-1]}, {proof}, from {vault.name}"))
    print("Go on with docs/restore.md: deploy, then restore-database.sh --list")
    return 0


def _chosen(arguments: Namespace, offers: list[recovery.Offer], vault: str) -> list[recovery.Offer]:
    if arguments.dump:
        named = [each for each in offers if arguments.dump in (each.dump, f"{each.tier}/{each.dump}")]
        if not named:
            raise recovery.RecoveryError(f"DUMP={arguments.dump}: {vault} has no such dump of {arguments.host}")
        if not named[0].signed:
            print(shown(f"warning: {named[0].dump} was never proven: what is in it may be anything"), file=sys.stderr)
        return named[:1]
    chosen = recovery.newest(offers)
    if not chosen:
        raise recovery.RecoveryError(f"{vault} has no proven dump of {arguments.host}; DUMP= names one that is not")
    for offer in offers:
        taken = next((each for each in chosen if each.database == offer.database), None)
        if taken and offer.dump > taken.dump:
            why = offer.proof or "not tried yet"
            print(shown(f"not taken, as it is not proven ({why}): {offer.dump}"), file=sys.stderr)
    return chosen
