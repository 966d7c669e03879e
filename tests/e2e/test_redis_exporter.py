"""redis_exporter on a real host: it tells what Redis says, to whom it should, and is nobody's way in; then it goes."""

from __future__ import annotations

import re
from hashlib import sha256

import pytest

from provision.engine.private import PrivateInput
from provision.redis.running import quoted
from provision.settings import secrets
from tests.e2e.operator import Operator
from tests.e2e.test_redis_modes import ADDRESS, edit

pytestmark = pytest.mark.servers

UNIT = "medaction-redis-exporter.service"
ASK = 'exec 3<>/dev/tcp/{}/9121 && printf "GET {} HTTP/1.0\\r\\n\\r\\n" >&3 && cat <&3'
WHAT_WE_LEFT = (
    "ls /etc/systemd/system/*redis-exporter* /etc/medaction-redis-exporter 2>/dev/null; ss -Hltn 'sport = :9121';"
    " dpkg-query -W -f '${db:Status-Status}\\n' prometheus-redis-exporter 2>/dev/null | grep -x installed;"
    " getent passwd medaction-exporter"
)


def told(operator: Operator, host: str, path: str = "/metrics") -> str:
    """What redis_exporter on redis1 tells somebody on a host, or why it tells nothing."""
    done = operator.on(host, f"timeout 10 bash -c '{ASK.format(ADDRESS['redis1'], path)}' 2>&1")
    return done.stdout


def value(page: str, name: str) -> float:
    found = re.search(rf"^{name}(?:{{[^}}]*}})? (\S+)$", page, re.MULTILINE)
    assert found, f"{name} in {page[-500:]}"
    return float(found[1])


@pytest.fixture
def exported(project_copy: Operator) -> Operator:
    """redis1 with redis_exporter, which app2 may ask as if it were Prometheus."""
    redis1, app2 = ADDRESS["redis1"], ADDRESS["app2"]
    given = f'"redis_exporter_bind": "{redis1}", "redis_exporter_allow_from": ["{app2}"]'
    edit(project_copy, "sandbox.py", '("redis1", {', f'("redis1", {{{given}, ')
    return project_copy


def test_prometheus_is_told_what_redis_says_and_the_exporter_is_nobodys_way_in(exported: Operator) -> None:
    operator = exported
    operator.deploy("redis1")
    assert operator.plan("redis1").returncode == 0

    page = told(operator, "app2")
    said = dict(line.split(":", 1) for line in operator.redis("redis1", "INFO").splitlines() if ":" in line)
    assert value(page, "redis_up") == 1
    assert value(page, "redis_memory_max_bytes") == float(said["maxmemory"]) > 0
    assert 0 <= float(said["uptime_in_seconds"]) - value(page, "redis_uptime_in_seconds") < 30
    assert value(page, "redis_memory_used_bytes") == pytest.approx(float(said["used_memory"]), rel=0.5)

    # Redis' own table lets app1 reach Redis; redis_exporter it may not ask, and db1 neither.
    assert "Connection refused" in told(operator, "app1") and "Connection refused" in told(operator, "db1")
    listening = operator.read("redis1", "ss -Hltn 'sport = :9121'").split()
    assert listening[3] == f"{ADDRESS['redis1']}:9121" and listening.count("LISTEN") == 1
    assert operator.read("redis1", "systemctl is-active prometheus-redis-exporter || true").strip() == "inactive"

    # Whoever gets hold of the exporter, or of its password, reads statistics and no counter.
    operator_password = secrets.read("redis_operator_password", None, "sandbox").get_secret_value()
    password = sha256(f"exporter {operator_password}".encode()).hexdigest()
    operator.redis("redis1", "SET medaction:login:198.51.100.7 5 EX 60", user="medaction")
    for question in ("GET medaction:login:198.51.100.7", "SCAN 0", "CONFIG GET *", "SLOWLOG GET", "CLIENT LIST"):
        lines = PrivateInput(f"AUTH exporter {quoted(password)}\n{question}\n")
        answer = operator.on("redis1", "redis-cli", lines).stdout
        assert answer.startswith("OK") and "NOPERM" in answer, question
    elsewhere = told(operator, "app2", "/scrape?target=redis://127.0.0.1:6379&check-keys=medaction*")
    assert "198.51.100.7" not in elsewhere and "redis_up 1" in elsewhere

    # The password is in no argument, environment, file that others read, or line of a log.
    pid = operator.read("redis1", f"systemctl show -P MainPID {UNIT}").strip()
    seen = operator.read(
        "redis1", f"cat /proc/{pid}/cmdline /proc/{pid}/environ; systemctl cat {UNIT}; journalctl -u {UNIT}"
    )
    assert password not in seen and "password-file" in seen
    assert operator.read("redis1", "stat -c '%U:%G %a' /etc/medaction-redis-exporter/*").strip() == (
        "root:medaction-exporter 640"
    )
    user = operator.read("redis1", f"stat -c %U /proc/{pid}").strip()
    assert user == "medaction-exporter"

    assert operator.status("redis1")["redis1"]["findings"] == []
    operator.read("redis1", f"systemctl stop {UNIT}")
    (finding,) = operator.status("redis1")["redis1"]["findings"]
    nothing = f"redis_exporter tells Prometheus nothing of Redis: nothing answers at {ADDRESS['redis1']}:9121"
    assert (finding["severity"], finding["what"]) == (1, nothing) and UNIT in finding["do"]
    planned = operator.plan("redis1")
    assert planned.returncode == 2 and "1 change(s) pending" in planned.stdout, planned.stdout

    # Turned off it goes with the next deploy, and Redis' user with it; the system user when that is asked for.
    turned_off = Operator()
    planned = turned_off.plan("redis1")
    assert "Remove redis_exporter, which is not wanted any more" in planned.stdout
    turned_off.deploy("redis1")
    assert "Connection refused" in told(turned_off, "app2")
    assert "user exporter" not in turned_off.redis("redis1", "ACL LIST")
    done = turned_off.run("make", "remove", "ROLE=unused", "LIMIT=redis1", timeout=120)
    assert done.returncode == 0 and turned_off.on("redis1", WHAT_WE_LEFT).stdout == "", done.stdout
