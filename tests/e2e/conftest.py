"""Fresh sandbox hosts, and the project's own commands run against them as a person would."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from provision.engine import inventory
from provision.settings.project import PROJECT
from provision.vault import keys
from tests.e2e import vaults
from tests.e2e.operator import ALL, Done, Operator, names
from tests.limiter.waiting import until
from tests.sandbox.paths import PUBLIC_KEYS
from tests.windows import archives

# A copy of the project has the same hosts as the project.
os.environ["POWERSHELL_ARCHIVES"] = str(archives.directory())


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--keep-hosts", action="store_true", help="use the sandbox as it is: quicker while one works")


@pytest.fixture(scope="session", autouse=True)
def sandbox(request: pytest.FixtureRequest) -> None:
    """Hosts booted anew and deployed once, before any test touches one. They stay afterwards, to be looked at.

    Kept ones are looked at where a test is about them: docker1's may run beside those that stop and pause the others.
    """
    operator, kept = Operator(), request.config.getoption("--keep-hosts")
    alone = kept and all(test.get_closest_marker("docker1") for test in request.session.items)
    if not kept:
        operator.python("-m", "tests.sandbox", "down", timeout=120)
    operator.python("-m", "provision", "secrets", "--env", "sandbox", timeout=60)
    operator.python("-m", "tests.sandbox", "up", *(["docker1"] if alone else []), timeout=1500)
    if not kept:
        request.getfixturevalue("first_deploy")


@pytest.fixture(scope="session")
def first_deploy() -> Done:
    """What came of the deploy to hosts on which nothing was yet: a test of its own gives the verdict."""
    return Operator().run("make", "deploy", timeout=900)


@pytest.fixture
def hosts(request: pytest.FixtureRequest) -> frozenset[str]:
    """The hosts that a test has for itself: see the markers `docker1` and `servers`, and the fixture `win1`."""
    # Each look at win1 starts PowerShell under wine some times, which takes seconds.
    everything = names(ALL) if "win1" in request.fixturenames else names(ALL) - {"win1"}
    if request.node.get_closest_marker("docker1"):
        return frozenset({"docker1"})
    return everything - {"docker1"} if request.node.get_closest_marker("servers") else everything


@pytest.fixture
def operator() -> Operator:
    return Operator()


@pytest.fixture
def deployed(operator: Operator, hosts: frozenset[str]) -> Operator:
    """Somebody whose sandbox is deployed and has nothing pending, whatever an earlier test left behind."""
    limit = ",".join(sorted(hosts & operator.unsure))
    if limit and operator.plan(limit).returncode != 0:
        operator.deploy(limit)
    return operator


@pytest.fixture
def win1(deployed: Operator) -> Operator:
    """Somebody whose sandbox has a Windows host, deployed."""
    if "win1" not in names(ALL):
        pytest.skip(f"not run: the sandbox goes without win1; {archives.HOW}")
    return deployed


@pytest.fixture
def project_copy(deployed: Operator, tmp_path: Path) -> Operator:
    """The same project and secrets in another directory, whose inventories a test may edit; the same hosts.

    Another level may have made a host anew, whose keys come back with its deploy: without them no copy would deploy.
    """
    if PUBLIC_KEYS.exists():
        members = inventory.read("sandbox")
        until(lambda: not keys.lacking("sandbox", members), "all hosts' keys are kept", seconds=400)
    return copied(tmp_path / "project", "inventories", "provision", "templates", "files", "tests/verify", ".secrets")


def copied(copy: Path, *parts: str) -> Operator:
    """These parts of the project in another directory, and what stands beside them."""
    for part in parts:
        shutil.copytree(PROJECT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("deploy.py", "vault-keys.py", "remove.py", "pyproject.toml", "tests/__init__.py"):
        shutil.copy(PROJECT / file, copy / file)
    (copy / ".sandbox").symlink_to(PROJECT / ".sandbox")
    return Operator(copy)


@pytest.fixture(scope="module")
def both() -> Operator:
    """db1 and vault1, deployed, with a marked row in the newest dump, which the vault has proven. The table stays, as
    a dump without it would be suspect."""
    operator = Operator()
    if operator.plan(vaults.HOSTS).returncode != 0:
        operator.deploy(vaults.HOSTS)
    vaults.mark(operator)
    operator.read("db1", "/usr/local/lib/medaction/backup-database.sh --tier weekly")
    vaults.night(operator)
    # Against the dumps of whatever tests came before, this one may well lack tables: that was intended.
    operator.on("vault1", f"/usr/local/lib/medaction/vault.sh --accept db1 daily/{vaults.newest(operator)}")
    return operator
