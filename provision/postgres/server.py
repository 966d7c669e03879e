"""What a PostgreSQL server is, asked over its own protocol from where a host stands."""

from __future__ import annotations

import ssl
import struct
from dataclasses import dataclass

import pg8000.native
from pyinfra.api import Host

from provision.debian import tunnel
from provision.settings import Settings


class DatabaseError(Exception):
    """The database cannot be used as the settings say; the text says why and which setting to look at."""


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server: its major version (15, 17, ...) and its own full version text."""

    major: int
    version: str


def ask(host: Host, settings: Settings) -> Server:
    """Log in as the settings say, through the host. Raise DatabaseError."""
    where = f"{settings.postgres_host}:{settings.postgres_port}"
    try:
        connection = _log_in(host, settings)
    except tunnel.TunnelError as error:
        raise DatabaseError(f"postgres_host, postgres_port: {error}") from None
    except pg8000.native.DatabaseError as error:
        raise DatabaseError(_refusal(error, settings, where)) from None
    except (pg8000.native.InterfaceError, OSError, struct.error, EOFError) as error:
        raise DatabaseError(f"postgres_port: what answers at {where} is not PostgreSQL: {error}") from None
    try:
        ((number, version),) = connection.run("select current_setting('server_version_num')::int, version()")
    finally:
        connection.close()
    return Server(number // 10000, version.split(",")[0])


def _log_in(host: Host, settings: Settings) -> pg8000.native.Connection:
    def attempt(tls: ssl.SSLContext | None) -> pg8000.native.Connection:
        return pg8000.native.Connection(
            settings.postgres_user,
            database=settings.postgres_database,
            password=settings.postgres_password.get_secret_value(),
            sock=tunnel.connect(host, settings.postgres_host, settings.postgres_port),
            ssl_context=tls,
            application_name="provision",
        )

    try:
        return attempt(None)
    except pg8000.native.DatabaseError as error:
        if "no encryption" not in str(error):
            raise
    # As libpq's sslmode=prefer does: encrypted where the server insists, its certificate not checked.
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    return attempt(tls)


def _refusal(error: pg8000.native.DatabaseError, settings: Settings, where: str) -> str:
    told = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    state, message = told.get("C", ""), told.get("M", str(error))
    # SQLSTATE classes: 28 authorization, 3D000 no such database (PostgreSQL, "Error Codes").
    if state.startswith("28"):
        return f"postgres_password or postgres_user ({settings.postgres_user}): {where} refuses the login: {message}"
    if state == "3D000":
        return f"postgres_database = {settings.postgres_database!r}: {where} has no such database"
    return f"{where}: {message}"
