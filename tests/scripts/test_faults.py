"""Each fault that a night can bring, one after the other, with the same assertions for all.

The run fails and says why, also in its status file and to the failure hook; nothing stands under a final
name that did not before; `latest` points where it pointed; nothing was pruned; no process or partial file is
left once the next run is through, and that one succeeds without help.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from .cluster import ROLE
from .host import Host, ended, process_of, running, send, until
from .test_retention import stamp
from .unprivileged import USER, give_to_user

Faulty = subprocess.CompletedProcess


def wrong_password(host: Host) -> Faulty:
    pgpass = Path(host.settings.backup_pgpass_file)
    right = pgpass.read_text(encoding="utf-8")
    pgpass.write_text(right.replace("\n", "x\n"), encoding="utf-8")  # of each role that may dump
    done = host.backup()
    pgpass.write_text(right, encoding="utf-8")
    return done


def password_file_missing(host: Host) -> Faulty:
    pgpass = Path(host.settings.backup_pgpass_file)
    pgpass.rename(pgpass.with_suffix(".away"))
    done = host.backup()
    pgpass.with_suffix(".away").rename(pgpass)
    return done


def server_down(host: Host) -> Faulty:
    host.cluster.stop()
    try:
        return host.backup()
    finally:
        host.cluster.start()


def server_restarted_mid_dump(host: Host) -> Faulty:
    with half_way(host) as run:
        host.cluster.restart()
    return ended(run)


def database_missing(host: Host) -> Faulty:
    host.cluster.ask("postgres", f"ALTER DATABASE {host.database} RENAME TO gone")
    done = host.backup()
    host.cluster.ask("postgres", f"ALTER DATABASE gone RENAME TO {host.database}")
    return done


def table_that_the_role_may_not_read(host: Host) -> Faulty:
    host.configure(postgres_backup_user=ROLE)  # the role for dumps may read all
    host.cluster.ask(host.database, "CREATE TABLE secrets (a int)")
    done = host.backup()
    host.cluster.ask(host.database, "DROP TABLE secrets")
    return done


def migration_that_holds_a_table(host: Host) -> Faulty:
    host.configure(backup_lock_wait_seconds=1)
    holder = subprocess.Popen(
        ["psql", f"host={host.cluster.directory} port={host.cluster.port} user=postgres dbname={host.database}", "-qc",
         "BEGIN; LOCK TABLE patients; SELECT pg_sleep(60)"], stdout=subprocess.DEVNULL,
    )  # fmt: skip
    until(lambda: host.cluster.ask(host.database, "SELECT 1 FROM pg_locks WHERE mode = 'AccessExclusiveLock'"
                                   " AND relation = 'patients'::regclass AND granted"), "the lock is held")  # fmt: skip
    done = host.backup()
    host.cluster.ask(
        "postgres", f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{host.database}'"
    )
    holder.wait(timeout=10)
    return done


@contextmanager
def half_way(host: Host) -> Iterator[subprocess.Popen]:
    """A run whose dump is under way and stands still: the compressor reads a little, then waits for the gate."""
    gate, reached = host.directory / "gate", host.directory / "reached"
    reached.touch()
    os.mkfifo(gate)
    for path in (gate, reached):
        give_to_user(path)
    host.shim("igzip", f'(head -c 200000; echo yes > {reached}; read -r < {gate}; cat) | "${{real[@]}}" "$@"')
    run = host.popen("backup-database.sh")
    until(reached.read_text, "the dump is half way")
    yield run
    # Whoever still waits goes on; opening without a reader must not block.
    try:
        with os.fdopen(os.open(gate, os.O_WRONLY | os.O_NONBLOCK), "w") as opened:
            opened.write("go\n")
    except OSError:
        pass
    host.unshim()
    gate.unlink()


def signalled(number: int, tool: str | None) -> Callable[[Host], Faulty]:
    """The script, or a tool that works for it, gets a signal half-way."""

    def fault(host: Host) -> Faulty:
        with half_way(host) as run:
            if tool:
                os.kill(process_of(host, tool), number)
            else:
                send(run, number)
                run.wait(timeout=20)
                until(lambda: not running(host, "pg_dump"), "pg_dump went with the script that was stopped")
        return ended(run)

    fault.__name__ = f"{signal.Signals(number).name} of {tool or 'the script'}"
    return fault


def tool_fails(tool: str, script: str, name: str) -> Callable[[Host], Faulty]:
    """A tool behaves as the shim says, in the place of the real one."""

    def fault(host: Host) -> Faulty:
        host.shim(tool, script)
        done = host.backup()
        host.unshim()
        return done

    fault.__name__ = name
    return fault


def disk_full_at_the_start(host: Host) -> Faulty:
    host.configure(backup_reserve_mb=1_000_000_000)
    return host.backup()


def disk_full_in_the_middle(host: Host) -> Faulty:
    host.cluster.ask(host.database, "INSERT INTO patients (nom) SELECT md5(i::text) FROM generate_series(1, 200000) i")
    small = host.backups / "weekly"
    small.mkdir()
    give_to_user(small)
    # Room for a dump like the last one, not for this one.
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=4m,mode=0700,uid={USER.pw_uid}", "tmpfs", str(small)])
    if mount.returncode != 0:
        pytest.skip("only root can make a small disk")
    try:
        done = host.backup("--tier", "weekly")
        # Before it is unmounted, and all with it.
        assert not [path for path in small.rglob("medaction_*") if ".part" not in path.name]
        return done
    finally:
        subprocess.run(["umount", str(small)], check=True)


def second_run_at_the_same_moment(host: Host) -> Faulty:
    with half_way(host) as run:
        done = host.backup()
        run.kill()
        run.wait()
    assert done.returncode == 75
    ended(run)
    return done


def unwritable_log(host: Host) -> Faulty:
    with Path("/dev/full").open("w") as full:
        run = subprocess.Popen(host.argv("backup-database.sh"), cwd=host.app_dir, env=host.environment, stderr=full)
        run.wait(timeout=60)
    return Faulty(run.args, run.returncode, "", "ERROR")  # which nobody could read


def backup_directory_not_ours(host: Host) -> Faulty:
    host.backups.chmod(0o500)
    done = host.backup()
    host.backups.chmod(0o700)
    return done


REAL = 'exec "${real[@]}" "$@"'
OF_VERSION = '"${{real[@]}}" "$@" | sed -E -u "1 s/^[0-9]+[.][0-9]+( .*)?$/{}/"; exit "${{PIPESTATUS[0]}}"'
NO_SPACE = 'echo "No space left on device" >&2; exit 1'

FAULTS = [
    wrong_password,
    password_file_missing,
    server_down,
    server_restarted_mid_dump,
    database_missing,
    table_that_the_role_may_not_read,
    migration_that_holds_a_table,
    disk_full_at_the_start,
    disk_full_in_the_middle,
    second_run_at_the_same_moment,
    unwritable_log,
    backup_directory_not_ours,
    *(signalled(number, None) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL)),
    *(signalled(number, "pg_dump") for number in (signal.SIGTERM, signal.SIGKILL)),
    *(
        tool_fails(tool, script, name)
        for name, tool, script in (
            (
                "a dump cut short although pg_dump ends well",
                "pg_dump",
                f'[[ $1 == --version ]] && {REAL}; "${{real[@]}}" "$@" | head -c 1000000',
            ),
            ("client older than the server", "psql", OF_VERSION.format("99.1")),
            ("client newer than the server", "psql", OF_VERSION.format("9.6")),
            ("compressor fails", "igzip", "cat >/dev/null; exit 1"),
            ("compressor loses its end", "igzip", '"${real[@]}" "$@" | { head -c 300000; cat >/dev/null; }'),
            # The status file and the manifest are written before and by themselves.
            ("disk fails when it is told to write", "sync", f"[[ $# == 1 && $1 == *json* ]] && {REAL}; exit 1"),
            ("power cut before the rename", "mv", f'[[ "$*" == *json* ]] && {REAL}; kill -KILL $PPID; exit 1'),
            ("disk full at the rename", "mv", f'[[ "$*" == *json* ]] && {REAL}; {NO_SPACE}'),
            ("disk full when latest is moved", "mv", f'[[ "$*" != *_latest* ]] && {REAL}; {NO_SPACE}'),
            ("disk full at the link", "ln", NO_SPACE),
        )
    ),
]


# What the status file and the hook must say, so that no fault passes for another.
REASONS = {
    "wrong_password": "password authentication failed.*postgres_password",
    "password_file_missing": "cannot read .*pgpass: deploy again",
    "server_down": "Connection refused.*see that PostgreSQL runs",
    "server_restarted_mid_dump": "ended.*see that PostgreSQL runs",
    "database_missing": "does not exist: correct",
    "table_that_the_role_may_not_read": "permission denied for table secrets.*pg_read_all_data",
    "migration_that_holds_a_table": "timeout.*something held a table",
    "disk_full_at_the_start": "free, a dump may need .*make room",
    "disk_full_in_the_middle": "tee ended with exit code 1: .*No space left on device: make room",
    "second_run_at_the_same_moment": "another run holds",
    "unwritable_log": "cannot write the log",
    "backup_directory_not_ours": "is missing or not ours",
    "SIGTERM of the script": "stopped by SIGTERM",
    "SIGINT of the script": "stopped by SIGINT",
    "SIGHUP of the script": "stopped by SIGHUP",
    "SIGKILL of the script": "was interrupted",
    "SIGTERM of pg_dump": "pg_dump ended with exit code 1: pg_dump: terminated by user",
    "SIGKILL of pg_dump": "pg_dump ended with exit code 137: killed by signal 9",
    "a dump cut short although pg_dump ends well": "the dump is cut short",
    "client older than the server": "install postgresql-client-99",
    "client newer than the server": "the server is PostgreSQL 9.6, pg_dump here is",
    "compressor fails": "igzip ended with exit code 1",
    "compressor loses its end": "bytes where pg_dump wrote",
    "disk fails when it is told to write": "cannot write .* to the disk",
    "power cut before the rename": "was interrupted",
    "disk full at the rename": "cannot publish",
    "disk full when latest is moved": "cannot point .*latest",
    "disk full at the link": "cannot prepare .*latest",
}


@pytest.mark.fault
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_fault_publishes_nothing_removes_nothing_and_passes(host: Host, fault: Callable[[Host], Faulty]) -> None:
    host.good_backup()
    now = datetime.now()
    due = [stamp(day, now) for day in (31, 40, 50)]  # for removal, as soon as a backup succeeds
    host.plant(*(stamp(day, now) for day in (1, 2, 20)), *due)
    before = host.published()

    done = fault(host)

    assert done.returncode != 0
    assert host.published() == before
    killed = done.returncode == -signal.SIGKILL
    if killed or done.returncode == 75:
        assert host.status()["state"] == "running"  # a killed run cannot say more; see the next one
    else:
        assert "ERROR" in done.stderr, done.stderr
        assert host.status()["state"] == "failed" and host.status()["exit_code"] == done.returncode
        assert host.status()["message"] in host.told.read_text()
    host.unshim()
    host.configure()
    recovered = host.good_backup()
    assert host.status()["state"] == "ok" and host.told.read_text().count("\n") == 1 + (done.returncode == 75)
    assert host.latest.resolve() == recovered
    assert not any(f"medaction_{day}.sql.gz" in host.dumps() for day in due)
    assert re.search(REASONS[fault.__name__], host.told.read_text())
    until(lambda: not host.leftovers(), "nothing is left over")
