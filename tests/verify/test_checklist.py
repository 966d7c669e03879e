"""The handbook's checklist: each of its boxes, checked by the servers."""

from __future__ import annotations

from tests.verify.target import Target


def test_box_1_redis_runs_and_the_app_connects(app_host: Target) -> None:
    """☑ Redis lancé et connecté"""
    assert app_host.redis_as_app("PING").split() == ["OK", "PONG"]


def test_box_2_redis_url_is_in_env(app_host: Target) -> None:
    """☑ REDIS_URL configuré dans .env"""
    url, settings = app_host.redis_url(), app_host.settings
    scheme = "rediss" if settings.redis_tls else "redis"
    assert (url.scheme, url.hostname, url.port) == (scheme, settings.redis_host, settings.redis_port)


def test_box_3_backup_script_has_made_a_backup(backup_host: Target) -> None:
    """☑ Script de backup testé manuellement"""
    assert backup_host.host.file(backup_host.settings.backup_latest).exists


def test_box_4_cron_jobs_are_set_and_cron_runs(backup_host: Target) -> None:
    """☑ Cron jobs configurés"""
    settings = backup_host.settings
    table = backup_host.text(f"cat /etc/cron.d/{settings.app_name}-backup")
    jobs = [line for line in table.splitlines() if line[:1].isdigit() and "backup-database.sh" in line]
    times = {" ".join(job.split()[:5]): job for job in jobs}
    assert settings.backup_daily.cron in times
    assert f"BACKUP_RETENTION_DAYS={settings.backup_weekly_retention_days} " in times[settings.backup_weekly.cron]
    assert {job.split()[5] for job in jobs} == {settings.backup_user}
    assert backup_host.host.service("cron").is_running and backup_host.host.service("cron").is_enabled


def test_box_5_backup_directory_exists(backup_host: Target) -> None:
    """☑ Dossier backups créé"""
    assert backup_host.host.file(backup_host.settings.backup_dir).is_directory


def test_box_6_permissions_are_right(backup_host: Target) -> None:
    """☑ Permissions correctes"""
    settings = backup_host.settings
    directory = backup_host.host.file(settings.backup_dir)
    assert (directory.user, directory.mode & 0o007) == (settings.backup_user, 0), "others can enter the backups"
    open_dumps = backup_host.text(f"find {settings.backup_dir} -type f -perm /077")
    assert open_dumps == "", "others can read these dumps"
    password = backup_host.host.file(settings.backup_pgpass_file)
    assert (password.user, password.mode) == (settings.backup_user, 0o600)
