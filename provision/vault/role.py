"""Encrypted copies on the backup host, for vaults that fetch them; and the vault."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from pyinfra import host
from pyinfra.api.deploy import deploy

from provision.backup import layout as backup
from provision.debian import files, packages, users
from provision.debian.entries import Entry
from provision.debian.files import Paths
from provision.engine import claims
from provision.engine.changes import warn
from provision.postgres import layout as postgres
from provision.postgres import packages as clients
from provision.settings import Settings
from provision.vault import layout
from provision.vault import operations as vaults
from provision.vault.facts import Warnings
from provision.vault.sources import Source, Vault


@deploy("Vault keys", {"role": "vault"})
def vault_keys(settings: Settings) -> None:
    claims.needed("data", [settings.vault_dir, settings.vault_config_dir])
    claims.needed("scratch", layout.scratch(settings))
    packages.installed(name="Install what makes keys", names=["age", "openssh-client", "jq"])
    users.service_user(
        name="Create the user that fetches from backup hosts",
        user=settings.vault_user, home=f"{settings.vault_dir}/incoming",
    )  # fmt: skip
    files.placed(
        name="Make room for the vault's keys",
        entries=[entry for entry in layout.vault_directories(settings) if entry.path == settings.vault_config_dir],
    )
    vaults.keys_made(
        name="Make the vault's key pairs, in a stage before all else",
        config_dir=settings.vault_config_dir, user=settings.vault_user,
    )  # fmt: skip


@deploy("Off-site", {"role": "backup"})
def offsite(settings: Settings, source_name: str, readers: Sequence[Vault]) -> None:
    """On a backup host: what leaves it is encrypted, and lies where each vault has a reading account of its own.

    Without a vault it goes on to `backup_offsite` alone.
    """
    claims.needed("scratch", [settings.backup_outbox, settings.backup_outbox_work])
    packages.installed(name="Install what encrypts the copies", names=["age", "jq"])
    users.group(name="Create the group of the vaults' accounts", name_of_group=settings.backup_outbox_group)
    for each in readers:
        users.service_user(
            name=f"Create the account by which {each.name} reads", user=each.account, home=settings.backup_outbox
        )
        users.in_group(
            name=f"Let the account of {each.name} read the outbox",
            user=each.account, group=settings.backup_outbox_group,
        )  # fmt: skip
    files.placed(name="Lay out the outbox", entries=layout.outbox_directories(settings))
    files.placed(
        name="Write the program that fills the outbox, and who may read it",
        entries=layout.outbox_files(settings, source_name, readers),
    )
    vaults.started(
        name="Start the outbox's timer and its log, now and after every boot",
        units=[f"{settings.app_name}-offsite.timer", layout.log_mount(settings)],
        read_anew=[f"{settings.app_name}-offsite.service"],
    )  # fmt: skip
    if readers:
        vaults.sshd_told(
            name="Let sshd show the vaults the outbox and nothing else",
            file=layout.sshd(settings), noted=layout.sshd_noted(settings),
        )  # fmt: skip
    vaults.ran(
        name="Encrypt what no vault could fetch yet",
        path=backup.program(settings, "offsite.sh"), service=f"{settings.app_name}-offsite.service",
        keys=layout.recipients_of(settings, readers),
    )  # fmt: skip


@deploy("Vault", {"role": "vault"})
def vault(
    settings: Settings, account: str, sources: Sequence[Source], sign_key: str, majors: Sequence[int],
    sealed: Sequence[Entry],
) -> None:  # fmt: skip
    users.service_user(
        name="Create the user that restores what is proven",
        user=settings.backup_user, home=settings.vault_proof_dir,
    )  # fmt: skip
    users.service_user(
        name="Create the user that restores dumps to test them",
        user=settings.backup_restore_test_user, home=settings.backup_restore_test_dir,
    )  # fmt: skip
    files.needed(postgres.no_main_cluster(settings), as_they_are=True)
    if majors:
        files.placed(
            name="Keep PostgreSQL's package from starting a server of its own",
            entries=postgres.no_main_cluster(settings),
        )
        packages.installed(
            name="Install the servers that proofs start for themselves",
            names=["isal", *(clients.server_package(major) for major in majors)],
        )
    if settings.backup_ping_url:
        packages.installed(name="Install what tells a dead man's switch", names=["curl"])
    files.placed(name="Lay out the vault", entries=layout.vault_directories(settings))
    files.placed(
        name="Write the vault's program, and what it knows of the backup hosts",
        entries=layout.vault_files(settings, account, sources, sign_key),
    )
    if sealed:
        files.placed(name="Keep the environment's secrets, sealed to people's own keys", entries=sealed)
    vaults.started(
        name="Start the vault's timer, now and after every boot",
        units=[f"{settings.app_name}-vault.timer"], read_anew=[f"{settings.app_name}-vault.service"],
    )  # fmt: skip


@deploy("Vault", {"role": "vault"})
def first_fetch(settings: Settings) -> None:
    vaults.ran(
        name="Fetch and prove what was not yet",
        path=backup.program(settings, "vault.sh"), service=f"{settings.app_name}-vault.service",
    )  # fmt: skip


@deploy("Object storage", {"role": "vault"})
def push_store(settings: Settings) -> None:
    """A further copy of a vault's store, at places that rclone reaches. Nothing is ever removed there."""
    _push(settings, is_vault=True, host_name="")


@deploy("Object storage", {"role": "backup"})
def push_outbox(settings: Settings, host_name: str) -> None:
    """The same of a backup host's outbox."""
    _push(settings, is_vault=False, host_name=host_name)


def _push(settings: Settings, *, is_vault: bool, host_name: str) -> None:
    if not settings.backup_offsite:
        keys = settings.backup_offsite_config_file
        if keys in host.get_fact(Paths, paths=(keys,)):
            vaults.unpushed(
                name="Take away what copied to places that are not named any more",
                timer=f"{settings.app_name}-push.timer", paths=layout.push_paths(settings),
            )  # fmt: skip
        return
    claims.needed("scratch", [settings.backup_offsite_state, posixpath.dirname(settings.backup_offsite_config_file)])
    for sentence in host.get_fact(Warnings, program=backup.program(settings, "push.sh")):
        warn(host, sentence)
    packages.installed(name="Install rclone", names=["rclone", "ca-certificates", "jq"])
    files.placed(name="Make room for what is known of each place", entries=layout.push_directories(settings))
    files.placed(
        name="Write the program that copies there, and its keys",
        entries=layout.push_files(settings, is_vault, host_name),
    )
    vaults.started(
        name="Start its timer, now and after every boot",
        units=[f"{settings.app_name}-push.timer"], read_anew=[f"{settings.app_name}-push.service"],
    )  # fmt: skip
    vaults.ran(
        name="Copy what no place has yet",
        path=backup.program(settings, "push.sh"), service=f"{settings.app_name}-push.service",
    )  # fmt: skip
