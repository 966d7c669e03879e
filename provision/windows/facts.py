"""What a Windows host has. Each fact asks one of the scripts in `scripts/`, and gives its answer as it is."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar, cast

from pyinfra.api import StringCommand
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from provision.backup.facts import Report, is_manifest, is_run, made_at, newest_first
from provision.engine.facts import Fact
from provision.redis.firewall import Knock, normal
from provision.windows import snippets
from provision.winssh import powershell

T = TypeVar("T")


class _Script(Fact[T], Generic[T]):
    abstract = True
    script_name = ""

    def _ask(self, **arguments: object) -> StringCommand:
        return StringCommand(snippets.script(self.script_name, arguments))

    @override
    def answer_in(self, output: list[str]) -> list[str]:
        return output  # the answer has a mark of its own

    @override
    def read(self, lines: list[str]) -> T:
        try:
            answered = powershell.answer(lines)
        except ValueError as error:
            raise FactProcessError(str(error)) from None
        if not isinstance(answered, dict):
            raise TypeError("every script answers with an object")
        return self.understood(answered)

    def understood(self, answered: dict[str, Any]) -> T:
        """What the fact promises, made of the script's answer."""
        return cast(T, answered)


class Host(_Script[dict[str, Any]]):
    """Windows' and PowerShell's version, who we are there, whether elevated, whether winget is there."""

    script_name = "host"

    def command(self) -> StringCommand:
        return self._ask()


class Paths(_Script[dict[str, dict[str, str]]]):
    """Of each path that exists: `kind` (file, directory), a file's `sha256`, its access list as `sddl`."""

    script_name = "paths"

    def command(self, paths: Sequence[str]) -> StringCommand:
        return self._ask(paths=list(paths))


class Remains(_Script[dict[str, dict[str, int]]]):
    """Of each path that exists: how many `entries` lie in it, how many of all are `files`, and their `bytes`."""

    script_name = "remains"

    def command(self, paths: Sequence[str]) -> StringCommand:
        return self._ask(paths=list(paths))


class Accounts(_Script[dict[str, str | None]]):
    """The SID of each named account, None for one that the host does not know."""

    script_name = "accounts"

    def command(self, names: Sequence[str]) -> StringCommand:
        return self._ask(names=list(names))


class ScheduledTasks(_Script[dict[str, Any]]):
    """The tasks of a folder by name: `xml`, `enabled`, `last_result`, `last_run`, `next_run` (host time)."""

    script_name = "tasks"

    def command(self, folder: str) -> StringCommand:
        return self._ask(folder=folder)

    @override
    def understood(self, answered: dict[str, Any]) -> dict[str, Any]:
        return read_tasks(answered)


class PostgresClients(_Script[dict[str, int]]):
    """Each pg_dump.exe that the host has, with its major version."""

    script_name = "postgres"

    def command(self, pg_dump: str = "") -> StringCommand:
        return self._ask(pg_dump=pg_dump)

    @override
    def understood(self, answered: dict[str, Any]) -> dict[str, int]:
        majors = {path: re.search(r"\) (\d+)", version) for path, version in answered.items()}
        return {path: int(match[1]) for path, match in majors.items() if match}


class Knocks(_Script[Knock]):
    """How the host reaches a Redis, and what that says to a login by a name that nobody has."""

    script_name = "knock"

    def command(self, server: str, port: int, caller: str) -> StringCommand:
        return self._ask(server=server, port=port, caller=caller)

    @override
    def understood(self, answered: dict[str, Any]) -> Knock:
        return Knock(tuple((normal(there), normal(own)) for there, own in answered["routes"]), str(answered["said"]))


class NewestBackup(_Script[dict[str, Any]]):
    """The newest dump in some places: `path` (None without one), `bytes`, `age_hours`, whether it is `complete`."""

    script_name = "newest-backup"

    def command(self, places: Sequence[str], pattern: str, script: str) -> StringCommand:
        return self._ask(places=list(places), pattern=pattern, script=script)


class BackupReport(_Script[Report]):
    """What a Debian host's `provision.facts.backup.BackupReport` is, of this one. It has no restore tests."""

    script_name = "backup-report"

    def command(self, backup_dir: str, tiers: Mapping[str, str], pattern: str, database: str) -> StringCommand:
        places = [{"name": name, "directory": directory} for name, directory in tiers.items()]
        return self._ask(backup_dir=backup_dir, tiers=places, pattern=pattern, database=database)

    @staticmethod
    def default() -> Report:
        return Report()

    @override
    def understood(self, answered: dict[str, Any]) -> Report:
        return Report(
            now=datetime.fromisoformat(answered["now"]),
            last_runs=tuple(filter(is_run, sorted(answered["last_runs"], key=_written, reverse=True))),
            manifests={tier: _newest_first(dumps) for tier, dumps in answered["manifests"].items()},
            gone=_newest_first(answered["gone"]),
            unread=answered["unread"],
        )


def _newest_first(dumps: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """The dumps of a tier, each with when it was `started`: the time in its name."""
    return newest_first(filter(is_manifest, ({**dump, "started": str(made_at(dump["dump"]))} for dump in dumps)))


def _written(run: dict[str, Any]) -> str:
    return str(run["written"])


def read_tasks(answered: dict[str, Any]) -> dict[str, Any]:
    """The tasks script's answer, each XML decoded."""
    return {name: {**task, "xml": base64.b64decode(task["xml"]).decode("utf-8")} for name, task in answered.items()}
