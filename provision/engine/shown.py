"""What came from a host, as an operator may see it: no character of it moves, colours or reorders the terminal.

Everything from a host that is printed passes `shown`: error texts, banners and names, what its files say. pyinfra
prints too, with colours of its own. It documents neither of these two (held by `tests/deploy/test_shown.py`):

format_text  styles a text: what is styled there carries a word that no host knows in place of ESC until it is printed
logger       "pyinfra", through which all that pyinfra says of hosts goes; its command line styles by itself
"""

from __future__ import annotations

import functools
import logging
import re
import secrets
import unicodedata
from typing import Any

import click
from pyinfra.api import output
from typing_extensions import override

# Control characters, and those that are seen by their effect alone: direction, joining, tags, separators, private use.
_UNSEEN = ("Cc", "Cf", "Zl", "Zp", "Cs", "Co")
_MARK = secrets.token_hex(8)
_STYLE = re.compile(r"\x1b\[([0-9;]*m)")


def shown(text: object) -> str:
    """The text, in which a character that cannot be seen by itself is written out: ESC is \\x1b, a line break \\n."""
    return "".join(_visible(character) for character in str(text))


def of_pyinfra() -> None:
    """Have pyinfra print by this, from now on and in this process."""
    output.set_formatter(_styled)
    output.set_echo(_echo)
    logging.getLogger("pyinfra").addFilter(_FILTER)


def line(text: str, its_own: bool = False) -> str:
    """What pyinfra prints: its own styles and line breaks as they are, all else shown."""
    marked = _STYLE.sub(rf"{_MARK}[\1", text) if its_own else text
    return "\n".join(shown(part) for part in marked.split("\n")).replace(f"{_MARK}[", "\x1b[")


@functools.lru_cache(1024)
def _visible(character: str) -> str:
    if character == "\t" or unicodedata.category(character) not in _UNSEEN:
        return character
    return character.encode("unicode_escape").decode()


def _styled(text: str, *args: Any, **kwargs: Any) -> str:
    # Shown first: a host's own colours are no styles.
    return _STYLE.sub(rf"{_MARK}[\1", click.style("\n".join(map(shown, text.split("\n"))), *args, **kwargs))


def _echo(message: Any = None, **kwargs: Any) -> None:
    click.echo(line(message) if isinstance(message, str) else message, **kwargs)


class _Filter(logging.Filter):
    @override
    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.msg, str):
            record.msg, record.args = line(record.getMessage(), "/pyinfra_cli/" in record.pathname), ()
        return True


_FILTER = _Filter()
