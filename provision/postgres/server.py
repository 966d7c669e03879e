"""What a PostgreSQL server is, asked over its own protocol from where a host stands."""

from __future__ import annotations

import ssl
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import pg8000.native
from pydantic import SecretStr
from pyinfra.api import Host

from provision.debian import tunnel
from provision.postgres import tls
from provision.settings import Settings
from provision.settings.render import plain

Answer = TypeVar("Answer")


class DatabaseError(Exception):
    """The database cannot be used as the settings say; the text says why and which setting to look at."""


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server: its major version (15, 17, ...), its own full version text, and when it was started."""

    major: int
    version: str
    started: str = ""  # seconds since 1970, as the server prints them: no two servers have the same
    databases: tuple[str, ...] = ()  # those that can be dumped


@dataclass(frozen=True)
class Refusal:
    """Why the role that is to make the dumps cannot do so yet; `password`: whether it is the password, or no role."""

    reason: str
    password: bool = False


@dataclass(frozen=True)
class _Login:
    """Who logs in where, and the settings to look at when that is refused."""

    user: str
    password: SecretStr
    address: str
    port: int
    settings: str

    @property
    def where(self) -> str:
        return f"{self.address}:{self.port}"


def ask(host: Host, settings: Settings) -> Server:
    """Log in as the settings say, through the host. Raise DatabaseError."""
    login = _Login(
        settings.postgres_user, settings.postgres_password, settings.postgres_host, settings.postgres_port,
        "postgres_password or postgres_user",
    )  # fmt: skip
    try:
        with _told(login, settings):
            return _as(host, settings, login, _server)
    except pg8000.native.DatabaseError as error:
        raise DatabaseError(_refusal(error, settings, login)) from None


def cannot_dump(host: Host, settings: Settings) -> Refusal | None:
    """Log in as the role that makes the dumps, through the host; return why it cannot dump the app's database."""
    login = _Login(
        settings.postgres_backup_user, settings.postgres_backup_password, settings.backup_postgres_host,
        settings.backup_postgres_port, "postgres_backup_password or postgres_backup_user",
    )  # fmt: skip
    try:
        with _told(login, settings):
            lacks = _as(host, settings, login, _undumped)
            return Refusal(lacks) if lacks else None
    except DatabaseError as error:
        return Refusal(str(error))
    except pg8000.native.DatabaseError as error:
        # 28P01: a wrong password, and what a server says of a role that it does not have.
        return Refusal(_refusal(error, settings, login), password=_state(error) == "28P01")


def _server(connection: pg8000.native.Connection) -> Server:
    ((number, version, started),) = connection.run(
        "select pg_catalog.current_setting('server_version_num')::int, pg_catalog.version(),"
        " extract(epoch from pg_catalog.pg_postmaster_start_time())::text"
    )
    names = connection.run("select datname from pg_catalog.pg_database where datallowconn and not datistemplate")
    return Server(number // 10000, version.split(",")[0], started, tuple(name for (name,) in names))


def _undumped(connection: pg8000.native.Connection) -> str:
    connection.run("set search_path = pg_catalog, pg_temp")
    ((lacks,),) = connection.run(plain("postgres/cannot-dump.sql"))
    return str(lacks)


@contextmanager
def _told(login: _Login, settings: Settings) -> Iterator[None]:
    try:
        yield
    except tunnel.TunnelError as error:
        raise DatabaseError(f"postgres_host, postgres_port: {error}") from None
    except ssl.SSLError as error:
        if error.reason == "WRONG_VERSION_NUMBER":  # no TLS: its greeting began with the "S" that says yes to it
            raise DatabaseError(f"postgres_port: what answers at {login.where} is not PostgreSQL") from None
        raise DatabaseError(tls.refusal(error, settings, login.where)) from None
    except (pg8000.native.InterfaceError, OSError, struct.error, EOFError) as error:
        if tls.is_missing(error):
            raise DatabaseError(tls.refusal(error, settings, login.where)) from None
        raise DatabaseError(f"postgres_port: what answers at {login.where} is not PostgreSQL: {error}") from None


def _as(
    host: Host, settings: Settings, login: _Login, question: Callable[[pg8000.native.Connection], Answer]
) -> Answer:
    connection = _log_in(host, settings, login)
    try:
        return question(connection)
    finally:
        connection.close()


def _log_in(host: Host, settings: Settings, login: _Login) -> pg8000.native.Connection:
    first, *others = tls.ways(settings)
    try:
        return _attempt(host, settings, login, first)
    except (pg8000.native.DatabaseError, ssl.SSLError) as error:
        if not others or (isinstance(error, pg8000.native.DatabaseError) and "encryption" not in str(error)):
            raise
    return _attempt(host, settings, login, others[0])


def _attempt(host: Host, settings: Settings, login: _Login, way: tls.Way) -> pg8000.native.Connection:
    return pg8000.native.Connection(
        login.user,
        host=login.address,  # the name that the certificate must be of
        database=settings.postgres_database,
        password=login.password.get_secret_value(),
        sock=tunnel.connect(host, login.address, login.port),
        ssl_context=way,
        application_name="provision",
    )


def _state(error: pg8000.native.DatabaseError) -> str:
    told = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    return str(told.get("C", ""))


def _refusal(error: pg8000.native.DatabaseError, settings: Settings, login: _Login) -> str:
    told = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    message = told.get("M", str(error))
    # SQLSTATE classes: 28 authorization, 3D000 no such database (PostgreSQL, "Error Codes").
    if _state(error).startswith("28"):
        return f"{login.settings} ({login.user}): {login.where} refuses the login: {message}"
    if _state(error) == "3D000":
        return (
            f"postgres_database = {settings.postgres_database!r}: {login.where} has no such database: make it there,"
            " an empty one will do"
        )
    return f"{login.where}: {message}"
