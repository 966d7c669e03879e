"""`--as-administrator peer`: root is the administrator of a server on its own host, and nobody else is any more."""

from __future__ import annotations

import os
import pwd
import signal
from collections.abc import Iterator

import pytest

from .cluster import PASSWORD, fingerprint
from .host import Host, ended, until
from .test_leftovers import asleep, fall_asleep, wake
from .test_restore import databases
from .test_restore_elsewhere import leftover_roles, objects, owners  # noqa: F401
from .unprivileged import AS_ROOT

PEER = ("--as-administrator", "peer")


@pytest.fixture
def peer(owners: Host) -> Iterator[dict[str, str]]:  # noqa: F811
    """Where the server's socket is, which its own pg_hba.conf opens to the system's user postgres."""
    if not AS_ROOT:
        pytest.skip("root becomes postgres: run these tests as root")
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip("no system user postgres")
    owners.cluster.directory.chmod(0o711)
    yield {"PGHOST": str(owners.cluster.directory)}
    owners.cluster.directory.chmod(0o700)


def administrators(host: Host) -> str:
    return host.cluster.ask("postgres", "SELECT rolname FROM pg_roles WHERE rolname LIKE '%administrator%'")


def test_all_comes_back_through_root_and_no_role_is_left(owners: Host, peer: dict[str, str]) -> None:  # noqa: F811
    host = owners
    host.good_backup()
    was, wanted = objects(host, host.database), fingerprint(host.cluster, host.database)
    host.cluster.drop_database(host.database)
    host.cluster.ask("postgres", 'DROP ROLE reporting, "Lecteurs"')
    done = host.restore("--into", host.database, "--with-roles", *PEER, as_root=True, **peer)
    assert done.returncode == 0, done.stderr
    assert (objects(host, host.database), fingerprint(host.cluster, host.database)) == (was, wanted)
    assert leftover_roles(host) == administrators(host) == ""
    theirs = "SELECT DISTINCT extowner::regrole FROM pg_extension WHERE extname <> 'plpgsql'"
    assert host.cluster.ask(host.database, theirs) in ("medaction", "postgres")


@pytest.mark.fault
def test_a_restore_that_fails_leaves_no_role_either(owners: Host, peer: dict[str, str]) -> None:  # noqa: F811
    host = owners
    host.good_backup()
    gone = str(host.backups / "gone.sql.gz")
    done = host.restore("--into", "neuve", "--from", gone, *PEER, as_root=True, **peer)
    assert done.returncode == 2 and f"there is no {gone}" in done.stderr, done.stderr
    assert administrators(host) == "" and PASSWORD not in done.stderr


@pytest.mark.fault
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_one_that_was_stopped_leaves_none_or_names_it(owners: Host, peer: dict[str, str], number: int) -> None:  # noqa: F811
    host = owners
    host.good_backup()
    fall_asleep(host)
    run = host.popen("restore-database.sh", "--into", "neuve", *PEER, as_root=True, **peer)
    until(lambda: asleep(host), "the restore is half way")
    if number == signal.SIGTERM:
        os.kill(run.pid, number)
    else:
        os.killpg(run.pid, number)
    wake(host) if number == signal.SIGKILL else None
    ended(run)
    until(lambda: not host.processes(), "nothing runs any more")
    if number == signal.SIGKILL:
        listed = host.restore("--list").stdout
        assert "role medaction_administrator_" in listed and "cut off 0 h ago" in listed, listed
        for role in (administrators(host) + "\n" + leftover_roles(host)).split():
            host.cluster.ask("postgres", f'DROP OWNED BY "{role}"; DROP ROLE "{role}"')
    assert administrators(host) == leftover_roles(host) == "" and "neuve" not in databases(host)


@pytest.mark.fault
def test_only_root_and_only_a_server_of_this_host(owners: Host, peer: dict[str, str]) -> None:  # noqa: F811
    host = owners
    host.good_backup()
    refused = host.restore("--into", "neuve", *PEER, **peer)
    assert refused.returncode == 2 and "root alone becomes postgres" in refused.stderr
    nowhere = host.restore("--into", "neuve", *PEER, as_root=True, PGHOST="/nowhere")
    assert nowhere.returncode == 2 and "--as-administrator peer: " in nowhere.stderr, nowhere.stderr
    host.configure(postgres_mode="container", postgres_image="postgres:15", postgres_network="none")
    contained = host.restore("--into", "neuve", *PEER, as_root=True, **peer)
    assert contained.returncode == 2 and "postgres_mode = 'direct'" in contained.stderr
    assert administrators(host) == ""
