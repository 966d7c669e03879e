"""The database role that makes the dumps, where PostgreSQL is on the host itself."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from pyinfra.api import QuoteString, StringCommand, operation
from pyinfra.context import host

from provision.engine.changes import note


@operation()
def dump_role_made(differences: Sequence[str], file: str, port: int) -> Generator[StringCommand, None, None]:
    """The role is as the SQL in `file` makes it; `differences` say in words what is not. Asked in the preflight."""
    note(host, *differences)
    if differences:
        # Root opens the file, and the server's own superuser reads it: it is in no argument list.
        psql = "runuser -u postgres -- psql -X -w -q -v ON_ERROR_STOP=1 -d postgres -p"
        yield StringCommand("cd / &&", psql, str(port), "<", QuoteString(file))
