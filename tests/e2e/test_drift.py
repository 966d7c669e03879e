"""A change made by hand on a host: the plan names it and the next deploy mends it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from provision.engine.private import PrivateInput
from tests.e2e.operator import Operator

pytestmark = pytest.mark.servers


@dataclass(frozen=True)
class Drift:
    """What somebody did on a host, in its shell, then to its Redis, and what the plan must name."""

    host: str
    named: str
    shell: str = ""
    redis: str = ""


DRIFTS = {
    "a cron line": Drift(
        "db1", "/etc/cron.d/medaction-backup: its content", "sed -i 's/^0 2 /0 5 /' /etc/cron.d/medaction-backup"
    ),
    "redis.conf": Drift(
        "redis1", "redis.conf: its content", "sed -i 's/^appendonly yes/appendonly no/' /etc/redis/redis.conf"
    ),
    "an eviction policy set live": Drift(
        "redis1", "'allkeys-lru', should be 'noeviction'", redis="CONFIG SET maxmemory-policy allkeys-lru"
    ),
    "a right given live": Drift(
        "redis1", "other rights for: medaction", "sed -i 's/ +ping$/ +ping +flushall/' /etc/redis/users.acl", "ACL LOAD"
    ),
    "a managed value in .env": Drift(
        "app1", ".env: REDIS_URL is not", "sed -i 's/^REDIS_URL=.*/REDIS_URL=redis:elsewhere/' /opt/medaction/.env"
    ),
    "a file's mode": Drift("db1", "pgpass: mode is 0644, should be 0600", "chmod 0644 /etc/medaction/pgpass"),
    "a file's owner": Drift("app2", "is owned by nobody", "chown nobody /opt/medaction/.env"),
    "a script": Drift(
        "db1", "backup-database.sh: its content", "echo '# mine' >> /opt/medaction/scripts/backup-database.sh"
    ),
    "a broken script": Drift(
        "db1", "backup-database.sh: its content", "echo 'if' > /opt/medaction/scripts/backup-database.sh"
    ),
    "a stopped service": Drift("redis1", "Run Redis", "systemctl stop redis-server"),
    "a disabled service": Drift("db1", "Run cron", "systemctl disable -q cron"),
    "a removed package": Drift("app1", "not installed: redis-tools", "apt-get -qq -y remove redis-tools"),
}


@pytest.mark.parametrize("drift", DRIFTS.values(), ids=DRIFTS.keys())
def test_plan_names_it_and_deploy_mends_it(deployed: Operator, drift: Drift) -> None:
    if drift.shell:
        deployed.read(drift.host, drift.shell)
    if drift.redis:
        assert deployed.redis(drift.host, drift.redis) == "OK\nOK\n"
    found = deployed.plan(drift.host)
    assert found.returncode == 2 and drift.named in found.stdout, found.stdout
    deployed.deploy(drift.host)
    assert deployed.plan(drift.host).returncode == 0


WINDOWS_DRIFT = """
import os
task = "/srv/windows/C:/windows/system32/tasks/MedAction/MedAction Backup"
xml = open(task, encoding="utf-16").read().replace("T02:00:00", "T04:30:00")
open(task, "w", encoding="utf-16").write(xml)
app = "/srv/windows/C:/MedAction"
os.setxattr(f"{app}/config/pgpass.conf", "user.sddl", b"O:BAG:SYD:PAI(A;;FA;;;SY)(A;;FA;;;BA)(A;;0x1200a9;;;WD)")
open(f"{app}/scripts/restore-database.ps1", "a").write("#")
"""


def test_edited_task_access_list_and_script_on_windows_are_told_in_words_and_mended(win1: Operator) -> None:
    win1.read("win1", "python3 -", PrivateInput(WINDOWS_DRIFT))
    found = win1.plan("win1")
    assert found.returncode == 2 and "2 change(s) pending" in found.stdout
    for told in (
        "MedAction Backup: starts daily at 04:30, should start daily at 02:00",
        "pgpass.conf: Everyone has read and execute, and should not",
        "restore-database.ps1: its content differs",
    ):
        assert told in found.stdout
    win1.deploy("win1")
    assert win1.plan("win1").returncode == 0


def test_lines_of_a_persons_env_survive(deployed: Operator) -> None:
    mine = "# é: mine\nNEXT_PUBLIC_NAME=\"Médaction\"\nexport EMPTY=\nPEM='a\nREDIS_URL=not one\nb'\n"
    before = deployed.read("app1", "cat /opt/medaction/.env")
    deployed.read("app1", f"cat >> /opt/medaction/.env <<'END'\n{mine}END")
    deployed.read("app1", "sed -i 's/^POSTGRES_PORT=.*/POSTGRES_PORT=1/' /opt/medaction/.env")
    deployed.read("app1", "chmod 0644 /opt/medaction/.env")
    deployed.deploy("app1")
    assert deployed.read("app1", "cat /opt/medaction/.env") == before + mine
    assert deployed.read("app1", "stat -c '%a %G' /opt/medaction/.env.previous") == "640 medaction\n"
    assert "POSTGRES_PORT=1\n" in deployed.read("app1", "cat /opt/medaction/.env.previous")
    deployed.read("app1", "mv /opt/medaction/.env.previous /opt/medaction/.env")
    deployed.deploy("app1")
