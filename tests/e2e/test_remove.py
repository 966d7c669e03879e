"""A host with every role, of which one after the other is taken away: it is what it was, but for what was told."""

from __future__ import annotations

import itertools
import json
import random
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.operator import Done, Operator

pytestmark = pytest.mark.servers

HOST = "app2"
ROLES = ("redis", "app", "backup")
ORDERS = list(itertools.permutations(ROLES))
DEPLOYS = "/var/lib/medaction-deploy"
BACKUPS = "/opt/medaction/backups"
INVENTORY = """app = [
    (
        "app2",
        {
            "sandbox_release": "trixie", "sandbox_address": "10.213.86.12", "sandbox_profile": "bare",
            "redis_host": "10.213.86.12", "backup_metrics_dir": "/srv/metrics",
        },
    ),
]
redis = backup = app
"""
# What Debian keeps of packages that were removed, as the removal says: their own configuration, users, directories.
OF_PACKAGES = re.compile(
    r"/var/lib/(postgresql|redis|apt|dpkg|systemd|ucf|private|pam)\b|/var/log/(postgresql|redis|apt|journal)\b"
    r"|/var/(log|lib)/[^/]*$|/etc/(locale.gen|locale.alias|init.d/postgresql|apt/apt.conf.d/02autoremove-postgresql)$"
    r"|/etc/(postgresql|postgresql-common|redis|ssl|rc.\.d|alternatives|logcheck|perl)\b"
    r"|/etc/systemd/system/(multi-user|sysinit).target.wants\b"
)


@dataclass
class State:
    """What there is on a host, asked of its own tools."""

    files: dict[str, str]
    users: set[str]
    units: set[str]
    ports: set[str]
    packages: set[str]
    tables: set[str]
    automatic: set[str]  # packages that nobody asked for
    configuration: set[str]  # of packages that were removed


def state(operator: Operator) -> State:
    def lines(command: str) -> set[str]:
        return set(operator.read(HOST, command).splitlines())

    places = "/etc /opt /usr/local /srv /root /home /var/lib /var/log /var/spool"
    sums = operator.read(HOST, f"find {places} -xdev -type f -exec sha256sum {{}} +").splitlines()
    others = operator.read(HOST, f"find {places} -xdev ! -type f").splitlines()
    return State(
        files=dict.fromkeys(others, "") | {line[66:]: line[:64] for line in sums},
        users=lines("getent passwd | cut -d: -f1; getent group | cut -d: -f1"),
        units=lines("systemctl list-unit-files --no-legend --no-pager | awk '{print $1, $2}'"),
        ports=lines("ss -Hltn | awk '{print $4}'"),
        packages=lines("dpkg-query -W -f '${Package} ${db:Status-Status}\\n' | grep ' installed$'"),
        tables=lines("command -v nft >/dev/null && nft list tables || true"),
        automatic=lines("apt-mark showauto"),
        configuration=lines(
            "dpkg-query -W -f '${db:Status-Status}${Conffiles}\\n' | awk '/^config-files/ {of=1; print $2; next}"
            " /^[a-z]/ {of=0} of && $1 {print $1}'"
        ),
    )  # fmt: skip


def remove(operator: Operator, role: str, *words: str) -> str:
    done = removing(operator, role, *words)
    assert done.returncode == 0, done.stdout
    return done.stdout


def removing(operator: Operator, role: str, *words: str) -> Done:
    return operator.run(sys.executable, "-m", "provision", "remove", "--limit", HOST, "--role", role, *words)


def assert_as_before(before: State, after: State, said: str) -> None:
    assert before.files.keys() <= after.files.keys(), "nothing of anybody else's is gone"
    told = [*re.findall(rf"^{HOST}: (/\S+): stays", said, re.MULTILINE), DEPLOYS]
    below = tuple(f"{path}/" for path in told)
    new = {path for path in after.files.keys() - before.files.keys() if path not in told and not path.startswith(below)}
    assert {path for path in new - after.configuration if not OF_PACKAGES.match(path)} == set()
    assert not {path for path in new if "medaction" in path}
    accounts = r"/etc/(passwd|group|shadow|gshadow|subuid|subgid|ld.so.cache|mailcap)-?$|/var/"
    changed = {path for path in before.files if before.files[path] != after.files[path]}
    assert {path for path in changed if not re.match(accounts, path)} == set()
    stay = set(re.findall(rf"^{HOST}: the (?:user|group) (\S+) stays", said, re.MULTILINE))
    assert after.users - before.users <= stay | {"redis", "postgres", "ssl-cert"}
    new_packages = {each.removesuffix(" installed") for each in after.packages - before.packages}
    # What others recommend stays, as it says.
    assert new_packages - _told_packages(said) - after.automatic == set()
    assert not {each for each in after.units - before.units if "medaction" in each or each.startswith("redis")}
    assert (after.ports, after.tables) == (before.ports, before.tables)


