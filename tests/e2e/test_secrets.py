"""Where the sandbox's secrets are found while and after it is deployed: in their files, and nowhere else."""

from __future__ import annotations

import sys
from urllib.parse import quote

import pytest

from provision.engine.private import PrivateInput
from provision.settings import SECRET_SETTINGS, secrets
from tests.e2e.operator import Operator

# What happens at night, by hand, and on the day when a dump is needed.
NIGHT = """cd /tmp && s=/opt/medaction/scripts
    $s/backup-database.sh && $s/restore-database.sh --test && $s/restore-database.sh --into e2e_watched
    runuser -u postgres -- dropdb e2e_watched"""
HOSTS = ("app1", "app2", "redis1", "docker1", "db1")
WATCH = (
    "rm -f /run/e2e-watched; touch /run/e2e-watch; (while [ -e /run/e2e-watch ]; do"
    " cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' ' '; echo; sleep 0.02;"
    " done > /run/e2e-watched) >/dev/null 2>&1 &"
)


def test_no_secret_is_shown_while_everything_is_written_anew(deployed: Operator) -> None:
    """With -vvv and --diff, which show most; every process' arguments and environment are watched on every host. Then
    a backup, a restore test and a restore of db1's."""
    deployed.read("redis1", "rm /etc/redis/users.acl; systemctl stop redis-server")
    deployed.read("app1", "rm /opt/medaction/.env")
    deployed.read("app2", "sed -i 's/^DATABASE_URL=.*/DATABASE_URL=x/' /opt/medaction/.env")
    deployed.postgres("DROP OWNED BY medaction_backup; DROP ROLE medaction_backup")
    deployed.read("db1", "rm /etc/medaction/pgpass /opt/medaction/backups/medaction_latest.sql.gz")
    for host in HOSTS:
        deployed.read(host, f"{WATCH} sleep 0.3171")
    try:
        done = deployed.run(
            sys.executable, "-m", "pyinfra", "inventories/sandbox.py", "deploy.py", "-y", "-vvv", "--diff", "--debug"
        )
        night = deployed.on("db1", NIGHT, timeout=600)
    finally:
        watched = {host: deployed.read(host, "rm /run/e2e-watch; cat /run/e2e-watched") for host in HOSTS}
    assert done.returncode == 0, done.stdout
    assert night.returncode == 0, night.stderr
    assert all("sleep 0.3171" in text for text in watched.values()), "a watch saw nothing"
    assert "backup-database.sh" in watched["db1"], "the watch saw nothing of the deploy"
    seen = ("PGPASSFILE=/etc/medaction/pgpass", "pg_dump", "restore-test.sh", "dump-role.sql")
    assert not [each for each in seen if each not in watched["db1"]], "the watch saw too little of the night"
    assert not _found(done.stdout)
    assert not {host for host in HOSTS if _found(watched[host])}
    assert deployed.command("verify").returncode == 0


@pytest.mark.parametrize("host", HOSTS)
def test_no_secret_lies_in_a_file_that_others_may_read(deployed: Operator, host: str) -> None:
    places = "/etc /opt /var /home /root /srv /usr/local /tmp /run /dev/shm"
    assert _files_with_a_secret(deployed, host, f"find {places} -xdev -type f -perm /o+r -print0") == [CANARY]


@pytest.mark.parametrize("host", HOSTS)
def test_no_secret_lies_in_a_log_script_or_crontab(deployed: Operator, host: str) -> None:
    places = "/run/e2e-journal /var/log /etc/cron.d /var/spool/cron /opt/medaction/scripts /opt/medaction/lib"
    listed = f"journalctl --no-pager > /run/e2e-journal; find {places} -type f -print0 2>/dev/null"
    assert _files_with_a_secret(deployed, host, listed) == [CANARY]


CANARY = "/var/log/e2e-canary"  # it holds a secret, for others to read: a search that misses it finds nothing


def _files_with_a_secret(operator: Operator, host: str, listed: str) -> list[str]:
    """Of the files that a command lists, each ended by a zero byte, those with a secret in them."""
    search = f"""umask 077; cat > /run/e2e-forms; head -n 1 /run/e2e-forms > {CANARY}; chmod o+r {CANARY}
        {{ {listed}; }} | xargs -0 grep -lF -f /run/e2e-forms; rm /run/e2e-forms {CANARY}"""
    return operator.on(host, search, PrivateInput("\n".join(_forms()) + "\n")).stdout.split()


def _forms() -> list[str]:
    values = [secrets.read(name, None, "sandbox").get_secret_value() for name in SECRET_SETTINGS]
    return [form for value in values for form in {value, quote(value, safe="")}]


def _found(text: str) -> list[str]:
    # By name: a failed check must not print what it guards.
    found = [name for name in SECRET_SETTINGS if secrets.read(name, None, "sandbox").get_secret_value() in text]
    # What a server keeps of a password is nobody's business either.
    return found + [name for name in ("SCRAM-SHA-256$",) if name in text]
