"""Every environment of `inventories/` deploys: which operations each role brings, in order, and then nothing to do."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from provision.__main__ import parser
from provision.commands import plan
from provision.debian.entries import File
from tests.deploy.fake import Fleet, commands, debian, stat_lines

Fleets = Callable[[str], Fleet]
ENVIRONMENTS = ["local", "sandbox", "staging", "production"]

WALL = [
    "Redis | Install nftables",
    "Redis | Write who may reach Redis' port",
    "Redis | Let nobody else reach it, now and from the start of every boot",
]
SEEN = "Redis | See the app's hosts reach it"
REDIS = [
    "Redis | Install Redis from the distribution",
    "Redis | Let the kernel give Redis memory to fork",
    "Redis | Apply the kernel's memory setting now",
    "Redis | Try the new configuration with a server aside",
    "Redis | Write Redis' configuration and its users",
    "Redis | Bound what Redis' service may hold, and how long its end may take",
    "Redis | Run Redis, now and after every boot",
    "Redis | Bring the running Redis to its configuration",
]
CONTAINER = [
    "Redis | Install redis-cli, to ask the Redis in the container",
    *REDIS[1:3],
    "Redis | Try the new configuration in a container aside",
    "Redis | Write the Compose file, Redis' configuration and its users",
    "Redis | Run Redis' container, now and after a boot",
    REDIS[7],
]
OWN = [
    "Redis | Create the user that Redis runs as",
    *WALL,
    "Redis | Keep the service of Redis' package from starting",
    REDIS[0],
    "Redis | Lay out where Redis has its data",
    *REDIS[1:6],
    "Redis | Have Redis run as its unit says now",
    *REDIS[6:],
    SEEN,
]
APP = [
    "App | Install redis-cli, to ask Redis from where the app stands",
    "App | Create the user that the app runs as",
    "App | Lay out the app's directory and its rate limiters",
    "App | Set the app's variables in .env, keeping every other line",
]
CLIENT = [
    "PostgreSQL client | Install the pg_dump of the server's major version",
    "PostgreSQL client | Keep PostgreSQL's package from starting a server of its own",
    "PostgreSQL client | Install the server that restore tests start for themselves",
]
BACKUP = [
    "Backup | Install cron, logrotate, jq and the compressor",
    "Backup | Create the user that owns the dumps",
    "Backup | Create the user that restores dumps to test them",
    "Backup | Lay out the directories of the backups",
    "Backup | Write the backup scripts, their password file and their schedule",
    "Backup | Make the database role that makes the dumps",
    "Backup | Keep the user that owns the dumps from Docker",
    "Backup | Run cron, now and after every boot",
    "Backup | Make a backup where there is no fresh one",
]
OFFSITE = [
    "Off-site | Install what encrypts the copies",
    "Off-site | Create the group of the vaults' accounts",
    "Off-site | Create the account by which @fake/vault1 reads",
    "Off-site | Let the account of @fake/vault1 read the outbox",
    "Off-site | Lay out the outbox",
    "Off-site | Write the program that fills the outbox, and who may read it",
    "Off-site | Start the outbox's timer and its log, now and after every boot",
    "Off-site | Let sshd show the vaults the outbox and nothing else",
    "Off-site | Encrypt what no vault could fetch yet",
    "Have every copy ready before a vault fetches",
]
VAULT = [
    "Vault keys | Install what makes keys",
    "Vault keys | Create the user that fetches from backup hosts",
    "Vault keys | Make room for the vault's keys",
    "Vault keys | Make the vault's key pairs, in a stage before all else",
    "Vault | Create the user that restores what is proven",
    "Vault | Create the user that restores dumps to test them",
    *(step.replace("PostgreSQL client", "Vault") for step in CLIENT[1:2]),
    "Vault | Install the servers that proofs start for themselves",
    "Vault | Lay out the vault",
    "Vault | Write the vault's program, and what it knows of the backup hosts",
    "Vault | Start the vault's timer, now and after every boot",
    "Have every copy ready before a vault fetches",
    "Vault | Fetch and prove what was not yet",
]
WRITES = (
    "apt-get", "useradd", "make-directory.sh", "close-file.sh", "part=$(mktemp", "systemctl start", "systemctl restart",
    "systemctl enable", "memory=1", "begin-log.sh", "runuser",
)  # fmt: skip
RECORD = ["Record | List what on this host came from us"]
STEPS = {"redis": REDIS, "app": APP, "backup": [*CLIENT, *BACKUP], "vault": VAULT}
# No change by themselves: a step that several hosts come to, keys that a stage before has made, what only a host of
# version 1.0.0 may need, a look, and what Debian starts by itself as it installs it.
STILL = (
    SEEN,
    "Redis | Run Redis, now",
    "Backup | Run cron, now",
    "Have every copy ready before a vault fetches",
    "Vault keys | Make the vault's key pairs, in a stage before",
    "Backup | Keep the user that owns the dumps from Docker",
)


def steps_of(role: str, hosts: Fleet, name: str) -> list[str]:
    in_container = role == "redis" and hosts.data[name].get("redis_mode") == "compose"
    fetched = role == "backup" and hosts.groups["vault"]
    steps = CONTAINER if in_container else [*STEPS[role], *(OFFSITE if fetched else [])]
    # Where it listens on loopback alone there is nothing to guard.
    guarded = role == "redis" and hosts.environment in ("sandbox", "production")
    return [*WALL, *steps, SEEN] if guarded else steps


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_each_host_gets_the_steps_of_its_roles_in_order(environment: str, fleet: Fleets):
    hosts = fleet(environment)
    outcome = hosts.run("--dry")
    assert outcome.exit_code == 0 and outcome.failed_hosts == ()
    for name in hosts.hosts:
        steps = [step for role in hosts.groups_of(name) for step in steps_of(role, hosts, name)]
        assert hosts.steps(outcome, name) == steps + RECORD


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_everything_is_to_be_done_on_a_fresh_host(environment: str, fleet: Fleets):
    outcome = fleet(environment).run("--dry")
    assert {step.changes for step in outcome.steps if not step.name.startswith(STILL)} == {True}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_deploy_runs_to_its_end_on_every_host(environment: str, fleet: Fleets):
    outcome = fleet(environment).run("-y")
    assert (outcome.exit_code, outcome.failed_hosts) == (0, ())
    assert not [step for step in outcome.steps if step.failed]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_nothing_is_to_be_done_after_a_deploy(environment: str, fleet: Fleets):
    hosts = fleet(environment)
    hosts.deploy_already()
    outcome = hosts.run("--dry")
    assert outcome.exit_code == 0 and outcome.steps
    assert [(step.host, step.name, step.differences) for step in outcome.steps if step.changes] == []


def test_one_host_can_be_all_with_redis_in_a_container(fleet: Fleets):
    hosts = fleet("staging")
    (name,) = hosts.hosts
    hosts.data[name] = {"redis_mode": "compose"}
    first = hosts.steps(hosts.run("--dry"), name)
    hosts.deploy_already()
    assert [(step.name, step.differences) for step in hosts.run("--dry").steps if step.changes] == []
    # The app's directory belongs to its group, and Redis' step comes first.
    assert first.index(APP[1].replace("App", "Redis")) < first.index(CONTAINER[4]) < first.index(APP[2])


def test_redis_in_a_service_of_its_own_takes_the_packages_steps_and_then_nothing(fleet: Fleets):
    hosts = fleet("production")
    (name,) = hosts.groups["redis"]
    with (hosts.root / "group_data/redis.py").open("a") as file:
        file.write('redis_mode = "instance"\n')
    first = hosts.run("--dry")
    assert hosts.steps(first, name) == OWN + RECORD
    still = (SEEN, "Redis | Have Redis run", "Redis | Bound what")
    assert {step.name.startswith(still): step.changes for step in first.steps if step.host == f"@fake/{name}"} == {
        True: False, False: True,
    }  # fmt: skip
    hosts.deploy_already()
    assert [(step.name, step.differences) for step in hosts.run("--dry").steps if step.changes] == []
    hosts.answers[name]["redis/unit-runs.sh medaction-redis.service"] = ["old"]
    (begun,) = [step.name for step in hosts.run("-y").steps if step.changes]
    assert begun == "Redis | Have Redis run as its unit says now"
    assert "systemctl restart medaction-redis.service" in " ".join(commands())


def test_a_second_deploy_sends_no_command_that_changes_anything(fleet: Fleets):
    hosts = fleet("production")
    hosts.deploy_already()
    outcome = hosts.run("-y")
    writes = (
        "apt-get",
        "useradd",
        "make-directory.sh",
        "mktemp",
        "systemctl start",
        "systemctl restart",
        "sysctl -w",
        "begin-log.sh",
    )
    sent = [command for command in commands() if any(word in command for word in writes)]
    assert (outcome.exit_code, sent, [step.name for step in outcome.steps if step.changes]) == (0, [], [])


def test_a_disk_that_is_too_small_for_a_restore_test_is_told_and_is_no_change(fleet: Fleets):
    hosts = fleet("production")
    hosts.deploy_already()
    room = ["1000000000 2500000000 medaction_2026-06-14_02-00-00.sql.gz", "900 800 medaction-audit.sql.gz"]
    hosts.answers["db1.example.com"]["backup/room-for-test.sh"] = room
    outcome = hosts.run("--dry")
    assert [step.name for step in outcome.steps if step.changes] == []
    (told,) = outcome.warnings
    assert "has 1.0 GB free, and the restore test of medaction_2026-06-14_02-00-00.sql.gz needs 2.5 GB" in told


def test_a_limit_leaves_the_other_hosts_alone(fleet: Fleets):
    hosts = fleet("production")
    outcome = hosts.run("--dry", "--limit", "@fake/db1.example.com")
    assert {step.host for step in outcome.steps} == {"@fake/db1.example.com"}


def test_a_dry_run_changes_nothing(fleet: Fleets):
    hosts = fleet("staging")
    hosts.run("--dry")
    assert not [command for command in commands() if any(word in command for word in WRITES)]


def test_a_failure_on_one_host_does_not_stop_the_others(fleet: Fleets):
    hosts = fleet("production")
    hosts.answers["app1.example.com"] = {**debian(), "useradd": {"success": False, "stderr": "useradd: no space left"}}
    outcome = hosts.run("-y")
    assert (outcome.exit_code, outcome.failed_hosts) == (1, ("@fake/app1.example.com",))
    assert [(s.host, s.name) for s in outcome.steps if s.failed] == [("@fake/app1.example.com", APP[1])]
    done = [step.name for step in outcome.steps if step.host == "@fake/app2.example.com" and step.changes]
    assert done == APP + RECORD


def test_a_container_is_not_asked_to_change_its_kernel(fleet: Fleets):
    hosts = fleet("sandbox")
    hosts.answers["redis1"] = {"uname -s": debian()["uname -s"][1:]}
    steps = [step for step in [*WALL, *REDIS, SEEN] if "kernel" not in step]
    assert hosts.steps(hosts.run("--dry"), "redis1") == steps + RECORD


def test_a_client_that_the_release_lacks_comes_from_postgresqls_own_repository(
    fleet: Fleets, postgresql: Callable[[int], None]
):
    postgresql(17)
    hosts = fleet("production")
    hosts.answers["db1.example.com"]["apt-helper download-file"] = ["15", "16", "17"]
    steps = hosts.steps(hosts.run("--dry"), "db1.example.com")
    assert steps[: len(CLIENT) + 1] == [
        "PostgreSQL client | Add PostgreSQL's own package repository, signed by its key",
        *CLIENT,
    ]


def test_a_repository_that_somebody_has_set_up_is_used_as_it_is(fleet: Fleets, postgresql: Callable[[int], None]):
    postgresql(17)
    hosts = fleet("production")
    hosts.answers["db1.example.com"]["apt-helper download-file"] = ["15", "16", "17"]
    hosts.answers["db1.example.com"]["for f in /etc/apt/sources.list"] = ["/etc/apt/sources.list.d/pgdg.list"]
    assert hosts.steps(hosts.run("--dry"), "db1.example.com")[: len(CLIENT)] == CLIENT


# --- What a person changed by hand --------------------------------------------------------------------


def pending(hosts: Fleet) -> list[tuple[str, tuple[str, ...]]]:
    outcome = hosts.run("--dry")
    assert outcome.exit_code == 0
    return [(step.name, step.differences) for step in outcome.steps if step.changes]


@pytest.fixture
def deployed(fleet: Fleets) -> Fleet:
    hosts = fleet("staging")
    hosts.deploy_already()
    return hosts


def answers(hosts: Fleet) -> dict:
    return hosts.answers["staging.example.com"]


@pytest.mark.parametrize(
    ("path", "was", "now", "step"),
    [
        ("/etc/cron.d/medaction-backup", "644", "666", BACKUP[4]),
        ("/opt/medaction/backups", "750", "755", BACKUP[3]),
        ("/opt/medaction/.env", "640", "644", APP[3]),
        ("/etc/redis/users.acl", "640", "644", REDIS[4]),
    ],
)
def test_a_changed_mode_is_told(path: str, was: str, now: str, step: str, deployed: Fleet):
    lines = answers(deployed)["stat $1 --printf"]
    at = next(i for i, line in enumerate(lines) if line.endswith(f"\t{path}"))
    lines[at] = lines[at].replace(f"\t{was}\t", f"\t{now}\t")
    assert pending(deployed) == [(step, (f"{path}: mode is 0{now}, should be 0{was}",))]


@pytest.mark.parametrize(
    ("path", "step"),
    [
        ("/etc/cron.d/medaction-backup", BACKUP[4]),
        ("/opt/medaction/scripts/restore-database.sh", BACKUP[4]),
        ("/etc/medaction/pgpass", BACKUP[4]),
        ("/opt/medaction/lib/security/rate-limiter-redis.ts", APP[2]),
    ],
)
def test_a_changed_file_is_told(path: str, step: str, deployed: Fleet):
    lines = answers(deployed)["stat $1 --printf"]
    at = next(i for i, line in enumerate(lines) if line.endswith(f"  {path}"))
    lines[at] = "0" * 64 + f"  {path}"
    assert pending(deployed) == [(step, (f"{path}: its content differs",))]


def test_every_changed_file_of_a_step_is_told(deployed: Fleet):
    lines = answers(deployed)["stat $1 --printf"]
    lines[:] = [line for line in lines if "/scripts/" not in line or line.startswith("directory")]
    ((_, differences),) = pending(deployed)
    assert differences == (
        "/opt/medaction/scripts/backup-database.sh: is missing",
        "/opt/medaction/scripts/restore-database.sh: is missing",
        "/opt/medaction/scripts/setup-cron.sh: is missing",
    )


def edit_env(hosts: Fleet, edit: Callable[[str], str]) -> None:
    """Let the host's `.env` be another, its hash too."""
    lines = answers(hosts)["if=/opt/medaction/.env"]
    text = edit("\n".join(lines[:-1]) + "\n")
    lines[:-1] = text.splitlines()
    found = answers(hosts)["stat $1 --printf"]
    at = next(i for i, line in enumerate(found) if line.endswith("  /opt/medaction/.env"))
    found[at] = stat_lines(File("/opt/medaction/.env", text))[1]


