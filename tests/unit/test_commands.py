"""What `make` calls: exit codes, and what is printed, where no host is needed to show it."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest

from provision.__main__ import main, parser
from provision.commands import deploy, plan, render, secrets, verify
from provision.engine import inventory
from provision.engine import run as runs
from provision.engine.environments import InventoryError
from provision.engine.run import Outcome, Step
from provision.settings import SECRET_SETTINGS
from provision.settings.project import PROJECT
from provision.vault import keys

FLEET = 'app = ["app1"]\nredis = ["redis1"]\nbackup = ["db1"]\n'
CHANGE = Step("app1", "App | Set the variables", changes=True, failed=False, differences=("A is missing", "B differs"))
NO_CHANGE = Step("app1", "App | Create the user", changes=False, failed=False, differences=())
FAILURE = Step("db1", "Backup | Make a backup", changes=False, failed=True, differences=())


def arguments(**changes: object) -> Namespace:
    return Namespace(**vars(parser().parse_args(["plan", "--env", "staging"])) | changes)


@pytest.fixture
def outcome(monkeypatch: pytest.MonkeyPatch, project: Any) -> Callable[..., list[tuple[str, ...]]]:
    """`outcome(0, steps)`: the next pyinfra run ends so. Returns the options of each run that is made."""
    project.environment(FLEET)
    asked: list[tuple[str, ...]] = []

    def set_it(code: int, *steps: Step, failed_hosts: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
        def run(_: Path, *options: str) -> Outcome:
            asked.append(options)
            return Outcome(code, steps, failed_hosts, began=bool(steps))

        monkeypatch.setattr(runs, "pyinfra", run)
        return asked

    return set_it


# --- make, as a person calls it -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, str]]:
    """Exit code, output and error output of `make` for each of these calls; they run side by side."""
    if shutil.which("make") is None or not (PROJECT / ".venv/.complete").exists():
        pytest.skip("needs make and the .venv that it sets up")
    right, wrong = tmp_path_factory.mktemp("right"), tmp_path_factory.mktemp("wrong")
    references = 'redis_host = "10.0.0.5"\n' + "".join(f'{name} = "env:HOME"\n' for name in SECRET_SETTINGS)
    for directory, values in ((right, references), (wrong, f"{references}redis_port = 70000\n")):
        (directory / "group_data").mkdir()
        (directory / "staging.py").write_text(FLEET)
        (directory / "group_data/all.py").write_text(values)
    calls = {
        "": right,
        "plan ENV=nope": right,
        "plan ENV=staging LIMIT=none": right,
        "plan ENV=staging LIMIT=-x": right,
        "plan ENV=staging PYTHON_=/nowhere/python": right,
        "plan ENV=staging": wrong,
    }
    # -o: a test sets nothing up, least of all in a .venv that a checkout shares with another.
    outer = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "ENV", "LIMIT")  # we may be inside of `make test`
    environ = {name: value for name, value in os.environ.items() if name not in outer}
    make = ["make", "-o", ".venv/.complete"]
    started = {
        call: subprocess.Popen(
            [*make, *call.split()], cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**environ, "INVENTORIES": str(inventories)},
        )
        for call, inventories in calls.items()
    }  # fmt: skip
    ended = {call: (process.communicate(), process.returncode) for call, process in started.items()}
    return {call: (code, *said) for call, (said, code) in ended.items()}


def test_a_plan_of_an_unknown_environment_ends_with_1(made: dict[str, tuple[int, str, str]]):
    code, out, error = made["plan ENV=nope"]
    assert (code, out) == (1, "") and "error: ENV=nope: there is no such environment; there are: staging" in error


def test_a_plan_of_no_host_ends_with_1(made: dict[str, tuple[int, str, str]]):
    code, _, error = made["plan ENV=staging LIMIT=none"]
    assert code == 1 and "LIMIT=none matches no host of staging" in error


def test_a_plan_that_could_not_be_made_never_ends_as_one_with_changes(made: dict[str, tuple[int, str, str]]):
    assert made["plan ENV=staging PYTHON_=/nowhere/python"][0] == 1
    code, _, error = made["plan ENV=staging LIMIT=-x"]
    assert code == 1 and "LIMIT=-x matches no host of staging" in error


def test_a_plan_with_wrong_settings_ends_with_1(made: dict[str, tuple[int, str, str]]):
    code, _, error = made["plan ENV=staging"]
    assert code == 1 and "redis_port = 70000" in error and "Traceback" not in error


def test_make_alone_lists_the_targets(made: dict[str, tuple[int, str, str]]):
    listed = {line.split()[1] for line in made[""][1].splitlines() if line.startswith("  make ")}
    assert {"deploy", "plan", "verify", "status", "render", "sandbox", "sandbox-down", "test", "bench"} <= listed


@pytest.mark.parametrize("command", ["deploy", "plan", "verify", "render", "secrets"])
def test_no_command_succeeds_on_an_unknown_environment(
    command: str, project: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    project.environment(FLEET)
    monkeypatch.setattr("sys.argv", ["provision", command, "--env", "nope", "--out", "x"])
    assert main() == 1
    assert capsys.readouterr().err == "error: ENV=nope: there is no such environment; there are: staging\n"


# --- plan ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "code"), [((), 0), ((NO_CHANGE,), 0), ((NO_CHANGE, CHANGE), 2)])
def test_a_plan_ends_with_0_or_2_by_whether_changes_are_pending(steps: tuple[Step, ...], code: int, outcome: Any):
    outcome(0, *steps)
    assert plan.run(arguments()) == code


@pytest.mark.parametrize("code", [1, 2, 130])
def test_a_plan_that_fails_ends_with_1_even_with_changes_pending(code: int, outcome: Any):
    outcome(code, CHANGE)
    assert plan.run(arguments()) == 1


def test_a_plan_never_runs_anything(outcome: Any):
    asked = outcome(0)
    plan.run(arguments())
    assert all("--dry" in options and "-y" not in options for options in asked) and asked


def test_a_plan_names_each_difference_under_its_host_and_step(outcome: Any, capsys: pytest.CaptureFixture[str]):
    outcome(0, NO_CHANGE, CHANGE)
    plan.run(arguments())
    assert capsys.readouterr().out.splitlines()[:3] == [
        "app1: App | Set the variables", "    A is missing", "    B differs",
    ]  # fmt: skip


def test_a_plan_with_nothing_pending_is_one_line(outcome: Any, capsys: pytest.CaptureFixture[str]):
    outcome(0, NO_CHANGE)
    plan.run(arguments())
    assert capsys.readouterr().out == "staging: nothing to do on 3 host(s)\n"


def test_a_plan_in_json_holds_what_is_pending(outcome: Any, capsys: pytest.CaptureFixture[str]):
    outcome(0, NO_CHANGE, CHANGE)
    plan.run(arguments(json=True))
    assert [step["name"] for step in json.loads(capsys.readouterr().out)] == [CHANGE.name]


def test_a_limit_reaches_pyinfra_as_hosts(outcome: Any):
    asked = outcome(0)
    plan.run(arguments(limit="backup,app1"))
    assert [option for option in asked[0] if option not in ("--dry", "--json")] == ["--limit", "app1", "--limit", "db1"]


# --- deploy -------------------------------------------------------------------------------------------


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Every verification passes; the hosts of each are noted."""
    asked: list[list[str]] = []

    def verdicts(_: str, hosts: list[str], *__: object) -> verify.Verdicts:
        asked.append(hosts)
        return verify.Verdicts(0)

    monkeypatch.setattr(verify, "verdicts", verdicts)
    return asked


