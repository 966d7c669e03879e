"""The app's `.env`: our variables set, everything else in it kept."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

from pyinfra.api import QuoteString, StringCommand, operation
from pyinfra.context import host

from provision.app.dotenv import differing, merge
from provision.debian.entries import Directory, File, Found
from provision.debian.files import Paths, placed, refusal, refused
from provision.debian.programs import program
from provision.engine.changes import note
from provision.engine.inside import commands_of, output_of

# Keeps a last line that has no line break apart from one that has, and tells text that was cut short:
# pyinfra stops reading at a byte that is not UTF-8, and calls it success.
_END = "==end-of-file=="


@operation()
def variables_set(
    path: str, variables: Mapping[str, str], user: str, group: str, within: Sequence[Directory] = ()
) -> Generator[StringCommand, None, None]:
    """`path` sets each of these (quoted) variables once; other lines stay; the former version is kept.

    The file is 0640: its owner writes, the group (the app) reads.
    """
    text = ""
    previous = f"{path}.previous"
    if in_the_way := refused([File(path, "\n"), File(previous, "\n")], within):
        yield from in_the_way
        return
    found = host.get_fact(Paths, paths=(path, previous))
    yield from _closed(previous, found.get(previous))
    if path in found:
        text = _read(path)
        if not text.endswith(_END):
            sentence = f"{path} cannot be read as UTF-8 text: convert it, such as with iconv, and deploy again"
            note(host, sentence)
            yield refusal(sentence)
            return
        text = text.removesuffix(_END)
        for name in differing(text, variables):
            note(host, f"{path}: {name} is not what the settings say")
    merged = File(path, merge(text, variables), user, group, 0o640, keep_previous=True)
    yield from commands_of(placed, [merged], within)


def _closed(path: str, found: Found | None) -> Generator[StringCommand, None, None]:
    """Old secrets are secrets: whoever wrote this file, others than its owner and group do not read it."""
    if found and found.mode & 0o007:
        note(host, f"{path}: anybody can read or write it ({found.mode:04o})")
        yield program("debian/close-file.sh", path)


def _read(path: str) -> str:
    return "\n".join(output_of(host, reading(path)))


def reading(path: str) -> StringCommand:
    """The command that prints a file, and the end's mark after it."""
    # Without following a link or waiting at a pipe, which the app may have put there just now.
    return StringCommand("dd iflag=nofollow,nonblock status=none", QuoteString(f"if={path}"), f"&& echo {_END}")