def test_a_changed_value_of_env_is_told_by_its_name_alone(deployed: Fleet):
    edit_env(deployed, lambda text: text.replace("REDIS_URL=redis://", "REDIS_URL=redis://zq-other"))
    ((name, differences),) = pending(deployed)
    assert name == APP[3] and differences[0] == "/opt/medaction/.env: REDIS_URL is not what the settings say"
    assert "zq-" not in "".join(differences)


def test_a_persons_own_line_in_env_is_no_difference(deployed: Fleet):
    edit_env(deployed, lambda text: "THEIRS=1\n" + text)
    assert pending(deployed) == []


def test_a_former_env_that_anybody_can_read_is_closed(deployed: Fleet):
    lines = answers(deployed)["stat $1 --printf"]
    lines += [
        "regular file\t666\tmedaction\tmedaction\t/opt/medaction/.env.previous",
        f"{'0' * 64}  /opt/medaction/.env.previous",
    ]
    assert pending(deployed)[0] == (APP[3], ("/opt/medaction/.env.previous: anybody can read or write it (0666)",))


def test_an_env_that_is_no_text_stops_its_host_alone_and_is_not_overwritten(fleet: Fleets):
    hosts = fleet("production")
    hosts.deploy_already()
    hosts.answers["app1.example.com"]["if=/opt/medaction/.env"] = ["REDIS_URL=cut"]
    hosts.answers["app1.example.com"]["echo '/opt/medaction/.env cannot be read"] = {"success": False}
    outcome = hosts.run("-y")
    assert outcome.failed_hosts == ("@fake/app1.example.com",)
    assert not [command for command in commands() if "write /opt/medaction/.env" in command]