def test_a_deploy_that_is_verified_ends_with_0(outcome: Any, verified: list[list[str]]):
    outcome(0, CHANGE)
    assert (deploy.run(arguments()), verified) == (0, [["app1", "redis1", "db1"]])


def test_a_deploy_whose_verification_fails_does_not_end_with_0(outcome: Any, monkeypatch: pytest.MonkeyPatch):
    outcome(0, CHANGE)
    monkeypatch.setattr(verify, "verdicts", lambda *_: verify.Verdicts(1))
    assert deploy.run(arguments()) == 1


def test_a_deploy_that_failed_on_one_host_verifies_the_others_and_names_the_step(
    outcome: Any, verified: list[list[str]], capsys: pytest.CaptureFixture[str]
):
    outcome(1, CHANGE, FAILURE, failed_hosts=("db1",))
    assert (deploy.run(arguments()), verified) == (1, [["app1", "redis1"]])
    assert "failed: db1: Backup | Make a backup" in capsys.readouterr().err


def test_a_deploy_that_lost_a_host_says_so(outcome: Any, verified: list[list[str]], capsys: pytest.CaptureFixture[str]):
    outcome(1, CHANGE, failed_hosts=("redis1",))
    assert deploy.run(arguments()) == 1 and "failed: redis1: the connection" in capsys.readouterr().err