def _told_packages(said: str) -> set[str]:
    told = re.findall(rf"^{HOST}: (.*): stay, others may use these packages", said, re.MULTILINE)
    single = re.findall(rf"^{HOST}: the package (\S+) stays", said, re.MULTILINE)
    return {name for names in told for name in names.split(", ")} | set(single)


@pytest.fixture
def every_role(project_copy: Operator) -> Iterator[tuple[Operator, State]]:
    """A checkout whose one host has all roles, and that host's state before: nothing was ever deployed to it."""
    project_copy.bare(HOST)
    project_copy.read(HOST, "install -d /srv/metrics")
    (project_copy.checkout / "inventories/sandbox.py").write_text(INVENTORY)
    before = state(project_copy)
    yield project_copy, before
    project_copy.bare(HOST)


def in_order(operator: Operator, before: State, order: tuple[str, ...]) -> None:
    operator.deploy()
    said = "".join(remove(operator, role) for role in order)
    after = state(operator)
    assert_as_before(before, after, said)
    assert {f"{BACKUPS}/", "/opt/medaction/.env"} <= {
        f"{path}/" if path == BACKUPS else path for path in after.files
    }, "data stays"
    assert f"{BACKUPS}: stays, it is data" in said
    for role in ROLES:
        assert f"{HOST}: nothing to remove of {role}" in remove(operator, role)


def test_roles_taken_away_leave_the_host_as_it_was(every_role: tuple[Operator, State], chance: random.Random):
    operator, before = every_role
    order = chance.choice(ORDERS)
    in_order(operator, before, order)
    # Twice told, the data goes too.
    refused = removing(operator, "backup", "--data", "delete")
    assert refused.returncode == 1 and f"say so twice, with HOST={HOST}" in refused.stdout
    again = [role for role in order if "stays" in remove(operator, role, "--data", "delete", "--host", HOST)]
    for role in again:  # what waited for another role's data
        remove(operator, role, "--data", "delete", "--host", HOST)
    after = state(operator)
    assert {path for path in after.files if "medaction" in path and not path.startswith(DEPLOYS)} == set()
    assert after.users - before.users <= {"postgres", "ssl-cert"}
    lines = [json.loads(line) for line in operator.read(HOST, f"cat {DEPLOYS}/history.jsonl").splitlines()]
    assert [line["what"].split()[1] for line in lines if line["what"].startswith("remove")][:3] == list(order)


@pytest.mark.prove
@pytest.mark.parametrize("order", ORDERS, ids=",".join)
def test_roles_taken_away_in_any_order_and_given_again(
    every_role: tuple[Operator, State], order: tuple[str, ...], proved: Callable[[str], None]
):
    operator, before = every_role
    in_order(operator, before, order)
    operator.deploy()
    assert operator.plan().returncode == 0
    proved(f"{', '.join(order)}: taken away in this order, the host as before, given again, nothing to do")


@pytest.mark.prove
def test_vault_is_taken_away_keeps_what_it_stored_and_is_given_again(
    deployed: Operator, proved: Callable[[str], None]
) -> None:
    stored = "cd /var/lib/medaction/vault/store && find . -type f -exec sha256sum {} + | sort"
    before, keys = deployed.read("vault1", stored), deployed.read("vault1", "sha256sum /etc/medaction-vault/*")
    assert ".age" in before
    words = ("remove", "--env", "sandbox", "--limit", "vault1", "--role", "vault")
    removed = deployed.run(sys.executable, "-m", "provision", *words)
    assert removed.returncode == 0 and "/var/lib/medaction/vault: stays, it is data" in removed.stdout, removed.stdout
    assert "medaction" not in deployed.read("vault1", "systemctl list-units --all --no-legend 'medaction*'")
    deployed.deploy("db1,vault1")
    assert deployed.plan("db1,vault1").returncode == 0
    assert set(before.splitlines()) <= set(deployed.read("vault1", stored).splitlines())
    assert deployed.read("vault1", "sha256sum /etc/medaction-vault/*") == keys
    deployed.read("vault1", "/usr/local/lib/medaction/vault.sh --check")
    proved("a vault's role taken away and given again: its keys and copies as before, nothing to do")
