"""Root follows no link that somebody else has left, and nothing of anybody's changes hands by a deploy."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from tests.e2e.operator import Operator

EVERYTHING = (
    "find /etc /home /root /srv /var/spool /usr/local /opt/kept -xdev ! -path '/etc/medaction*' ! -path '*/.ssh/*'"
    " ! -path '/etc/.*' ! -path '/usr/local/lib/medaction*' -printf '%p %u %g %m %s %T@ %l\\n' 2>/dev/null | sort"
)


@dataclass(frozen=True)
class Trap:
    """What somebody does on a host as this user, what the deploy says of it, and how it is taken away."""

    host: str
    user: str
    shell: str
    path: str
    said: str


TRAPS = {
    "a log to shadow": Trap(
        "db1", "medaction-backup", "cd /var/log/medaction; rm -f restore-test.log; ln -s /etc/shadow restore-test.log",
        "/var/log/medaction/restore-test.log", "is a link of medaction-backup's to /etc/shadow",
    ),
    "a log to a new file": Trap(
        "db1", "medaction-backup", "cd /var/log/medaction; rm -f backup.log; ln -s /etc/cron.d/planted backup.log",
        "/var/log/medaction/backup.log", "is a link of medaction-backup's to /etc/cron.d/planted",
    ),
    "weekly to cron.d": Trap(
        "db1", "medaction-backup", "cd /opt/medaction/backups; mv weekly kept; ln -s /etc/cron.d weekly",
        "/opt/medaction/backups/weekly", "is a link of medaction-backup's to /etc/cron.d",
    ),
    "env to shadow": Trap(
        "app1", "medaction", "cd /opt/medaction; ln -s /etc/shadow .env",
        "/opt/medaction/.env", "is a link of medaction's to /etc/shadow",
    ),
    "lib to etc": Trap(
        "app1", "medaction", "cd /opt/medaction; ln -s /etc lib",
        "/opt/medaction/lib", "is a link of medaction's to /etc",
    ),
    "security to root's home": Trap(
        "app1", "medaction", "cd /opt/medaction; mkdir -p lib; ln -s /root lib/security",
        "/opt/medaction/lib/security", "is a link of medaction's to /root",
    ),
}  # fmt: skip


def as_user(operator: Operator, host: str, user: str, shell: str) -> None:
    operator.read(host, f"setpriv --reuid {user} --regid {user} --init-groups sh -c '{shell}'")


@pytest.fixture
def house(deployed: Operator) -> Operator:
    """On app1 the app owns its directory, as before a first deploy, and has nothing in it."""
    deployed.read("app1", "rm -rf /opt/medaction && install -d -o medaction -g medaction /opt/medaction")
    return deployed


@pytest.mark.parametrize("trap", TRAPS.values(), ids=TRAPS.keys())
def test_a_link_in_the_way_is_refused_by_plan_and_deploy_and_nothing_changes_hands(house: Operator, trap: Trap) -> None:
    as_user(house, trap.host, trap.user, trap.shell)
    before = house.read(trap.host, EVERYTHING)
    planned = house.plan(trap.host)
    assert planned.returncode == 2 and trap.said in planned.stdout, planned.stdout
    done = house.command("deploy", trap.host)
    assert done.returncode == 1 and f"{trap.path}: {trap.said}" in " ".join(done.stdout.split()), done.stdout
    assert house.read(trap.host, EVERYTHING) == before
    house.read(trap.host, f"rm {trap.path}; cd /opt/medaction/backups 2>/dev/null && mv kept weekly 2>/dev/null; true")
    house.deploy(trap.host)
    assert house.plan(trap.host).returncode == 0


def test_a_house_that_the_app_owned_is_taken_over_with_what_is_in_it(house: Operator) -> None:
    as_user(house, "app1", "medaction", "cd /opt/medaction; mkdir lib; echo mine > lib/mine.ts; echo A=1 > .env")
    house.deploy("app1")
    assert house.read("app1", "cat /opt/medaction/lib/mine.ts") == "mine\n"
    assert house.read("app1", "grep -c ^A=1 /opt/medaction/.env") == "1\n"
    assert house.read("app1", "stat -c %U:%a /opt/medaction /opt/medaction/.env").split() == ["root:1775", "root:640"]


def tree(seed: int, below: str) -> str:
    """A shell script that grows a random tree of links, files and modes there."""
    grow = random.Random(seed)
    names = ["lib", ".env", "scripts", "backups", "weekly", "security", ".env.previous", "compose.yaml", "x"]
    ends = ["/etc", "/etc/shadow", "/root", "/etc/cron.d", "/opt/kept", "/opt/kept/file", "/nowhere", "../..", "."]
    lines, directory = [f"cd {below}"], ""
    for _ in range(12):
        path = directory + grow.choice(names)
        kind = grow.choice(["link", "link", "file", "directory"])
        if kind == "link":
            lines.append(f"ln -s {grow.choice(ends)} {path}")
        elif kind == "file":
            lines.append(f"echo {seed} > {path}; chmod {grow.choice(['600', '666', '755'])} {path}")
        else:
            lines.append(f"mkdir {path}")
            directory = grow.choice(["", f"{path}/"])
    return "; ".join(f"{line} 2>/dev/null || true" for line in lines)


def grown_trees(operator: Operator, seeds: range) -> None:
    for seed in seeds:
        operator.read("app1", "rm -rf /opt/medaction /opt/kept && install -d -o medaction -g medaction /opt/medaction"
                      " && mkdir /opt/kept && echo kept > /opt/kept/file")  # fmt: skip
        as_user(operator, "app1", "medaction", tree(seed, "/opt/medaction"))
        before = operator.read("app1", EVERYTHING)
        operator.command("deploy", "app1")
        assert operator.read("app1", EVERYTHING) == before, f"seed {seed}"
    operator.read("app1", "rm -rf /opt/medaction /opt/kept")


def test_random_trees_of_the_apps_change_nothing_outside_our_list(deployed: Operator) -> None:
    grown_trees(deployed, range(3))


@pytest.mark.prove
def test_many_random_trees_of_the_apps_change_nothing_outside_our_list(deployed: Operator) -> None:
    grown_trees(deployed, range(100, 150))
