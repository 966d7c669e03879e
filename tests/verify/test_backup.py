"""The backups: made by the right client, complete, fresh, out of the app's reach."""

from __future__ import annotations

import json
import shlex
import time
from pathlib import PurePosixPath

from tests.verify.target import Target


def test_dump_client_is_of_the_servers_major_version(backup_host: Target) -> None:
    settings = backup_host.settings
    if settings.postgres_mode != "direct":  # pg_dump is in a container: the newest manifest names both
        made = json.loads(backup_host.text(f"cat $(readlink -f {settings.backup_latest}).json"))
        assert made["client_version"].split(".")[0] == made["server_version"].split(".")[0]
        return
    server = backup_host.text(
        f"runuser -u {settings.backup_user} -- env PGPASSFILE={settings.backup_pgpass_file} psql -w -At"
        f" -h {settings.postgres_host} -p {settings.postgres_port} -U '{settings.postgres_user}'"
        f" -d '{settings.postgres_database}' -c 'show server_version_num'"
    )
    major = int(server) // 10000
    assert f"(PostgreSQL) {major}." in backup_host.text(f"/usr/lib/postgresql/{major}/bin/pg_dump --version")


def test_newest_backup_is_complete(backup_host: Target) -> None:
    settings, latest = backup_host.settings, backup_host.settings.backup_latest
    unpacker = {"plain": "gzip", "plain-zstd": "zstd"}.get(settings.backup_format)
    if unpacker:
        # The whole file is read: its sum is checked, and pg_dump's last words are at its end.
        end = backup_host.text(
            f"bash -o pipefail -c {shlex.quote(f'{unpacker} -dc <{latest} | tail -c 4096')}", timeout_seconds=None
        )
        assert "-- PostgreSQL database dump complete" in end
    else:
        # pg_restore, which reads these, may be in a container alone: the script knows how to reach it.
        verified = backup_host.run(f"{settings.app_dir}/scripts/backup-database.sh --verify", timeout_seconds=None)
        assert "is whole" in verified.stderr


def test_newest_backup_is_fresh(backup_host: Target) -> None:
    modified = int(backup_host.text(f"stat -Lc %Y {backup_host.settings.backup_latest}"))
    now = int(backup_host.text("date +%s"))
    assert now - modified < backup_host.settings.backup_maximum_age_hours * 3600


def test_check_that_monitoring_runs_says_ok(backup_host: Target) -> None:
    """Freshness, the last run and the last restore test, in the host's own words."""
    checked = backup_host.run(f"{backup_host.settings.app_dir}/scripts/backup-database.sh --check")
    assert checked.returncode == 0, checked.stdout


def test_app_can_neither_delete_nor_move_a_backup(backup_host: Target) -> None:
    settings = backup_host.settings
    if backup_host.run(f"id -u {settings.app_user}").returncode != 0:
        return  # the app has no user on this host: nobody to be kept out
    as_app = f"runuser -u {settings.app_user} --"
    backup_host.text(f"{as_app} true")  # so that a refusal below is one
    for right in "rwx":
        assert backup_host.run(f"{as_app} test -{right} {settings.backup_dir}").returncode != 0
    # rename(2) needs a directory that one may write to and whose sticky bit does not protect the entry.
    for parent in PurePosixPath(settings.backup_dir).parents:
        sticky = int(backup_host.text(f"stat -Lc %a {parent}"), 8) & 0o1000
        assert sticky or backup_host.run(f"{as_app} test -w {parent}").returncode != 0


def test_logs_are_turned(backup_host: Target) -> None:
    checked = backup_host.run(f"logrotate -d /etc/logrotate.d/{backup_host.settings.app_name}-backup")
    assert checked.returncode == 0 and "error" not in checked.stderr.lower(), checked.stderr


def test_clock_is_not_far_off(backup_host: Target) -> None:
    """Names, ages and retention all hang on it."""
    assert abs(int(backup_host.text("date +%s")) - time.time()) < 300
