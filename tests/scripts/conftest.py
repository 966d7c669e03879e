"""The rendered scripts on a stand-in host: directories of their own, and a real PostgreSQL of their own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox import packages

from .cluster import ROLE, Cluster
from .host import Host
from .sealing import MARKER, encrypt_to, key_pair
from .unprivileged import give_to_user
from .vault_parts import PARTS, Vault


def _directory() -> Path:
    # Not pytest's tmp_path: that is closed to the unprivileged user whom the scripts and the server run as.
    path = Path(tempfile.mkdtemp(prefix="medaction-test-"))
    give_to_user(path)
    return path


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    directory = _directory()
    server = Cluster(directory)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(directory)


@pytest.fixture
def host(cluster: Cluster) -> Iterator[Host]:
    with new_host(cluster) as host:
        yield host


@contextlib.contextmanager
def new_host(cluster: Cluster) -> Iterator[Host]:
    directory = _directory()
    yield Host(directory, cluster)
    shutil.rmtree(directory)


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    return tmp_path / "identity"


@pytest.fixture
def sealed(cluster: Cluster, identity: Path) -> Iterator[Host]:
    """A host whose dumps are encrypted to `identity`, with a marker among its rows."""
    with new_host(cluster) as host:
        encrypt_to(host, key_pair(identity))
        table = f"CREATE TABLE marked (t text); INSERT INTO marked VALUES ('{MARKER}')"
        cluster.ask(host.database, table, user=ROLE)
        cluster.ask(host.database, f"ALTER DATABASE \"{host.database}\" SET app.key = 'a-key-of-the-app'")
        yield host


PROMETHEUS = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "prometheus-node-exporter": "prometheus-node-exporter",
}


@pytest.fixture(scope="session")
def prometheus() -> Iterator[Path]:
    """Where Debian's Prometheus lies, taken out of its packages: installing those would start servers."""
    installed = Path("/usr/bin")
    if all((installed / program).exists() for program in PROMETHEUS):
        yield installed
        return
    packages.update()
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)  # apt downloads as a user of its own
    names = sorted(set(PROMETHEUS.values()))
    subprocess.run(["apt-get", "-q", "download", *names], cwd=directory, check=True, capture_output=True)
    for package in directory.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, directory], check=True)
    yield directory / "usr/bin"
    shutil.rmtree(directory)


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    """Runs a line of the program's own functions in a vault's directory; returns what it prints, and its exit code."""

    def run(program: str, *arguments: object) -> str:
        done = subprocess.run(
            ["bash", "-c", f"set -uo pipefail; {PARTS}\n{program}; echo \"exit $?\"", "-", tmp_path, *arguments],
            capture_output=True, text=True, timeout=30, env={**os.environ, "LC_ALL": "C.UTF-8"}, check=False,
        )  # fmt: skip
        return done.stdout + done.stderr

    run("true")
    return run
