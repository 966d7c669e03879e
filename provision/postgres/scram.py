"""What PostgreSQL keeps of a password, so that SQL need not hold the password itself. Pure."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from functools import cache

from pydantic import SecretStr
from scramp import ScramMechanism

_ITERATIONS = 4096  # PostgreSQL's own, scram_iterations
_SLOW = 100_000


@cache
def verifier(role: str, password: SecretStr) -> str:
    """The SCRAM-SHA-256 secret of a role's password, the same each time (PostgreSQL, "pg_authid").

    The salt is drawn from the password, slowly: a fast sum of it would be quicker to guess than the verifier is.
    """
    text = password.get_secret_value()
    salt = hashlib.pbkdf2_hmac("sha256", text.encode(), f"provision, role {role}".encode(), _SLOW)[:16]
    _, stored, server, _ = ScramMechanism("SCRAM-SHA-256").make_auth_info(text, _ITERATIONS, salt)
    shown = [b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${_ITERATIONS}:{shown[0]}${shown[1]}:{shown[2]}"
