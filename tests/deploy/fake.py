"""An environment of `inventories/`, its hosts replaced by `@fake` ones that answer what a test has written down.

`@fake` carries no TCP connection, so the database, which a deploy asks through the host's sshd, is a
stand-in for `provision.postgres.server.ask`: see `conftest.py`.
"""

from __future__ import annotations

import posixpath
import runpy
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyinfra.api import State
from pyinfra.api.state import StateStage
from pyinfra.connectors.fake import FakeConnector
from pyinfra.connectors.util import CommandOutput, OutputLine
from pyinfra.context import ctx_state
from pyinfra_cli.util import PYTHON_CODES

from provision.app import layout as app_layout
from provision.app.dotenv import merge
from provision.backup import layout as backup_layout
from provision.debian.entries import Directory, Entry, File
from provision.engine import claims, inventory
from provision.engine import run as runs
from provision.engine.environments import ROLES
from provision.engine.facts import MARK
from provision.postgres import layout as postgres_layout
from provision.record import layout as record_layout
from provision.redis import layout as redis_layout
from provision.redis.firewall import Firewall
from provision.redis.running import directives
from provision.settings import Settings
from provision.settings.project import PROJECT, version
from provision.vault import layout as vault_layout
from provision.vault import sources

Answers = dict[str, Any]
LookUp = Callable[[FakeConnector, str], tuple[bool, CommandOutput]]
UNMARKED = "(unmarked)"
STARTED = "1764100000.123456"  # PostgreSQL's start: each backup host has it itself

# What hosts say of their public keys, and what the project keeps of them.
KEYS = {
    "ssh": "ssh-ed25519 AAAAC3ssh",
    "sign": "ssh-ed25519 AAAAC3sign",
    "age": "age1tmeszr5raj9yqh8x5zesg5qty4k86thpsmk2jkxm9vrhn4m974sqd3n6hc",
    "host": "ssh-ed25519 AAAAC3host",
}


def debian(codename: str = "bookworm", version: int = 12) -> Answers:
    """What a fresh Debian says of itself; to everything else it gives an empty answer."""
    return {
        "uname -s": [
            "OWNS_KERNEL=yes", "KERNEL=Linux", "USER_ID=0", "RELEASE=regular file",
            f'PRETTY_NAME="Debian GNU/Linux {version} ({codename})"', "ID=debian", f"VERSION_CODENAME={codename}",
        ],
        "redis/existing.sh 6379 medaction-redis": ["docker answers", "compose 2.26.1-4"],
        "redis/knock.sh": [f"route 10.0.0.5 {ADDRESS}"],
        "--overdue": ["daily\t/opt/medaction/backups holds no backup yet"],
        "dump-role-lacks.sh": [f"started={STARTED}", "lacks=there is no role medaction_backup"],
        "vault/public-keys.sh": [f"{kind}={key}" for kind, key in KEYS.items()],
        "--due": ["a run is due"],
    }  # fmt: skip


ADDRESS = "10.0.0.77"  # of every host, on its way to Redis


