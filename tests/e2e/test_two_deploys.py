"""Two deploys do not meet on a host: the second says whose is at work, and a killed one leaves nothing behind."""

from __future__ import annotations

import getpass
import os
import re
import signal
import socket
import time

import pytest

from tests.e2e.operator import Operator
from tests.e2e.test_lost_hosts import await_held, ended, held

pytestmark = pytest.mark.servers


def test_the_second_says_who_is_at_work_and_since_when_and_a_kill_of_the_first_frees_it(deployed: Operator) -> None:
    deployed.read("db1", "rm -f /etc/cron.d/medaction-backup")
    with held(deployed, "dpkg-query"):
        first = deployed.start("deploy", "--limit", "app2")
        await_held()
        second = ended(deployed.start("deploy", "--limit", "app2,db1"), within=60)
        assert second.returncode == 1
        (line,) = [each for each in second.stdout.splitlines() if "is deploying to it" in each]
        who = re.escape(f"{getpass.getuser()}@{socket.gethostname()} (process {first.pid})")
        when = r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \w+"
        assert re.search(
            rf"app2: {who} {when} is deploying to it: wait until that has ended; no host was changed", line
        )
        assert deployed.on("db1", "test -e /etc/cron.d/medaction-backup").returncode != 0
        planned = ended(deployed.start("plan", "--limit", "db1"), within=60)
        assert planned.returncode == 2, "whoever only looks is not in the way"
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    began = time.monotonic()
    assert deployed.command("deploy", "app2,db1").returncode == 0
    assert time.monotonic() - began < 120


def test_nobody_but_root_can_hold_the_lock_or_lead_it_elsewhere(deployed: Operator) -> None:
    deployed.deploy("app2")
    assert (
        deployed.read("app2", "stat -c '%U %a %F' /run/provision-deploy.lock").strip() == "root 600 regular empty file"
    )
    assert deployed.on("app2", "runuser -u medaction -- flock -n /run/provision-deploy.lock true").returncode != 0
    assert deployed.on("app2", "runuser -u medaction -- ln -sf /etc/passwd /run/provision-deploy.lock").returncode != 0
