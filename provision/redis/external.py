"""Somebody else's Redis, asked over its own protocol from where an app host stands."""

from __future__ import annotations

import socket
import ssl
from io import BufferedRWPair

from pyinfra.api import Host

from provision.debian import tunnel
from provision.settings import Settings


class RedisError(Exception):
    """The external Redis cannot be used as the settings say; the text says why and which setting to look at."""


def ask(host: Host, settings: Settings) -> None:
    """Log in as the app will, through the host, and be answered. Raise RedisError."""
    where = f"{settings.redis_host}:{settings.redis_port}"
    password = settings.redis_password.get_secret_value()
    try:
        connection = tunnel.connect(host, settings.redis_host, settings.redis_port)
    except tunnel.TunnelError as error:
        raise RedisError(f"redis_host, redis_port: {error}") from None
    try:
        with _secured(connection, settings) as stream, stream.makefile("rwb") as wire:
            login = _answer(wire, "AUTH", settings.redis_user, password)
            pong = _answer(wire, "PING")
    except ssl.SSLError as error:
        raise RedisError(f"redis_tls = True: TLS with {where} failed: {_reason(error)}") from None
    except OSError as error:
        raise RedisError(f"{where} broke off ({error}){_hint(settings)}") from None
    if not login.startswith(("+", "-")):
        raise RedisError(f"redis_port: what answers at {where} is not Redis{_hint(settings)}")
    if login != "+OK":
        setting = f"redis_user ({settings.redis_user}) or redis_password"
        raise RedisError(f"{setting}: {where} refuses the login: {login[1:]}")
    if pong != "+PONG":
        raise RedisError(f"redis_user ({settings.redis_user}): {where} lets it in, and refuses PING: {pong[1:]}")


def _secured(connection: socket.socket, settings: Settings) -> socket.socket:
    if not settings.redis_tls:
        return connection
    return ssl.create_default_context().wrap_socket(connection, server_hostname=settings.redis_host)


def _answer(wire: BufferedRWPair, *words: str) -> str:
    encoded = [word.encode() for word in words]
    wire.write(b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded))
    wire.flush()
    return wire.readline(1000).decode(errors="replace").strip()


def _reason(error: ssl.SSLError) -> str:
    return getattr(error, "verify_message", "") or error.reason or str(error)


def _hint(settings: Settings) -> str:
    return "" if settings.redis_tls else "; where it speaks TLS, set redis_tls = True"
