"""`make recover`: a backup host's newest proven dumps, from a vault back to it, ready for the restore runbook."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from pyinfra.api import Host

from provision.backup import layout as backup
from provision.debian.lock import locked
from provision.engine import inventory
from provision.engine import run as runs
from provision.engine.environments import InventoryError
from provision.engine.inventory import Member
from provision.engine.preflight import PreflightError
from provision.engine.shown import shown
from provision.record import history
from provision.settings.project import at
from provision.vault import keys, offline, recovery, storage, transfer


def run(arguments: Namespace) -> int:
    environment = inventory.Environment(arguments.env, with_secrets=False)  # a new machine may have none of them
    members = {member.name: member for member in environment.members}
    target = _target(arguments, members)
    storage_of(arguments)  # what cannot be meant is said before any host is asked
    vaults = [] if arguments.copy else _vaults(arguments, members)
    brought: list[str] = []
    result = "failed: it ended half-way"
    try:
        code = _brought(arguments, environment, target, vaults, brought)
        result = "ok"
        return code
    except (transfer.RecoveryError, PreflightError) as error:
        result = f"failed: {error}"
        raise InventoryError(str(error)) from None
    finally:
        if brought:
            history.keep(environment, {target.name: history.Entry("recover", result, brought)})


def _brought(
    arguments: Namespace, environment: inventory.Environment, target: Member, vaults: list[Member], brought: list[str]
) -> int:
    """Bring the dumps, each named in `brought` once it is there. Raise RecoveryError."""
    members = {member.name: member for member in environment.members}
    with runs.connected(environment, [target.name, *(vault.name for vault in vaults)]) as (host, *others):
        if not host.connected:
            raise transfer.RecoveryError(f"{host.name}: cannot be reached (the reason stands above)")
        locked(host)
        if arguments.copy:  # whose vault is gone: the signatures of all that there were count
            return _recover(arguments, host, target, _copy(arguments), list(members.values()), brought)
        vault = _first_connected(others)
        copies = recovery.OfVault(vault, backup.program(members[vault.name].settings, "vault.sh"))
        return _recover(arguments, host, target, copies, [members[vault.name]], brought)


def _first_connected(vaults: list[Host]) -> Host:
    for vault in vaults:
        if vault.connected:
            return vault
    names = ", ".join(each.name for each in vaults)
    raise transfer.RecoveryError(
        f"{names}: no vault can be reached; with a copy of its directory: COPY=/the/copy IDENTITY=/the/offline/key"
    )


def storage_of(arguments: Namespace) -> storage.Storage | None:
    """The place in a storage that COPY= names, when it is one. Raise InventoryError."""
    if not storage.is_place(arguments.copy):
        if arguments.at:
            raise InventoryError(
                f"AT={arguments.at}: only an object storage keeps what it held at a time (COPY=s3:...); of a vault's"
                " dumps DUMP= takes an older one"
            )
        return None
    _refuse_no_time(arguments.at)
    config = str(at(arguments.rclone)) if arguments.rclone else ""
    if config and not Path(config).is_file():
        raise InventoryError(f"RCLONE={arguments.rclone}: there is no such file: it is an rclone.conf, from the safe")
    return storage.Storage(arguments.copy, config, arguments.at)


def _refuse_no_time(at: str) -> None:
    """Raise InventoryError for what rclone would take as of another time than the person means."""
    try:
        moment = datetime.fromisoformat(at) if at else datetime.min.replace(tzinfo=UTC)
    except ValueError:
        moment = datetime.min
    if moment.tzinfo is None:
        raise InventoryError(f"AT={at}: is no time with its zone, such as 2026-11-24T20:00:00Z")
    if moment > datetime.now(UTC):
        raise InventoryError(f"AT={at}: is still to come: without AT= what is there now is taken")


def _copy(arguments: Namespace) -> recovery.Copies:
    identity = identity_of(arguments)
    try:
        offline.identities(identity)  # before anything is changed
    except offline.KeyFileError as error:
        raise transfer.RecoveryError(str(error)) from None
    place = storage_of(arguments)
    return storage.OfStorage(place, identity) if place else _directory(arguments, identity)


def _directory(arguments: Namespace, identity: Path) -> recovery.OfDirectory:
    root = at(arguments.copy)
    if not (root / "store" / arguments.host).is_dir():
        raise transfer.RecoveryError(
            f"COPY={arguments.copy}: holds no store/{arguments.host}: name a copy of a vault's directory, whole, or a"
            " place as rclone names it, such as s3:bucket/path"
        )
    return recovery.OfDirectory(root, identity)


def identity_of(arguments: Namespace) -> Path:
    if not arguments.identity:
        raise InventoryError("IDENTITY= must name the file of the offline key, from the safe")
    return at(arguments.identity)


def _sign_keys(environment: str, members: list[Member]) -> list[str]:
    kept = [keys.kept(environment, member).get("sign", "") for member in members]
    return [key for key in kept if key]


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


def _recover(
    arguments: Namespace, to: Host, target: Member, copies: recovery.Copies, signers: list[Member], brought: list[str]
) -> int:
    sign_keys = _sign_keys(arguments.env, signers)

    def is_genuine(offer: recovery.Offer) -> bool:
        try:
            recovery.manifest_of(copies, target.name, offer, sign_keys)
        except recovery.NotGenuineError as error:
            print(shown(f"not taken: {error}"), file=sys.stderr)
            return False
        return True

    for offer in _chosen(arguments, copies.offers(target.name), copies.name, is_genuine):
        manifest = recovery.manifest_of(copies, target.name, offer, sign_keys)
        settings = target.settings
        paths = recovery.bring(copies, to, manifest, settings.backup_dir, settings.backup_user)
        ending = next(each for each in (".sql.gz", ".sql.zst", ".dump", ".dir") if offer.dump.endswith(each))
        link = f"{settings.backup_dir}/{offer.dump.rsplit('_', 2)[0]}_latest{ending}"
        recovery.point_latest(to, settings.backup_user, link, paths[-1])
        brought.append(f"{paths[-1]} from {copies.name}")
        proven = "proven" if offer.signed else "NOT PROVEN"
        print(shown(f"{to.name}: {offer.database}: {paths[-1]}, {proven}, from {copies.name}"))
    print("Go on with docs/restore.md: deploy, then restore-database.sh --list")
    return 0


def _chosen(
    arguments: Namespace, offers: list[recovery.Offer], vault: str, is_genuine: Callable[[recovery.Offer], bool]
) -> list[recovery.Offer]:
    if arguments.dump:
        named = [each for each in offers if arguments.dump in (each.dump, f"{each.tier}/{each.dump}")]
        if not named:
            raise transfer.RecoveryError(f"DUMP={arguments.dump}: {vault} has no such dump of {arguments.host}")
        if doubt := _doubt(named[0]):
            print(shown(f"warning: {named[0].dump}: {doubt}"), file=sys.stderr)
        return named[:1]
    chosen = recovery.newest(offers, is_genuine)
    if not chosen:
        raise transfer.RecoveryError(f"{vault} has no proven dump of {arguments.host}; DUMP= names another")
    for offer in offers:
        taken = next((each for each in chosen if each.database == offer.database), None)
        if taken and offer.dump > taken.dump and (doubt := _doubt(offer)):
            print(shown(f"not taken: {offer.dump}: {doubt}"), file=sys.stderr)
    return chosen


def _doubt(offer: recovery.Offer) -> str:
    """Why a dump is taken by its name alone."""
    if not offer.signed:
        return f"it is not proven ({offer.proof or 'not tried yet'}): what is in it may be anything"
    return f"it lacks what was there before: {offer.suspect}" if offer.suspect else ""
