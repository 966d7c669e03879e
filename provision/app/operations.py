"""The app's `.env`: our variables set, everything else in it kept."""

from __future__ import annotations

from collections.abc import Generator, Mapping

from pyinfra.api import QuoteString, StringCommand, operation
from pyinfra.context import host

from provision.app.dotenv import differing, merge
from provision.debian.entries import File
from provision.debian.files import Paths, placed, refusal
from provision.engine.changes import note
from provision.engine.inside import commands_of, output_of

# Keeps a last line that has no line break apart from one that has, and tells text that was cut short:
# pyinfra stops reading at a byte that is not UTF-8, and calls it success.
_END = "==end-of-file=="


@operation()
def variables_set(
    path: str, variables: Mapping[str, str], user: str, group: str
) -> Generator[StringCommand, None, None]:
    """`path` sets each of these (quoted) variables once; other lines stay; the former version is kept.

    The file is 0640: its owner writes, the group (the app) reads.
    """
    text = ""
    if path in host.get_fact(Paths, paths=(path,)):
        text = _read(path)
        if not text.endswith(_END):
            yield refusal(f"{path} cannot be read as UTF-8 text: convert it, such as with iconv, and deploy again")
            return
        text = text.removesuffix(_END)
        for name in differing(text, variables):
            note(host, f"{path}: {name} is not what the settings say")
    merged = File(path, merge(text, variables), user, group, 0o640, keep_previous=True)
    yield from commands_of(placed, [merged])


def _read(path: str) -> str:
    return "\n".join(output_of(host, StringCommand("cat", QuoteString(path), f"&& echo {_END}")))
