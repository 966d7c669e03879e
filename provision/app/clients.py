"""Which counter in Redis belongs to whom: what the limiters' module makes of an identifier, in Python. Pure.

As `clientOf` and `windowOf` in files/app/rate-limiter-redis.ts; tests/limiter holds the two against each other.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from base64 import urlsafe_b64encode
from hashlib import sha256

from provision.settings import Settings
from provision.settings.rate_limits import Limiter


def counter(settings: Settings, limiter: Limiter, identifier: str) -> str:
    """The key in Redis that counts this client of this limiter."""
    client = _client(identifier, ignores_case=limiter.ignores_case)
    prefix = settings.redis_key_prefix
    pseudonym = _hash(f"{prefix}\0{limiter.name}\0{client}")
    return f"{prefix}:{limiter.name}:{pseudonym}"


def _client(identifier: str, *, ignores_case: bool) -> str:
    if len(identifier.encode("utf-16-le", "surrogatepass")) // 2 > 64:
        return _hash(_folded(identifier, ignores_case))
    address = _address(identifier)
    if address is None:
        return _folded(identifier, ignores_case)
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    # "::1" has an empty group at its head there: a key that is known keeps its name.
    head, tail = (side.split(":") for side in str(address).partition("::")[::2])
    zeros = ["0"] * (8 - len(head) - len(tail)) if "::" in str(address) else []
    return f"{':'.join([*head, *zeros, *tail][:4])}::/64"


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    bare = re.sub(r"^\[(.*)\](:\d+)?$", r"\1", text.strip())
    bare = re.sub(r"%.*", "", re.sub(r"^([\d.]+):\d+$", r"\1", bare), flags=re.DOTALL)
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _folded(identifier: str, ignores_case: bool) -> str:
    return unicodedata.normalize("NFKC", identifier).strip().lower() if ignores_case else identifier


def _hash(text: str) -> str:
    return urlsafe_b64encode(sha256(text.encode()).digest()).decode()[:22]
