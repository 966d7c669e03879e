"""A deploy that is cut off, wherever that happens: the next one completes it, pending restarts included."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable

import pytest

from tests.e2e.operator import Operator
from tests.sandbox import docker

pytestmark = pytest.mark.servers

Cut = Callable[[Operator, "subprocess.Popen[str]", str], None]


def killed(operator: Operator, deploy: subprocess.Popen[str], host: str) -> None:
    deploy.kill()


def interrupted(operator: Operator, deploy: subprocess.Popen[str], host: str) -> None:
    deploy.send_signal(signal.SIGINT)


def disconnected(operator: Operator, deploy: subprocess.Popen[str], host: str) -> None:
    # The session's sshd dies; from outside, because our own ssh would die with it.
    docker.run("exec", f"medaction-sandbox-{host}", "pkill", "-KILL", "-f", "sshd.*: root@notty")


# At which step, on which host, how; and a process that must be at work there first, where timing matters: a
# connection is cut where the step lasts, because the cut itself takes a moment.
CASES = [
    ("redis1", "Install Redis", killed, "dpkg"),
    ("redis1", "Install Redis", disconnected, "dpkg"),
    ("redis1", "Try the new configuration", killed, "redis-server"),
    ("redis1", "Write Redis' configuration", interrupted, ""),
    ("redis1", "Run Redis", killed, ""),
    ("redis1", "Bring the running Redis", killed, ""),
    ("app1", "Create the user", interrupted, ""),
    ("app1", "Lay out the app's directory", killed, ""),
    ("app1", "Set the app's variables", killed, ""),
]


@pytest.mark.parametrize(("host", "step", "cut", "busy"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_next_deploy_completes_it(operator: Operator, host: str, step: str, cut: Cut, busy: str) -> None:
    operator.bare(host)
    code, output = _deploy_until(operator, host, step, cut, busy)
    assert code != 0, output
    if cut is interrupted:
        assert "run the same command again" in output
    operator.deploy(host)  # it verifies too
    assert operator.plan(host).returncode == 0


def test_restart_left_undone_is_done_by_the_next_deploy(deployed: Operator) -> None:
    """The configuration was written, and the deploy died before Redis heard of it."""
    deployed.read("redis1", "sed -i 's/^tcp-backlog 511/tcp-backlog 128/' /etc/redis/redis.conf")
    deployed.read("redis1", "systemctl restart redis-server")
    deployed.read("redis1", "sed -i 's/^tcp-backlog 128/tcp-backlog 511/' /etc/redis/redis.conf")
    planned = deployed.plan("redis1")
    assert planned.returncode == 2 and "Redis runs with tcp-backlog '128', should with '511'" in planned.stdout
    deployed.deploy("redis1")
    assert "tcp-backlog\n511" in deployed.redis("redis1", "CONFIG GET tcp-backlog")


def test_counters_survive_the_restart_that_a_change_needs(deployed: Operator) -> None:
    assert deployed.redis("redis1", "SET medaction:e2e 4 EX 600", user="medaction") == "OK\nOK\n"
    deployed.read("redis1", "sed -i 's/^tcp-backlog 511/tcp-backlog 128/' /etc/redis/redis.conf")
    deployed.read("redis1", "systemctl restart redis-server")
    deployed.deploy("redis1")
    assert deployed.redis("redis1", "GET medaction:e2e", user="medaction") == "OK\n4\n"


def _deploy_until(operator: Operator, host: str, step: str, cut: Cut, busy: str) -> tuple[int, str]:
    """Deploy to one host and cut the deploy off as it begins a step; return its exit code and output."""
    deploy = operator.start("deploy", "--limit", host)
    assert deploy.stdout is not None
    output = []
    for line in deploy.stdout:
        output.append(line)
        if "Starting operation" in line and step in line:
            if busy:
                at_work = f"for _ in $(seq 600); do pgrep -x {busy} >/dev/null && exit 0; sleep 0.05; done; exit 1"
                docker.run("exec", f"medaction-sandbox-{host}", "sh", "-c", at_work)
            cut(operator, deploy, host)
            break
    rest, _ = deploy.communicate(timeout=180)
    output.append(rest)
    return deploy.returncode, "".join(output)
