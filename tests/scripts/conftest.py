"""The rendered scripts on a stand-in host: directories of their own, and a real PostgreSQL of their own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .cluster import Cluster
from .host import Host
from .unprivileged import give_to_user


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
    directory = _directory()
    yield Host(directory, cluster)
    shutil.rmtree(directory)
