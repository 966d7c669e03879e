"""Which package holds the pg_dump that fits a server. Pure.

The same major version: an older pg_dump refuses a newer server, and a newer one writes what an older
server may not read back (`SET transaction_timeout` since 17).
"""

from __future__ import annotations

# The one PostgreSQL that each release carries: packages.debian.org, packages.ubuntu.com.
_RELEASE_HAS = {"bullseye": 13, "bookworm": 15, "trixie": 17, "focal": 12, "jammy": 14, "noble": 16}


def client_package(major: int) -> str:
    return f"postgresql-client-{major}"


def server_package(major: int) -> str:
    return f"postgresql-{major}"


def comes_with_release(codename: str, major: int) -> bool:
    """Whether the release itself has the client of this major version."""
    return _RELEASE_HAS.get(codename) == major
