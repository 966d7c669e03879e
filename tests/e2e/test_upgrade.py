"""Hosts that version 1.0.0 deployed are taken over by this one: changed once, and nothing on them is lost."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from provision.app.layout import limiters
from provision.engine import inventory
from provision.engine.private import PrivateInput
from provision.settings.project import PROJECT
from tests.e2e.hostile import slow_commands_on
from tests.e2e.operator import Done, Operator
from tests.e2e.test_redis_scripts import let_days_pass, look
from tests.limiter.node import MODULE, bundle, install_packages, make_app
from tests.limiter.waiting import until

pytestmark = pytest.mark.servers

VERSION_1 = "ed3ec9bf206d5e2e2706935607632d858299672b"
HOSTS = "redis1,app1,db1"
STORE = "/opt/medaction/backups"
# A dump and all that lies beside it: name, then what is in it.
DUMPS = f"cd {STORE} && find . -type f -name 'medaction_*' -print0 | xargs -0 sha256sum"
# Each variable with a sum of its value as a shell reads it: quotes may change, and a failure shows no secret.
VARIABLES = """cd /opt/medaction && set -a && . ./.env && for name in $(grep -oE '^[A-Z_]+=' .env); do
    echo "$name $(printenv "${name%=}" | sha256sum)"; done"""
MINE = '# é: mine\nNEXT_PUBLIC_NAME="Médaction"\n'
COUNTER = "medaction:e2e-upgrade"


@dataclass
class Load:
    """Two apps that ask all the time, and what they were answered in the end."""

    operator: Operator
    told: dict[str, dict[str, int]] = field(default_factory=dict)

    def end(self) -> None:
        for name in ("old", "new"):
            self.operator.read("app1", f"systemctl stop e2e-load-{name}; rm /opt/e2e-load-{name}.js")
            self.told[name] = json.loads(self.operator.read("app1", f"tail -n 1 /run/e2e-load-{name}"))


@dataclass(frozen=True)
class Upgrade:
    """What was on the hosts while they were that version's, and what a plan then named."""

    dumps: str
    latest: str
    variables: str
    planned: Done


