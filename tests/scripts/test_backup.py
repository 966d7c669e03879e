"""What a backup leaves behind when all goes well."""

from __future__ import annotations

import gzip
import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

from .cluster import PASSWORD, bin_dir, fingerprint
from .host import Host, process_of, processes
from .test_faults import half_way
from .unprivileged import AS_ROOT, USER


def test_dump_restores_equal_to_the_source_by_the_guides_own_command(host: Host) -> None:
    host.good_backup()
    target = host.cluster.new_database(template="template0")
    psql = f"psql -v ON_ERROR_STOP=1 -h 127.0.0.1 -p {host.cluster.port} -U medaction -d {target}"
    command = f"gunzip -c backups/medaction_latest.sql.gz | {psql}"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=host.app_dir, capture_output=True, text=True,
        env={**host.environment, "PGPASSWORD": PASSWORD},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert fingerprint(host.cluster, target) == fingerprint(host.cluster, host.database)


def test_dump_is_an_ordinary_complete_gzip_file_that_only_its_owner_can_read(host: Host) -> None:
    dump = host.good_backup()
    assert re.fullmatch(r"medaction_\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d\.sql\.gz", dump.name)
    assert "PostgreSQL database dump complete" in gzip.decompress(dump.read_bytes()).decode()
    assert stat.S_IMODE(dump.stat().st_mode) == 0o600
    assert not host.leftovers()


def test_latest_is_a_relative_link_to_the_newest_dump_of_any_tier(host: Host) -> None:
    daily = host.good_backup()
    assert host.latest.readlink().name == daily.name
    weekly = host.good_backup("--tier", "weekly")
    assert str(host.latest.readlink()) == f"weekly/{weekly.name}"
    assert f"{weekly} is whole" in host.backup("--verify").stderr
    daily = host.good_backup(before=("faketime", "-f", "+60s"))
    assert f"{daily} is whole" in host.backup("--verify").stderr


def test_backups_in_one_second_get_names_of_their_own(host: Host) -> None:
    frozen = ("faketime", "-f", "@2026-10-25 02:30:00")
    assert len({host.good_backup(before=frozen) for _ in range(3)}) == 3
    assert len(host.dumps()) == 3


@pytest.mark.skipif(not AS_ROOT, reason="only root can become another user")
def test_root_becomes_the_user_who_owns_the_dumps(host: Host) -> None:
    done = subprocess.run(
        ["./scripts/backup-database.sh"], cwd=host.app_dir, env=host.environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert host.latest.resolve().stat().st_uid == USER.pw_uid


@pytest.mark.skipif(not AS_ROOT, reason="only root can become another user")
def test_tools_look_for_their_files_in_that_users_home(host: Host) -> None:
    """Docker finds no Compose where it may not read its home."""
    host.shim("psql", f'echo "$HOME" > {host.directory}/state/home; exec "${{real[@]}}" "$@"')
    subprocess.run(["./scripts/backup-database.sh"], cwd=host.app_dir, env={**host.environment, "HOME": "/root"})
    assert (host.directory / "state/home").read_text().strip() == USER.pw_dir


@pytest.mark.skipif(not AS_ROOT, reason="only root can become another user")
def test_root_may_begin_it_in_a_directory_that_the_user_may_not_enter(host: Host) -> None:
    home = host.directory / "root"
    home.mkdir(mode=0o700)
    script = host.app_dir / "scripts/backup-database.sh"
    done = subprocess.run([script], cwd=home, env=host.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("compressor", ["igzip", "pigz", "gzip"])
def test_dump_is_the_same_whichever_compressor_is_there(host: Host, compressor: str) -> None:
    tools = host.directory / "tools"
    tools.mkdir()
    wanted = {"igzip", "pigz", "gzip"}
    for path in os.scandir("/usr/bin"):
        if path.name not in wanted or path.name == compressor:
            (tools / path.name).symlink_to(path.path)
    dump = host.good_backup(PATH=f"{bin_dir()}:{tools}")
    assert "PostgreSQL database dump complete" in gzip.decompress(dump.read_bytes()).decode()


def test_log_has_a_dated_line_for_each_step(host: Host) -> None:
    lines = host.backup().stderr.splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} (INFO|WARN) +daily \w+: ", line) for line in lines)
    steps = [line.split()[3] for line in lines]
    assert list(dict.fromkeys(steps)) == ["prepare:", "dump:", "publish:", "prune:"]


def test_password_is_in_no_script_argument_log_or_environment(host: Host) -> None:
    with half_way(host) as run:
        environment = Path(f"/proc/{process_of(host, 'pg_dump')}/environ").read_bytes().decode()
        seen = "\n".join(processes()) + environment
    output, errors = run.communicate(timeout=60)
    assert run.returncode == 0, errors
    scripts = "".join(path.read_text() for path in (host.app_dir / "scripts").iterdir())
    # Its first letters, as they stand and in a URL: they survive every kind of quoting.
    assert PASSWORD.startswith("p@ss")
    assert not [form for form in ("p@ss", "p%40ss") if form in seen + output + errors + scripts]


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["--tier", "hourly"], {}),
        (["--tier"], {}),
        (["--teir", "daily"], {}),
        ([], {"BACKUP_RETENTION_DAYS": "0"}),
        ([], {"BACKUP_RETENTION_DAYS": "-3"}),
        ([], {"BACKUP_RETENTION_DAYS": "thirty"}),
    ],
)
def test_wrong_arguments_end_with_2_and_nothing_made(host: Host, arguments: list[str], environment: dict) -> None:
    done = host.backup(*arguments, **environment)
    assert done.returncode == 2 and "ERROR" in done.stderr
    assert host.dumps() == []


def test_help_is_the_scripts_own_header(host: Host) -> None:
    for script in ("backup-database.sh", "restore-database.sh"):
        done = host.run(script, "--help")
        assert done.returncode == 0
        assert script in done.stdout and "Exit codes" in done.stdout and "#" not in done.stdout


def test_dump_is_made_where_the_directory_for_the_status_is_missing(host: Host) -> None:
    (host.directory / "state").rmdir()
    done = host.backup()
    assert done.returncode == 0 and "there is no status file" in done.stderr


def test_very_many_warnings_keep_no_dump_from_being_made(host: Host) -> None:
    host.shim(
        "pg_dump",
        """[[ $* != *--snapshot* ]] || printf 'pg_dump: warning: %06000d\\n' {1..40} >&2
        exec "${real[@]}" "$@" """,
    )
    done = host.backup()
    assert done.returncode == 0, done.stderr[-600:]
