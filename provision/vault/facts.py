"""The public halves of a host's keys, and whether its sshd has read what we wrote for it."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Sequence
from typing import Any

from pyinfra.api import QuoteString, StringCommand
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from provision.debian.programs import program
from provision.engine.facts import Fact, Lines, asked
from provision.engine.shown import shown


class PublicKeys(Fact[dict[str, str]]):
    """Given a vault's directory of keys, return the public halves by their kind; `host` is the host's own.

    A kind is absent where there is none.
    """

    @override
    def command(self, config_dir: str) -> StringCommand:
        return asked(program("vault/public-keys.sh", config_dir), "; true")

    @staticmethod
    @override
    def default() -> dict[str, str]:
        return {}

    @override
    def read(self, lines: list[str]) -> dict[str, str]:
        found = {}
        for line in lines:
            kind, key = line.split("=", 1)
            if kind not in ("ssh", "sign", "age", "host") or not key:
                raise ValueError(kind)
            found[kind] = key
        return found


class Warnings(Lines):
    """Given the program that copies on, return what only a person can change at a place, a sentence each."""

    @override
    def command(self, program: str) -> StringCommand:
        path = QuoteString(program)
        return asked("if [ -x", path, "]; then", path, "--warn 2>/dev/null || true; fi")


class VaultReport(Fact[list[dict[str, Any]] | None]):
    """Given a vault's program and the other directories whose files it reads, return what it holds of each database of
    each backup host, an entry each.

    None where the program gave no answer. What stands in a file's place, a pipe say, is not waited for, but told.
    """

    @override
    def command(self, program: str, beside: Sequence[str]) -> StringCommand:
        places = [QuoteString(each) for each in (posixpath.dirname(program), *beside)]
        return asked(
            "odd=$(find -L", *places, "! -type f ! -type d -print -quit 2>/dev/null);",
            'if [ -n "$odd" ]; then echo "odd=$odd"; else', QuoteString(program), "--report; fi",
        )  # fmt: skip

    @staticmethod
    @override
    def default() -> None:
        return None

    @override
    def read(self, lines: list[str]) -> list[dict[str, Any]]:
        if lines and lines[0].startswith("odd="):
            raise FactProcessError(f"{shown(lines[0][4:])} is no file: remove it, and deploy again")
        entries = [json.loads(line) for line in lines]
        for each in entries:
            if not isinstance(each["database"], str) or not isinstance(each["proven_hours"], int | None):
                raise ValueError(each["host"])
        return entries