def test_a_service_that_debian_starts_as_it_installs_it_is_promised_once(fleet: Fleets):
    """Else a first plan says more changes than its deploy makes."""
    outcome = fleet("production").run("--dry")
    promised = {step.name: step.changes for step in outcome.steps}
    assert promised["Redis | Install Redis from the distribution"]
    assert not promised["Redis | Run Redis, now and after every boot"]
    assert not promised["Backup | Run cron, now and after every boot"]


@pytest.mark.parametrize(
    ("service", "state", "step"),
    [
        ("cron", ("SubState", "dead"), BACKUP[-2]),
        ("redis-server", ("SubState", "failed"), REDIS[6]),
        ("redis-server", ("UnitFileState", "disabled"), REDIS[6]),
    ],
)
def test_a_stopped_or_disabled_service_is_told(service: str, state: tuple[str, str], step: str, deployed: Fleet):
    answers(deployed)[f"{state[0]} {service}.service"] = [f"Id={service}.service", f"{state[0]}={state[1]}"]
    assert [name for name, _ in pending(deployed)] == [step]


@pytest.mark.parametrize("package", ["isal", "postgresql-client-15", "redis-server"])
def test_a_missing_package_is_told(package: str, deployed: Fleet):
    answers(deployed)["dpkg-query"].remove(f"{package} installed")
    assert (f"not installed: {package}",) in [differences for _, differences in pending(deployed)]


