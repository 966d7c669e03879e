"""TLS to PostgreSQL as libpq's sslmode has it: for questions of ours, for libpq, and for the app's `.env`. Pure."""

from __future__ import annotations

import ssl

from provision.settings import Settings
from provision.settings.project import PROJECT
from provision.settings.render import url

# As pg8000 takes it: a context insists on TLS; None takes it where the server has it, unchecked; False never does.
Way = ssl.SSLContext | bool | None


def ways(settings: Settings) -> list[Way]:
    """How to log in, in order; the second only where the server refuses the first for being encrypted, or not."""
    match settings.postgres_sslmode:
        case None:
            return [None, _unchecked()]
        case "disable":
            return [False]
        case "allow":
            return [False, _unchecked()]
        case "prefer":
            return [None, False]
        case "require" if not settings.postgres_sslrootcert:
            return [_unchecked()]
    # With a root certificate libpq checks it for "require" too (PostgreSQL, "SSL Support", table of sslmode).
    return [_checked(settings)]


def _unchecked() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _checked(settings: Settings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(PROJECT / (settings.postgres_sslrootcert or "")))
    context.check_hostname = settings.postgres_sslmode == "verify-full"
    # As libpq, which does not ask this of certificates: others made them, and for years.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def is_missing(error: Exception) -> bool:
    return "refuses SSL" in str(error)  # pg8000's words


def refusal(error: Exception, settings: Settings, where: str) -> str:
    """Why there is no TLS to the server, and the setting to look at."""
    mode = f"postgres_sslmode = {settings.postgres_sslmode!r}"
    if is_missing(error):
        return f"{mode}: the server at {where} has no TLS: set ssl = on there, or another postgres_sslmode"
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"{mode}: the certificate of {where} is refused: {error.verify_message.rstrip('.')}: see"
            " postgres_sslrootcert, and by which name postgres_host calls the server"
        )
    return f"{mode}: no TLS to {where}: {error.reason if isinstance(error, ssl.SSLError) else error}"


def in_url(settings: Settings) -> str:
    """The end of `DATABASE_URL`, in the words of `postgres_url_reader`; "" where nothing is to be said."""
    mode, root = settings.postgres_sslmode, settings.postgres_sslrootcert_file
    words = {"libpq": _libpq, "node-postgres": _node_postgres, "prisma": _prisma}[settings.postgres_url_reader]
    pairs = words(mode, root) if mode else {}
    return "?" + "&".join(f"{name}={url(value)}" for name, value in pairs.items()) if pairs else ""


def _libpq(mode: str, root: str) -> dict[str, str]:
    return {"sslmode": mode, **({"sslrootcert": root} if root else {})}


def _node_postgres(mode: str, root: str) -> dict[str, str]:
    # Read by pg-connection-string: prefer and require check the certificate, whatever libpq does, and end where the
    # server has no TLS; with uselibpqcompat require and verify-ca are libpq's. It knows no "where the server has it".
    if mode in ("allow", "prefer"):
        return {}
    compatible = {"uselibpqcompat": "true"} if mode in ("require", "verify-ca") else {}
    return {**compatible, **_libpq(mode, root)}


def _prisma(mode: str, root: str) -> dict[str, str]:
    # Prisma's engine knows disable, prefer and require alone, takes another word for prefer, checks only where it is
    # told to be strict, and then the name too; its sslcert is the root.
    if mode in ("allow", "prefer", "disable"):
        return {"sslmode": "disable" if mode == "disable" else "prefer"}
    return {"sslmode": "require", **({"sslaccept": "strict", "sslcert": root} if root else {})}
