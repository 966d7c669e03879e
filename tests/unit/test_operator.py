"""What an operator may write and type: refused in one sentence that names the file, or safe. Never a traceback."""

from __future__ import annotations

import getpass
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from provision.__main__ import main
from provision.commands import known_hosts, unlock
from provision.engine import inventory, lock
from provision.engine.environments import InventoryError
from provision.record import history
from provision.settings import secrets
from provision.settings.project import PROJECT
from tests.unit.test_commands import arguments
from tests.unit.test_inventory import refusal

FLEET = 'app = ["app1"]\nredis = ["redis1"]\nbackup = ["db1"]\n'


# --- inventories/ -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["app", "redis", "backup", "vault", "all"])
def test_a_file_whose_name_would_give_every_host_a_role_is_refused(name: str, project: Any):
    project.environment(FLEET, name=name)
    assert refusal(environment=name).startswith(f"inventories/{name}.py: all hosts of a file are in the group")


@pytest.mark.parametrize(
    ("group", "role"), [("backups", "backup"), ("Backup", "backup"), ("vaults", "vault"), ("rediss", "redis")]
)
def test_a_group_called_almost_like_a_role_deploys_nothing_and_is_told(group: str, role: str, project: Any):
    project.environment(f'app = ["one"]\n{group} = ["one"]\n')
    assert f"one: is in {group}, which is no role, and not in {role}: did you mean that?" in refusal()


def test_a_group_from_which_a_role_is_made_is_no_misspelt_one(project: Any):
    project.environment('apps = ["one"]\napp = apps\n')
    assert [member.name for member in inventory.read("staging")] == ["one"]


@pytest.mark.parametrize("name", ["redis2", "app1", "vaults"])
def test_an_environment_may_be_called_almost_like_a_role(name: str, project: Any):
    project.environment('backup = ["one"]\n', name=name)
    assert [member.name for member in inventory.read(name)] == ["one"]


def test_a_host_called_like_a_group_of_others_could_not_be_told_apart_by_limit_and_skip(project: Any):
    project.environment('app = ["app", "web2"]\n')
    assert "app: is called as a group of other hosts is" in refusal() and "web2:" not in refusal()


def test_a_host_that_is_alone_in_the_group_of_its_name_is_that_host(project: Any):
    project.environment('app = ["app"]\nbackup = ["db1"]\n')
    assert [member.name for member in inventory.read("staging", skip="db1")] == ["app"]


@pytest.mark.parametrize(
    "name", ["../../x", "..", "a/b", "a b", "a,b", "-x", "app*", "a\\x1b[31mb", "a\\nb", "@fake/../x"]
)
def test_a_name_that_is_none_of_a_host_is_refused(name: str, project: Any):
    project.environment(f'app = ["one", "{name}"]\n')
    assert "has a name that is none of a host" in refusal()


@pytest.mark.parametrize("name", ["é", "db_1", "::1", "10.0.0.1", "user@host", "@local", "@fake/one", "h.example.com."])
def test_other_names_are_taken(name: str, project: Any):
    project.environment(f'redis = ["{name}"]\n')
    assert [member.name for member in inventory.read("staging")] == [name]


def test_data_of_a_host_that_contradicts_itself_is_refused(project: Any):
    project.environment('app = [("one", {"redis_port": 6380})]\nredis = [("one", {"redis_port": 6390})]\n')
    told = "one: redis_port stands beside this host in app and in redis, with another value in each: write it once"
    assert told in refusal()


def test_data_of_a_host_that_says_the_same_twice_is_taken(project: Any):
    project.environment('app = [("one", {"redis_port": 6380})]\nredis = [("one", {"redis_port": 6380})]\n')
    assert inventory.read("staging")[0].settings.redis_port == 6380


@pytest.mark.parametrize("data", ['"redis_port": 6390', '"redis_password": "env:HOME"', '"redis_key_prefix": "x"'])
def test_an_app_and_its_redis_mean_the_same(data: str, project: Any):
    project.environment(f'app = ["one"]\nredis = [("two", {{{data}}})]\n')
    setting = data.split('"')[1]
    assert f"one: {setting} is another than two has, whose Redis they use" in refusal()