def test_an_interrupted_installation_is_finished(deployed: Fleet):
    answers(deployed)["dpkg-query"].append("interrupted")
    assert ("a package installation was interrupted",) in [differences for _, differences in pending(deployed)]


def test_a_redis_that_runs_with_another_value_is_told(deployed: Fleet):
    lines = answers(deployed)["redis-cli -h 127.0.0.1"]
    lines[lines.index("maxmemory-policy") + 1] = "volatile-lru"
    assert pending(deployed) == [
        (REDIS[7], ("Redis runs with maxmemory-policy 'volatile-lru', should be 'noeviction'",))
    ]


def test_a_restart_that_a_cut_deploy_left_undone_is_found(deployed: Fleet):
    answers(deployed)["redis-cli -h 127.0.0.1"] = ["WRONGPASS invalid username-password pair or user is disabled."]
    assert pending(deployed) == [
        (REDIS[7], ("Redis does not let the operator in: it runs with another configuration",))
    ]


def test_each_reason_that_the_script_gives_is_told_and_each_tier_is_run_once(deployed: Fleet):
    due = {"the newest is 27 h old": "daily", "crm: there is none": "daily", "the last weekly run failed": "weekly"}
    answers(deployed)["--overdue"] = [f"{tier}\t{reason}" for reason, tier in due.items()]
    assert pending(deployed) == [(BACKUP[-1], tuple(due))]
    deployed.run("-y")
    runs = [command for command in commands() if command.startswith("runuser")]
    assert [re.search(r"--tier (\w+) >> (\S+)", run).groups() for run in runs] == [
        ("daily", "/var/log/medaction/backup.log"), ("weekly", "/var/log/medaction/backup-weekly.log"),
    ]  # fmt: skip


