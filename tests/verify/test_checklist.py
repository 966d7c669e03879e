"""The handbook's checklist: each of its boxes, checked by the servers."""

from __future__ import annotations

from tests.verify.target import Target


def test_box_1_redis_runs_and_the_app_connects(app_host: Target) -> None:
    """☑ Redis lancé et connecté"""
    answer = app_host.redis_as_app("PING").split()
    app_host.expect(answer == ["OK", "PONG"], f"Redis refuses the app: {' '.join(answer)}")


def test_box_2_redis_url_is_in_env(app_host: Target) -> None:
    """☑ REDIS_URL configuré dans .env"""
    url, settings = app_host.redis_url(), app_host.settings
    scheme = "rediss" if settings.redis_tls else "redis"
    found, wanted = (url.scheme, url.hostname, url.port), (scheme, settings.redis_host, settings.redis_port)
    app_host.expect(found == wanted, f"REDIS_URL leads to {found}, and the settings say {wanted}: deploy again")


def test_box_3_backup_script_has_made_a_backup(backup_host: Target) -> None:
    """☑ Script de backup testé manuellement"""
    latest = backup_host.settings.backup_latest
    backup_host.expect(backup_host.host.file(latest).exists, f"there is no {latest}: no backup was ever made")


def test_box_4_cron_jobs_are_set_and_cron_runs(backup_host: Target) -> None:
    """☑ Cron jobs configurés"""
    settings = backup_host.settings
    table = backup_host.text(f"cat /etc/cron.d/{settings.app_name}-backup")
    jobs = [line for line in table.splitlines() if line[:1].isdigit() and "backup-database.sh" in line]
    times = {" ".join(job.split()[:5]): job for job in jobs}
    weekly = f"BACKUP_RETENTION_DAYS={settings.backup_weekly_retention_days} "
    backup_host.expect(settings.backup_daily.cron in times, f"cron has no daily backup at {settings.backup_daily}")
    backup_host.expect(weekly in times.get(settings.backup_weekly.cron, ""), "cron has no weekly backup as described")
    backup_host.expect({job.split()[5] for job in jobs} == {settings.backup_user}, "cron runs backups as another user")
    cron = backup_host.host.service("cron")
    backup_host.expect(cron.is_running and cron.is_enabled, "cron does not run, now or after a boot")


def test_box_5_backup_directory_exists(backup_host: Target) -> None:
    """☑ Dossier backups créé"""
    directory = backup_host.settings.backup_dir
    backup_host.expect(backup_host.host.file(directory).is_directory, f"there is no directory {directory}")


def test_box_6_permissions_are_right(backup_host: Target) -> None:
    """☑ Permissions correctes"""
    settings = backup_host.settings
    directory = backup_host.host.file(settings.backup_dir)
    private = (directory.user, directory.mode & 0o007) == (settings.backup_user, 0)
    backup_host.expect(private, f"others can enter {settings.backup_dir}")
    # Ours are those with a manifest: what else somebody keeps there is his, and lies behind a closed door.
    ours = f"find {settings.backup_dir} -name '{settings.app_name}*_[0-9]*.json' -type f"
    dumps = {path.removesuffix(".json") for path in backup_host.text(ours).splitlines()}
    found = backup_host.text(f"find {settings.backup_dir} -type f -perm /077").splitlines()
    open_dumps = [path for path in found if any(path.startswith(dump) for dump in dumps)]
    backup_host.expect(not open_dumps, f"others can read {open_dumps[:1]}: chmod go-rwx")
    password = backup_host.host.file(settings.backup_pgpass_file)
    private = (password.user, password.mode) == (settings.backup_user, 0o600)
    backup_host.expect(private, f"{settings.backup_pgpass_file} is not {settings.backup_user}'s alone")
