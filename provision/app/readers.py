"""Who reads a `.env`, which of them takes a value for another, and how to write it so that most get it right. Pure.

The table was compared with the readers themselves: tests/limiter/test_env_readers.py, tests/e2e/test_env_readers.py.
`docker run --env-file` is not in it: to that one quotes are always a part of the value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_BARE = " "
_ALL = f"'\"`{_BARE}"
_APP = ("dotenv", "@next/env", "node --env-file")
READERS = (*_APP, "bash's source", "python-dotenv", "docker compose", "systemd")

_EXPANDED = "puts something in for $ and what follows it"
_BACKSLASH = "takes a backslash for an escape"
_GOES_ON = "goes on into the next line"
_COMMAND = "runs it as a command"
_KEEPS = "keeps the backticks around it"
_ODD = r"(?<!\\)(\\\\)*\\$"  # ends in a backslash that no other one escapes

# Who, in which quotes, for values with what in them, does what.
_MISREADINGS = (
    (_APP, '"', r"\\[nr]", _BACKSLASH),
    (("dotenv", "@next/env"), "'\"`", r"\\$", _GOES_ON),
    (("@next/env",), _ALL, r"(?<!\\)\$\{?\w([^$]|\\\$)*$", _EXPANDED),  # only where its last $ begins a name
    (("@next/env",), _ALL, r"\\\$", _BACKSLASH),
    (("bash's source",), "`", "", _COMMAND),
    (("bash's source",), '"', "`", _COMMAND),
    (("bash's source",), '"', r"\$[\w{(\[@*#?$!-]", _EXPANDED),
    (("bash's source",), '"', r"\\[$`\\]", _BACKSLASH),
    (("bash's source", "systemd"), _BARE, r"\\$", _GOES_ON),
    (("bash's source", "docker compose", "python-dotenv", "systemd"), '"', _ODD, _GOES_ON),
    (("python-dotenv",), "'", r"\\\\", _BACKSLASH),
    (("python-dotenv",), '"', r"\\[\\'abfnrtv]", _BACKSLASH),
    (("python-dotenv", "docker compose"), "'", _ODD, _GOES_ON),
    (("python-dotenv",), _ALL, r"\$\{[^}:]*(:-[^}]*)?\}", _EXPANDED),
    (("docker compose",), f'"`{_BARE}', r"\$[A-Za-z_{$]", _EXPANDED),
    (("docker compose",), '"', r"\\[abcfnrtv$\\0]", _BACKSLASH),
    (("systemd",), '"', r"\\[`$\\]", _BACKSLASH),
    (("systemd",), "`", r"\\", _BACKSLASH),
    (("python-dotenv", "docker compose", "systemd"), "`", "", _KEEPS),
)


def quoted(value: str) -> str:
    """Return this value as a `.env` has it: bare where nothing needs quotes, which `docker run --env-file` keeps.

    Else as the app's own readers (dotenv, Next.js, node), then as most of all, take it for what it is. Raise ValueError
    where no quoting does for the first: dotenv knows no escape for a quote
    (https://www.npmjs.com/package/dotenv, "What rules does the parsing engine follow").
    """
    if re.fullmatch(r"[A-Za-z0-9_./:@%+,=\[\]-]+", value):
        return value
    mark = _mark(value)
    return value if mark == _BARE else f"{mark}{value}{mark}"


def misread(value: str) -> dict[str, list[str]]:
    """What the readers that take this value for another do with it, as `quoted` writes it: reader to words."""
    return _misread(value, _BARE if quoted(value) == value else _mark(value))


def told(name: str, value: str) -> str:
    """One sentence about who takes this variable for something else; "" where nobody does. Never its value."""
    readers: dict[tuple[str, ...], list[str]] = {}
    for reader, words in misread(value).items():
        readers.setdefault(tuple(words), []).append(reader)
    ways = "; ".join(f"{', '.join(who)}: {' and '.join(words)}" for words, who in readers.items())
    return f"{name} is not what the settings say to all who may read it ({ways})" if ways else ""


def _mark(value: str) -> str:
    """The quotes for a value; blank for none, as where its last backslash would be taken for an escape of the quote."""
    marks = [mark for mark in ("'\"`" if re.search(r"[$`\\]", value) else "\"'`") if mark not in value]
    if re.fullmatch(r"[^\s#'\"`][^#'\"`\r\n]*\\", value):
        marks.append(_BARE)
    if not marks:
        raise ValueError("no .env parser can read a value with all three of ' \" ` in it")
    return min(marks, key=lambda mark: _weight(_misread(value, mark)))


def _weight(misread: Mapping[str, object]) -> tuple[int, int]:
    return sum(reader in _APP for reader in misread), len(misread)


def _misread(value: str, mark: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for readers, marks, pattern, words in _MISREADINGS:
        if mark in marks and re.search(pattern, value, re.ASCII):
            for reader in readers:
                found.setdefault(reader, [])
                found[reader] += [words] * (words not in found[reader])
    return found
