"""Settings of copies that leave the backup host: who can open them, the vaults that fetch and prove them."""

from __future__ import annotations

import configparser
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from provision.settings.app import AppSettings
from provision.settings.fields import AbsolutePath, AgeRecipient, CertificateFile, Count, Host, Remote, SecretFile, User


def _sections(text: str) -> list[str]:
    parser = configparser.RawConfigParser(strict=False)
    parser.read_string(text)
    return parser.sections()


class VaultSettings(AppSettings):
    backup_encrypt_to: list[AgeRecipient] = Field(
        [],
        description="Public age keys of people, made by `make keys`: their private halves open every copy that leaves"
        " a backup host, as those of the vaults do.",
    )
    backup_outbox_days: Count = Field(
        3, description="How many days an encrypted copy waits on the backup host after every vault has read it."
    )
    backup_offsite: list[Remote] = Field(
        [],
        description="Where rclone keeps a further copy of what is encrypted on this host, a vault's store or a backup"
        " host's outbox: places such as s3:bucket/path, of which each begins with a section of"
        " `backup_offsite_config`.",
    )
    backup_offsite_config: SecretFile = Field(
        None,
        validate_default=True,
        description="rclone's configuration (rclone.conf) for `backup_offsite`: `file:PATH`, `env:NAME`,"
        " `command:...`. It holds the keys of the storage and lies on this host alone, root's.",
    )
    backup_offsite_root_certificate: CertificateFile | None = Field(
        None,
        validate_default=True,
        description="The file, on this machine, with the certificates (PEM) that have signed those of `backup_offsite`,"
        " for storage with a CA of its own: no other CA is trusted then. Unset: those that the host trusts.",
    )
    backup_offsite_bandwidth_kbit: Annotated[int, Field(strict=True, ge=0)] = Field(
        0, description="How many kbit/s copies to `backup_offsite` may take; 0: no limit."
    )
    backup_vault_address: Host | Literal[""] = Field(
        "", description="Where the vaults reach this backup host's sshd. Empty: at its name in the inventory."
    )
    vault_dir: AbsolutePath = Field(
        default_factory=lambda data: f"/var/lib/{data['app_name']}/vault",
        description="Where a vault keeps what it has fetched.",
    )
    vault_user: User = Field(
        default_factory=lambda data: f"{data['app_name']}-vault"[:32],
        validate_default=True,
        description="The system user by which a vault talks to backup hosts; it can reach nothing that is stored.",
    )
    vault_prove: Literal["each", "weekly"] = Field(
        "each", description="How often a vault restores the newest dump of each database to prove and sign it."
    )
    vault_maximum_age_hours: Count = Field(
        30, description="How old a database's newest proven copy in a vault may be before monitoring calls it stale."
    )
    vault_bandwidth_kbit: Annotated[int, Field(strict=True, ge=0)] = Field(
        0, description="How many kbit/s a vault may take to fetch; 0: no limit."
    )
    vault_reserve_mb: Count = Field(500, description="How many MiB must stay free on the disk of a vault.")
    vault_postgres_majors: list[Count] = Field(
        [],
        description="Major versions of PostgreSQL whose dumps a vault restores, besides those that the backup hosts'"
        " servers tell at a deploy: needed for servers in containers.",
    )

    @field_validator("backup_offsite_config")
    @classmethod
    def _names_each_place(cls, config: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        places = info.data.get("backup_offsite") or []
        if places and config is None:
            raise ValueError("is missing: backup_offsite names places, and rclone must know their keys")
        try:
            sections = set(_sections(config.get_secret_value())) if config else set()
        except configparser.Error as error:
            # Its own words would show a line of it.
            raise ValueError(f"is no rclone.conf ({type(error).__name__}): make it with `rclone config`") from None
        lacking = sorted({place.split(":")[0] for place in places} - sections)
        if lacking:
            raise ValueError(f"has no section [{lacking[0]}], which backup_offsite names")
        return config

    @field_validator("backup_offsite_root_certificate")
    @classmethod
    def _certificate_is_for_a_place(cls, root: str | None, info: ValidationInfo) -> str | None:
        if root is not None and not info.data.get("backup_offsite"):
            raise ValueError("has no effect: backup_offsite names no place")
        return root

    @property
    def backup_outbox(self) -> str:
        """Root's: encrypted copies that wait for the vaults, and what stands about them in plain."""
        return f"/var/lib/{self.app_name}/offsite"

    @property
    def backup_outbox_work(self) -> str:
        """Root's alone, on the same disk: copies that are being made, what was published, who has read it."""
        return f"/var/lib/{self.app_name}/offsite-work"

    @property
    def backup_outbox_group(self) -> str:
        """The accounts by which vaults read, and nobody else."""
        return f"{self.app_name}-offsite"[:32]

    @property
    def backup_offsite_config_file(self) -> str:
        """Where rclone's configuration lies: root's alone."""
        return f"/etc/{self.app_name}-offsite/rclone.conf"

    @property
    def backup_offsite_root_certificate_file(self) -> str:
        """Where `backup_offsite_root_certificate` lies; "" where there is none."""
        return f"/etc/{self.app_name}-offsite/ca.crt" if self.backup_offsite_root_certificate else ""

    @property
    def backup_offsite_state(self) -> str:
        """Root's alone: what each of the places has."""
        return f"/var/lib/{self.app_name}/push"

    @property
    def vault_config_dir(self) -> str:
        """A vault's keys and what it knows of the backup hosts."""
        return f"/etc/{self.app_name}-vault"

    @property
    def vault_proof_dir(self) -> str:
        """Where a vault decrypts what it restores as a proof, and leaves nothing behind."""
        return f"{self.vault_dir}/proof"