def test_a_redis_that_no_app_uses_may_be_another(project: Any):
    other = '("two", {"redis_host": "10.0.0.6", "redis_port": 6390})'
    project.environment(f'app = ["one"]\nredis = ["three", {other}]\n')
    assert len(inventory.read("staging")) == 3


@pytest.mark.parametrize("value", ['("10.0.0.0/24", 8080)', "()", "(1, 2, 3)", "[(6379, 'x')]", "[('one',)]"])
def test_a_value_of_the_files_own_that_pyinfra_takes_for_a_group_is_told(value: str, project: Any):
    project.environment(f"{FLEET}NETS = {value}\n")
    assert "inventories/staging.py: NETS is taken for a group of hosts, and is none" in refusal()


@pytest.mark.parametrize("value", ["[(6379, 'x'), ()]", "[('app1',)]", "('10.0.0.0/24', 8080)"])
def test_a_value_of_the_files_own_keeps_no_fault_from_being_told(value: str, project: Any):
    project.environment(f"{FLEET}_nets = {value}\n", staging="redis_port = 70000\n")
    assert "redis_port = 70000: must be less than or equal to 65535 [inventories/group_data/staging.py]" in refusal()


def test_a_file_that_defines_the_group_of_its_own_name_without_all_hosts_is_refused(project: Any):
    project.environment('staging = ["one"]\napp = ["one", "two"]\n')
    assert "two: is not in the group staging last" in refusal() and "one:" not in refusal()


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("staging.py", b"# \xe9\napp = ['one']\n"),
        ("staging.py", "app = ['one']\n".encode("utf-16")),
        ("group_data/staging.py", b"# \xe9\n"),
        ("group_data/staging.py", b"raise SystemExit(3)\n"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(path: str, content: bytes, project: Any):
    project.environment(FLEET)
    project.write(f"inventories/{path}", content)
    assert refusal().startswith(f"inventories/{path} cannot be read: ")


def test_a_link_that_leads_nowhere_is_one_sentence(project: Any):
    project.environment(FLEET)
    (project.root / "inventories/lost.py").symlink_to("/nowhere")
    assert refusal(environment="lost") == "inventories/lost.py is no file: see where it leads"


def test_group_data_for_a_group_that_nobody_is_in_is_refused(project: Any):
    project.environment(FLEET, stagin="redis_port = 6380\n")
    told = "inventories/group_data/stagin.py is for no group, and what stands in it holds nowhere"
    assert told in refusal() and "did you mean staging.py?" in refusal()


def test_group_data_for_a_group_of_another_environment_is_passed_over(project: Any):
    project.environment('eu = ["two"]\napp = eu\n', name="production", eu="redis_port = 6380\n")
    project.environment(FLEET)
    assert inventory.read("staging")[0].settings.redis_port == 6379


@pytest.mark.parametrize(
    ("written", "meant"),
    [("ssh_usr", "ssh_user"), ("_sduo", "_sudo"), ("ssh_known_host_file", "ssh_known_hosts_file")],
)
def test_a_misspelt_word_of_pyinfras_is_told(written: str, meant: str, project: Any):
    project.environment(FLEET, staging=f"{written} = 'x'\n")
    assert f"{written} is not a setting; did you mean {meant}? [inventories/group_data/staging.py]" in refusal()


@pytest.mark.parametrize("value", ["(x for x in ['app'])", "map(str, ['app'])", "iter(['app'])"])
def test_a_value_that_only_the_first_host_would_get_is_refused(value: str, project: Any):
    project.environment(FLEET, staging=f"redis_allow_from = {value}\n")
    assert "app1, redis1, db1: redis_allow_from gives its values once" in refusal()


# --- Settings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        ("redis_allow_eval", "True", "must be 'auto', or a valid boolean"),
        ("backup_databases", 5, "must be 'all', or a valid list"),
        ("backup_metrics_dir", "x", "shell characters, or ''"),
        ("backup_vault_address", "a b", "must be a host name or an IP address, without a port, or ''"),
    ],
)
def test_a_setting_of_several_kinds_has_one_fault_in_our_words(setting: str, value: object, told: str, faults_of: Any):
    (fault,) = faults_of(**{setting: value})
    assert fault.setting == setting and told in fault.reason


