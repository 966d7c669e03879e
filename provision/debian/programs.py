"""The shell programs that a host is sent to run: the files in `files/<subject>/`, as they stand."""

from __future__ import annotations

from pyinfra.api import QuoteString, StringCommand

from provision.settings.render import plain


def program(file: str, *arguments: str, shell: str = "sh -c") -> StringCommand:
    """The command that runs a file below files/ on a host, with these arguments. No secret may be among them."""
    return StringCommand(shell, QuoteString(plain(file)), file, *(QuoteString(argument) for argument in arguments))
