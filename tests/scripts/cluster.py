"""A private PostgreSQL server: its own directory, a free loopback port, an ordinary role that owns the data."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from pydantic import SecretStr

from provision.postgres import layout
from provision.settings import Settings
from tests.sandbox import packages

from .servers import other_server
from .unprivileged import AS_ROOT, PREFIX, give_to_user

ROLE = "medaction"
PASSWORD = "p@ss:/?#[]!$&'()*+,;=% \"\\é"
BACKUP_ROLE, BACKUP_PASSWORD = "medaction_backup", "b@ck:/?'\\é"
SAMPLE = Path(__file__).with_name("sample.sql")


@cache
def bin_dir() -> Path:
    """Where the newest PostgreSQL server's programs are; as root on Debian, what is missing is installed.

    POSTGRESQL_MAJOR in the environment names another one of `servers.RELEASES`.
    """
    missing = [] if _server_dirs() else ["postgresql"]
    others = {"isal": "igzip", "faketime": "faketime", "jq": "jq", "pgbouncer": "pgbouncer", "age": "age"}
    missing += [name for name, tool in others.items() if not shutil.which(tool)]
    if missing:
        with _no_cluster_of_debians():
            packages.install(*missing, start_services=False)
    major = os.environ.get("POSTGRESQL_MAJOR")
    return other_server(int(major)) if major else _server_dirs()[-1]


@contextmanager
def _no_cluster_of_debians() -> Iterator[None]:
    """Debian's package makes a cluster of its own unless it is told not to."""
    config = Path("/etc/postgresql-common/createcluster.d/no-main.conf")
    if AS_ROOT:
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text("create_main_cluster = false\n", encoding="ascii")
    try:
        yield
    finally:
        config.unlink(missing_ok=True)


def _server_dirs() -> list[Path]:
    found = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return [path.parent for path in sorted(found, key=lambda path: int(path.parts[-3]))]


class Cluster:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.port = _free_port()
        self._run("initdb", "--pgdata", self.data, "--username", "postgres", "--auth-local", "trust",
                  "--auth-host", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync")  # fmt: skip
        self._databases = 0

    @property
    def major(self) -> int:
        return int(bin_dir().parts[-2])

    def serve_tls(self, certificate: Path, key: Path) -> None:
        """From the next start on; a client may still come without."""
        for path, name in ((certificate, "server.crt"), (key, "server.key")):
            (self.data / name).write_bytes(path.read_bytes())
            (self.data / name).chmod(0o600)
            give_to_user(self.data / name)
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.write("ssl = on\nlog_connections = on\n")

    def start(self) -> None:
        options = f"-k {self.directory} -p {self.port} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._run("pg_ctl", "--pgdata", self.data, "--wait", "--log", self.directory / "log", "-o", options, "start")
        if not self.ask("postgres", f"SELECT 1 FROM pg_roles WHERE rolname = '{ROLE}'"):
            quoted = PASSWORD.replace("'", "''")
            self.ask("postgres", f"CREATE ROLE {ROLE} LOGIN PASSWORD '{quoted}'")
            self.ask("postgres", f"CREATE DATABASE sample OWNER {ROLE}")
            self.psql("sample", "--file", SAMPLE, user=ROLE)
            self.ask("postgres", "CHECKPOINT")  # else a crash moves its sequences on, by what was logged ahead
            if self.major >= 14:  # before, there is no right to read all, and the app's role makes the dumps
                self.make_dump_role()

    def make_dump_role(self, name: str = BACKUP_ROLE) -> None:
        """As a deploy does, or an administrator."""
        settings = Settings(
            app_name=ROLE, postgres_backup_user=name, postgres_backup_password=SecretStr(BACKUP_PASSWORD),
            **dict.fromkeys(("redis_password", "redis_operator_password", "postgres_password"), SecretStr("unused")),
        )  # fmt: skip
        (file,) = layout.dump_role(settings)
        path = self.directory / "dump-role.sql"
        path.write_text(file.content, encoding="utf-8")
        give_to_user(path)
        self.psql("postgres", "--file", path)

    def stop(self) -> None:
        self._run("pg_ctl", "--pgdata", self.data, "--wait", "--mode", "immediate", "stop")

    def restart(self) -> None:
        self.stop()
        self.start()

    def new_database(self, name: str | None = None, template: str = "sample") -> str:
        """A copy of the sample, owned by the ordinary role; return its name."""
        self._databases += 1
        name = name or f"medaction{self._databases}"
        quoted = name.replace('"', '""')
        self.ask("postgres", f'CREATE DATABASE "{quoted}" TEMPLATE {template} OWNER {ROLE}')
        return name

    def databases(self) -> list[str]:
        """Those that tests have made."""
        own = "'postgres', 'template0', 'template1', 'sample'"
        listed = self.ask("postgres", f"SELECT json_agg(datname) FROM pg_database WHERE datname NOT IN ({own})")
        return json.loads(listed or "[]")

    def drop_databases(self, names: Iterable[str]) -> None:
        for name in names:
            self.drop_database(name)

    def drop_database(self, name: str) -> None:
        quoted = name.replace('"', '""')
        self.ask("postgres", f'DROP DATABASE IF EXISTS "{quoted}" WITH (FORCE)')

    def ask(self, database: str, sql: str, user: str = "postgres") -> str:
        return self.psql(database, "--command", sql, user=user)

    def psql(self, database: str, *arguments: object, user: str = "postgres") -> str:
        quoted = database.replace("\\", "\\\\").replace("'", "\\'")
        return self._run(
            "psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1",
            f"--dbname=host={self.directory} port={self.port} user={user} dbname='{quoted}'", *arguments,
        ).strip()  # fmt: skip

    def _run(self, tool: str, *arguments: object) -> str:
        argv = [*PREFIX, str(bin_dir() / tool), *map(str, arguments)]
        # pg_ctl's server keeps the streams that it is given, so its output goes to a file.
        with (self.directory / f"{tool}.out").open("w+", encoding="utf-8") as output:
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd="/", timeout=120
            )
            output.seek(0)
            text = output.read()
        assert done.returncode == 0, f"{tool} ended with {done.returncode}: {text}"
        return text


def fingerprint(cluster: Cluster, database: str) -> str:
    """All that a restore must bring back: each table's rows, each large object, each sequence, the schema."""
    tables = cluster.ask(database, "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
                         " WHERE schemaname !~ '^pg_' AND schemaname <> 'information_schema' ORDER BY 1")  # fmt: skip
    lines = [
        cluster.ask(
            database, f"SELECT $${table}$$, count(*), md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {table} t"
        )
        for table in tables.splitlines()
    ]
    lines.append(cluster.ask(database, "SELECT oid, md5(lo_get(oid)) FROM pg_largeobject_metadata ORDER BY oid"))
    lines.append(cluster.ask(database, "SELECT sequencename, last_value FROM pg_sequences ORDER BY 1"))
    lines.append(cluster.ask(database, "SELECT extname, extversion FROM pg_extension ORDER BY 1"))
    for definitions in (
        "SELECT viewname, definition FROM pg_views WHERE schemaname = 'public' ORDER BY 1",
        "SELECT indexname FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1",
        "SELECT conrelid::regclass::text, conname, contype FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2",
        "SELECT table_name, column_name, data_type, is_nullable, column_default, is_identity"
        " FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2",
        "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname = 'initiale'",
        "SELECT obj_description(to_regclass('patients'))",
    ):
        lines.append(cluster.ask(database, definitions))
    return "\n".join(lines)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