def test_a_fault_within_a_list_is_told_of_that_alone(faults_of: Any):
    (fault,) = faults_of(backup_databases=["medaction", 5])
    assert (fault.setting, fault.reason) == ("backup_databases.1", "must be a valid string")


@pytest.mark.parametrize("setting", ["deploy_hook", "backup_hook", "backup_failure_hook"])
def test_a_command_that_may_hold_a_secret_is_not_shown(setting: str, faults_of: Any):
    assert "zq-hidden" not in repr(faults_of(**{setting: "curl -H 'Token: zq-hidden'\n"}))


@pytest.mark.parametrize(
    "path",
    ["//etc", "///usr", "/etc/ssh", "/usr/local/bin", "/root/.ssh", "/etc/medaction", "/usr/local/lib/medaction",
     "/var/log/medaction", "/var/lib/medaction-backup", "/etc/medaction-redis", "/var/lib/redis"],
)  # fmt: skip
@pytest.mark.parametrize("setting", ["app_dir", "backup_dir", "vault_dir", "backup_restore_test_dir"])
def test_a_directory_of_the_systems_or_of_roots_is_given_to_nobody(setting: str, path: str, faults_of: Any):
    assert setting in {fault.setting for fault in faults_of(**{setting: path})}


@pytest.mark.parametrize("path", ["/opt/medaction", "/opt"])
def test_dumps_do_not_lie_around_the_app(path: str, faults_of: Any):
    assert [fault.setting for fault in faults_of(backup_dir=path)] == ["backup_dir"]


@pytest.mark.parametrize(
    ("setting", "user"),
    [("backup_user", "root"), ("backup_user", "medaction-restore-test"), ("backup_user", "medaction-redis"),
     ("app_user", "medaction-redis"), ("app_user", "medaction-vault"), ("app_user", "medaction-restore-test")],
)  # fmt: skip
def test_a_user_of_another_service_is_refused(setting: str, user: str, faults_of: Any):
    assert [fault.setting for fault in faults_of(**{setting: user})] == [setting]


def test_the_longest_app_name_has_users_that_differ(settings_of: Any):
    found = settings_of(app_name="a" * 30)
    users = [found.app_user, found.backup_user, found.vault_user, found.backup_outbox_group]
    assert len({*users}) == 4


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "224.0.0.1", "255.255.255.255"])
@pytest.mark.parametrize("setting", ["redis_host", "postgres_host"])
def test_an_address_of_no_host_is_refused(setting: str, host: str, faults_of: Any):
    assert setting in {fault.setting for fault in faults_of(**{setting: host})}


def test_redis_listens_where_the_app_looks_for_it(faults_of: Any, settings_of: Any):
    (fault,) = faults_of(redis_host="127.0.1.1")
    assert fault.setting == "redis_bind" and "lacks redis_host = '127.0.1.1'" in fault.reason
    assert settings_of(redis_host="127.0.1.1", redis_bind=["127.0.0.1", "127.0.1.1"])


def test_an_interface_is_one(faults_of: Any, settings_of: Any):
    assert faults_of(redis_bind=["127.0.0.1", "::1%\nrequirepass x"])
    assert settings_of(redis_bind=["127.0.0.1", "fe80::1%eth0"])


@pytest.mark.parametrize("names", [["medaction", "medaction"], ["all", "medaction"]])
def test_a_database_is_listed_once_and_all_of_them_alone(names: list[str], faults_of: Any):
    assert [fault.setting for fault in faults_of(backup_databases=names)] == ["backup_databases"]


def test_text_that_no_file_can_hold_is_refused(faults_of: Any):
    assert [fault.setting for fault in faults_of(postgres_user="a\udce9b")] == ["postgres_user"]


