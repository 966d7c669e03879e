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
        client, server = made["client_version"], made["server_version"]
        backup_host.expect(client.split(".")[0] == server.split(".")[0], f"pg_dump {client} dumps a server {server}")
        return
    server = backup_host.text(
        f"runuser -u {settings.backup_user} -- env PGPASSFILE={settings.backup_pgpass_file} psql -w -At"
        f" -h {settings.postgres_host} -p {settings.postgres_port} -U '{settings.postgres_user}'"
        f" -d '{settings.postgres_database}' -c 'show server_version_num'"
    )
    major = int(server) // 10000
    client = backup_host.text(f"/usr/lib/postgresql/{major}/bin/pg_dump --version").strip()
    backup_host.expect(f"(PostgreSQL) {major}." in client, f"{client} is not of the server's major version {major}")


def test_newest_backup_is_complete(backup_host: Target) -> None:
    settings, latest = backup_host.settings, backup_host.settings.backup_latest
    if settings.backup_encrypt_local:
        # What is in it a vault alone can say, and does.
        made = json.loads(backup_host.text(f"cat $(readlink -f {latest}).json"))
        sums = {each["name"]: each["sha256"] for each in made["encrypted"]}
        own = backup_host.text(f"sha256sum <{latest}", is_long=True).split()[0]
        backup_host.expect(own == sums[made["dump"]], f"{latest} is not what was written")
        begins = backup_host.text(f"head -c 21 {latest}")
        backup_host.expect(begins == "age-encryption.org/v1", f"{latest} is not encrypted")
        return
    unpacker = {"plain": "gzip", "plain-zstd": "zstd"}.get(settings.backup_format)
    if unpacker:
        # The whole file is read: its sum is checked, and pg_dump's last words are at its end.
        end = backup_host.text(
            f"bash -o pipefail -c {shlex.quote(f'{unpacker} -dc <{latest} | tail -c 4096')}", is_long=True
        )
        backup_host.expect("-- PostgreSQL database dump complete" in end, f"{latest} was cut short")
    else:
        # pg_restore, which reads these, may be in a container alone: the script knows how to reach it.
        verified = backup_host.run(f"{settings.app_dir}/scripts/backup-database.sh --verify", is_long=True)
        backup_host.expect("is whole" in verified.stderr, f"{latest}: {verified.stderr.strip()[-300:]}")


def test_newest_backup_is_fresh(backup_host: Target) -> None:
    modified = int(backup_host.text(f"stat -Lc %Y {backup_host.settings.backup_latest}"))
    now = int(backup_host.text("date +%s"))
    hours, allowed = (now - modified) / 3600, backup_host.settings.backup_maximum_age_hours
    backup_host.expect(hours < allowed, f"the newest backup is {hours:.0f} h old, allowed are {allowed}")


def test_check_that_monitoring_runs_says_ok(backup_host: Target) -> None:
    """Freshness, the last run and the last restore test, in the host's own words."""
    checked = backup_host.run(f"{backup_host.settings.app_dir}/scripts/backup-database.sh --check")
    backup_host.expect(checked.returncode == 0, checked.stdout.strip() or checked.stderr.strip())


def test_app_can_neither_delete_nor_move_a_backup(backup_host: Target) -> None:
    settings = backup_host.settings
    if backup_host.run(f"id -u {settings.app_user}").returncode != 0:
        return  # the app has no user on this host: nobody to be kept out
    as_app = f"runuser -u {settings.app_user} --"
    backup_host.text(f"{as_app} true")  # so that a refusal below is one
    for right in "rwx":
        denied = backup_host.run(f"{as_app} test -{right} {settings.backup_dir}").returncode != 0
        backup_host.expect(denied, f"the app has the right {right} on {settings.backup_dir}: deploy again")
    # rename(2) needs a directory that one may write to and whose sticky bit does not protect the entry.
    for parent in PurePosixPath(settings.backup_dir).parents:
        sticky = int(backup_host.text(f"stat -Lc %a {parent}"), 8) & 0o1000
        denied = sticky or backup_host.run(f"{as_app} test -w {parent}").returncode != 0
        backup_host.expect(denied, f"the app can move the backups away: it may write in {parent}")


def test_logs_are_rotated(backup_host: Target) -> None:
    checked = backup_host.run(f"logrotate -d /etc/logrotate.d/{backup_host.settings.app_name}-backup")
    well = checked.returncode == 0 and "error" not in checked.stderr.lower()
    backup_host.expect(well, f"logrotate: {checked.stderr.strip()[-300:]}")


def test_clock_is_not_far_off(backup_host: Target) -> None:
    """Names, ages and retention all hang on it."""
    off = int(backup_host.text("date +%s")) - time.time()
    backup_host.expect(abs(off) < 300, f"its clock is {off:+.0f} s off this machine's")
