"""An environment, read: which hosts it has, what is wrong with it in one list, and in which file that stands."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from provision.engine import environments, inventory
from provision.engine.environments import InventoryError
from provision.settings import secrets


def refusal(limit: str | None = None, environment: str = "staging") -> str:
    with pytest.raises(InventoryError) as raised:
        inventory.read(environment, limit)
    return str(raised.value)


def names(limit: str | None = None) -> list[str]:
    return [member.name for member in inventory.read("staging", limit)]


# --- Hosts --------------------------------------------------------------------------------------------


def test_a_host_knows_all_its_groups_and_its_environment(project: Any):
    project.environment('app = ["one"]\nbackup = ["one"]\n')
    (member,) = inventory.read("staging")
    assert member.groups == ("app", "backup", "staging")


def test_the_environments_own_values_win_over_those_of_all(project: Any):
    project.environment('app = ["one"]\n', all="redis_port = 1111\n", staging="redis_port = 2222\n")
    assert inventory.read("staging")[0].settings.redis_port == 2222


def test_a_hosts_own_value_wins_over_its_environments(project: Any):
    project.environment('app = [("one", {"redis_port": 3333}), "two"]\n', staging="redis_port = 2222\n")
    assert [member.settings.redis_port for member in inventory.read("staging")] == [3333, 2222]


def test_a_value_of_a_whole_group_reaches_each_of_its_hosts(project: Any):
    project.environment('app = (["one", "two"], {"redis_port": 4444})\nbackup = ["three"]\n')
    assert [member.settings.redis_port for member in inventory.read("staging")] == [4444, 4444, 6379]


def test_data_of_others_is_kept_for_them(project: Any):
    project.environment('app = [("one", {"ssh_port": 2222})]\n', all="_sudo = True\n")
    assert inventory.read("staging")[0].data.items() >= {"ssh_port": 2222, "_sudo": True}.items()


def test_the_secrets_are_those_of_the_environment(project: Any, secret_texts: dict[str, str]):
    project.environment('app = ["one"]\n')
    assert inventory.read("staging")[0].settings.redis_password.get_secret_value() == secret_texts["redis_password"]


def test_a_secret_may_be_pointed_at_by_the_group_data(project: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SOME_SECRET", "from-outside")
    project.environment('app = ["one"]\n', staging='redis_password = "env:SOME_SECRET"\n')
    assert inventory.read("staging")[0].settings.redis_password.get_secret_value() == "from-outside"


def test_the_secrets_that_hosts_point_at_are_known(project: Any):
    project.environment('app = ["one"]\n', staging='redis_password = "env:X"\n')
    assert inventory.Environment("staging").secrets_pointed_at() == {"redis_password"}


# --- LIMIT --------------------------------------------------------------------------------------------

FLEET = 'app = ["app1", "app2"]\nredis = ["redis1"]\nbackup = ["db1", "app1"]\n'


@pytest.mark.parametrize(
    ("limit", "hosts"),
    [
        (None, ["app1", "app2", "redis1", "db1"]),
        ("", ["app1", "app2", "redis1", "db1"]),
        ("app1", ["app1"]),
        ("backup", ["app1", "db1"]),
        ("db1,app2", ["app2", "db1"]),
        ("redis,app1", ["app1", "redis1"]),
        ("staging", ["app1", "app2", "redis1", "db1"]),
    ],
)
def test_a_limit_names_hosts_or_groups(limit: str | None, hosts: list[str], project: Any):
    project.environment(FLEET)
    assert names(limit) == hosts


@pytest.mark.parametrize("limit", ["ap", "app1,nope", "app*", "app1, app2", "app1,"])
def test_a_limit_that_matches_nothing_is_an_error_that_lists_the_hosts(limit: str, project: Any):
    project.environment(FLEET)
    assert "matches no host of staging; its hosts are: app1, app2, redis1, db1" in refusal(limit)


# --- Environments -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nope", "", "../staging", "staging.py", "group_data", "group_data/all"])
def test_an_unknown_environment_is_an_error_that_lists_the_known_ones(name: str, project: Any):
    project.environment('app = ["one"]\n', all="")
    assert refusal(environment=name) == f"ENV={name}: there is no such environment; there are: staging"


def test_the_environment_is_the_hosts_group_that_is_an_inventory_file(project: Any):
    project.environment('app = ["one"]\n')
    assert environments.environment_of(["app", "backup", "staging"]) == "staging"


def test_a_group_named_like_another_environment_does_not_hide_the_own_one(project: Any):
    project.environment('app = ["one"]\n')
    project.environment('staging = ["one"]\n', name="production")
    assert environments.environment_of(["staging", "production"]) == "production"


def test_hosts_from_elsewhere_are_no_environment(project: Any):
    project.environment('app = ["one"]\n')
    with pytest.raises(InventoryError, match="deploy with an inventory file of this project"):
        environments.environment_of(["@local"])


@pytest.mark.parametrize("text", ["", "app = []\n", "network = '10.0.0'\n"])
def test_an_inventory_without_a_host_is_an_error(text: str, project: Any):
    project.environment(text)
    assert refusal() == "inventories/staging.py lists no host"


@pytest.mark.parametrize(
    "group",
    [
        '("one", "two")',
        '("one",)',
        '{"one"}',
        '"one"',
        '["one", None]',
        '[("one",)]',
        '[("one", None)]',
        '[""]',
        "None",
    ],
)
def test_a_role_that_is_no_list_of_hosts_is_an_error_that_shows_one(group: str, project: Any):
    project.environment(f"redis = ['redis1']\napp = {group}\n")
    assert refusal().startswith("inventories/staging.py: app must be a list of hosts")


@pytest.mark.parametrize(
    ("text", "group_data", "told"),
    [
        ('app = ["one"', "", "inventories/staging.py, line 1 cannot be read: SyntaxError: '[' was never closed"),
        ("app = [one]", "", "inventories/staging.py cannot be read: NameError: name 'one' is not defined"),
        ('app = ["one"]', "redis_port =", "inventories/group_data/staging.py, line 1 cannot be read: SyntaxError"),
        ('app = ["one"]', "x = 1 / 0", "inventories/group_data/staging.py cannot be read: ZeroDivisionError"),
        ('app = ["@nope/one"]', "", "inventories/staging.py cannot be read: NoConnectorError: Invalid connector: nope"),
    ],
)
def test_a_file_that_python_cannot_read_is_one_sentence_that_names_it(
    text: str, group_data: str, told: str, project: Any
):
    project.environment(text + "\n", staging=group_data + "\n")
    assert refusal().startswith(told)


# --- Faults -------------------------------------------------------------------------------------------


def line_of(setting: str, said: str) -> str:
    return next(line for line in said.splitlines() if f" {setting} " in line or f" {setting}." in line)


@pytest.mark.parametrize(
    ("text", "group_data", "file"),
    [
        ('app = ["one"]\n', {"all": "redis_port = 70000"}, "inventories/group_data/all.py"),
        ('app = ["one"]\n', {"app": "redis_port = 70000"}, "inventories/group_data/app.py"),
        (
            'app = ["one"]\n',
            {"staging": "redis_port = 70000", "all": "redis_port = 1"},
            "inventories/group_data/staging.py",
        ),
        ('app = [("one", {"redis_port": 70000})]\n', {"staging": "redis_port = 1"}, "inventories/staging.py"),
        ('app = (["one"], {"redis_port": 70000})\n', {}, "inventories/staging.py"),
        ('app = ["one"]\nbackup = [("one", {"redis_port": 70000})]\n', {}, "inventories/staging.py"),
    ],
)
def test_a_fault_names_the_file_in_which_the_setting_stands(
    text: str, group_data: dict[str, str], file: str, project: Any
):
    project.environment(text, **group_data)
    assert line_of("redis_port", refusal()) == (
        f"  one: redis_port = 70000: must be less than or equal to 65535 [{file}]"
    )


def test_a_misspelt_setting_is_told_with_its_file_and_the_right_spelling(project: Any):
    project.environment('app = ["one"]\n', staging="redis_max_memroy_mb = 64\n")
    assert refusal().splitlines()[1:] == [
        "  one: redis_max_memroy_mb is not a setting; did you mean redis_max_memory_mb?"
        " [inventories/group_data/staging.py]"
    ]


def test_the_faults_of_all_hosts_are_told_at_once(project: Any):
    project.environment('app = [("one", {"redis_port": 0})]\nbackup = [("two", {"backup_daily_at": "25:00"})]\n')
    said = refusal()
    assert "one: redis_port = 0" in said and "two: backup_daily_at = '25:00'" in said


def test_a_fault_that_hosts_share_is_told_once(project: Any):
    project.environment(FLEET, staging='backup_daily_at = "25:00"\n')
    lines = [line for line in refusal().splitlines() if "backup_daily_at" in line]
    assert len(lines) == 1 and lines[0].startswith("  app1, app2, redis1, db1: backup_daily_at")


def test_a_fault_says_that_no_host_was_touched(project: Any):
    project.environment('app = ["one"]\n', staging="nothing_redis_port = 1\nredis_prot = 1\n")
    assert refusal().splitlines()[0] == "1 fault(s) in the settings of staging; no host was touched"


def test_a_missing_secret_is_told_with_the_command_that_generates_it(project: Any):
    project.environment('app = ["one"]\n')
    project.write(".secrets/staging.env", "redis_password=a\npostgres_password=b\n")
    assert "run `make secrets ENV=staging`" in line_of("redis_operator_password", refusal())


def test_a_secret_written_into_the_inventory_is_refused_and_not_shown(project: Any):
    project.environment('app = ["one"]\n', staging='redis_password = "zq-hidden"\nredis_pasword = "zq-hidden"\n')
    said = refusal()
    assert "must point at the secret" in said and "did you mean redis_password?" in said and "zq-hidden" not in said


def test_a_secret_file_that_others_can_read_is_a_fault(project: Any):
    project.environment('app = ["one"]\n')
    (project.root / ".secrets/staging.env").chmod(0o644)
    assert "others may read staging.env (mode 0644); run `chmod 600" in refusal()


def test_inventories_that_lie_outside_the_project_are_named_in_full(
    project: Any, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.setattr(environments, "INVENTORIES", elsewhere)
    (elsewhere / "staging.py").write_text("app = []\n")
    assert refusal() == f"{elsewhere}/staging.py lists no host"


@pytest.mark.parametrize("environment", ["local", "sandbox", "staging", "production"])
def test_each_environment_of_the_project_is_valid(environment: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(secrets.Reader, "read", lambda *_: SecretStr("x"))
    groups = {group for member in inventory.read(environment) for group in member.groups}
    assert {*environments.ROLES, environment} - {"vault"} <= groups


@pytest.mark.parametrize("redis", ["127.0.0.1", "::1", "localhost"])
def test_an_app_host_is_not_sent_to_itself_for_a_redis_that_is_elsewhere(redis: str, project: Any):
    project.environment('app = ["one"]\nredis = ["two"]\n', staging=f'redis_host = "{redis}"\n')
    assert f"one: redis_host = '{redis}': is this host itself, and it has no role redis" in refusal()
    assert "two:" not in refusal()


def test_a_host_in_no_role_is_a_fault_and_not_a_deploy_of_nothing(project: Any):
    project.environment('app = ["one"]\ndatabases = ["two"]\n')
    assert "two: is in no role (redis, app, backup, vault): nothing would be deployed to it" in refusal()


def test_a_host_whose_name_no_file_can_be_named_after_is_refused(project: Any):
    fits, too_long = f"{'a' * 63}.{'b' * 63}.{'c' * 63}.{'d' * 48}", f"{'a' * 63}.{'b' * 63}.{'c' * 63}.{'d' * 49}"
    project.environment(f'backup = ["{fits}"]\n')
    assert [each.name for each in inventory.read("staging")] == [fits]
    project.environment(f'backup = ["{too_long}"]\n', "other")
    with pytest.raises(InventoryError, match=f"{too_long}: has a name of 241 bytes.*leaves 240"):
        inventory.read("other")