@pytest.fixture(scope="module")
def version_1(tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """That version's checkout, with this one's sandbox, its secrets and Python's packages."""
    packed = subprocess.run(["git", "archive", VERSION_1], cwd=PROJECT, capture_output=True, check=False)
    if packed.returncode != 0 and _has_no_history():
        pytest.skip(f"the commit of version 1.0.0 ({VERSION_1:.7}) is not in this clone: git fetch --unshallow")
    assert packed.returncode == 0, packed.stderr.decode()
    checkout = tmp_path_factory.mktemp("version-1")
    subprocess.run(["tar", "-x", "-C", checkout], input=packed.stdout, check=True)
    shutil.copytree(PROJECT / ".secrets", checkout / ".secrets")
    (checkout / ".sandbox").symlink_to(PROJECT / ".sandbox")
    return Operator(checkout)


@pytest.fixture(scope="module")
def upgrade(version_1: Operator) -> Iterator[Upgrade]:
    """Hosts that were deployed by that version, used, and then deployed by this one, which verifies them."""
    operator = Operator()
    operator.bare(*HOSTS.split(","))
    version_1.deploy(HOSTS)
    version_1.read("db1", "cd /opt/medaction && ./scripts/backup-database.sh --tier weekly")
    version_1.read("app1", f"cat >> /opt/medaction/.env <<'END'\n{MINE}END")
    assert version_1.redis("redis1", f"SET {COUNTER} 4 EX 900", user="medaction") == "OK\nOK\n"
    yield Upgrade(
        dumps=version_1.read("db1", DUMPS),
        latest=version_1.read("db1", f"readlink -f {STORE}/medaction_latest.sql.gz").strip(),
        variables=version_1.read("app1", VARIABLES),
        planned=operator.plan(HOSTS),
    )
    operator.redis("redis1", f"DEL {COUNTER}")
    operator.read("app1", "sed -i '/^# é: mine$/d; /^NEXT_PUBLIC_NAME=/d' /opt/medaction/.env")


@pytest.fixture(scope="module")
def load(upgrade: Upgrade, tmp_path_factory: pytest.TempPathFactory) -> Load:
    """An app as that version built it and one of this version, asking while the deploy is at work."""
    operator, (app1,) = Operator(), inventory.read("sandbox", "app1")
    old = {MODULE: operator.read("app1", f"cat /opt/medaction/{MODULE}")}
    assert "rate-limiter-flexible" in old[MODULE]
    install_packages()
    operator.read("app1", "apt-get -qq -y --no-install-recommends install nodejs")
    for name, network, modules in (("old", 100, old), ("new", 101, limiters(app1.settings))):
        script = bundle(make_app(tmp_path_factory.mktemp(name), modules), "load.ts").read_text()
        operator.on("app1", f"cat > /opt/e2e-load-{name}.js", PrivateInput(script))
        options = f"-p StandardOutput=file:/run/e2e-load-{name} -E NETWORK={network} --uid=medaction"
        operator.read("app1", f"systemd-run -q --collect --unit=e2e-load-{name} {options} node /opt/e2e-load-{name}.js")
    for name in ("old", "new"):
        until(lambda name=name: "counts\n" in operator.read("app1", f"cat /run/e2e-load-{name}"), f"the {name} app")
    return Load(operator)


@pytest.fixture(scope="module")
def upgraded(load: Load) -> Operator:
    load.operator.deploy(HOSTS)
    load.end()
    return load.operator


def test_plan_names_what_an_upgrade_changes_and_afterwards_nothing(upgrade: Upgrade, upgraded: Operator) -> None:
    assert upgrade.planned.returncode == 2, upgrade.planned.stdout
    said = upgraded.plan(HOSTS).stdout.splitlines()
    assert said[0] == "sandbox: nothing to do on 3 host(s)"
    # The module of 1.0.0 counts by a script, and is in the app's build.
    assert len(said) == 2 and "redis1: the app may still run scripts (EVAL)" in said[1]


def test_no_request_is_refused_or_uncounted_meanwhile(load: Load, upgraded: Operator) -> None:
    """By an app of that version and one of this. New rights cut their connections once: they count alone then, and pay.

    What Redis counted and could not answer before the connection was cut is counted twice, never less than once.
    """
    within, alone = (
        [told.get(f"allowed {reason}", 0) for told in load.told.values()]
        for reason in ("within_limit", "redis_away_within_limit")
    )
    asked = sum(sum(told.values()) for told in load.told.values())
    assert min(within) > 1000 and sum(within) + sum(alone) == asked
    keys = upgraded.redis("redis1", "SCAN 0 MATCH medaction:reclamation:* COUNT 1000000").split()[2:]
    counted = upgraded.redis("redis1", *(f"GET {key}" for key in keys), user="medaction").split()[1:]
    upgraded.redis("redis1", *(f"DEL {key}" for key in keys))
    assert asked <= sum(map(int, counted)) <= asked + sum(alone) < 1.1 * asked
    assert "10.213.86.11" in upgraded.read("redis1", "nft list set inet medaction-redis allowed4")


def test_no_dump_is_lost_and_backups_are_well(upgrade: Upgrade, upgraded: Operator) -> None:
    assert upgrade.dumps.count(".sql.gz\n") >= 2 and "./weekly/" in upgrade.dumps
    assert lost(upgrade.dumps, upgraded.read("db1", DUMPS)) == []
    upgraded.read("db1", "/opt/medaction/scripts/backup-database.sh --check")


def test_the_next_dump_is_read_by_a_role_of_its_own(upgraded: Operator) -> None:
    upgraded.read("db1", f"{STORE}/../scripts/backup-database.sh")
    manifest = json.loads(upgraded.read("db1", f"cat $(readlink -f {STORE}/medaction_latest.sql.gz).json"))
    assert manifest["role"] == "medaction_backup"


def test_dump_of_version_1_restores(upgrade: Upgrade, upgraded: Operator) -> None:
    tested = upgraded.read("db1", f"/opt/medaction/scripts/restore-database.sh --test --from {upgrade.latest} 2>&1")
    assert upgrade.latest.rpartition("/")[2] in tested


def test_no_line_of_env_is_lost(upgrade: Upgrade, upgraded: Operator) -> None:
    assert upgraded.read("app1", "tail -n 2 /opt/medaction/.env") == MINE
    assert {"REDIS_URL=", "DATABASE_URL=", "NEXT_PUBLIC_NAME="} <= set(upgrade.variables.split())
    assert lost(upgrade.variables, upgraded.read("app1", VARIABLES)) == []


def test_no_counter_is_lost(upgraded: Operator) -> None:
    counted, left = upgraded.redis("redis1", f"GET {COUNTER}", f"PTTL {COUNTER}", user="medaction").split()[1:]
    assert counted == "4" and 0 < int(left) <= 900_000


@pytest.mark.parametrize("name", ["backup-database.sh", "restore-database.sh"])
def test_the_handbooks_names_are_wrappers_now(upgraded: Operator, name: str) -> None:
    wrapper = upgraded.read("db1", f"cat /opt/medaction/scripts/{name}")
    assert f"/usr/local/lib/medaction/{name}" in wrapper and len(wrapper.splitlines()) < 10


@pytest.mark.prove
def test_no_command_keeps_another_client_waiting_once_scripts_are_gone(upgraded: Operator) -> None:
    """What 1.0.0's app was allowed is taken from it sixteen days after its last script."""
    look(upgraded)
    let_days_pass(upgraded, 16)
    upgraded.deploy("redis1")
    assert "NOPERM" in upgraded.redis("redis1", "EVAL 'return 7' 0", user="medaction")
    assert slow_commands_on(upgraded, "redis1") == {}


def _has_no_history() -> bool:
    shallow = subprocess.run(
        ["git", "rev-parse", "--is-shallow-repository"], cwd=PROJECT, capture_output=True, text=True
    )
    return shallow.returncode != 0 or shallow.stdout.strip() == "true"


def lost(before: str, after: str) -> list[str]:
    there = after.splitlines()
    return [line for line in before.splitlines() if line not in there]


# --- An app that owned its directory before the first deploy, and runs in it ---------------------------------

# What the app does all day: it reads its .env and its module, and writes beside them.
APP_RUNS = """
cd /opt/medaction && . ./.env && test -n "$DATABASE_URL" && test -r lib/security/rate-limiter-redis.ts
date > tmp/now && date > .next-build && rm .next-build && echo line >> app.log && echo x > lib/new.ts && rm lib/new.ts
"""


@pytest.mark.prove
@pytest.mark.servers
def test_an_app_that_owns_its_directory_goes_on(version_1: Operator, operator: Operator) -> None:
    operator.bare("app1")
    as_app = "cd / && setpriv --reuid medaction --regid medaction --init-groups "
    version_1.read(
        "app1", "useradd --system --user-group medaction && install -d -o medaction -g medaction /opt/medaction"
    )
    mine = (
        "mkdir -p lib/security tmp node_modules/x && echo mine > lib/mine.ts && echo A=1 > .env && echo log > app.log"
    )
    mine += " && echo {} > package.json && ln -s ../lib/mine.ts tmp/link && echo x > node_modules/x/index.js"
    version_1.read("app1", f"{as_app}sh -c 'cd /opt/medaction && {mine}'")
    version_1.deploy("app1")
    version_1.read("app1", f"{as_app}sh -ec '{APP_RUNS}'")
    files = "cd /opt/medaction && find . -name .env -prune -o -name rate-limit\\* -prune"
    files += " -o -printf '%p %u %g %m %l\\n' | sort"
    before, variables = version_1.read("app1", files), version_1.read("app1", VARIABLES)

    operator.deploy("app1")
    assert operator.plan("app1").stdout == "sandbox: nothing to do on 1 host(s)\n"
    assert lost(before, operator.read("app1", files)) == []
    assert lost(variables, operator.read("app1", VARIABLES)) == []
    assert operator.read("app1", "grep -c ^A=1 /opt/medaction/.env; cat /opt/medaction/lib/mine.ts") == "1\nmine\n"
    operator.read("app1", f"{as_app}sh -ec '{APP_RUNS}'")


# --- Backups of a server that is on another machine ---------------------------------------------------------

ELSEWHERE = '("app2", {"sandbox_release": "trixie", "sandbox_address": "10.213.86.12", "sandbox_profile": "bare"'
SHOWN_ROLE = "cat $(readlink -f /opt/medaction/backups/medaction_latest.sql.gz).json"


@pytest.mark.prove
def test_backups_of_a_server_elsewhere_go_on(
    version_1: Operator, project_copy: Operator, operator: Operator, tmp_path: Path
) -> None:
    """Nobody administers that server from here: as before, the app's role dumps it, until somebody has run the SQL."""
    old = Operator(shutil.copytree(version_1.checkout, tmp_path / "old", symlinks=True))
    for each, more in ((old, ""), (project_copy, ', "postgres_backup_user": "elsewhere"')):
        with (each.checkout / "inventories/sandbox.py").open("a", encoding="utf-8") as hosts:
            hosts.write(f"\nbackup = [{ELSEWHERE}{more}}})]\n")
    operator.bare("app2")
    try:
        old.deploy("app2")
        old.read("app2", "cd /opt/medaction && ./scripts/backup-database.sh --tier weekly")
        dumps, newest = (
            old.read("app2", DUMPS),
            old.read("app2", f"readlink -f {STORE}/medaction_latest.sql.gz").strip(),
        )
        planned = project_copy.plan("app2")
        assert planned.returncode == 2 and "dump-role.sql" in planned.stdout, planned.stdout
        project_copy.deploy("app2")
        assert lost(dumps, operator.read("app2", DUMPS)) == []
        said = project_copy.plan("app2")
        assert said.returncode == 0 and "until elsewhere can make them" in said.stdout, said.stdout
        backup = "/opt/medaction/scripts/backup-database.sh"
        operator.read("app2", backup)
        assert json.loads(operator.read("app2", SHOWN_ROLE))["role"] == "medaction"
        tested = operator.read("app2", f"/opt/medaction/scripts/restore-database.sh --test --from {newest} 2>&1")
        assert newest.rpartition("/")[2] in tested
        sql = operator.read("app2", "cat /etc/medaction/dump-role.sql")
        operator.postgres(sql, "postgres")
        operator.read("app2", f"{backup} && {backup} --check")
        assert json.loads(operator.read("app2", SHOWN_ROLE))["role"] == "elsewhere"
    finally:
        operator.on(
            "db1", "cd / && runuser -u postgres -- psql -Xqc 'DROP OWNED BY elsewhere' -c 'DROP ROLE elsewhere'"
        )
        operator.bare("app2")
        operator.deploy("app2")
