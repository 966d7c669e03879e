"""The public halves of a host's keys, and whether its sshd has read what we wrote for it."""

from __future__ import annotations

import json
from typing import Any

from pyinfra.api import QuoteString, StringCommand
from typing_extensions import override

from provision.debian.programs import program
from provision.engine.facts import Fact, asked


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


class VaultReport(Fact[list[dict[str, Any]]]):
    """Given a vault's program, return what it holds of each database of each backup host, an entry each."""

    @override
    def command(self, program: str) -> StringCommand:
        return asked(QuoteString(program), "--report")

    @staticmethod
    @override
    def default() -> list[dict[str, Any]]:
        return []

    @override
    def read(self, lines: list[str]) -> list[dict[str, Any]]:
        entries = [json.loads(line) for line in lines]
        for each in entries:
            if not isinstance(each["database"], str) or not isinstance(each["proven_hours"], int | None):
                raise ValueError(each["host"])
        return entries
