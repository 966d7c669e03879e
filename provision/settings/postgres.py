"""Settings of the PostgreSQL server that the app uses and the backups dump."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, ValidationInfo, field_validator

from provision.settings.fields import AbsolutePath, CertificateFile, EnvironmentValue, Host, Line, Port, Secret
from provision.settings.project import PROJECT


def _repository(value: str) -> str:
    # It stands in a shell command and in a line of apt's own, where a blank ends it.
    if not re.fullmatch(r"[a-z][a-z+]*:/[A-Za-z0-9._~/:@%?=&+,-]+", value):
        raise ValueError("must be the address of a package repository, such as https://mirror.example.com/pgdg")
    return value.rstrip("/")


def _key(value: str) -> str:
    try:
        text = (PROJECT / value).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        text = ""
    if "-----BEGIN PGP PUBLIC KEY BLOCK-----" not in text or not text.endswith("\n"):
        raise ValueError("must be a file with an ASCII-armoured public key: gpg --armor --export")
    return value


def _role(value: str) -> str:
    if len(value.encode()) > 63 or value.startswith("pg_") or value in ("public", "none"):
        raise ValueError("must be a name that PostgreSQL takes for a role: at most 63 bytes, without pg_ at its head")
    return value


BackupRole = Annotated[Line, AfterValidator(_role)]


class PostgresSettings(BaseModel):
    postgres_mode: Literal["direct", "compose", "container"] = Field(
        "direct",
        description="How the dump reaches PostgreSQL: directly, in its Compose service, or from a one-off container.",
    )
    postgres_host: Host = Field(
        "127.0.0.1", description="The name or address of the PostgreSQL server, as seen from each host."
    )
    postgres_port: Port = Field(5432, description="The TCP port that PostgreSQL listens on.")
    postgres_database: EnvironmentValue = Field(
        default_factory=lambda data: data["app_name"],
        description="The database that the app uses and the backups dump.",
    )
    postgres_user: EnvironmentValue = Field(
        default_factory=lambda data: data["app_name"], description="The role that the app and restores connect as."
    )
    postgres_password: Secret = Field(
        description="The password of `postgres_user`: `env:NAME`, `file:PATH` or `command:...`."
    )
    postgres_sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] | None = Field(
        None,
        description="How far connections to PostgreSQL are encrypted and checked, in libpq's words; unset: not said.",
    )
    postgres_sslrootcert: CertificateFile | None = Field(
        None,
        validate_default=True,
        description="The file, on this machine, with the certificate that has signed the server's (PEM).",
    )
    postgres_url_reader: Literal["node-postgres", "prisma", "libpq"] = Field(
        "node-postgres",
        description="Who reads `DATABASE_URL` in `.env`: each has words of its own for `postgres_sslmode`.",
    )
    postgres_backup_user: BackupRole = Field(
        default_factory=lambda data: f"{data['app_name']}_backup",
        description="The role that makes the dumps, and nothing else; the value of `postgres_user` does without one.",
    )
    postgres_backup_password: Secret = Field(
        description="The password of `postgres_backup_user`: `env:NAME`, `file:PATH` or `command:...`."
    )
    postgres_compose_file: AbsolutePath = Field(
        default_factory=lambda data: f"{data['app_dir']}/docker-compose.yml",
        description="Mode compose: the Compose file of PostgreSQL's service; its directory is the project's.",
    )
    postgres_compose_service: Line = Field(
        "postgres", description="Mode compose: the name of PostgreSQL's service in `postgres_compose_file`."
    )
    postgres_compose_project: Line | Literal[""] = Field(
        "",
        description="Mode compose: the project's name, as `docker compose ls` shows it. Empty: the project that was"
        " started in the directory of `postgres_compose_file`.",
    )
    postgres_image: Line = Field(
        "postgres:16-alpine",
        description="Mode container: the image whose pg_dump is used; of the server's major version.",
    )
    postgres_network: Line = Field(
        default_factory=lambda data: f"{data['app_name']}-network",
        description="Mode container: the Docker network on which postgres_host is reached.",
    )
    postgres_apt_repository: Annotated[str, AfterValidator(_repository)] = Field(
        "https://apt.postgresql.org/pub/repos/apt",
        description="PGDG's package repository, or a mirror of it, for a client version that Debian does not have.",
    )
    postgres_apt_key: Annotated[Line, AfterValidator(_key)] = Field(
        "files/postgres/apt.postgresql.org.asc",
        description="The file, on this machine, with the key that signs `postgres_apt_repository`.",
    )

    # Rules across settings hang on one field each, see redis.py.
    @field_validator("postgres_sslrootcert")
    @classmethod
    def _certificate_suits_the_mode(cls, root: str | None, info: ValidationInfo) -> str | None:
        mode = info.data.get("postgres_sslmode")
        if root is None and mode in ("verify-ca", "verify-full"):
            raise ValueError(f"is missing: postgres_sslmode = '{mode}' checks the server's certificate by it")
        if root is not None and mode not in ("require", "verify-ca", "verify-full"):
            raise ValueError(f"has no effect with postgres_sslmode = {mode!r}: set that to 'verify-full'")
        return root
