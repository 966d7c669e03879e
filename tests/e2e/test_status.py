"""What an operator sees at a glance, held against what was done to the hosts."""

from __future__ import annotations

import json

import pytest

from tests.e2e.operator import Operator

pytestmark = pytest.mark.servers


def _status(operator: Operator) -> dict[str, dict[str, str]]:
    done = operator.run("make", "-s", "status", "JSON=1", "LIMIT=app,redis1,db1,win1")
    assert done.returncode == 0, done.stdout
    return {row["host"]: row for row in json.loads(done.stdout[done.stdout.index("[\n") :])}


def test_restore_test_of_the_newest_dump_is_good_and_told(deployed: Operator) -> None:
    # A role's membership, which its grantor's name stands beside: another superuser's than that of the test's server.
    deployed.postgres("GRANT pg_read_all_settings TO medaction")
    for script in ("backup-database.sh", "restore-database.sh --test"):
        deployed.read("db1", f"cd /opt/medaction && ./scripts/{script}")
    deployed.postgres("REVOKE pg_read_all_settings FROM medaction")
    row = _status(deployed)["db1"]
    assert row["restore test"].startswith("ok ")
    newest = deployed.read("db1", "readlink /opt/medaction/backups/medaction_latest.sql.gz").strip()
    assert row["last good backup"] == newest.rpartition("/")[2]
    # Whatever the test made is gone again: its server, its data.
    assert deployed.read("db1", "pgrep -u medaction-backup -c postgres || true").strip() == "0"
    assert deployed.read("db1", "find /opt/medaction/backups -name '.test*'") == ""


def test_backup_that_failed_is_told(deployed: Operator) -> None:
    deployed.read("db1", "cd /etc/medaction && cp -p pgpass pgpass.away && sed -i 's/[^:]*$/wrong/' pgpass")
    try:
        assert deployed.on("db1", "cd /opt/medaction && ./scripts/backup-database.sh").returncode == 1
        assert _status(deployed)["db1"]["last run"] == "failed"
        assert deployed.on("db1", "/opt/medaction/scripts/backup-database.sh --check").returncode == 1
    finally:
        deployed.read("db1", "mv /etc/medaction/pgpass.away /etc/medaction/pgpass")
    planned = deployed.plan("db1")
    assert planned.returncode == 2 and "medaction: the last daily run failed: cannot connect" in planned.stdout, (
        planned.stdout
    )
    deployed.deploy("db1")
    assert _status(deployed)["db1"]["last run"] == "ok"


def test_windows_host_has_its_row_too(deployed: Operator) -> None:
    row = _status(deployed)["win1"]
    dumps = deployed.read("win1", "cd /srv/windows/C:/MedAction/backups && ls -r medaction_2*.sql.gz").split()
    assert (row["last good backup"], row["kept"], row["last run"]) == (dumps[0], f"{len(dumps)} daily", "ok")


def test_host_that_gives_no_answer_is_told_and_the_exit_code_says_so(deployed: Operator) -> None:
    faults = "/srv/windows/state/faults.json"
    deployed.read("win1", f"""echo '{{"deny": ["backup-report"]}}' > {faults}""")
    try:
        done = deployed.run("make", "-s", "status", "LIMIT=win1,db1")
    finally:
        deployed.read("win1", f"rm {faults}")
    assert done.returncode != 0
    assert "could not be asked" in done.stdout
    assert any(line.startswith("db1 ") and ".sql.gz" in line for line in done.stdout.splitlines())


def test_redis_that_is_down_is_told(deployed: Operator) -> None:
    deployed.read("redis1", "systemctl stop redis-server")
    assert _status(deployed)["redis1"]["redis"] == "DOWN"
    deployed.read("redis1", "systemctl start redis-server")
    assert _status(deployed)["redis1"]["redis"] == "up"
