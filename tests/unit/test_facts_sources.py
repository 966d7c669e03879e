"""The look for a package repository that a host has already, run here on files like a host's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from provision.postgres.facts import SourcesNaming

KEY = "/etc/apt/keyrings/apt.postgresql.org.asc"
PGDG = "https://apt.postgresql.org/pub/repos/apt"


@pytest.mark.parametrize(
    ("file", "text", "is_told"),
    [
        ("pgdg.list", f"deb [signed-by=/usr/share/pgdg.asc] {PGDG} bookworm-pgdg main\n", True),
        ("pgdg.sources", f"Types: deb\nURIs: {PGDG}\nSuites: bookworm-pgdg\nSigned-By: /usr/share/pgdg.asc\n", True),
        ("pgdg.sources", f"Types: deb\nURIs: {PGDG}\nSuites: bookworm-pgdg\nSigned-By: {KEY}\n", False),  # ours
        ("pgdg.list", f"# deb {PGDG} bookworm-pgdg main\n", False),
        ("debian.list", "deb https://deb.debian.org/debian bookworm main\n", False),
        ("pgdg.list.save", f"deb {PGDG} bookworm-pgdg main\n", False),  # apt reads .list and .sources only
    ],
)
def test_somebody_elses_entry_for_a_repository_is_seen(tmp_path: Path, file: str, text: str, is_told: bool):
    directory = tmp_path / "sources.list.d"
    directory.mkdir()
    (directory / file).write_text(text)
    command = (
        SourcesNaming().command(suite="bookworm-pgdg", key=KEY).get_raw_value().replace("/etc/apt/s", f"{tmp_path}/s")
    )
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert list(SourcesNaming().process(done.stdout.splitlines())) == ([str(directory / file)] if is_told else [])