def test_a_deploy_that_did_not_begin_is_not_verified(outcome: Any, verified: list[list[str]]):
    outcome(1)
    assert (deploy.run(arguments()), verified) == (1, [])


@pytest.mark.parametrize("told", [KeyboardInterrupt, click.exceptions.Abort])
@pytest.mark.parametrize("command", ["deploy", "plan", "remove"])
def test_an_interrupted_run_says_so_and_nothing_of_a_failure(
    command: str, told: type[BaseException], project: Any, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    def main_of_pyinfra(*_: object, **__: object) -> None:
        print("[app1] does not answer: waiting", file=sys.stderr)
        raise told

    project.environment(FLEET)
    monkeypatch.setattr(runs.cli, "main", main_of_pyinfra)
    monkeypatch.setattr("provision.engine.run.interrupt.in_main_greenlet", lambda: None)
    monkeypatch.setattr("sys.argv", ["provision", command, "--env", "staging", "--role", "app", "--limit", "app1"])
    assert main() == 130
    out, error = capsys.readouterr()
    assert not out
    assert error == "[app1] does not answer: waiting\ninterrupted: run the same command again, it continues from here\n"


def test_a_deploy_generates_no_secret_for_peoples_own_servers(project: Any):
    project.environment(FLEET)
    (project.root / ".secrets/staging.env").unlink()
    with pytest.raises(InventoryError, match="run `make secrets ENV=staging`"):
        deploy.run(arguments())
    assert not (project.root / ".secrets/staging.env").exists()


# --- render, secrets ----------------------------------------------------------------------------------


def test_render_writes_each_file_of_each_host_for_its_caller_alone(project: Any, tmp_path: Path):
    project.environment(FLEET)
    out = tmp_path / "out"
    assert render.run(arguments(out=str(out))) == 0
    files = [path for path in out.glob("*/**/*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert {path.relative_to(out).parts[0] for path in files} == {"app1", "redis1", "db1"}
    assert (out / "app1/opt/medaction/.env").is_file() and (out / "db1/etc/cron.d/medaction-backup").is_file()


@pytest.mark.parametrize(("bind", "is_there"), [("", False), ("127.0.0.1", True)])
def test_render_writes_what_tells_prometheus_of_redis_where_that_is_wanted(
    bind: str, is_there: bool, project: Any, tmp_path: Path
):
    project.environment(f'{FLEET}redis = [("redis1", {{"redis_exporter_bind": "{bind}"}})]\n')
    render.run(arguments(out=str(tmp_path / "out")))
    redis1 = tmp_path / "out/redis1/etc"
    assert (redis1 / "systemd/system/medaction-redis-exporter.service").exists() == is_there
    assert (redis1 / "medaction-redis-exporter/login").exists() == is_there
    assert ("user exporter on" in (redis1 / "redis/users.acl").read_text()) == is_there


def test_what_render_writes_is_not_committed_and_a_directory_of_somebody_elses_is_left_as_it_is(
    project: Any, tmp_path: Path
):
    project.environment(FLEET)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/file").touch()
    for out in ("new/out", "theirs"):
        render.run(arguments(out=str(tmp_path / out)))
    status = ["git", "-C", str(tmp_path), "status", "--short", "--untracked-files=all"]
    seen = subprocess.run(status, check=True, capture_output=True, text=True).stdout
    assert "new/" not in seen and "?? theirs/db1/" in seen


def test_render_writes_what_a_vault_and_its_backup_hosts_get_with_the_keys_that_are_kept(project: Any, tmp_path: Path):
    project.environment(f'{FLEET}vault = ["vault1"]\n')
    (member,) = inventory.read("staging", "vault1")
    keys.keep("staging", member, {"ssh": "ssh-ed25519 AAAAzq", "age": "age1zq", "sign": "ssh-ed25519 AAAAsign"})
    out = tmp_path / "out"
    render.run(arguments(out=str(out)))
    assert (out / "db1/etc/ssh/medaction-offsite/medaction-at-vault1").read_text() == "restrict ssh-ed25519 AAAAzq\n"
    assert (out / "db1/usr/local/lib/medaction/recipients").read_text() == "age1zq\n"
    assert "db1 db1 22 medaction-at-vault1" in (out / "vault1/usr/local/lib/medaction/vault-settings.sh").read_text()
    assert (out / "vault1/etc/medaction-vault/signers").read_text() == "vault ssh-ed25519 AAAAsign\n"


def test_render_prints_paths_and_no_secret(
    project: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], secret_texts: dict[str, str]
):
    project.environment(FLEET)
    render.run(arguments(out=str(tmp_path / "out")))
    said = capsys.readouterr().out
    assert said and not [text for text in secret_texts.values() if text in said]


def test_render_without_a_directory_says_what_to_write(project: Any):
    project.environment(FLEET)
    with pytest.raises(InventoryError, match="OUT=directory"):
        render.run(arguments())


def test_render_does_not_take_a_file_for_its_directory(project: Any, tmp_path: Path):
    project.environment(FLEET)
    (tmp_path / "file").touch()
    with pytest.raises(InventoryError, match="is a file: name a directory"):
        render.run(arguments(out=str(tmp_path / "file")))


def test_secrets_generates_what_is_missing_and_prints_names_only(project: Any, capsys: pytest.CaptureFixture[str]):
    project.environment(FLEET, staging='redis_password = "env:X"\n')
    file = project.write(".secrets/staging.env", "postgres_password=zq-mine\n")
    assert secrets.run(arguments()) == 0
    made = dict(line.split("=", 1) for line in file.read_text().splitlines()[1:])
    said = capsys.readouterr().out
    assert set(made) == {"postgres_backup_password", "redis_operator_password"}
    assert said == f".secrets/staging.env: generated {', '.join(made)}\n"
    assert not [value for value in made.values() if value in said]


def test_secrets_says_so_when_there_is_nothing_to_generate(project: Any, capsys: pytest.CaptureFixture[str]):
    project.environment(FLEET)
    secrets.run(arguments())
    assert capsys.readouterr().out == ".secrets/staging.env: complete, nothing to generate\n"


# --- Which hosts ----------------------------------------------------------------------------------------


def test_a_plans_last_line_is_the_command_that_makes_it(
    outcome: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(runs, "unreached", lambda *_: [])
    outcome(0, CHANGE)
    plan.run(arguments(limit="app", skip="redis1", partial=True))
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "1 change(s) pending; `make deploy ENV=staging LIMIT=app SKIP=redis1 PARTIAL=1` makes them"


def test_the_same_change_on_many_hosts_is_told_once(outcome: Any, capsys: pytest.CaptureFixture[str]):
    outcome(0, *(replace(CHANGE, host=f"app{number}") for number in range(25)), CHANGE)
    plan.run(arguments())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "26 hosts (app0, app1, app2, ...): App | Set the variables"
    assert len(lines) == 4 and lines[-1].startswith("26 change(s) pending")


@pytest.mark.parametrize(
    ("limit", "skip", "names"),
    [
        ("", "db1", ["app1", "redis1"]),
        ("", "app,redis1", ["db1"]),
        ("app1,db1", "app", ["db1"]),
        ("redis", "", ["redis1"]),
    ],
)
def test_limit_and_skip_narrow_a_run(limit: str, skip: str, names: list[str], outcome: Any):
    asked = outcome(0)
    plan.run(arguments(limit=limit, skip=skip))
    assert [word for word in asked[0] if not word.startswith("--")] == names


@pytest.mark.parametrize(
    ("limit", "skip", "said"),
    [
        ("", "nope", "SKIP=nope matches no host of staging; its hosts are: "),
        ("app1", "app", "SKIP=app leaves no host of staging to work on"),
    ],
)
def test_a_skip_that_cannot_be_is_one_sentence(limit: str, skip: str, said: str, outcome: Any):
    outcome(0)
    with pytest.raises(InventoryError, match=said):
        plan.run(arguments(limit=limit, skip=skip))


@pytest.mark.parametrize("command", [plan, deploy])
def test_partial_goes_on_without_silent_hosts_and_the_exit_code_says_so(
    command: Any, outcome: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    asked = outcome(0, NO_CHANGE)
    monkeypatch.setattr(runs, "unreached", lambda environment, names: ["db1"])
    monkeypatch.setattr(verify, "verdicts", lambda *_: verify.Verdicts(0))
    assert command.run(arguments(partial=True)) == 1
    assert [word for word in asked[0] if not word.startswith("-")] == ["app1", "redis1"]
    said = capsys.readouterr()
    assert "without db1: no answer from there (PARTIAL=1)" in said.err
    assert command is plan or " on 2 host(s), without db1 (no answer), " in said.out
