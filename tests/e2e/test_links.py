"""Root follows no link that somebody else has left, and nothing of anybody's changes hands by a deploy."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.operator import Operator

pytestmark = pytest.mark.servers

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
    undo: str = ""


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
        "cd /opt/medaction/backups; rm weekly; mv kept weekly",
    ),
    # As an app leaves them that owned its directory before the host got the role `backup`.
    "scripts and dumps elsewhere": Trap(
        "db1", "root", "cd /opt/medaction; for each in scripts backups; do mv $each kept-$each; ln -s /srv $each;"
        " chown -h games $each; done", "/opt/medaction/scripts", "is a link of games's to /srv",
        "cd /opt/medaction; for each in scripts backups; do rm $each; mv kept-$each $each; done",
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
    house.read(trap.host, trap.undo or f"rm {trap.path}")
    house.deploy(trap.host)
    assert house.plan(trap.host).returncode == 0


def test_a_house_that_the_app_owned_is_taken_over_with_what_is_in_it(house: Operator) -> None:
    as_user(house, "app1", "medaction", "cd /opt/medaction; mkdir lib; echo mine > lib/mine.ts; echo A=1 > .env")
    house.deploy("app1")
    assert house.read("app1", "cat /opt/medaction/lib/mine.ts") == "mine\n"
    assert house.read("app1", "grep -c ^A=1 /opt/medaction/.env") == "1\n"
    assert house.read("app1", "stat -c %U:%a /opt/medaction /opt/medaction/.env").split() == ["root:1775", "root:640"]


@dataclass(frozen=True)
class Ground:
    """Directories of a user's in which a deploy has to do, and names of ours that somebody may have taken there."""

    host: str
    user: str
    directories: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def prepared(self) -> str:
        made = f"install -d -m 0750 -o {self.user} -g {self.user}"
        return "; ".join(f"rm -rf {each}; {made} {each}" for each in self.directories)

    def tree(self, grow: random.Random) -> str:
        """A shell script of the user's that grows links, files, directories and modes there."""
        ends = ["/etc", "/etc/shadow", "/root", "/etc/cron.d", "/opt/kept", "/opt/kept/file", "/nowhere", "../..", "."]
        lines = []
        for below in self.directories:
            lines.append(f"cd {below}")
            directory = ""
            for _ in range(12 // len(self.directories)):
                path = directory + grow.choice(self.names)
                kind = grow.choice(["link", "link", "file", "directory"])
                if kind == "link":
                    lines.append(f"ln -s {grow.choice(ends)} {path}")
                elif kind == "file":
                    lines.append(f"echo mine > {path}; chmod {grow.choice(['600', '666', '755'])} {path}")
                else:
                    lines.append(f"mkdir {path}; chmod {grow.choice(['700', '755', '777'])} {path}")
                    directory = grow.choice(["", f"{path}/"])
        return "; ".join(f"{line} 2>/dev/null || true" for line in lines)

    def others(self, grow: random.Random) -> str:
        """A shell script of root's: some of it is somebody else's."""
        found = f"find {' '.join(self.directories)} -mindepth 1 | sort | sed -n {grow.randint(1, 12)}p"
        return f"{found} | xargs -r chown -h games:games"


APPS = Ground(
    "app1", "medaction", ("/opt/medaction",),
    ("lib", ".env", "scripts", "backups", "weekly", "security", ".env.previous", "compose.yaml", "x"),
)  # fmt: skip
BACKUPS = Ground(
    "db1", "medaction-backup", ("/opt/medaction/backups", "/var/log/medaction", "/var/lib/medaction-backup"),
    ("weekly", "monthly", ".lock", ".restore-test-lock", "medaction_latest.sql.gz",
     "medaction_2026-01-01_02-00-00.sql.gz",
     "backup.log", "backup-weekly.log", "restore-test.log", "status.json", "restore-test.json", "x"),
)  # fmt: skip


@pytest.fixture
def kept(deployed: Operator) -> Iterator[Operator]:
    """What lies in these directories is there again afterwards."""
    for ground in (APPS, BACKUPS):
        deployed.read(ground.host, "rm -rf /opt/kept; mkdir /opt/kept; echo kept > /opt/kept/file")
        for number, path in enumerate(ground.directories):
            deployed.read(ground.host, f"mv {path} /opt/away-{number}")
    yield deployed
    for ground in (APPS, BACKUPS):
        for number, path in enumerate(ground.directories):
            deployed.read(ground.host, f"rm -rf /opt/kept {path}; mv /opt/away-{number} {path}")


def refused_all_or_took_all(operator: Operator, ground: Ground, seed: int) -> bool:
    """One tree and one deploy: whether it went through."""
    grow = random.Random(seed)
    operator.read(ground.host, ground.prepared)
    as_user(operator, ground.host, ground.user, ground.tree(grow))
    if grow.random() < 0.3:
        operator.read(ground.host, ground.others(grow))
    before = operator.read(ground.host, EVERYTHING)
    done = operator.command("deploy", ground.host)
    assert operator.read(ground.host, EVERYTHING) == before, f"seed {seed}"
    assert "Traceback" not in done.stdout, f"seed {seed}: {done.stdout}"
    # A sentence names what is in the way.
    assert done.returncode == 0 or any(path in done.stdout for path in ground.directories), (
        f"seed {seed}: {done.stdout}"
    )
    return done.returncode == 0


@pytest.mark.parametrize("trees", [pytest.param(3, id="three"), pytest.param(50, id="many", marks=pytest.mark.prove)])
def test_random_trees_of_the_apps_and_the_backup_users_change_nothing_outside_our_list(
    kept: Operator, trees: int, chance: random.Random, proved: Callable[[str], None]
) -> None:
    first = chance.randrange(10**6)
    taken = [
        refused_all_or_took_all(kept, BACKUPS if number % 3 == 2 else APPS, first + number) for number in range(trees)
    ]
    proved(
        f"{trees} random trees of links, files, owners and modes: {sum(taken)} taken over, {len(taken) - sum(taken)}"
        " refused by a step or a check that names the path; no file outside our list changed owner, mode or content"
    )
