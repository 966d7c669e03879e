"""TLS to PostgreSQL: one setting, read alike by the preflight, the scripts, and the app in its own reader's words.

A real server with a certificate for `localhost` alone, called by that name and by 127.0.0.1; its CA and another one;
a server without TLS. Node's client is the real `pg`. Prisma's engine is not tried: it comes from a host of its own.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.connectors.local import LocalConnector

from provision.app import layout as app
from provision.app.dotenv import values
from provision.postgres import server
from provision.settings import Settings
from tests.limiter.node import PACKAGES, install_packages

from .cluster import Cluster, bin_dir
from .conftest import _directory
from .host import Host
from .test_docker import in_docker
from .unprivileged import give_to_user

NODE = """const { Client } = require('pg');
const client = new Client({ connectionString: process.env.DATABASE_URL, connectionTimeoutMillis: 10000 });
client.connect().then(() => client.query('SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()'))
  .then(({ rows }) => console.log(rows[0].ssl ? 'encrypted' : 'plain'))
  .catch((error) => console.log(`refused: ${error.message}`))
  .finally(() => client.end());
"""
# By mode: with the right CA and name; the right CA, another name; another CA; a server without TLS.
EXPECTED = {
    "disable": ("plain", "plain", None, "plain"),
    "allow": ("plain", "plain", None, "plain"),
    "prefer": ("encrypted", "encrypted", None, "plain"),
    "require": ("encrypted", "encrypted", "refused", "refused"),
    "verify-ca": ("encrypted", "encrypted", "refused", "refused"),
    "verify-full": ("encrypted", "refused", "refused", "refused"),
}
PLACES = ("right", "other name", "other CA", "no TLS")
CASES = [(mode, place) for mode, row in EXPECTED.items() for place, wanted in zip(PLACES, row, strict=True) if wanted]


@pytest.fixture(scope="module")
def certificates() -> Iterator[Path]:
    """ca.crt, other.crt (another CA), server.crt and server.key: for localhost, signed by the first."""
    place = _directory()

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=place, check=True, capture_output=True)

    for name in ("ca", "other"):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                "-keyout", f"{name}.key", "-out", f"{name}.crt")  # fmt: skip
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-addext",
            "subjectAltName=DNS:localhost", "-keyout", "server.key", "-out", "server.csr")  # fmt: skip
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
            "-days", "2", "-copy_extensions", "copy", "-out", "server.crt")  # fmt: skip
    for path in place.iterdir():
        give_to_user(path)
    yield place
    shutil.rmtree(place)


@pytest.fixture(scope="module")
def encrypted(certificates: Path) -> Iterator[Cluster]:
    directory = _directory()
    cluster = Cluster(directory)
    cluster.serve_tls(certificates / "server.crt", certificates / "server.key")
    cluster.start()
    yield cluster
    cluster.stop()
    shutil.rmtree(directory)


@pytest.fixture
def at(encrypted: Cluster, cluster: Cluster, certificates: Path) -> Iterator[Any]:
    """A host whose backups go to one of the places, by a mode."""
    made: list[Path] = []

    def host(mode: str | None, place: str, **settings: object) -> Host:
        made.append(_directory())
        root = certificates / ("other.crt" if place == "other CA" else "ca.crt")
        one = Host(
            made[-1], cluster if place == "no TLS" else encrypted,
            postgres_host="127.0.0.1" if place == "other name" else "localhost", postgres_sslmode=mode,
            postgres_sslrootcert=str(root) if mode in ("require", "verify-ca", "verify-full") else None, **settings,
        )  # fmt: skip
        if one.settings.postgres_sslrootcert:  # as a deploy places it
            one.place(root.read_text(), Path(one.settings.postgres_sslrootcert_file), 0o644)
        return one

    yield host
    for directory in made:
        shutil.rmtree(directory)


def expected(mode: str, place: str) -> str:
    wanted = EXPECTED[mode][PLACES.index(place)]
    assert wanted
    return wanted


def url_of(settings: Settings) -> str:
    return values(f"DATABASE_URL={app.variables(settings)['DATABASE_URL']}\n")["DATABASE_URL"]


def preflights(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> str:
    question = "SELECT ssl FROM pg_catalog.pg_stat_ssl WHERE pid = pg_catalog.pg_backend_pid()"
    monkeypatch.setattr(server, "_server", lambda connection: connection.run(question)[0][0])
    here: Any = SimpleNamespace(connector=LocalConnector.__new__(LocalConnector), name="here")
    try:
        return "encrypted" if server.ask(here, settings) else "plain"
    except server.DatabaseError as error:
        assert f"postgres_sslmode = {settings.postgres_sslmode!r}: " in str(error)
        return "refused"


def libpqs(url: str) -> str:
    sql = "SELECT CASE WHEN ssl THEN 'encrypted' ELSE 'plain' END FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    done = subprocess.run([bin_dir() / "psql", "-XAtw", "-c", sql, url], capture_output=True, text=True, timeout=60)
    return done.stdout.strip() if done.returncode == 0 else "refused"


def nodes(url: str, **environment: str) -> str:
    install_packages()
    environ = {"PATH": os.environ["PATH"], "DATABASE_URL": url, "NODE_PATH": str(PACKAGES), **environment}
    done = subprocess.run(["node", "-e", NODE], env=environ, capture_output=True, text=True, timeout=60)
    return done.stdout.strip()


@pytest.mark.parametrize(("mode", "place"), CASES)
def test_the_preflight_reads_it_as_libpq_does(at: Any, mode: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = at(mode, place, postgres_url_reader="libpq").settings
    assert preflights(settings, monkeypatch) == expected(mode, place)
    assert libpqs(url_of(settings)) == expected(mode, place)


@pytest.mark.parametrize(("mode", "place"), CASES)
def test_node_postgres_reads_it_in_words_of_its_own(at: Any, mode: str, place: str) -> None:
    """It has no "where the server has it": prefer stays plain."""
    wanted = "plain" if mode == "prefer" else expected(mode, place)
    assert nodes(url_of(at(mode, place).settings)).partition(":")[0] == wanted


def test_libpqs_words_would_mislead_node_postgres(at: Any) -> None:
    """Else words of its own would be for nothing."""
    assert "does not support SSL" in nodes(url_of(at("disable", "no TLS").settings).replace("disable", "prefer"))
    assert nodes(url_of(at("require", "right").settings).partition("?")[0] + "?sslmode=require") != "encrypted"


@pytest.mark.parametrize("reader", ["libpq", "node-postgres", "prisma"])
def test_unset_the_url_has_nothing_new(at: Any, reader: str) -> None:
    settings = at(None, "right", postgres_url_reader=reader).settings
    assert "?" not in url_of(settings)
    assert nodes(url_of(settings)) == "plain" and libpqs(url_of(settings)) == "encrypted"


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("prefer", "sslmode=prefer"),
        ("disable", "sslmode=disable"),
        ("require", "sslmode=require&sslaccept=strict&sslcert="),
        ("verify-full", "sslmode=require&sslaccept=strict&sslcert="),
    ],
)
def test_prisma_gets_the_words_that_its_manual_has(at: Any, mode: str, words: str) -> None:
    assert url_of(at(mode, "right", postgres_url_reader="prisma").settings).partition("?")[2].startswith(words)


def connections(cluster: Cluster, run: Any) -> set[str]:
    log = cluster.directory / "log"
    log.write_text("")
    run()
    lines = [line for line in log.read_text().splitlines() if "connection authorized" in line and "host=" not in line]
    return {"encrypted" if "SSL enabled" in line else "plain" for line in lines if "application_name=medaction" in line}


@pytest.mark.parametrize(
    ("mode", "place"),
    [("disable", "right"), ("prefer", "right"), ("verify-full", "right"), ("verify-ca", "other name")],
)
def test_every_session_of_a_backup_is_as_the_settings_say(at: Any, encrypted: Cluster, mode: str, place: str) -> None:
    host = at(mode, place)
    assert connections(encrypted, host.good_backup) == {expected(mode, place)}


@pytest.mark.fault
@pytest.mark.parametrize(
    ("mode", "place"),
    [("verify-full", "other name"), ("verify-ca", "other CA"), ("require", "other CA"), ("verify-full", "no TLS")],
)
def test_a_backup_refuses_what_the_settings_refuse(at: Any, mode: str, place: str) -> None:
    done = at(mode, place).backup()
    assert done.returncode == 1 and "see postgres_sslmode and postgres_sslrootcert" in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("mode", "place"), [("verify-full", "right"), ("verify-ca", "other name"), ("verify-full", "other CA")]
)
def test_the_programs_in_a_container_check_what_the_settings_say(at: Any, mode: str, place: str) -> None:
    """The stand-in for Docker has the certificate where it is mounted, and nowhere else."""
    host = at(mode, place)
    said = {
        name: getattr(host.settings, name) for name in ("postgres_host", "postgres_sslmode", "postgres_sslrootcert")
    }
    in_docker(host, "container", **said)
    done = host.backup()
    if expected(mode, place) == "encrypted":
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode == 1 and "see postgres_sslmode and postgres_sslrootcert" in done.stderr, done.stderr


def test_what_the_environment_says_of_tls_is_kept_where_the_settings_say_nothing(at: Any, encrypted: Cluster) -> None:
    host = at(None, "right")
    assert connections(encrypted, lambda: host.good_backup(PGSSLMODE="disable")) == {"plain"}
    done = host.backup(PGSSLMODE="verify-full", PGSSLROOTCERT="/nowhere.crt")
    assert done.returncode == 1 and "nowhere.crt" in done.stderr


def test_what_the_environment_says_against_the_settings_is_told(at: Any, encrypted: Cluster) -> None:
    host = at("verify-full", "right")
    said: list[str] = []
    assert connections(encrypted, lambda: said.append(host.backup(PGSSLMODE="disable").stderr)) == {"encrypted"}
    assert re.search(
        r"WARN .*PGSSLMODE=disable is passed over: the settings say postgres_sslmode = verify-full", said[0]
    )


def test_a_restore_test_in_a_server_of_its_own_needs_no_certificate(at: Any) -> None:
    host = at("verify-full", "right")
    host.good_backup()
    done = host.restore_test()
    assert done.returncode == 0, done.stderr
