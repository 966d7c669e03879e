"""PostgreSQL of other major versions than this machine's, out of other releases of Debian."""

from __future__ import annotations

from pathlib import Path

from tests.sandbox import releases

RELEASES = {13: "bullseye", 17: "trixie", 18: "forky"}

# Its libc is older than the one that this machine's faketime is made for; these programs ask nothing of a clock.
OLDER = {13}
CLIENTS = ("psql", "pg_dump", "pg_dumpall", "pg_restore")
WITHOUT_FAKETIME = '#!/bin/sh\nunset LD_PRELOAD\nexec "$(readlink -f "$0").real" "$@"\n'


def other_server(major: int) -> Path:
    """Where the programs of that major version are: fetched once, a minute and 300 MB each."""
    wanted = [f"postgresql-{major}", f"postgresql-client-{major}"]
    programs = releases.unpacked(f"postgresql-{major}", RELEASES[major], wanted, f"usr/lib/postgresql/{major}/bin")
    for client in CLIENTS if major in OLDER else ():
        _run_by_the_real_clock(programs / client)
    return programs


def _run_by_the_real_clock(program: Path) -> None:
    real = program.with_name(f"{program.name}.real")
    if not real.exists():
        program.rename(real)
        program.write_text(WITHOUT_FAKETIME, encoding="ascii")
        program.chmod(0o755)
