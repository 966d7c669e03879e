"""Whose key a host has: accepted unseen and said, pinned, and refused in a sentence when it is another."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.operator import Done, Operator
from tests.sandbox import docker

pytestmark = pytest.mark.servers

APP2 = "medaction-sandbox-app2"
KEYS = "/etc/ssh/ssh_host_*_key"


@pytest.fixture
def stranger(project_copy: Operator) -> Operator:
    """Somebody who has not seen any of the hosts."""
    group_data = project_copy.checkout / "inventories/group_data/sandbox.py"
    group_data.write_text(group_data.read_text() + '\nssh_known_hosts_file = "inventories/known_hosts/sandbox"\n')
    return project_copy


@pytest.fixture
def other_key(stranger: Operator) -> Iterator[str]:
    """app2 as if it had been made anew: its fingerprint. Its old keys come back."""
    docker.run("exec", APP2, "sh", "-c", "mkdir -p /root/away && cp -p /etc/ssh/ssh_host_* /root/away")
    docker.run("exec", APP2, "sh", "-c", f"rm -f {KEYS}* && ssh-keygen -A >/dev/null && systemctl restart ssh")
    try:
        yield fingerprint(APP2)
    finally:
        docker.run("exec", APP2, "sh", "-c", f"rm -f {KEYS}* && cp -p /root/away/* /etc/ssh && systemctl restart ssh")


def fingerprint(container: str) -> str:
    """As the host's own console says it."""
    return docker.run("exec", container, "ssh-keygen", "-lf", "/etc/ssh/ssh_host_ed25519_key.pub").split()[1]


def known(operator: Operator) -> Path:
    return operator.checkout / "inventories/known_hosts/sandbox"


def provision(operator: Operator, command: str, limit: str) -> Done:
    return operator.run(sys.executable, "-m", "provision", command, "--env", "sandbox", "--limit", limit)


def test_what_is_accepted_unseen_is_said_once_and_kept(stranger: Operator) -> None:
    done = provision(stranger, "plan", "app1,app2")
    told = [line for line in done.stdout.splitlines() if "accepted unseen" in line]
    assert len(told) == 2 and fingerprint(APP2) in done.stdout and "`make known-hosts` with this ENV" in told[0]
    assert known(stranger).read_text().count("\n") == 2
    assert "accepted" not in provision(stranger, "plan", "app1,app2").stdout


def test_pinned_keys_admit_those_hosts_and_nobody_else(stranger: Operator) -> None:
    done = provision(stranger, "known-hosts", "app2")
    assert done.returncode == 0 and f"app2: {fingerprint(APP2)} (ssh-ed25519), new" in done.stdout, done.stdout
    assert provision(stranger, "plan", "app2").returncode == 0
    assert provision(stranger, "verify", "app2").returncode == 0
    refused = provision(stranger, "plan", "app1,app2")
    assert refused.returncode == 1
    (line,) = [each for each in refused.stdout.splitlines() if "which is not among those pinned in" in each]
    assert line.strip().startswith("[app1]") and "`make known-hosts`" in line


def test_a_changed_key_is_one_sentence_and_is_taken_in_when_wanted(stranger: Operator, other_key: str) -> None:
    old = docker.run("exec", APP2, "ssh-keygen", "-lf", "/root/away/ssh_host_ed25519_key.pub").split()[1]
    key = docker.run("exec", APP2, "cat", "/root/away/ssh_host_ed25519_key.pub").split()
    known(stranger).parent.mkdir()
    known(stranger).write_text(f"10.213.86.12 {' '.join(key[:2])}\n")
    for command in ("plan", "deploy"):
        refused = provision(stranger, command, "app2")
        assert refused.returncode == 1 and "Traceback" not in refused.stdout
        (line,) = [each for each in refused.stdout.splitlines() if "host key is" in each]
        assert other_key in line and old in line and "somebody answers in its place, or it was made anew" in line
        assert "`make known-hosts`" in line
    taken = provision(stranger, "known-hosts", "app2")
    assert f"app2: {other_key} (ssh-ed25519), CHANGED" in taken.stdout
    assert provision(stranger, "plan", "app2").returncode == 0
