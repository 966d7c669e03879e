"""What an operator sees at a glance, held against what was done to the hosts."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.operator import Operator

pytestmark = pytest.mark.servers


def _status(operator: Operator, code: int = 0, limit: str = "app,redis1,backup") -> dict[str, dict[str, Any]]:
    """What is said of each host; the exit code is this."""
    done = operator.run(sys.executable, "-m", "provision", "status", "--env", "sandbox", "--limit", limit, "--json")
    assert done.returncode == code, done.stdout
    return {host["host"]: host for host in json.loads(done.stdout[done.stdout.index("{\n") :])["hosts"]}


def _backup(operator: Operator, host: str, code: int = 0) -> dict[str, Any]:
    (backup,) = _status(operator, code)[host]["backups"]
    return backup


def test_restore_test_of_the_newest_dump_is_good_and_told(deployed: Operator) -> None:
    # A role's membership, which its grantor's name stands beside: another superuser's than that of the test's server.
    deployed.postgres("GRANT pg_read_all_settings TO medaction")
    for script in ("backup-database.sh", "restore-database.sh --test"):
        deployed.read("db1", f"cd /opt/medaction && ./scripts/{script}")
    deployed.postgres("REVOKE pg_read_all_settings FROM medaction")
    row = _backup(deployed, "db1")
    assert row["restore_test"]["verdict"] == "ok"
    newest = deployed.read("db1", "readlink /opt/medaction/backups/medaction_latest.sql.gz").strip()
    assert row["newest_good"] == newest.rpartition("/")[2]
    # Whatever the test made is gone again: its server, its data.
    assert deployed.read("db1", "pgrep -u medaction-backup -c postgres || true").strip() == "0"
    assert deployed.read("db1", "find /opt/medaction/backups -name '.test*'") == ""


def test_backup_that_failed_is_told(deployed: Operator) -> None:
    deployed.read("db1", "cd /etc/medaction && cp -p pgpass pgpass.away && sed -i 's/[^:]*$/wrong/' pgpass")
    try:
        assert deployed.on("db1", "cd /opt/medaction && ./scripts/backup-database.sh").returncode == 1
        assert _backup(deployed, "db1", code=1)["last_run"] == "failed"
        (finding,) = _status(deployed, code=1)["db1"]["findings"]
        assert finding["what"].startswith("the last daily run failed: cannot connect") and finding["severity"] == 1
        assert deployed.on("db1", "/opt/medaction/scripts/backup-database.sh --check").returncode == 1
    finally:
        deployed.read("db1", "mv /etc/medaction/pgpass.away /etc/medaction/pgpass")
    planned = deployed.plan("db1")
    assert planned.returncode == 2 and "medaction: the last daily run failed: cannot connect" in planned.stdout, (
        planned.stdout
    )
    deployed.deploy("db1")
    assert _backup(deployed, "db1")["last_run"] == "ok"


@pytest.mark.parametrize(
    ("harm", "mend", "told"),
    [
        ("systemctl stop cron", "systemctl start cron", "cron does not run"),
        ("mv {cron} /root/", "mv /root/medaction-backup /etc/cron.d/", "{cron} is missing"),
        ("sed -i 's/^0 2/#0 2/; s/^[^#].*sh/#&/' {cron}", "", "no line of {cron} runs backup-database.sh"),
        ("chmod g+w {cron}", "chmod g-w {cron}", "{cron} is not root's alone, so cron does not read it"),
        ("chage -E 0 medaction-backup", "chage -E -1 medaction-backup", "medaction-backup has expired"),
        ("chage -d 1 -M 9 medaction-backup", "chage -d -1 -M -1 medaction-backup", "medaction-backup has expired"),
        ("chage -d 0 medaction-backup", "chage -d -1 medaction-backup", "medaction-backup has expired"),
        ("mv {lib} /root/", "mv /root/lib {lib}", "{lib}/../backup-database.sh cannot be started"),
    ],
    ids=["cron", "file", "lines", "mode", "account", "password", "to be changed", "programs"],
)
def test_night_that_will_not_come_is_told_before_it(deployed: Operator, harm: str, mend: str, told: str) -> None:
    paths = {"cron": "/etc/cron.d/medaction-backup", "lib": "/usr/local/lib/medaction/lib"}
    deployed.read("db1", f"cp -p {paths['cron']} /root/cron; {harm.format(**paths)}")
    try:
        (finding,) = _status(deployed, code=1, limit="db1")["db1"]["findings"]
    finally:
        deployed.read("db1", f"{mend.format(**paths) or 'true'}; mv /root/cron {paths['cron']}")
    assert finding["what"].startswith("the next run will not come: ")
    assert told.format(**paths).replace("lib/../", "") in finding["what"]
    assert _status(deployed, limit="db1")["db1"]["findings"] == []


def test_windows_host_has_its_row_too(win1: Operator) -> None:
    row = _backup(win1, "win1")
    dumps = win1.read("win1", "cd /srv/windows/C:/MedAction/backups && ls -r medaction_2*.sql.gz").split()
    assert (row["newest_good"], row["kept"]["daily"], row["last_run"]) == (dumps[0], len(dumps), "ok")


def test_vault_is_asked_for_no_copies_of_a_windows_host(win1: Operator) -> None:
    hosts = _status(win1, limit="db1,win1,vault1")
    told = {name: host["backups"][0]["off_site"].keys() for name, host in hosts.items() if host["backups"]}
    assert told == {"db1": {"vault1"}, "win1": set()}


def test_damaged_status_on_windows_is_told_and_hides_nothing_else(win1: Operator) -> None:
    status = "/srv/windows/C:/MedAction/backups/status-daily.json"
    newest = _backup(win1, "win1")["newest_good"]
    win1.read("win1", f"cp {status} /root/status.json && echo '{{' > {status}")
    try:
        assert _backup(win1, "win1", code=1)["newest_good"] == newest
        told = [finding["what"] for finding in _status(win1, code=1, limit="win1")["win1"]["findings"]]
    finally:
        win1.read("win1", f"mv /root/status.json {status}")
    assert "1 status file(s) of runs cannot be understood" in told


def test_host_that_gives_no_answer_is_told_and_the_exit_code_says_so(win1: Operator) -> None:
    needed = "/usr/local/lib/windows/powershell-windows/powershell.dll"
    win1.read("win1", f"mv {needed} /root/needed")
    try:
        done = win1.run("make", "-s", "status", "LIMIT=win1,db1")
    finally:
        win1.read("win1", f"mv /root/needed {needed}")
    assert done.returncode != 0
    lines = done.stdout.splitlines()
    assert any(line.startswith("NO ANSWER win1: could not be asked: ") for line in lines), done.stdout
    assert any(line.startswith("ok ") and " db1 " in line and " medaction " in line for line in lines)


def test_suspect_dump_is_told_here_and_by_the_plan_and_counts_as_none_until_it_is_accepted(deployed: Operator) -> None:
    deployed.postgres("CREATE TABLE only_here (id int); INSERT INTO only_here SELECT generate_series(1, 500)")
    backup = "cd /opt/medaction && ./scripts/backup-database.sh"
    deployed.read("db1", backup)
    good = _backup(deployed, "db1")["newest_good"]
    deployed.postgres("DROP TABLE only_here")
    deployed.read("db1", f"sleep 1; {backup}")
    assert _backup(deployed, "db1", code=1)["newest_good"] == good
    (finding,) = _status(deployed, code=1)["db1"]["findings"]
    assert "is suspect: " in finding["what"] and "only_here" in finding["what"]
    suspect = finding["do"].split()[-1]
    planned = deployed.plan("db1")
    assert planned.returncode == 0, planned.stdout
    (line,) = [each for each in planned.stdout.splitlines() if "suspect" in each]
    assert line.startswith("warning: db1: medaction: ") and line.endswith(f"--accept {suspect}")
    deployed.read("db1", f"{backup} --accept {suspect}")
    assert _backup(deployed, "db1")["newest_good"] == suspect and "suspect" not in deployed.plan("db1").stdout


def test_redis_that_is_down_is_told(deployed: Operator) -> None:
    deployed.read("redis1", "systemctl stop redis-server")
    down = _status(deployed, code=2)
    assert next(iter(down)) == "redis1" and down["redis1"]["redis"] == "DOWN", "the worst first"
    deployed.read("redis1", "systemctl start redis-server")
    assert _status(deployed)["redis1"]["redis"] == "up"


def test_the_table_fits_80_columns_with_every_database_and_restore_test(
    deployed: Operator, hosts: frozenset[str]
) -> None:
    deployed.environ["COLUMNS"] = "80"
    words = ("status", "--env", "sandbox", "--limit", ",".join(hosts))
    lines = deployed.run(sys.executable, "-m", "provision", *words).stdout.splitlines()
    table = lines[lines.index(next(line for line in lines if line.startswith("state "))) :]
    assert max(map(len, table[:7])) <= 80
    assert {"database", "age", "restore"} <= set(table[0].split())
    assert [line for line in table if " db1 " in line and " medaction " in line]


def test_report_of_the_hosts_is_one_page_and_the_next_tells_what_changed(deployed: Operator, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    deployed.deploy("redis1,db1")

    def made(code: int) -> str:
        words = ("report", "--env", "sandbox", "--limit", "redis1,db1", "--out", str(out))
        done = deployed.run(sys.executable, "-m", "provision", *words)
        assert done.returncode == code and f"{out}: 2 hosts: " in done.stdout, done.stdout
        return out.read_text()

    first = made(0)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600 and "This is the first one" in first
    newest = deployed.read("db1", "readlink /opt/medaction/backups/medaction_latest.sql.gz").strip().rpartition("/")[2]
    used = deployed.redis("redis1", "CONFIG GET maxclients").split()[-1]
    seen = [newest, f" of {used} (", "deploy"]
    assert [each for each in seen if each not in first] == [] and first.count("<svg ") == 3
    held = Path(deployed.checkout, ".secrets/sandbox.env").read_text().splitlines()
    assert [line.partition("=")[0] for line in held if line.partition("=")[2] in first] == []
    deployed.read("redis1", "systemctl stop redis-server")
    try:
        assert "redis1: CRITICAL, it was ok" in made(2)
    finally:
        deployed.read("redis1", "systemctl start redis-server")
