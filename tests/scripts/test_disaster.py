"""Nothing is left of the old host but a copy of the dumps: what docs/restore.md says then, line by line."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provision.settings.project import PROJECT

from .cluster import PASSWORD, ROLE, Cluster, fingerprint
from .conftest import _directory
from .host import Host
from .unprivileged import AS_ROOT, USER

HEADING = "## All is lost: a new host, and a copy of the dumps"


@pytest.fixture
def new_host() -> Iterator[Host]:
    """Another server, on which nobody has made anything, and a backup host that was just deployed."""
    directory = _directory()
    cluster = Cluster(_directory())
    cluster.start()
    host = Host(directory, cluster)
    host.cluster.ask("postgres", f"CREATE DATABASE medaction OWNER {ROLE}")
    host.configure(postgres_database="medaction")
    host.good_backup()  # of the empty database
    cluster.drop_database("medaction")
    cluster.drop_database(host.database)
    cluster.drop_database("sample")
    cluster.ask("postgres", f"DROP ROLE {ROLE}")
    cluster.ask("postgres", "CREATE DATABASE medaction")
    yield host
    cluster.stop()
    shutil.rmtree(directory)


def lines_of_the_runbook() -> list[str]:
    section = (PROJECT / "docs/restore.md").read_text(encoding="utf-8").split(HEADING)[1].split("\n##")[0]
    return re.findall(r"^    (\S.*)$", section, re.MULTILINE)


@pytest.mark.skipif(not AS_ROOT, reason="root copies the dumps in")
def test_runbook_brings_all_back_on_a_new_host(host: Host, new_host: Host, proved: Callable[[str], None]) -> None:
    old = host.cluster
    old.ask("postgres", f"CREATE DATABASE medaction TEMPLATE {host.database} OWNER {ROLE}")
    old.ask("postgres", "CREATE ROLE lecteurs")
    copy = host.directory / "copy"
    try:
        old.ask("medaction", "CREATE SCHEMA rapports AUTHORIZATION lecteurs; GRANT SELECT ON patients TO lecteurs")
        old.ask("postgres", f"GRANT pg_read_all_data TO {ROLE}")
        host.configure(postgres_database="medaction")
        host.good_backup(before=("faketime", "-f", "-1d"))
        wanted = fingerprint(old, "medaction")
        shutil.copytree(host.backups, copy, symlinks=True)
    finally:
        old.drop_database("medaction")
        old.ask("postgres", f"DROP ROLE lecteurs; REVOKE pg_read_all_data FROM {ROLE}")
    new = new_host.cluster
    instead = {
        "/mnt/copy": str(copy), "/opt/medaction": str(new_host.app_dir), "medaction-backup:": f"{USER.pw_name}:",
        # Its server is no system user's; tests/scripts/test_peer.py is about that.
        "peer": f"'postgresql://postgres@/postgres?host={new.directory}&port={new.port}'",
    }  # fmt: skip
    lines = lines_of_the_runbook()
    assert len(lines) == 7, lines
    took = {}
    for line in lines:
        for old_text, new_text in instead.items():
            line = line.replace(old_text, new_text)
        began = time.monotonic()
        done = subprocess.run(
            ["bash", "-c", line], cwd=new_host.app_dir, env=new_host.environment, capture_output=True, text=True,
        )  # fmt: skip
        took[" ".join(line.split()[:2])] = time.monotonic() - began
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
        if "--into" in line:
            new.ask("postgres", f"ALTER ROLE {ROLE} PASSWORD '{PASSWORD.replace(chr(39), chr(39) * 2)}'")
            new.ask("postgres", f"GRANT pg_read_all_data TO {ROLE}")
    assert fingerprint(new, "medaction") == wanted
    assert new.ask("medaction", "SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'rapports'") == "lecteurs"
    assert Path(new_host.latest.resolve()).stat().st_uid == USER.pw_uid
    size = new.ask("postgres", "SELECT pg_size_pretty(pg_database_size('medaction'))")
    proved(f"{size}: " + ", ".join(f"{line} {seconds:.1f} s" for line, seconds in took.items()))
