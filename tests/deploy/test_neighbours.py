"""A host that another app, or another environment of this one, lives on: what would take from it is refused first."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.deploy.fake import Fleet, began, commands

LIST = "/var/lib/medaction-deploy/host.json"


@pytest.fixture
def refused(fleet: Callable[[str], Fleet], capsys: Any, caplog: Any) -> Callable[..., str]:
    """What a deploy says to a host with this answer to the question for lists; "" where it goes on."""

    def deploy(role: str, answer: list[str], group_data: str = "", **more: list[str]) -> str:
        hosts = fleet("production")
        host = hosts.groups[role][0]
        hosts.answers[host] = {f"cat -- {LIST}": answer, **more, **hosts.answers[host]}
        with (hosts.root / "group_data" / f"{role}.py").open("a") as file:
            file.write(group_data)
        if hosts.run("--dry").exit_code == 0:
            return ""
        assert not began()
        said = capsys.readouterr()
        return " ".join(" ".join([said.out, said.err, *(each.getMessage() for each in caplog.records)]).split())

    return deploy


def listed(environment: str, of: dict[str, dict[str, list[str]]] | None = None) -> str:
    return json.dumps({"version": "1.1.0", "environment": environment, "of": of or {}})


def other(of: dict[str, dict[str, list[str]]], app: str = "clinic") -> list[str]:
    """The lists of a host that this app was never deployed to, and another was."""
    return ["==journal==", f"==other==/var/lib/{app}-deploy/host.json", listed("production", of)]


@pytest.mark.parametrize("role", ["backup", "redis", "app"])
def test_host_of_another_environment_is_refused_and_says_what_to_do_if_it_was_renamed(
    role: str, refused: Callable[..., str]
) -> None:
    said = refused(role, [listed("staging"), "==journal=="])
    assert f"this host belongs to the environment staging, says its {LIST}, and this is production" in said
    assert 's/"environment": "staging"/"environment": "production"/' in said and "no host was changed" in said


@pytest.mark.parametrize("environment", ["", "production"])
def test_host_of_this_environment_or_of_a_version_that_did_not_note_it_goes_on(
    environment: str, refused: Callable[..., str]
) -> None:
    assert refused("backup", [listed(environment), "==journal=="]) == ""


@pytest.mark.parametrize("theirs", ["/srv/backups", "/srv/backups/clinic", "/srv", "/srv/backups/weekly"])
def test_directory_with_another_apps_backups_is_refused(theirs: str, refused: Callable[..., str]) -> None:
    answer = other({"backup": {"data": [theirs, "/var/log/clinic"]}})
    said = refused("backup", answer, 'backup_dir = "/srv/backups"\n')
    assert "backup_dir = '/srv/backups', and the app clinic has its own there" in said
    assert "ROLE=backup APP=clinic` first, which keeps its data" in said


@pytest.mark.parametrize("theirs", ["/srv/backups-of-clinic", "/srv/clinic", "/opt/clinic/backups"])
def test_another_app_beside_this_one_is_no_matter(theirs: str, refused: Callable[..., str]) -> None:
    assert refused("backup", other({"backup": {"data": [theirs]}}), 'backup_dir = "/srv/backups"\n') == ""


CONF = {"redis": {"files": ["/etc/redis/redis.conf"]}}
TAKEN = ["conf ours", "listener\tredis-server\t12\tredis\tredis-server.service", "docker answers", "compose 2.26.1-4"]


@pytest.mark.parametrize(
    ("settings", "site", "told"),
    [
        ("", ["conf ours", "user medaction"], "serves the app clinic there: in mode 'package' a host serves one app."
         " Set redis_mode = 'instance' (or 'compose', where Docker is) and a redis_port of its own"),
        ("", ["conf ours", "user clinic"], "serves the app clinic there"),
        ('redis_mode = "compose"\n', TAKEN, "redis_port = 6379 is where the Redis of the package serves the app clinic:"
         " choose another redis_port"),
        ('redis_mode = "instance"\n', TAKEN, "is where the Redis of the package serves the app clinic: choose another"
         " redis_port"),
    ],
)  # fmt: skip
def test_redis_of_the_package_that_serves_another_app_is_left_to_it(
    settings: str, site: list[str], told: str, refused: Callable[..., str]
) -> None:
    assert told in refused("redis", other(CONF), settings, **{"redis/existing.sh 6379": site})


@pytest.mark.parametrize("mode", ["instance", "compose"])
@pytest.mark.parametrize(
    ("answer", "user", "stops"),
    [(other(CONF), "clinic", 0), (["==journal=="], "clinic", 0), (["==journal=="], "medaction", 1)],
)
def test_redis_of_the_package_is_stopped_for_one_beside_it_where_no_other_app_has_it(
    answer: list[str], user: str, stops: int, mode: str, fleet: Callable[[str], Fleet]
) -> None:
    hosts = fleet("production")
    host = hosts.groups["redis"][0]
    site = ["conf ours", f"user {user}", "service on", "docker answers", "compose 2.26.1-4"]
    hosts.answers[host] = {f"cat -- {LIST}": answer, "redis/existing.sh 6380": site, **hosts.answers[host]}
    with (hosts.root / "group_data/production.py").open("a") as file:
        file.write(f'redis_mode = "{mode}"\nredis_port = 6380\n')
    outcome = hosts.run("--dry")
    assert outcome.exit_code == 0
    assert sum("Stop the Redis" in step.name for step in outcome.steps) == stops


@pytest.mark.parametrize("conf", ["debian", "changed", "ours"])
@pytest.mark.parametrize("take_over", [True, False])
def test_redis_of_somebody_else_or_another_app_runs_on_beside_one_in_a_service_of_its_own(
    conf: str, take_over: bool, fleet: Callable[[str], Fleet]
) -> None:
    hosts = fleet("production")
    host = hosts.groups["redis"][0]
    site = [f"conf {conf}", "service on", "user clinic"]
    hosts.answers[host] = {"redis/existing.sh 6380": site, **hosts.answers[host]}
    with (hosts.root / "group_data/production.py").open("a") as file:
        file.write(f'redis_mode = "instance"\nredis_port = 6380\nredis_take_over = {take_over}\n')
    outcome = hosts.run("-y")
    assert outcome.exit_code == 0 and not any("Stop the Redis" in step.name for step in outcome.steps)
    assert not any("redis-server" in each and "systemctl" in each for each in commands() if "show" not in each)


@pytest.mark.parametrize("mode", ["package", "compose"])
def test_redis_in_a_service_of_its_own_is_stopped_for_another_mode(mode: str, fleet: Callable[[str], Fleet]) -> None:
    hosts = fleet("production")
    host = hosts.groups["redis"][0]
    site = ["instance redis", "instance-on yes", "docker answers", "compose 2.26.1-4"]
    hosts.answers[host] = {"redis/existing.sh 6379": site, **hosts.answers[host]}
    with (hosts.root / "group_data/redis.py").open("a") as file:
        file.write(f'redis_mode = "{mode}"\n')
    assert hosts.run("-y").exit_code == 0
    assert "systemctl disable --now medaction-redis" in " ".join(commands())


@pytest.mark.parametrize(
    ("app", "role", "group_data", "of", "told"),
    [
        ("medaction-backup", "backup", "", {"app": {"users": ["medaction-backup"]}}, "user medaction-backup"),
        ("medaction-redis", "redis", "", {"backup": {"directories": ["/etc/medaction-redis"]}},
         "directory /etc/medaction-redis"),
        ("clinic", "app", 'app_user = "clinic-backup"\n', {"backup": {"users": ["clinic-backup"]}},
         "user clinic-backup"),
        ("medaction2", "backup", "", {"backup": {"users": ["medaction-restore-test"]}}, "user medaction-restore-test"),
    ],
)  # fmt: skip
def test_what_would_be_called_after_two_apps_is_refused(
    app: str, role: str, group_data: str, of: Any, told: str, refused: Callable[..., str]
) -> None:
    said = refused(role, other(of, app), group_data)
    assert f"the {told} is what the app {app} has for its role" in said and "another app_name" in said


def test_two_apps_may_run_as_one_user_of_a_persons_own(refused: Callable[..., str]) -> None:
    assert refused("app", other({"app": {"users": ["www-data"]}}), 'app_user = "www-data"\n') == ""