@pytest.mark.parametrize(
    ("setting", "path"),
    [("windows_app_dir", r"C:\Windows"), ("windows_app_dir", r"c:\windows\System32"), ("windows_app_dir", r"C:\Users"),
     ("windows_backup_dir", r"C:\MedAction"), ("windows_backup_dir", r"c:\medaction\CONFIG"),
     ("windows_backup_dir", r"C:\MedAction\logs\x"), ("windows_backup_dir", r"C:\ProgramData\MedAction-deploy")],
)  # fmt: skip
def test_a_windows_directory_of_something_else_is_refused(setting: str, path: str, faults_of: Any):
    assert [fault.setting for fault in faults_of(**{setting: path})] == [setting]


@pytest.mark.parametrize(
    "path", [r"D:\backups", r"C:\MedAction\backups", r"C:\MedAction-backups", r"C:\ProgramData\Med"]
)
def test_other_windows_directories_are_taken(path: str, settings_of: Any):
    assert settings_of(windows_backup_dir=path).windows_backup_dir == path


@pytest.mark.parametrize("setting", ["deploy_command_seconds", "deploy_silence_seconds", "redis_max_memory_mb"])
def test_a_number_that_nothing_can_reckon_with_is_refused(setting: str, faults_of: Any):
    assert [fault.setting for fault in faults_of(**{setting: 10**400})] == [setting]


def test_the_password_of_an_address_is_not_shown(faults_of: Any):
    (fault,) = faults_of(postgres_apt_repository="https://user:zq-hidden@mirror/pg dg")
    assert "zq-hidden" not in repr(fault) and "@mirror/pg dg" in str(fault.found)


# --- Secrets ------------------------------------------------------------------------------------------


def test_the_mark_that_windows_editors_write_hides_no_secret(project: Any):
    text = b"\xef\xbb\xbfpostgres_password=the-roles-own\r\n"
    project.environment(FLEET)
    path = project.write(".secrets/staging.env", text)
    assert "postgres_password" not in secrets.generate_missing("staging", ["postgres_password", "redis_password"])
    assert path.read_bytes().startswith(text)
    assert secrets.read("postgres_password", None, "staging").get_secret_value() == "the-roles-own"
    file = project.write("password", b"\xef\xbb\xbfhunter2\r\n")
    assert secrets.read("postgres_password", f"file:{file}", "staging").get_secret_value() == "hunter2"


def test_a_link_to_the_secrets_stays_one(project: Any):
    kept = project.write("safe/staging.env", "postgres_password=x\n")
    project.environment(FLEET)
    (link := project.root / ".secrets/staging.env").unlink()
    link.symlink_to(kept)
    assert secrets.generate_missing("staging", ["postgres_password", "redis_password"]) == ["redis_password"]
    assert link.is_symlink() and "redis_password=" in kept.read_text() and kept.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_holds_no_secrets(make: Any, project: Any):
    project.environment(FLEET)
    (path := project.root / ".secrets/staging.env").unlink()
    make(path)
    assert f"{path} is no file: move it away" in refusal()


def test_a_secret_that_only_some_hosts_have_elsewhere_is_generated_for_the_others(project: Any):
    project.environment('app = ["one"]\nbackup = [("two", {"postgres_password": "env:HOME"})]\n')
    assert inventory.Environment("staging").secrets_pointed_at() == set()


def test_what_lies_beside_a_private_file_stays(tmp_path: Path):
    (beside := tmp_path / "report.html.part").write_text("somebody's")
    secrets.write_private(tmp_path / "report.html", b"x")
    assert beside.read_text() == "somebody's" and sorted(each.name for each in tmp_path.iterdir()) == [
        "report.html", "report.html.part"
    ]  # fmt: skip