def test_a_crontab_that_makes_backups_too_is_named_and_is_no_change(
    deployed: Fleet, capsys: pytest.CaptureFixture[str]
):
    """Whoever comes from the handbook has its lines in root's crontab: a plan says so, and what to do."""
    answers(deployed)["backup/other-backups.sh medaction"] = [
        "/var/spool/cron/crontabs/root\t3\t0 2 * * *\tbackup-database.sh",
        "/etc/cron.d/old\t1\t@daily\tpg_dump",
    ]
    deployed.write()
    assert plan.run(parser().parse_args(["plan", "--env", "staging"])) == 0
    told = capsys.readouterr().out
    assert "root's crontab, line 3 (0 2 * * *) runs backup-database.sh beside these backups" in told
    assert "`crontab -u root -e`" in told and "/etc/cron.d/old, line 1 (@daily) runs pg_dump" in told
    assert pending(deployed) == []


@pytest.mark.parametrize("said", ["", "no tab in it", "bash: broken"])
def test_a_script_that_says_nothing_of_use_is_no_reason_to_run_it(said: str, deployed: Fleet):
    answers(deployed)["--overdue"] = [said]
    assert pending(deployed) == []


def test_what_is_pending_makes_the_plan_end_with_2_and_nothing_with_0(
    deployed: Fleet, capsys: pytest.CaptureFixture[str]
):
    arguments = parser().parse_args(["plan", "--env", "staging"])
    deployed.write()
    assert plan.run(arguments) == 0
    answers(deployed)["--overdue"] = debian()["--overdue"]
    deployed.write()
    assert plan.run(arguments) == 2
    assert "holds no backup yet" in capsys.readouterr().out


def test_a_suspect_dump_is_one_line_of_the_plan_and_no_change(deployed: Fleet, capsys: pytest.CaptureFixture[str]):
    suspect = "medaction: medaction_2026-06-15_02-00-01.sql.gz is suspect: table patients is gone. Was it intended?"
    answers(deployed)["--overdue"] = [f"accept\t{suspect}"]
    deployed.write()
    assert plan.run(parser().parse_args(["plan", "--env", "staging"])) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if "suspect" in line]
    assert len(told) == 1 and told[0].startswith("warning: ") and told[0].endswith(suspect)
    deployed.run("-y")
    assert not [command for command in commands() if "--tier" in command]
