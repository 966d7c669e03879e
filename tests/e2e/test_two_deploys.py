"""Two deploys or recoveries do not meet on a host: the second says whose is at work; a killed one leaves nothing."""

from __future__ import annotations

import getpass
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from provision.record.history import file_here
from provision.settings.project import commit, version
from tests.e2e.operator import Operator
from tests.e2e.test_lost_hosts import HELD, await_held, ended, held
from tests.limiter.waiting import until

pytestmark = pytest.mark.servers


def test_the_second_says_who_is_at_work_and_since_when_and_a_kill_of_the_first_frees_it(deployed: Operator) -> None:
    deployed.read("db1", "rm -f /etc/cron.d/medaction-backup")
    with held(deployed, "dpkg-query"):
        first = deployed.start("deploy", "--limit", "app2")
        await_held()
        second = ended(deployed.start("deploy", "--limit", "app2,db1"), within=60)
        assert second.returncode == 1
        (line,) = [each for each in second.stdout.splitlines() if "is at work on it" in each]
        who = re.escape(f"{getpass.getuser()}@{socket.gethostname()} (process {first.pid})")
        when = r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \w+"
        assert re.search(rf"app2: {who} {when} is at work on it: wait until that has ended; no host was changed", line)
        assert deployed.on("db1", "test -e /etc/cron.d/medaction-backup").returncode != 0
        planned = ended(deployed.start("plan", "--limit", "db1"), within=60)
        assert planned.returncode == 2, "whoever only looks is not in the way"
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    began = time.monotonic()
    assert deployed.command("deploy", "app2,db1").returncode == 0
    assert time.monotonic() - began < 120


def test_on_windows_the_second_is_told_the_same_and_a_kill_of_the_first_leaves_nothing(win1: Operator) -> None:
    lock = "/srv/windows/C:/windows/provision-deploy.lock"
    first = win1.start("deploy", "--limit", "win1")
    until(lambda: win1.on("win1", f"test -s {lock}").returncode == 0, "the first holds the lock", 60)
    os.killpg(first.pid, signal.SIGSTOP)  # however long the second takes
    second = ended(win1.start("deploy", "--limit", "win1"), within=90)
    assert second.returncode == 1
    who = re.escape(f"win1: {getpass.getuser()}@{socket.gethostname()} (process {first.pid})")
    told = rf"{who} since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d \S+ is at work on it: wait until that has ended; no host was"
    assert re.search(told, second.stdout), second.stdout
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    until(lambda: win1.on("win1", f"test -e {lock}").returncode == 1, "the lock is gone with its holder", 30)


@pytest.fixture
def recovering(deployed: Operator) -> Iterator[subprocess.Popen[str]]:
    """A recovery of db1 that is about to make the place for its first file."""
    with held(deployed, "getent", "*' group '*", host="db1"):
        process = deployed.start("recover", "--host", "db1")
        await_held("db1")
        yield process


def test_a_deploy_and_a_second_recovery_keep_away_from_a_recovery(
    deployed: Operator, recovering: subprocess.Popen[str], tmp_path: Path
) -> None:
    before = told(deployed)
    us = f"db1: {getpass.getuser()}@{socket.gethostname()} (process {recovering.pid}) since"
    for again in (("deploy", "--limit", "db1"), ("recover", "--host", "db1")):
        done = ended(deployed.start(*again), within=60)
        assert done.returncode == 1 and us in done.stdout and "no host was changed" in done.stdout, done.stdout
    deployed.read("db1", f"rm -f /usr/local/bin/getent {HELD}; pkill -x sleep")
    done = ended(recovering, within=120)
    assert done.returncode == 0 and "proven, from vault1" in done.stdout, done.stdout
    deployed.read("db1", "timeout 10 flock /run/provision-deploy.lock true")
    (entry,) = told(deployed)[len(before) :]
    here = [json.loads(line) for line in file_here("sandbox").read_text().splitlines()]
    assert [line for line in here if line["host"] == "db1"][-1] == entry  # other tests deploy to docker1 meanwhile
    brought = re.findall(r"^db1: [^:]+: (\S+), proven, from vault1$", done.stdout, re.MULTILINE)
    assert_complete_and_shown(entry, brought, deployed, tmp_path / "report.html")


def told(operator: Operator) -> list[dict[str, object]]:
    """Who did what to db1, as it is kept there."""
    return [
        json.loads(line) for line in operator.read("db1", "cat /var/lib/medaction-deploy/history.jsonl").splitlines()
    ]


def assert_complete_and_shown(entry: dict[str, object], brought: list[str], operator: Operator, page: Path) -> None:
    age = datetime.now(UTC) - datetime.fromisoformat(str(entry.pop("time")))
    assert timedelta(0) <= age < timedelta(minutes=2)
    who = f"{getpass.getuser()}@{socket.gethostname()}"
    assert entry == {
        "who": who, "version": version(), "commit": commit(), "environment": "sandbox", "host": "db1",
        "what": "recover", "result": "ok", "changes": [f"{dump} from vault1" for dump in brought],
    }  # fmt: skip
    shown = operator.command("status", "db1").stdout
    assert re.search(rf"^last done: .* UTC, recover on db1 by {re.escape(who)}: ok$", shown, re.MULTILINE), shown
    operator._run(sys.executable, "-m", "provision", "report", "--env", "sandbox", "--limit", "db1", "--out", str(page))
    cells = "".join(f"<td[^>]*>{re.escape(each)}</td>\\s*" for each in ("recover", "db1", who, "ok"))
    assert re.search(cells, page.read_text())


def test_nobody_but_root_can_hold_the_lock_or_lead_it_elsewhere(deployed: Operator) -> None:
    deployed.deploy("app2")
    assert (
        deployed.read("app2", "stat -c '%U %a %F' /run/provision-deploy.lock").strip() == "root 600 regular empty file"
    )
    assert deployed.on("app2", "runuser -u medaction -- flock -n /run/provision-deploy.lock true").returncode != 0
    assert deployed.on("app2", "runuser -u medaction -- ln -sf /etc/passwd /run/provision-deploy.lock").returncode != 0
