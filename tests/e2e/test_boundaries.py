"""Who may read, write and run what on a host, asked as that very user: the rows of docs/security.md."""

from __future__ import annotations

import re

import pytest

from tests.e2e.operator import Operator

PROGRAMS = "/usr/local/lib/medaction"
# Each user of ours, where it is, and where it may write.
MAY_WRITE = {
    "medaction-backup": (
        "db1",
        r"/opt/medaction/backups|/var/lib/medaction-backup|/var/log/medaction|/etc/medaction/pgpass",
    ),
    "medaction-restore-test": ("db1", r"(?!)"),
    "medaction": ("app1", r"/opt/medaction(/lib(/security)?)?"),
}
EVERYBODYS = r"/tmp|/var/tmp|/run/lock|/dev/shm|/dev/mqueue"
# Not into other file systems: /proc and /sys hold each user's own processes.
WRITABLE = "find / -xdev \\( -type f -o -type d \\) -writable -print 2>/dev/null; true"
READ = "if [ -d {0} ]; then ls {0}; else cat {0}; fi"
SECRET = {
    "db1": [
        "/etc/medaction/pgpass", "/etc/medaction/dump-role.sql", "/opt/medaction/backups",
        "/opt/medaction/backups/medaction_latest.sql.gz", "/var/lib/medaction-backup/status.json",
        "/var/log/medaction/backup.log", "/var/lib/postgresql/17/main",
    ],
    "app1": ["/opt/medaction/.env"],
    "redis1": ["/etc/redis/users.acl", "/var/lib/redis"],
}  # fmt: skip


def as_user(operator: Operator, host: str, user: str, command: str) -> tuple[int, str]:
    done = operator.on(host, f"cd / && runuser -u {user} -- sh -c '{command}' </dev/null", timeout=300)
    return done.returncode, done.stdout


@pytest.mark.parametrize("user", MAY_WRITE)
def test_a_user_of_ours_writes_where_it_should_and_nowhere_else(deployed: Operator, user: str) -> None:
    host, allowed = MAY_WRITE[user]
    listed = as_user(deployed, host, user, WRITABLE.replace("'", ""))[1].splitlines()
    assert {"/tmp", "/var/tmp"} & set(listed), "the search found nothing at all"
    ours = rf"({allowed}|{EVERYBODYS})(/.*)?"
    assert [path for path in listed if not re.fullmatch(ours, path)] == []
    if user == "medaction":  # the directory is its own, what others own in it is not
        assert not [path for path in listed if path.endswith(("/.env", ".ts"))]


@pytest.mark.parametrize("host", SECRET)
def test_nobody_else_reads_a_dump_a_password_or_a_variable(deployed: Operator, host: str) -> None:
    users = ["nobody", *(user for user, (there, _) in MAY_WRITE.items() if there == host and user.endswith("test"))]
    for user in users:
        for path in SECRET[host]:
            deployed.read(host, f"test -e {path}")  # so that a refusal below is one
            assert as_user(deployed, host, user, READ.format(path))[0] != 0, f"{user} reads {path}"


@pytest.mark.parametrize("host", ["app1", "db1", "redis1"])
def test_what_root_and_cron_run_nobody_else_can_change(deployed: Operator, host: str) -> None:
    """Each program that a cron line, a unit or a wrapper of ours names, all that lies beside it, and the way there."""
    lines = deployed.read(
        host, "cat /etc/cron.d/medaction* /etc/systemd/system/medaction* /opt/medaction/scripts/* 2>/dev/null; true"
    )
    named = set(re.findall(r"(?:^|[ =\"'])(/(?:usr|opt|var|etc)/[\w./-]+\.sh)\b", lines, re.MULTILINE))
    assert all(path.startswith(f"{PROGRAMS}/") for path in named), named
    assert host != "db1" or {f"{PROGRAMS}/backup-database.sh", f"{PROGRAMS}/restore-test.sh"} <= named
    others = f"find {PROGRAMS} /etc/cron.d /etc/systemd/system \\( ! -user root -o -perm /022 \\) ! -type l 2>/dev/null"
    assert deployed.on(host, others).stdout == ""
    way = "for d in / /usr /usr/local /usr/local/lib /etc; do stat -c '%U %a' $d; done"
    assert set(deployed.read(host, way).splitlines()) <= {"root 755", "root 555"}


def test_the_backup_user_becomes_nobody_else(deployed: Operator) -> None:
    assert deployed.read("db1", "id -nG medaction-backup").split() == ["medaction-backup"]
    for command in ("sudo -n true", "setpriv --reuid 0 true", "su root -c true", "runuser -u postgres true",
                    "systemctl start medaction-restore-test@medaction.service"):  # fmt: skip
        assert as_user(deployed, "db1", "medaction-backup", command)[0] != 0, command
    for path in ("/etc/shadow", "/root", "/var/lib/postgresql/17/main", "/etc/medaction/dump-role.sql"):
        assert as_user(deployed, "db1", "medaction-backup", READ.format(path))[0] != 0, path


def test_no_unit_of_ours_holds_more_than_it_needs(deployed: Operator) -> None:
    """As each host's own systemd sees it: tests/scripts/test_units.py has all that there can be."""
    for host in ("db1", "redis1"):
        services = (
            "systemctl list-unit-files --plain --no-legend 'medaction*.service' redis-server.service | cut -d ' ' -f 1"
        )
        for unit in deployed.read(host, services).split():
            name = unit.replace("@.", "@medaction.")
            said = deployed.read(host, f"systemd-analyze security --no-pager {name} | tail -n 1")
            assert float(said.split("exposure level for")[1].split(":")[1].split()[0]) <= 2.0, said