@dataclass
class Fleet:
    """The hosts of an environment, by the names that `inventories/` gives them, without `@fake/`."""

    root: Path
    environment: str
    groups: dict[str, list[str]]
    answers: dict[str, Answers] = field(default_factory=dict)
    data: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, environment: str, root: Path) -> Fleet:
        found = runpy.run_path(str(PROJECT / "inventories" / f"{environment}.py"))
        shutil.copytree(PROJECT / "inventories/group_data", root / "group_data")
        fleet = cls(root, environment, {role: [] for role in ROLES})
        for role in ROLES:
            for entry in found.get(role, []):
                name, data = entry if isinstance(entry, tuple) else (entry, {})
                if name.startswith("@winssh/"):
                    continue  # Windows is asked in PowerShell: tests/windows deploys it
                name = name.removeprefix("@")
                fleet.groups[role].append(name)
                fleet.data[name] = data
                fleet.answers.setdefault(name, debian())
        for name in [*fleet.groups["backup"], *fleet.groups["vault"]] if fleet.groups["vault"] else []:
            for kind, key in KEYS.items():
                path = root / f"keys/{environment}/fake/{name}.{kind}.pub"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(key + "\n")
        return fleet

    @property
    def hosts(self) -> list[str]:
        return list(self.answers)

    def groups_of(self, name: str) -> list[str]:
        return [role for role, names in self.groups.items() if name in names]

    def deploy_already(self) -> None:
        """Let every host answer as after a deploy."""
        self.write()
        members = inventory.read(self.environment)
        for member in members:
            name = member.name.removeprefix("@fake/")
            self.answers[name] = deployed(
                member.settings, self.groups_of(name), name=member.name,
                callers=sorted(each.name for each in members if each != member and {"app", "redis"} & set(each.groups)),
                vaults=sources.vaults(self.environment, members), fetched=sources.sources(self.environment, members),
            )  # fmt: skip
        self._list(members)

    def _list(self, members: list[inventory.Member]) -> None:
        """Let every host have the list that a deploy of such hosts leaves."""
        self.run("--dry")
        for member in members:
            name, settings = member.name.removeprefix("@fake/"), member.settings
            said = claims._of_hosts.get(state().inventory.get_host(member.name))
            if said is None:  # a preflight ended the run
                continue
            listed = record_layout.Listed(
                version(), self.environment, record_layout.things(said.ours), said.of, {}, said.sums
            )
            path = record_layout.path(settings)
            listed.sums.pop(path, None)
            text = record_layout.text(listed, self.groups_of(name))
            self.answers[name]["stat $1 --printf"] += stat_lines(File(path, text))
            self.answers[name][f"cat -- {path}"] = [*text.splitlines(), "==journal=="]

    def write(self) -> Path:
        """The inventory file; a host whose data has an `ssh_hostname` is a real one."""
        lines = []
        for role, names in self.groups.items():
            entries = [(self.shown(name), {**self._fake(name), **self.data[name]}) for name in names]
            lines.append(f"{role} = {entries!r}\n")
        path = self.root / f"{self.environment}.py"
        path.write_text("".join(lines), encoding="utf-8")
        PYTHON_CODES.pop(str(path), None)  # pyinfra compiles a file once in a process
        return path

    def shown(self, name: str) -> str:
        return name if "ssh_hostname" in self.data[name] else f"@fake/{name}"

    def _fake(self, name: str) -> dict[str, Any]:
        return {"fake_responses": self.answers[name], "fake_delay": 0, "fake_delay_jitter": 0}

    def run(self, *options: str) -> runs.Outcome:
        self.write()
        return runs.pyinfra(inventory.Environment(self.environment), *options)

    def steps(self, outcome: runs.Outcome, name: str) -> list[str]:
        return [step.name for step in outcome.steps if step.host == self.shown(name)]


def state() -> State:
    """The state that the last run left behind."""
    return ctx_state.get()


def commands() -> list[str]:
    """Every command that was sent to any host in the last run."""
    return [command for host in state().inventory for command in getattr(host.connector, "executed_commands", [])]


def began() -> bool:
    """Whether the last run came to its first operation."""
    return ctx_state.isset() and state().current_stage >= StateStage.Execute


