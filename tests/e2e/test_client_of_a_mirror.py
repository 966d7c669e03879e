"""A backup host whose release has no client for the server gets one from PGDG's repository, or a mirror of it."""

from __future__ import annotations

import contextlib
import functools
import http.server
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from provision.engine.private import PrivateInput
from tests.e2e.operator import Operator
from tests.sandbox import docker

pytestmark = pytest.mark.servers

GATEWAY = "10.213.86.1"  # this machine, as the sandbox's hosts see it


@pytest.fixture
def mirror(deployed: Operator, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address and the key of a stand-in for PGDG's repository, made of db1's own real client."""
    script = (Path(__file__).parent / "build-repository.sh").read_text()
    built = deployed.on("db1", "sh -s /srv/pgdg bookworm 17", PrivateInput(script))
    assert built.returncode == 0, built.stderr
    packed = docker.attempt("exec", "medaction-sandbox-db1", "tar", "-C", "/srv/pgdg", "-c", ".").stdout
    (tmp_path / "pgdg").mkdir()
    subprocess.run(["tar", "-C", str(tmp_path / "pgdg"), "-x"], input=packed, check=True)
    with serve(tmp_path / "pgdg") as port:
        yield f"http://{GATEWAY}:{port}", tmp_path / "pgdg/key.asc"


@contextlib.contextmanager
def serve(directory: Path) -> Iterator[int]:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(directory))
    with http.server.ThreadingHTTPServer((GATEWAY, 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_debian_12_dumps_a_newer_server_with_the_client_of_a_mirror(
    project_copy: Operator, mirror: tuple[str, Path]
) -> None:
    address, key = mirror
    inventory = project_copy.checkout / "inventories/sandbox.py"
    inventory.write_text(inventory.read_text().replace("backup = [", 'backup = ["app1",'))
    data = project_copy.checkout / "inventories/group_data/sandbox.py"
    data.write_text(
        f'{data.read_text()}\npostgres_apt_repository = "{address}"\npostgres_apt_key = "{key}"\n'
        # The stand-in has no server package, so restore tests would use db1.
        'backup_restore_test_host = "10.213.86.31"\nbackup_restore_test_on_production = True\n'
    )
    try:
        deployed = project_copy.deploy("app1")
        assert "app, backup" in deployed.stdout
        assert "17.99-" in project_copy.read("app1", "dpkg-query -W postgresql-client-17")
        dumped_by = project_copy.read("app1", "zcat /opt/medaction/backups/medaction_latest.sql.gz | head -n 20")
        assert "Dumped by pg_dump version 17" in dumped_by
        assert project_copy.plan("app1").returncode == 0
    finally:
        project_copy.bare("app1")


def test_repository_with_another_key_is_not_trusted(project_copy: Operator, mirror: tuple[str, Path]) -> None:
    address, _ = mirror
    inventory = project_copy.checkout / "inventories/sandbox.py"
    inventory.write_text(inventory.read_text().replace("backup = [", 'backup = ["app1",'))
    data = project_copy.checkout / "inventories/group_data/sandbox.py"
    data.write_text(f'{data.read_text()}\npostgres_apt_repository = "{address}"\n')  # the key stays PGDG's own
    try:
        done = project_copy.command("deploy", "app1")
        assert done.returncode != 0
        assert "failed: app1: PostgreSQL client | Install the pg_dump" in done.stdout
        assert project_copy.on("app1", "dpkg-query -W postgresql-client-17").returncode != 0
    finally:
        project_copy.bare("app1")
