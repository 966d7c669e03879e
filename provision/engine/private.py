"""What a command gets on its standard input, kept out of everything that is printed.

pyinfra writes a command's `_stdin` nowhere, but prints a fact's arguments with -v, that one included.
"""

from __future__ import annotations

from collections.abc import Iterator


class PrivateInput:
    """Text for `_stdin=`. It shows as a word without the text."""

    def __init__(self, text: str) -> None:
        self._text = text

    def readlines(self) -> list[str]:
        # pyinfra asks for lines where it can, and adds a line break to one that has none.
        return [self._text]

    def __iter__(self) -> Iterator[str]:
        # pyinfra accepts a string, or what can be iterated.
        return iter(self.readlines())

    def __repr__(self) -> str:
        return "(private)"