def deployed(
    settings: Settings,
    groups: list[str],
    codename: str = "bookworm",
    name: str = "",
    vaults: Sequence[sources.Vault] = (),
    fetched: Sequence[sources.Source] = (),
    callers: Sequence[str] = (),
) -> Answers:
    """What a Debian host says after a deploy: everything is there, and nothing is to be done."""
    entries: list[Entry] = []
    if "redis" in groups:
        entries += [
            *redis_layout.files(settings, app_is_here="app" in groups),
            redis_layout.kernel(settings),
        ]
        if settings.redis_mode == "compose":
            entries.append(redis_layout.compose_entry(settings))
            entries += [redis_layout.no_override(settings)] if "app" in groups else []
        if settings.redis_needs_firewall:
            entries += redis_layout.firewall(settings, Firewall(dict.fromkeys(callers, (ADDRESS,))))
    if "app" in groups:
        entries += app_layout.files(settings)
        entries.append(File(app_layout.env_file(settings), env_of(settings), "root", settings.app_user, 0o640))
    if "backup" in groups:
        entries += backup_layout.directories(settings, app_is_here="app" in groups) + backup_layout.files(settings)
        entries += postgres_layout.no_main_cluster(settings)
    if "vault" in groups:
        entries += vault_layout.vault_directories(settings) + postgres_layout.no_main_cluster(settings)
        entries += vault_layout.vault_files(settings, "medaction-at-fake-vault1", fetched, KEYS["sign"])
    if "backup" in groups and vaults:
        entries += vault_layout.outbox_directories(settings)
        entries += [*vault_layout.outbox_files(settings, name, vaults), vault_layout.sshd(settings)]
    path = record_layout.path(settings)
    entries.append(Directory(posixpath.dirname(path)))
    packages = [
        "age", "openssh-client", "redis-server", "redis-tools", "nftables", "cron", "logrotate", "jq", "isal",
        "util-linux", "postgresql-client-15",
        "postgresql-15",
    ]  # fmt: skip
    return {
        **debian(codename),
        "dpkg-query": [f"{package} installed" for package in packages],
        "stat $1 --printf": [line for entry in entries for line in stat_lines(entry)],
        f"if={app_layout.env_file(settings)}": [*env_of(settings).splitlines(), "==end-of-file=="],
        f"id -nG -- {settings.app_user} ": [settings.app_user],
        f"id -nG -- {settings.redis_own_service} ": [settings.redis_own_service],
        f"id -nG -- {settings.backup_user} ": [settings.backup_user],
        f"id -nG -- {settings.backup_restore_test_user} ": [settings.backup_restore_test_user],
        "sysctl vm.overcommit_memory 2": "vm.overcommit_memory = 1",
        f"SubState {settings.redis_service}.service": [f"Id={settings.redis_service}.service", "SubState=running"],
        f"UnitFileState {settings.redis_service}.service": [
            f"Id={settings.redis_service}.service",
            "UnitFileState=enabled",
        ],
        "SubState cron.service": ["Id=cron.service", "SubState=running"],
        "UnitFileState cron.service": ["Id=cron.service", "UnitFileState=enabled"],
        "redis/look-at-firewall.sh": ["up", "allowed 10.0.0.0/24", *(f"host {caller} {ADDRESS}" for caller in callers)],
        "echo deploy-": ["deploy-x", "OK"],
        "redis-cli -h 127.0.0.1": redis_lines(settings),
        "config --hash redis": ["is running redis 0123", "wanted redis 0123"],
        "--overdue": [],
        "dump-role-lacks.sh": [f"started={STARTED}"],
        "--due": [],
        "getent group": ["yes"],
        "id -nG -- medaction-at-": ["medaction-at-vault1", "medaction-at-fake-vault1", "medaction-offsite"],
        f"id -nG -- {settings.vault_user} ": [settings.vault_user],
        "sshd_config.d": ["yes"],
        "systemctl show --property=Id,ActiveState": [
            line
            for unit in ("medaction-offsite.timer", "medaction-vault.timer", vault_layout.log_mount(settings))
            for line in (f"Id={unit}", "ActiveState=active", "UnitFileState=enabled", "NeedDaemonReload=no", "")
        ],
    }


def env_of(settings: Settings) -> str:
    """A `.env` with a person's lines in it."""
    return merge("# ours\nPORT=3000\n", app_layout.variables(settings))


def redis_lines(settings: Settings) -> list[str]:
    """What redis-cli prints when the operator asks for the configuration and the users."""
    config = directives(redis_layout.config(settings).content)
    pairs = [word for pair in {**config, "hz": "10"}.items() for word in pair]
    return ["OK", "--8<--", *pairs, "--8<--", *redis_layout.users(settings).content.splitlines(),
            "--8<--", "role:master", "--8<--", "library_code", *redis_layout.library().splitlines()]  # fmt: skip


def marked(look_up: LookUp) -> LookUp:
    """How a fake host answers, with the mark that a real shell prints before; what begins with UNMARKED stays so."""

    def answer(self: FakeConnector, command: str) -> tuple[bool, CommandOutput]:
        success, output = look_up(self, command)
        lines = output.combined_lines
        if lines and lines[0].line == UNMARKED:
            return success, CommandOutput(lines[1:])
        marks = [OutputLine("stdout", MARK)] if success and command.startswith(f"echo {MARK};") else []
        return success, CommandOutput([*marks, *lines])

    return answer


def stat_lines(entry: Entry) -> list[str]:
    """What `stat` and `sha256sum` print about a file or a directory that is as it should be."""
    kind = "directory" if isinstance(entry, Directory) else "regular file"
    lines = [f"{kind}\t{entry.mode:o}\t{entry.user}\t{entry.group}\t{entry.path}"]
    if isinstance(entry, File):
        lines.append(f"{entry.sha256}  {entry.path}")
    return lines
