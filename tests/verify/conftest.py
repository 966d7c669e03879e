"""Which hosts a check looks at: `redis_host`, `app_host`, `backup_host`, ... are each host of that role in turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from provision.engine import environments, inventory
from tests.verify.target import WARNED, Target, ssh_config

_ROLE_OF = {
    "redis_host": "redis",
    "app_host": "app",
    "backup_host": "backup",
    "windows_backup_host": "backup",
    "vault_host": "vault",
    "offsite_host": "backup",  # where there is a vault
}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("verify")
    group.addoption("--inventory", default="inventories/sandbox.py", help="the inventory file to verify")
    group.addoption("--limit", default="", help="only these hosts or groups, commas between")
    group.addoption("--write-test", action="store_true", help="also check what needs a write, on keys of its own")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "writes: a check that writes a key of its own; runs with --write-test")
    environment = Path(config.getoption("--inventory")).stem
    try:
        config.environment = inventory.Environment(environment)
        config.members = config.environment.chosen(config.getoption("--limit"))
        config.has_vault = any("vault" in member.groups for member in config.environment.members)
    except environments.InventoryError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for fixture, role in _ROLE_OF.items():
        if fixture in metafunc.fixturenames:
            windows = fixture.startswith("windows_")
            members = [m for m in metafunc.config.members if role in m.groups and m.is_windows == windows]
            if fixture == "offsite_host" and not metafunc.config.has_vault:
                members = []
            metafunc.parametrize(fixture, members, ids=lambda member: member.name, indirect=True, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # A role without a host gives its checks nothing to look at: that is no skipped check.
    items[:] = [item for item in items if "NOTSET" not in item.name]
    if not config.getoption("--write-test"):
        items[:] = [item for item in items if item.get_closest_marker("writes") is None]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for sentence in WARNED:
        terminalreporter.write_line(f"warning: {sentence}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    # In the report, so that a verdict can be given for each host.
    for value in item.callspec.params.values() if hasattr(item, "callspec") else ():
        if isinstance(value, inventory.Member):
            item.user_properties.append(("host", value.name))


@pytest.fixture(scope="session")
def targets(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> dict[str, Target]:
    members = request.config.members
    directory = tmp_path_factory.mktemp("ssh")
    config = directory / "config"
    config.write_text(ssh_config(members, directory), encoding="utf-8")
    return {member.name: Target(member, config) for member in members}


def _target(request: pytest.FixtureRequest, targets: dict[str, Target]) -> Iterator[Target]:
    yield targets[request.param.name]


@pytest.fixture(autouse=True)
def answering(request: pytest.FixtureRequest, targets: dict[str, Target]) -> None:
    """A host that does not answer fails its first check; the others are not made, and say so."""
    for value in request.node.callspec.params.values() if hasattr(request.node, "callspec") else ():
        if isinstance(value, inventory.Member):
            targets[value.name].require_answer()


redis_host = pytest.fixture(_target, scope="session", name="redis_host")
app_host = pytest.fixture(_target, scope="session", name="app_host")
backup_host = pytest.fixture(_target, scope="session", name="backup_host")
windows_backup_host = pytest.fixture(_target, scope="session", name="windows_backup_host")


@pytest.fixture
def app_hosts(targets: dict[str, Target]) -> list[Target]:
    return [target for target in targets.values() if "app" in target.member.groups and not target.member.is_windows]


@pytest.fixture
def strangers(targets: dict[str, Target]) -> list[Target]:
    """The hosts that have no business with Redis."""
    others = [target for target in targets.values() if not {"app", "redis"} & set(target.member.groups)]
    return [target for target in others if not target.member.is_windows]


offsite_host = pytest.fixture(_target, scope="session", name="offsite_host")
vault_host = pytest.fixture(_target, scope="session", name="vault_host")
