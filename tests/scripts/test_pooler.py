"""A pooler between the backups and the server: refused, since what a backup sets would go on in the app's sessions."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator

import pytest

from .cluster import PASSWORD, ROLE
from .host import Host, until
from .unprivileged import PREFIX, give_to_user


@pytest.fixture(params=["transaction", "session"])
def pooler(host: Host, request: pytest.FixtureRequest) -> Iterator[int]:
    program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin")
    assert program, "these tests need a pooler: apt-get install pgbouncer"
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    users, config = host.directory / "users.txt", host.directory / "pgbouncer.ini"
    users.write_text('"{}" "{}"\n'.format(ROLE, PASSWORD.replace('"', '""')))
    config.write_text(
        f"[databases]\n* = host=127.0.0.1 port={host.cluster.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {port}\nauth_type = scram-sha-256\nauth_file = {users}\npool_mode = {request.param}\n"
        f"unix_socket_dir =\nignore_startup_parameters = extra_float_digits\n"
    )
    for path in (users, config):
        give_to_user(path)
    process = subprocess.Popen([*PREFIX, program, "--quiet", config])
    try:
        until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, "the pooler listens")
        yield port
    finally:
        process.terminate()
        process.wait()


@pytest.mark.fault
def test_pooler_is_recognised_and_gone_past(host: Host, pooler: int) -> None:
    host.configure(postgres_port=pooler)
    done = host.backup()
    assert done.returncode == 1 and "backup_postgres_host" in done.stderr, done.stderr
    assert host.dumps() == []
    host.configure(postgres_port=pooler, backup_postgres_port=host.cluster.port)
    host.good_backup()
