"""The deployed scripts on this machine: a directory laid out as C:\\MedAction is, and PowerShell for Linux."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from provision.settings import Settings
from provision.settings.render import render
from provision.windows import layout
from provision.winssh import powershell
from tests.scripts.cluster import PASSWORD, ROLE, Cluster, bin_dir
from tests.windows import archives, relay, wine
from tests.windows.settings import settings

GOOD, FAILED, USAGE, LEFT_UNDONE, BUSY = 0, 1, 2, 3, 75


@dataclass
class Host:
    """A directory of this machine, laid out as C:\\MedAction is."""

    place: Path
    settings: Settings
    cluster: Cluster
    warm: str  # where a PowerShell answers that runs already: see warm.ps1

    @property
    def backups(self) -> Path:
        return self.place / "backups"

    def dumps(self) -> list[Path]:
        return sorted(path for path in self.backups.glob("*.sql.gz") if "latest" not in path.name)

    def latest(self) -> bytes | None:
        path = self.backups / "medaction_latest.sql.gz"
        return path.read_bytes() if path.exists() else None

    def status(self) -> dict[str, Any]:
        return json.loads((self.backups / "status-daily.json").read_text())

    def argv(self, name: str, *arguments: str) -> list[str]:
        """A script's command line, as a task has it."""
        script = str(self.place / "scripts" / name)
        return [str(archives.pwsh()), "-NoProfile", "-NonInteractive", "-File", script, *arguments]

    def run(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a script in a PowerShell that has run others."""
        script = powershell.quote(str(self.place / "scripts" / name))
        words = [word if re.fullmatch(r"-[A-Za-z]+", word) else powershell.quote(word) for word in arguments]
        text = f"& {script} {' '.join(words)}\nexit $LASTEXITCODE"
        code, output, errors = relay.powershell(self.warm, text)
        return subprocess.CompletedProcess([script, *words], code, output, errors)

    def run_alone(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The same in a PowerShell of its own."""
        return subprocess.run(self.argv(name, *arguments), capture_output=True, text=True, timeout=300, check=False)

    def write(self, password: str = PASSWORD, pg_dump: Path | None = None, **changed: Any) -> None:
        # model_construct: these are Unix paths, which the settings of a Windows host refuse.
        changes = {"windows_app_dir": str(self.place), "windows_backup_dir": str(self.backups), **changed}
        changes |= {f"backup_{name}": changed[name] for name in ("postgres_host", "postgres_port") if name in changed}
        program = pg_dump or bin_dir() / "pg_dump"
        secret = {"postgres_password": SecretStr(password), "windows_pg_dump": str(program)}
        found = self.settings.model_copy(update={**changes, **secret})
        (self.place / "pgpass.conf").write_text(render("backup/pgpass.j2", found))
        (self.place / "pgpass.conf").chmod(0o600)
        scripts = self.place / "scripts"
        for entry in layout.scripts(found):
            name = entry.path.removeprefix(f"{found.windows_script_dir}\\").replace("\\", "/")
            (scripts / name).parent.mkdir(exist_ok=True)
            # Whoever holds a file in these tests does not let it go: to wait for it shows nothing.
            (scripts / name).write_bytes(entry.content.replace(b"$HeldSeconds = 10 ", b"$HeldSeconds = 1 "))
        text = layout.script_settings(found)
        for written, here in (
            (found.windows_pgpass_file, self.place / "pgpass.conf"), (found.windows_log_dir, self.place / "logs"),
        ):  # fmt: skip
            text = text.replace(powershell.quote(written), powershell.quote(str(here)))
        (scripts / "lib" / "settings.ps1").write_bytes(powershell.file_bytes(text))


def dumped(host: Host) -> str:
    """A dump of the app's database by pg_dump alone: a backup's own run takes seconds, and is looked at elsewhere."""
    name = host.settings.postgres_database.replace("\\", "\\\\").replace("'", "\\'")
    where = f"host={host.cluster.directory} port={host.cluster.port} user=postgres dbname='{name}'"
    done = subprocess.run([str(bin_dir() / "pg_dump"), "--dbname", where], capture_output=True, check=True)
    path = host.place / "named.sql.gz"
    path.write_bytes(gzip.compress(done.stdout))
    return str(path)


@pytest.fixture(scope="session")
def warm_pwsh() -> Iterator[str]:
    """Where a PowerShell for Linux answers that runs one script after another."""
    with tempfile.TemporaryDirectory() as place:  # not pytest's: a socket's path has 108 bytes
        where = f"{place}/socket"
        argv = [str(archives.pwsh()), "-NoProfile", "-NonInteractive", "-File", str(wine.WARM), where]
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL, env={**os.environ, "TMPDIR": place}) as process:
            try:
                wine.wait_for(where, process)
                yield where
            finally:
                process.kill()


@pytest.fixture
def host(cluster: Cluster, warm_pwsh: str, tmp_path: Path) -> Iterator[Host]:
    place = tmp_path / "Été & Cie"
    for name in ("backups/weekly", "scripts", "logs"):
        (place / name).mkdir(parents=True)
    database = cluster.new_database("hôpital d'été")
    found = settings(
        PASSWORD, postgres_host="127.0.0.1", postgres_port=cluster.port, postgres_user=ROLE, postgres_database=database
    )
    made = Host(place, found, cluster, warm_pwsh)
    made.write()
    yield made
    cluster.drop_database(database)