def test_a_home_that_is_not_there_is_one_sentence(project: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    project.environment(FLEET, staging='redis_password = "file:~nosuchuser/x"\n')
    assert "redis_password cannot be read: there is no such home directory" in refusal()
    for words in (["keys", "--out", "~nosuchuser/key"], ["secrets", "--copy", "~nosuchuser/x", "--identity", "x"]):
        monkeypatch.setattr(sys, "argv", ["provision", *words, "--env", "staging"])
        assert main() == 1
        assert capsys.readouterr().err.startswith("error: ~nosuchuser/")


# --- Commands -----------------------------------------------------------------------------------------


def test_a_person_whom_the_system_does_not_know_is_a_number(monkeypatch: pytest.MonkeyPatch):
    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")  # `docker run -u 1234`

    monkeypatch.setattr(getpass, "getuser", unknown)
    monkeypatch.delenv("SUDO_USER", raising=False)
    assert f"uid-{os.getuid()}@" in lock.us() and f"uid-{os.getuid()}@" in history.head("staging")["who"]


def test_a_port_that_is_no_number_is_one_sentence(project: Any):
    project.environment('app = [("one", {"ssh_port": "22a", "ssh_known_hosts_file": "known"})]\n')
    with pytest.raises(InventoryError, match="one: ssh_port = '22a': must be a number"):
        known_hosts.run(arguments())


REDISES = 'redis = [("one", {"redis_key_prefix": "first"}), ("two", {"redis_key_prefix": "second"})]\n'


@pytest.fixture
def unlocked(project: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """By host the key that `unlock` deletes there."""
    deleted: dict[str, str] = {}
    project.environment(REDISES)
    monkeypatch.setattr(unlock, "_delete", lambda host, _, key: deleted.setdefault(host.name, key) and "1")
    monkeypatch.setattr("provision.engine.run.connect_all", lambda _: None)
    return deleted


def test_unlock_leaves_out_whom_skip_names_and_counts_by_each_hosts_settings(
    unlocked: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    for skip, prefixes in (("", {"one": "first", "two": "second"}), ("one", {"two": "second"})):
        unlocked.clear()
        monkeypatch.setattr(sys, "stdin", io.StringIO("192.0.2.7\n"))
        assert unlock.run(arguments(limiter="login", skip=skip)) == 0
        assert {name: key.split(":")[0] for name, key in unlocked.items()} == prefixes


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_unlock_takes_text_alone(errors: str, unlocked: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe\n"), "utf-8", errors))
    with pytest.raises(InventoryError, match="is not UTF-8 text"):
        unlock.run(arguments(limiter="login"))
    assert not unlocked


def test_an_interrupt_while_all_is_loaded_shows_no_traceback():
    for seconds in (0.2, 0.5):
        with subprocess.Popen(
            [sys.executable, "-m", "provision", "settings"], cwd=PROJECT, stdout=subprocess.DEVNULL, text=True,
            stderr=subprocess.PIPE, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        ) as program:  # fmt: skip
            time.sleep(seconds)
            program.send_signal(signal.SIGINT)
            _, said = program.communicate(timeout=60)
        assert "Traceback" not in said


@pytest.mark.parametrize("out", ["o'neil", "a$b", "a b", 'a"b'])
def test_make_hands_on_what_was_typed(out: str, tmp_path: Path):
    words = [
        "make",
        "-n",
        "-o",
        ".venv/.complete",
        "render",
        "ENV=it's",
        f"OUT={tmp_path / out}",
        "PYTHON_=printf '%s\\n'",
    ]
    outer = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    recipe = subprocess.run(words, cwd=PROJECT, env=outer, capture_output=True, text=True, check=True).stdout
    said = subprocess.run(["sh", "-c", recipe], capture_output=True, text=True, check=True).stdout.splitlines()
    assert f"--out={tmp_path / out}" in said and "--env=it's" in said


@pytest.mark.parametrize(("value", "is_on"), [("1", True), ("yes", True), ("0", False), ("no", False), ("", False)])
def test_make_takes_no_for_no(value: str, is_on: bool):
    words = ["make", "-n", "-o", ".venv/.complete", "verify", "ENV=x", f"WRITE={value}", f"PARTIAL={value}"]
    outer = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    recipe = subprocess.run(words, cwd=PROJECT, env=outer, capture_output=True, text=True, check=True).stdout
    assert ("--write-test" in recipe) == ("--partial" in recipe) == is_on
