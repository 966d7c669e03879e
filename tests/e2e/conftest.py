"""Fresh sandbox hosts, and the project's own commands run against them as a person would."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from provision.engine.inventory import PROJECT
from tests.e2e.operator import Done, Operator


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--keep-hosts", action="store_true", help="use the sandbox as it is: quicker while one works")


@pytest.fixture(scope="session")
def fresh_sandbox(request: pytest.FixtureRequest) -> None:
    """Hosts on which nothing was deployed yet. They stay afterwards, to be looked at."""
    operator = Operator()
    if not request.config.getoption("--keep-hosts"):
        operator.python("-m", "tests.sandbox", "down", timeout=120)
    operator.python("-m", "provision", "secrets", "--env", "sandbox", timeout=60)
    operator.python("-m", "tests.sandbox", "up", timeout=1500)


@pytest.fixture(scope="session", autouse=True)
def first_deploy(fresh_sandbox: None) -> Done:
    """What came of the deploy to hosts on which nothing was yet, before any test touched one."""
    return Operator().run("make", "deploy", timeout=900)


@pytest.fixture
def operator() -> Operator:
    return Operator()


@pytest.fixture
def deployed(operator: Operator) -> Operator:
    """Somebody whose sandbox is deployed and has nothing pending, whatever an earlier test left behind."""
    if operator.plan().returncode != 0:
        operator.deploy()
    return operator


@pytest.fixture
def project_copy(deployed: Operator, tmp_path: Path) -> Operator:
    """The same project and secrets in another directory, whose inventories a test may edit; the same hosts."""
    copy = tmp_path / "project"
    for part in ("inventories", "provision", "templates", "files", "tests/verify", ".secrets"):
        shutil.copytree(PROJECT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("deploy.py", "pyproject.toml", "tests/__init__.py"):
        shutil.copy(PROJECT / file, copy / file)
    (copy / ".sandbox").symlink_to(PROJECT / ".sandbox")
    return Operator(copy)
