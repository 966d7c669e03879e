"""A `.env` that is partly ours and partly a person's: read it, merge it. Pure.

A line is ours when it sets one of the managed names; every other byte is the person's and stays. A comment behind a
value of ours goes above it: systemd and `docker run --env-file` would take it for a part of the value. What counts as a
line follows dotenv's own grammar, quoted values over several lines included
(https://www.npmjs.com/package/dotenv, `LINE` in lib/main.js).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

# As dotenv: a line ends with \n, \r\n or \r, a byte order mark is blank, names are ASCII, and a quoted value
# may begin on a later line.
_ASSIGNMENT = re.compile(
    r"""(?<![^\r\n\ufeff])[ \t]*(?:export\s+)?(?P<name>[\w.-]+)(?:\s*=|:\s)
        (?P<value>\s*'(?:\\'|[^'])*'|\s*"(?:\\"|[^"])*"|\s*`(?:\\`|[^`])*`|[^#\r\n]*)
        (?P<comment>[ \t]*(?:\#[^\r\n]*)?)(?![^\r\n])""",
    re.ASCII | re.VERBOSE,
)
_HEADER = "# Managed by the deploy: these values are put back when they are changed here."


def merge(text: str, managed: Mapping[str, str]) -> str:
    """Given a `.env` and quoted values, return it with each managed name set exactly once.

    A name that is set already keeps its place; a second setting of it, which dotenv would let win, is
    commented out; a missing one is added at the end.
    """
    seen: set[str] = set()
    parts, end = [], 0
    for match in _assignments(text):
        name = match["name"]
        if name not in managed:
            continue
        parts.append(text[end : match.start()])
        comment = f"{match['comment'].strip()}{_line_end(text)}" if match["comment"].strip() else ""
        parts.append(_commented(match[0]) if name in seen else f"{comment}{name}={managed[name]}")
        seen.add(name)
        end = match.end()
    merged = "".join(parts) + text[end:]
    missing = [name for name in managed if name not in seen]
    if merged and not merged.endswith("\n"):
        merged += "\n"
    if missing:
        if _HEADER not in merged:
            merged += ("\n" if merged else "") + _HEADER + "\n"
        merged += "".join(f"{name}={managed[name]}\n" for name in missing)
    return merged


def differing(text: str, managed: Mapping[str, str]) -> list[str]:
    """The managed names whose value is missing, other, or set more than once in a `.env`."""
    values: dict[str, list[str]] = {}
    for match in _assignments(text):
        values.setdefault(match["name"], []).append(match[0].rstrip(" \t"))
    return [name for name, value in managed.items() if values.get(name) != [f"{name}={value}"]]


def values(text: str) -> dict[str, str]:
    """What each variable of a `.env` is to the app: the last setting of it, without its quotes."""
    found = {}
    for match in _assignments(text):
        value = match["value"].strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"`":
            value = value[1:-1].replace("\\n", "\n").replace("\\r", "\r") if value[0] == '"' else value[1:-1]
        found[match["name"]] = value
    return found


def _assignments(text: str) -> Iterator[re.Match[str]]:
    return _ASSIGNMENT.finditer(text)


def _line_end(text: str) -> str:
    """How the first line of a text ends."""
    return next(iter(re.findall(r"\r\n|\r|\n", text)), "\n")


def _commented(lines: str) -> str:
    return re.sub(r"\A|\r\n|\r|\n", r"\g<0># ", lines)
