"""The app's `.env`: our variables set, everything else in it kept."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

from pyinfra.api import QuoteString, StringCommand, operation
from pyinfra.context import host

from provision.app.dotenv import differing, merge
from provision.debian.entries import Directory, File
from provision.debian.files import Paths, placed, refusal, refused
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
    if in_the_way := refused([File(path, "\n")], within):
        yield from in_the_way
        return
    if path in host.get_fact(Paths, paths=(path,)):
        text = _read(path)
        if not text.endswith(_END):
            yield refusal(f"{path} cannot be read as UTF-8 text: convert it, such as with iconv, and deploy again")
            return
        text = text.removesuffix(_END)
        for name in differing(text, variables):
            note(host, f"{path}: {name} is not what the settings say")
    merged = File(path, merge(text, variables), user, group, 0o640, keep_previous=True)
    yield from commands_of(placed, [merged], within)


def _read(path: str) -> str:
    # Without following a link, which the app may have put there just now.
    read = StringCommand("dd iflag=nofollow status=none", QuoteString(f"if={path}"), f"&& echo {_END}")
    return "\n".join(output_of(host, read))
