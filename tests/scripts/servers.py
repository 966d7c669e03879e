"""PostgreSQL of other major versions than this machine's, out of other releases of Debian."""

from __future__ import annotations

from pathlib import Path

from tests.sandbox import releases

RELEASES = {13: "bullseye", 17: "trixie", 18: "forky"}


def other_server(major: int) -> Path:
    """Where the programs of that major version are: fetched once, a minute and 300 MB each."""
    wanted = [f"postgresql-{major}", f"postgresql-client-{major}"]
    return releases.unpacked(f"postgresql-{major}", RELEASES[major], wanted, f"usr/lib/postgresql/{major}/bin")
