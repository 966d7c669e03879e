"""From bare servers to a verified fleet, once and again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from provision.engine import inventory
from tests.e2e.operator import Done, Operator


@pytest.fixture(scope="module")
def members() -> dict[str, inventory.Member]:
    return {member.name: member for member in inventory.read("sandbox")}


def test_bare_hosts_become_verified_ones(first_deploy: Done, members: dict[str, inventory.Member]) -> None:
    assert first_deploy.returncode == 0, first_deploy.stdout
    summary = first_deploy.stdout.rpartition("host ")[2]
    verified = [line.split()[0] for line in summary.splitlines() if " yes (" in line]
    assert sorted(verified) == sorted(members), first_deploy.stdout


def test_plan_then_says_there_is_nothing_to_do(deployed: Operator, members: dict[str, inventory.Member]) -> None:
    done = deployed.run("make", "-s", "plan")
    assert (done.returncode, done.stdout) == (0, f"sandbox: nothing to do on {len(members)} host(s)\n")


def test_second_deploy_changes_no_file_on_any_host(deployed: Operator, members: dict[str, inventory.Member]) -> None:
    def state(host: str) -> str:
        # Every file below what we manage, with content, owner, mode and the time of its last change.
        return deployed.read(
            host,
            "find /etc /opt /var/lib/dpkg/status /usr/local -xdev -type f ! -name '.pwd.lock'"
            " -printf '%p %u %g %m %C@\\n' | sort; systemctl show redis-server cron -p ExecMainStartTimestamp",
        )

    hosts = [name for name, member in members.items() if not member.is_windows]
    before = {host: state(host) for host in hosts}
    done = deployed.deploy()
    assert f"nothing to change on {len(members)} host(s)" in done.stdout
    assert {host: state(host) for host in hosts} == before


def test_deploy_works_for_an_administrator_with_sudo(project_copy: Operator) -> None:
    group_data = project_copy.checkout / "inventories/group_data/sandbox.py"
    group_data.write_text(group_data.read_text() + '\nssh_user = "admin"\n_sudo = True\n')
    assert "nothing to change" in project_copy.deploy().stdout
    project_copy.on("app1", "sed -i 's/^REDIS_URL=.*/REDIS_URL=/' /opt/medaction/.env")
    project_copy.on("db1", "rm /etc/cron.d/medaction-backup")
    said = project_copy.deploy("app1,db1").stdout
    assert "2 change(s)" in said and "was not written" not in said


@pytest.fixture
def bare_app2(operator: Operator) -> Iterator[Operator]:
    operator.bare("app2")
    yield operator
    operator.bare("app2")


@pytest.mark.servers
@pytest.mark.parametrize(
    "made", ["groupadd medaction", "useradd --gid users --shell /bin/bash medaction"], ids=["group", "user"]
)
def test_user_or_group_that_was_there_before_stays_and_serves(bare_app2: Operator, made: str) -> None:
    operator = bare_app2
    operator.read("app2", made)
    before = operator.read("app2", "getent passwd medaction; true")
    operator.deploy("app2")  # its verification reads .env as that user
    assert operator.read("app2", "getent passwd medaction").startswith(before)
    assert operator.plan("app2").returncode == 0
