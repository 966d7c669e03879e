"""A real Windows pg_dump.exe makes the dump that backup-database.ps1 asks it for, and it restores equal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from provision.settings.render import render
from provision.windows import layout
from tests.scripts.cluster import PASSWORD, ROLE, Cluster, fingerprint
from tests.windows.settings import settings
from tests.windows.wine import ContainerWine, Missing, Wine, prepared


@pytest.fixture(scope="session")
def wine(request: pytest.FixtureRequest) -> Wine | ContainerWine:
    try:
        return prepared(Path(request.config.cache.mkdir("windows-postgres")))
    except Missing as missing:
        pytest.skip(f"not run: {missing}")


@pytest.fixture(params=["medaction_plain", 'l\'hôpital "2" $(x) \u2019 日本'])
def database(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[str]:
    name = cluster.new_database(request.param)
    yield name
    cluster.drop_database(name)


def _run(wine: Wine, cluster: Cluster, place: Path, database: str, password: str = PASSWORD, **changed: object):
    """What backup-database.ps1 does to run pg_dump.exe: the same files, arguments, environment and directory."""
    found = settings(
        password, postgres_host="127.0.0.1", postgres_port=cluster.port, postgres_user=ROLE, postgres_database=database,
        **changed,
    )  # fmt: skip
    (place / "pgpass.conf").write_text(render("backup/pgpass.j2", found), encoding="utf-8")
    (place / "service.conf").write_text(layout.service_file(found), encoding="utf-8")
    return wine.run(
        "pg_dump.exe",
        layout.dump_arguments(found),
        place,
        PGPASSFILE="{place}\\pgpass.conf",
        PGSERVICEFILE="{place}\\service.conf",
    )


def test_a_windows_dump_restores_equal_to_its_source(wine: Wine, cluster: Cluster, database: str, tmp_path: Path):
    done = _run(wine, cluster, tmp_path, database)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    dump = (tmp_path / "dump.sql").read_bytes()
    assert b"-- PostgreSQL database dump complete" in dump[-4096:]
    assert b"\r\n" not in dump

    restored = cluster.new_database("restored_from_windows", template="template0")
    try:
        # This pg_dump.exe is newer than Debian 12's server, which does not know the parameter.
        text = re.sub(rb"^SET transaction_timeout = 0;\n", b"", dump, flags=re.MULTILINE)
        cluster_file = cluster.directory / "restore.sql"
        cluster_file.write_bytes(text)
        cluster_file.chmod(0o644)
        cluster.psql(restored, "--file", cluster_file, user=ROLE)
        assert fingerprint(cluster, restored) == fingerprint(cluster, database)
    finally:
        cluster.drop_database(restored)


def test_a_wrong_password_ends_at_once_and_writes_nothing_complete(wine: Wine, cluster: Cluster, tmp_path: Path):
    database = cluster.new_database()
    done = _run(wine, cluster, tmp_path, database, password="wrong")
    assert done.returncode != 0
    assert b"password authentication failed" in done.stderr
    assert not (tmp_path / "dump.sql").exists() or (tmp_path / "dump.sql").stat().st_size == 0


def test_a_server_that_is_down_is_said(wine: Wine, cluster: Cluster, tmp_path: Path):
    found = settings(PASSWORD, postgres_port=1, postgres_user=ROLE)
    (tmp_path / "service.conf").write_text(layout.service_file(found), encoding="utf-8")
    done = wine.run("pg_dump.exe", layout.dump_arguments(found), tmp_path, PGSERVICEFILE="{place}\\service.conf")
    assert done.returncode != 0 and b"127.0.0.1" in done.stderr


def test_the_script_runs_exactly_what_is_run_here():
    found = settings()
    script = layout.script("backup-database.ps1", found)
    listed = re.search(r"\$DumpArguments = @\(\n(.*?)\n\)", script, re.DOTALL)[1]
    assert [item.strip().strip(",").strip("'") for item in listed.split("\n")] == layout.dump_arguments(found)
    assert "Invoke-Program $Client.PgDump $DumpArguments $script:RunDir -Gently" in script
    section = re.search(r"function New-ServiceText.*?return @\(\n(.*?)\n    \) -join", script, re.DOTALL)[1]
    lines = [item.strip().rstrip(",").strip("'\"") for item in section.split("\n")]
    values = {"[$Section]": f"[{found.app_name}]", "dbname=$Database": f"dbname={found.postgres_database}"}
    assert "\n".join(values.get(line, line) for line in lines) + "\n" == layout.service_file(found)
