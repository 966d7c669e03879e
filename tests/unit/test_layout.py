"""Every file of a deploy, rendered: stable, readable by whom it concerns, and holding no secret that it need not."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from urllib.parse import quote, unquote, urlsplit

import pytest

from provision.app import layout as app_layout
from provision.backup import layout as backup_layout
from provision.commands import render as command
from provision.debian.entries import Directory, Entry, File, Log
from provision.engine.environments import ROLES
from provision.engine.inventory import Member
from provision.postgres import layout as postgres_layout
from provision.redis import layout as redis_layout
from provision.settings import Settings
from provision.settings.project import PROJECT
from provision.vault import layout as vault

ValidSettings = Callable[..., Settings]

PASSWORDS = {
    "redis_password": "zq-R1-p@ss:/?#[]!$&'()*+,;=% \"\\é",
    "redis_operator_password": "zq-O2-p@ss:/?#[]!$&'()*+,;=% \"\\é",
    "postgres_password": "zq-P3-p@ss:/?#[]!$&'()*+,;=% \"\\é",
}


def rendered(settings: Settings) -> dict[str, File]:
    """Every file of a host with every role, by path."""
    return {file.path: file for file in command.files_of(Member("host", ROLES, settings, {}))}


def entries(settings: Settings) -> list[Entry]:
    return [
        *app_layout.files(settings),
        *backup_layout.directories(settings, app_is_here=True),
        *backup_layout.files(settings),
        redis_layout.config(settings),
        redis_layout.users(settings),
        redis_layout.kernel(settings),
    ]


def shapes_of(secret: str) -> Iterator[str]:
    """A secret as it may stand in a file: as it is, and as URLs and pgpass write it."""
    yield secret
    yield quote(secret, safe="")
    yield secret.replace("\\", "\\\\").replace(":", "\\:")
    yield secret[:5]  # "zq-R1": whatever the quoting, it begins so


@pytest.fixture
def files(settings_of: ValidSettings) -> dict[str, File]:
    return rendered(settings_of(**PASSWORDS))


def test_every_file_that_the_design_names_is_rendered(files: dict[str, File]):
    assert {
        "/opt/medaction/.env",
        "/opt/medaction/lib/security/rate-limiter-redis.ts",
        "/opt/medaction/scripts/backup-database.sh",
        "/opt/medaction/scripts/restore-database.sh",
        "/opt/medaction/scripts/setup-cron.sh",
        "/usr/local/lib/medaction/backup-database.sh",
        "/etc/cron.d/medaction-backup",
        "/etc/logrotate.d/medaction-backup",
        "/etc/redis/redis.conf",
        "/etc/redis/users.acl",
    } <= set(files)


@pytest.mark.parametrize(
    ("secret", "may_hold"),
    [
        ("redis_password", {"/opt/medaction/.env"}),
        ("redis_operator_password", set()),
        ("postgres_password", {"/opt/medaction/.env", "/etc/medaction/pgpass"}),
    ],
)
def test_a_password_stands_only_where_it_is_needed(secret: str, may_hold: set[str], files: dict[str, File]):
    holds = {path for path, file in files.items() for shape in shapes_of(PASSWORDS[secret]) if shape in file.content}
    assert holds == may_hold


def test_what_holds_a_password_is_for_its_reader_alone(files: dict[str, File]):
    who = {path: (file.user, file.group, f"{file.mode:04o}") for path, file in files.items() if "zq-" in file.content}
    assert who == {
        "/opt/medaction/.env": ("root", "medaction", "0640"),
        "/etc/medaction/pgpass": ("medaction-backup", "medaction-backup", "0600"),
    }


def test_redis_files_are_for_redis_alone(files: dict[str, File]):
    assert {
        (files[f"/etc/redis/{name}"].group, files[f"/etc/redis/{name}"].mode) for name in ("redis.conf", "users.acl")
    } == {("redis", 0o640)}


def test_nobody_but_its_owner_may_write_to_a_file(settings_of: ValidSettings):
    assert not [entry.path for entry in entries(settings_of()) if isinstance(entry, File) and entry.mode & 0o022]


def test_what_root_runs_or_reads_belongs_to_root(files: dict[str, File]):
    assert {file.user for path, file in files.items() if path.startswith(("/etc/cron.d", "/etc/logrotate.d"))} == {
        "root"
    }
    assert {(file.user, file.mode) for path, file in files.items() if path.endswith(".sh")} == {
        ("root", 0o755),
        ("root", 0o644),  # the parts, which are read and not run
    }


def test_the_app_can_neither_read_nor_delete_the_backups(settings_of: ValidSettings):
    placed = {entry.path: entry for entry in backup_layout.directories(settings_of(), app_is_here=True)}
    home, dumps = placed["/opt/medaction"], placed["/opt/medaction/backups"]
    assert home.mode & 0o1000, "without the sticky bit the app could rename the directory of the dumps"
    assert (dumps.user, dumps.group, dumps.mode & 0o007) == ("medaction-backup", "medaction-backup", 0)


def test_the_apps_directory_is_the_same_whichever_role_lays_it_out(settings_of: ValidSettings):
    settings = settings_of()
    assert app_layout.files(settings)[0] == backup_layout.directories(settings, app_is_here=True)[0]


def test_without_the_app_on_a_host_no_group_of_its_is_needed(settings_of: ValidSettings):
    placed = backup_layout.directories(settings_of(app_user="nextjs"), app_is_here=False)
    assert "nextjs" not in {entry.group for entry in placed}


def test_a_directory_is_made_before_what_lies_in_it(settings_of: ValidSettings):
    settings = settings_of()
    placed = [*app_layout.files(settings), *backup_layout.directories(settings, app_is_here=True)]
    paths = [entry.path for entry in placed]
    for i, entry in enumerate(placed):
        parent = entry.path.rsplit("/", 1)[0]
        assert parent not in paths or paths.index(parent) < i


def test_the_logs_belong_to_who_writes_them(settings_of: ValidSettings):
    logs = [each for each in backup_layout.directories(settings_of(), app_is_here=True) if isinstance(each, Log)]
    assert {(log.path, log.user) for log in logs} == {
        ("/var/log/medaction/backup.log", "medaction-backup"),
        ("/var/log/medaction/backup-weekly.log", "medaction-backup"),
        ("/var/log/medaction/restore-test.log", "medaction-backup"),
    }


# --- Stable -------------------------------------------------------------------------------------------


def test_two_renders_are_equal(settings_of: ValidSettings):
    assert rendered(settings_of(**PASSWORDS)) == rendered(settings_of(**PASSWORDS))


def test_a_render_in_another_process_is_equal():
    program = (
        "from provision.backup import layout as backup_layout; from provision.redis import layout as redis_layout;"
        " from provision.settings import SECRET_SETTINGS, Settings;"
        " s = Settings(**dict.fromkeys(SECRET_SETTINGS, 'x'));"
        " print(*(f.sha256 for f in [*backup_layout.files(s), redis_layout.config(s), redis_layout.users(s)]))"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=PROJECT,
                         env={"PYTHONHASHSEED": seed})
        for seed in ("1", "2")
    ]  # fmt: skip
    first, second = (process.communicate()[0] for process in started)
    assert first == second and len(first) > 64


def test_no_file_bears_the_time_of_its_rendering(files: dict[str, File]):
    date = re.compile(r"\b20\d\d-[01]\d-[0-3]\d\b|\b[0-2]\d:[0-5]\d:[0-5]\d\b")
    assert not [path for path, file in files.items() if date.search(file.content)]


def test_every_file_says_that_it_is_managed(files: dict[str, File]):
    silent = [path for path, file in files.items() if "anaged by the" not in file.content]
    assert set(silent) <= {
        "/opt/medaction/.env",
        "/etc/redis/users.acl",
    }  # the one is merged, the other knows no comment


def test_nothing_of_the_template_language_is_left(files: dict[str, File]):
    assert not [path for path, file in files.items() if re.search(r"\{\{|\{%|%\}|\*{10}", file.content)]


# --- What is in them ----------------------------------------------------------------------------------


def test_the_urls_in_env_give_every_part_back(settings_of: ValidSettings):
    settings = settings_of(**PASSWORDS, redis_host="10.0.0.5", postgres_user="méd:action", postgres_database="a b/c")
    variables = {name: value.strip("\"'`") for name, value in app_layout.variables(settings).items()}
    redis, database = urlsplit(variables["REDIS_URL"]), urlsplit(variables["DATABASE_URL"])
    assert (redis.scheme, redis.username, unquote(redis.password or ""), redis.hostname, redis.port) == (
        "redis", "medaction", PASSWORDS["redis_password"], "10.0.0.5", 6379,
    )  # fmt: skip
    assert [unquote(part or "") for part in (database.username, database.password, database.path[1:])] == [
        "méd:action", PASSWORDS["postgres_password"], "a b/c",
    ]  # fmt: skip


def test_valkey_has_no_file_where_redis_is(settings_of: ValidSettings):
    settings = settings_of(redis_package="valkey")
    entries = redis_layout.files(settings, app_is_here=False)
    assert [entry.path for entry in entries] == [
        "/etc/valkey/valkey.conf", "/etc/valkey/users.acl", "/etc/systemd/system/valkey-server.service.d",
        "/etc/systemd/system/valkey-server.service.d/medaction.conf",
    ]  # fmt: skip
    texts = "".join(entry.content for entry in entries if isinstance(entry, File))
    assert not re.search(r"(etc|run|log|lib)/redis|redis-server\.(pid|log|service )", texts)


def test_a_persons_own_variable_wins_over_ours(settings_of: ValidSettings):
    assert app_layout.variables(settings_of(app_env={"POSTGRES_USER": "other"}))["POSTGRES_USER"] == "other"


def test_cron_has_the_daily_and_the_weekly_run_and_nothing_that_cron_would_misread(files: dict[str, File]):
    text = files["/etc/cron.d/medaction-backup"].content
    jobs = [line for line in text.splitlines() if line[:1].isdigit()]
    assert [job.split()[:6] for job in jobs] == [
        ["0", "2", "*", "*", "*", "medaction-backup"],
        ["0", "1", "*", "*", "0", "medaction-backup"],
    ]
    assert "BACKUP_RETENTION_DAYS=90" in jobs[1] and "%" not in text and text.endswith("\n")


def test_the_names_of_the_cron_files_are_ones_that_cron_reads(settings_of: ValidSettings):
    paths = [path for path in rendered(settings_of(app_name="a-1")) if path.startswith("/etc/cron.d/")]
    assert len(paths) == 2 and all(re.fullmatch(r"[A-Za-z0-9_-]+", path.rsplit("/", 1)[1]) for path in paths)


def test_where_dumps_lie_encrypted_nothing_there_restores_one_and_every_key_is_named(settings_of: ValidSettings):
    settings = settings_of(backup_encrypt_local=True)
    files = backup_layout.files(settings, ["age1a", "age1b"])
    there = {file.path: file.content for file in files if isinstance(file, File)}
    cron = there["/etc/cron.d/medaction-restore-test"].splitlines()
    assert not [line for line in cron if "restore-database" in line] and "# None: dumps are encrypted here" in cron[-1]
    assert there[settings.backup_recipients_file] == "age1a\nage1b\n"
    assert backup_layout.cron_files(settings) == ("/etc/cron.d/medaction-backup",)
    assert settings.backup_latest.endswith("medaction_latest.sql.gz.age")


def test_the_redis_user_may_touch_the_keys_of_the_limiters(settings_of: ValidSettings):
    users = redis_layout.users(settings_of(redis_key_prefix="other:prefix")).content
    assert " ~other:prefix:* " in users and users.count("~") == 2


@pytest.mark.parametrize("name", ["backup-database.sh", "restore-database.sh"])
def test_the_scripts_are_read_by_bash_whatever_the_settings(name: str, settings_of: ValidSettings):
    if shutil.which("bash") is None:
        pytest.skip("needs bash to parse the scripts")
    settings = settings_of(
        app_dir="/srv/my app", postgres_database="it's $HOME `id`", postgres_user='a"b\\', app_name="x-1"
    )
    script = rendered(settings)[f"/srv/my app/scripts/{name}"].content
    script += rendered(settings)["/usr/local/lib/x-1/settings.sh"].content
    assert subprocess.run(["bash", "-n"], input=script, capture_output=True, encoding="utf-8").stderr == ""


def test_bash_reads_the_settings_of_the_scripts_back(settings_of: ValidSettings):
    if shutil.which("bash") is None:
        pytest.skip("needs bash to read the settings of the scripts")
    wanted = {"postgres_database": "it's $HOME `id`", "postgres_user": 'a"b\\ *', "backup_dir": "/srv/my dumps"}
    script = rendered(settings_of(**wanted))["/usr/local/lib/medaction/settings.sh"].content
    program = "\n".join([script, *(f'printf "%s\\n" "${name}"' for name in wanted)])
    done = subprocess.run(["bash", "-c", program], capture_output=True, check=True, encoding="utf-8")
    assert done.stdout.splitlines() == list(wanted.values())


def test_a_path_with_a_blank_stays_one_word_in_cron(settings_of: ValidSettings):
    assert "cd '/srv/my app' &&" in rendered(settings_of(app_dir="/srv/my app"))["/etc/cron.d/medaction-backup"].content


def test_the_package_repository_is_trusted_for_its_own_key_alone(settings_of: ValidSettings):
    *_, key, source = postgres_layout.repository(settings_of(), "bookworm")
    assert isinstance(source, File) and isinstance(key, File)
    assert f"Signed-By: {key.path}\n" in source.content and "Suites: bookworm-pgdg\n" in source.content
    assert "BEGIN PGP PUBLIC KEY BLOCK" in key.content


def test_directories_come_with_an_owner_each(settings_of: ValidSettings):
    assert all(entry.user and entry.group for entry in entries(settings_of()) if isinstance(entry, Directory))


def test_redis_waits_for_the_network_where_it_does_not_start_without(settings_of: ValidSettings):
    def waits(**values: object) -> bool:
        found = redis_layout.files(settings_of(**values), app_is_here=False)
        (unit,) = [entry for entry in found if isinstance(entry, File) and "/systemd/" in entry.path]
        return "network-online.target" in unit.content

    assert waits(redis_host="10.0.0.5")
    assert not (waits() or waits(redis_bind=["127.0.0.1", "-10.0.0.5"]) or waits(redis_bind=["0.0.0.0"]))


@pytest.mark.parametrize("values", [{}, {"backup_restore_test_dir": "/srv/scratch"}])
def test_the_directory_of_restore_tests_is_roots_wherever_it_lies(settings_of: ValidSettings, values: dict[str, str]):
    made = backup_layout.directories(settings_of(**values), app_is_here=False)
    (found,) = (entry for entry in made if entry.path == settings_of(**values).backup_restore_test_dir)
    assert (found.user, found.group, found.mode) == ("root", "root", 0o711)


def test_urls_of_ipv6_hosts_are_bracketed(settings_of: ValidSettings):
    variables = app_layout.variables(settings_of(redis_host="fd00::5", postgres_host="fd00::8"))
    assert urlsplit(variables["REDIS_URL"].strip('"')).hostname == "fd00::5"
    assert urlsplit(variables["DATABASE_URL"].strip('"')).port == 5432


def test_whom_to_notify_stands_one_a_line_in_a_file_of_roots_and_nowhere_else(settings_of: ValidSettings):
    quiet, told = rendered(settings_of()), rendered(settings_of(notify="json://u:k3y@h/  mailtos://u:k3y@m"))
    assert told.keys() - quiet.keys() == {
        "/etc/medaction/notify", "/usr/local/lib/medaction/notify.sh", "/etc/cron.d/medaction-notify",
    }  # fmt: skip
    addresses = told["/etc/medaction/notify"]
    assert (addresses.user, addresses.group, addresses.mode) == ("root", "medaction-backup", 0o640)
    assert addresses.content == "json://u:k3y@h/\nmailtos://u:k3y@m\n"
    assert [path for path, file in told.items() if "k3y" in file.content] == ["/etc/medaction/notify"]


def test_who_is_told_of_runs_is_told_by_cron_and_the_address_is_in_a_file_of_roots(settings_of: ValidSettings):
    quiet, told = rendered(settings_of()), rendered(settings_of(backup_ping_url="https://x/k3y/{name}"))
    assert not any("ping" in path or "ping" in file.content for path, file in quiet.items() if "/cron.d/" in path)
    address = told["/etc/medaction/ping-url"]
    assert (address.user, address.group, address.mode) == ("root", "medaction-backup", 0o640)
    assert [path for path, file in told.items() if "k3y" in file.content] == ["/etc/medaction/ping-url"]
    jobs = told["/etc/cron.d/medaction-backup"].content + told["/etc/cron.d/medaction-restore-test"].content
    assert re.findall(r"ping\.sh (\S+) \S+/(\S+)", jobs) == [
        ("daily", "backup-database.sh"), ("weekly", "backup-database.sh"), ("restore-test", "restore-database.sh"),
    ]  # fmt: skip


def test_a_vault_tells_how_each_visit_ends_by_a_unit_that_has_a_network(settings_of: ValidSettings):
    def made(**settings: str) -> dict[str, File]:
        entries = vault.vault_files(settings_of(**settings), "medaction-at-vault1", [], "ssh-ed25519 AAAA")
        return {each.path: each for each in entries if isinstance(each, File)}

    quiet, told = made(), made(backup_ping_url="https://x/k3y/{name}")
    service = "/etc/systemd/system/medaction-vault.service"
    assert told.keys() - quiet.keys() == {
        "/etc/medaction/ping-url", "/usr/local/lib/medaction/ping.sh", "/usr/local/lib/medaction/how-it-ended.sh",
        "/etc/systemd/system/medaction-vault-ping@.service",
    }  # fmt: skip
    assert "OnSuccess" not in quiet[service].content
    for end, instance in (("OnSuccess", "success"), ("OnFailure", "failure")):
        assert f"\n{end}=medaction-vault-ping@{instance}.service\n" in told[service].content
    assert [path for path, file in told.items() if "k3y" in file.content] == ["/etc/medaction/ping-url"]
