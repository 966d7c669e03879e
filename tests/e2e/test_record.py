"""The list on each host of what came from us, held against the host itself."""

from __future__ import annotations

import getpass
import json
import socket
from collections.abc import Iterator

import pytest

from provision.engine import environments, inventory
from provision.record.history import file_here
from provision.settings import SECRET_SETTINGS, secrets
from provision.settings.project import version
from tests.e2e.operator import Operator

LIST = "/var/lib/medaction-deploy/host.json"
HISTORY = "/var/lib/medaction-deploy/history.jsonl"
PLACES = "/etc /opt /usr/local /var/lib/medaction* /var/log/medaction*"
HOSTS = [member for member in inventory.Environment("sandbox").hosts if not member.name.startswith("win")]


def listed(operator: Operator, host: str) -> dict[str, list[str]]:
    return json.loads(operator.read(host, f"cat {LIST}"))


def lines(operator: Operator, host: str, command: str) -> set[str]:
    return set(operator.read(host, command).splitlines())


def state(operator: Operator, host: str) -> dict[str, set[str]]:
    """What there is on a host, by kind, asked of Debian's own tools."""
    return {
        "directories": lines(operator, host, f"find {PLACES} -type d 2>/dev/null || true"),
        "files": lines(operator, host, f"find {PLACES} -type f 2>/dev/null || true"),
        "users": lines(operator, host, "getent passwd | cut -d: -f1"),
        "packages": lines(operator, host, "apt-mark showmanual"),
    }


@pytest.mark.parametrize("host", [host.name for host in HOSTS])
def test_what_it_lists_is_there_and_what_bears_the_apps_name_is_listed(deployed: Operator, host: str) -> None:
    whole, there = listed(deployed, host), state(deployed, host)
    assert (whole["version"], whole["roles"]) == (version(), sorted(set(environments.ROLES) & set(_groups(host))))
    assert deployed.read(host, f"stat -c '%U:%G %a' {LIST}") == "root:root 644\n"
    assert {kind: set(whole[kind]) - there[kind] for kind in ("directories", "files", "users", "packages")} == {
        kind: set() for kind in there
    }
    bears = "find /etc /usr/local /var/lib /var/log -name 'medaction*' -prune -a -type f -o -name '60-medaction*'"
    assert lines(deployed, host, bears) <= set(whole["files"])
    assert set(whole["cron"]) == lines(deployed, host, "ls -d /etc/cron.d/medaction* 2>/dev/null || true")


@pytest.mark.parametrize("host", [host.name for host in HOSTS])
def test_it_holds_no_secret(deployed: Operator, host: str) -> None:
    text = deployed.read(host, f"cat {LIST}")
    for name in SECRET_SETTINGS:
        assert secrets.read(name, None, "sandbox").get_secret_value() not in text


def _groups(host: str) -> list[str]:
    return next(list(each.groups) for each in HOSTS if each.name == host)


@pytest.fixture
def bare_app2(operator: Operator) -> Iterator[Operator]:
    operator.bare("app2")
    yield operator
    operator.bare("app2")


def test_all_that_a_deploy_adds_to_a_bare_host_is_listed_also_after_a_failure_half_way(bare_app2: Operator) -> None:
    before = state(bare_app2, "app2")
    bare_app2.read("app2", "mkdir -p /opt/medaction/.env/in-the-way")
    assert bare_app2.command("deploy", "app2").returncode == 1
    bare_app2.read("app2", "rm -r /opt/medaction/.env")
    bare_app2.deploy("app2")
    after, whole = state(bare_app2, "app2"), listed(bare_app2, "app2")
    assert set(whole["packages"]) == after["packages"] - before["packages"]
    # `redis` is made by its package, and goes with it.
    assert set(whole["users"]) == after["users"] - before["users"] - {"redis"}
    new = {kind: {each for each in after[kind] - before[kind] if "medaction" in each} for kind in after}
    # The directory was there before the first deploy: a person's.
    assert set(whole["directories"]) == new["directories"] - {"/opt/medaction"}
    assert set(whole["files"]) == new["files"]
    assert bare_app2.on("app2", "ls /var/lib/medaction-deploy").stdout == "history.jsonl\nhost.json\n"
    assert bare_app2.plan("app2").returncode == 0


def test_what_was_there_before_is_not_ours(bare_app2: Operator) -> None:
    bare_app2.read("app2", "useradd medaction; apt-get -qq update; apt-get -qqy install redis-tools >/dev/null 2>&1")
    bare_app2.read("app2", "mkdir /opt/medaction; echo PORT=3000 >/opt/medaction/.env")
    bare_app2.deploy("app2")
    whole = listed(bare_app2, "app2")
    assert (whole["users"], whole["packages"]) == ([], [])
    assert "/opt/medaction" not in whole["directories"] and "/opt/medaction/.env" not in whole["files"]
    assert "/opt/medaction/lib/security/rate-limiter-redis.ts" in whole["files"]
    bare_app2.deploy("app2")
    assert listed(bare_app2, "app2") == whole


@pytest.mark.servers
def test_who_mended_what_is_told_on_the_host_and_here(deployed: Operator) -> None:
    def told() -> list[dict[str, object]]:
        return [json.loads(line) for line in deployed.read("app1", f"cat {HISTORY}").splitlines()]

    before = told()
    deployed.deploy("app1")
    assert told() == before, "nothing was changed"
    deployed.read("app1", "chmod 0666 /opt/medaction/lib/security/rate-limits.ts")
    deployed.deploy("app1")
    (entry,) = told()[len(before) :]
    assert (entry["what"], entry["result"], entry["host"]) == ("deploy", "ok", "app1")
    assert entry["changes"] == ["App | Lay out the app's directory and its rate limiters"]
    assert entry["who"] == f"{getpass.getuser()}@{socket.gethostname()}"
    assert json.loads(file_here("sandbox").read_text().splitlines()[-1]) == entry
    assert deployed.read("app1", f"stat -c '%U:%G %a' {HISTORY}") == "root:root 644\n"
