"""What a Windows host has. Each fact asks one of the scripts in `scripts/`, and gives its answer as it is."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pyinfra.api import FactBase, StringCommand
from pyinfra.api.exceptions import FactProcessError

from provision.backup.facts import Report
from provision.windows import snippets
from provision.winssh import powershell


class _Script(FactBase[Any]):
    abstract = True
    script_name = ""

    def _ask(self, **arguments: object) -> StringCommand:
        return StringCommand(snippets.script(self.script_name, arguments))

    def process(self, output: list[str]) -> Any:
        try:
            return powershell.answer(output)
        except ValueError as error:
            raise FactProcessError(str(error)) from None


class Host(_Script):
    """Windows' and PowerShell's version, who we are there, whether elevated, whether winget is there."""

    script_name = "host"

    def command(self) -> StringCommand:
        return self._ask()


class Paths(_Script):
    """Of each path that exists: `kind` (file, directory), a file's `sha256`, its access list as `sddl`."""

    script_name = "paths"

    def command(self, paths: Sequence[str]) -> StringCommand:
        return self._ask(paths=list(paths))


class Accounts(_Script):
    """The SID of each named account, None for one that the host does not know."""

    script_name = "accounts"

    def command(self, names: Sequence[str]) -> StringCommand:
        return self._ask(names=list(names))


class ScheduledTasks(_Script):
    """The tasks of a folder by name: `xml`, `enabled`, `last_result`, `last_run`, `next_run` (host time)."""

    script_name = "tasks"

    def command(self, folder: str) -> StringCommand:
        return self._ask(folder=folder)

    def process(self, output: list[str]) -> dict[str, Any]:
        return read_tasks(super().process(output))


class PostgresClients(_Script):
    """Each pg_dump.exe that the host has, with its major version."""

    script_name = "postgres"

    def command(self, pg_dump: str = "") -> StringCommand:
        return self._ask(pg_dump=pg_dump)

    def process(self, output: list[str]) -> dict[str, int]:
        found = super().process(output)
        majors = {path: re.search(r"\) (\d+)", version) for path, version in found.items()}
        return {path: int(match[1]) for path, match in majors.items() if match}


class NewestBackup(_Script):
    """The newest dump in some places: `path` (None without one), `bytes`, `age_hours`, whether it is `complete`."""

    script_name = "newest-backup"

    def command(self, places: Sequence[str], pattern: str, script: str) -> StringCommand:
        return self._ask(places=list(places), pattern=pattern, script=script)


class BackupReport(_Script):
    """What a Debian host's `provision.facts.backup.BackupReport` is, of this one. It has no restore tests."""

    script_name = "backup-report"

    def command(self, backup_dir: str, tiers: Mapping[str, str], pattern: str, database: str) -> StringCommand:
        places = [{"name": name, "directory": directory} for name, directory in tiers.items()]
        return self._ask(backup_dir=backup_dir, tiers=places, pattern=pattern, database=database)

    @staticmethod
    def default() -> Report:
        return Report()

    def process(self, output: list[str]) -> Report:
        said = super().process(output)
        return Report(
            now=datetime.fromisoformat(said["now"]),
            last_runs=tuple(sorted(said["last_runs"], key=lambda run: run["written"], reverse=True)),
            manifests={tier: _newest_first(dumps) for tier, dumps in said["manifests"].items()},
        )


def _newest_first(dumps: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """The dumps of a tier, each with when it was `started`, for which its name stands: there the time is in it."""
    started = [{**dump, "started": dump["dump"]} for dump in dumps]
    return tuple(sorted(started, key=lambda dump: dump["started"], reverse=True))


def read_tasks(answered: dict[str, Any]) -> dict[str, Any]:
    """The tasks script's answer, each XML decoded."""
    return {name: {**task, "xml": base64.b64decode(task["xml"]).decode("utf-8")} for name, task in answered.items()}
