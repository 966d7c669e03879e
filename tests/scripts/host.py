"""A stand-in for a host: the scripts rendered into directories of their own, as a deploy would place them."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from provision.backup import layout
from provision.settings import Settings
from provision.settings.render import render

from .cluster import BACKUP_PASSWORD, PASSWORD, ROLE, Cluster, bin_dir
from .unprivileged import AS_ROOT, PREFIX, USER, give_to_user

# Keeps systemd's promises that matter here: the unit's user, where its output goes, its end with `stop`, its result.
SYSTEMCTL = r"""
name=${*: -1} name=${name#*@} name=${name%%.service}
case $1 in
    start)
        exec >/dev/null 2>&1
        %(as_user)s %(program)s "%(directory)s/.test.$name" </dev/null >"%(directory)s/.said.$name" 2>&1 &
        echo $! > %(state)s/unit
        if wait $!; then echo success; else echo exit-code; fi > %(state)s/result ;;
    show) cat %(state)s/result ;;
    stop)
        if [[ -e %(state)s/unit ]]; then
            unit=$(cat %(state)s/unit)
            if kill "$unit" 2>/dev/null; then tail --pid="$unit" --follow /dev/null; fi
        fi ;;
esac
"""


class Host:
    """`app_dir` and every path that derives from it, owned by the backup user; one database to dump."""

    def __init__(self, directory: Path, cluster: Cluster, **settings: object) -> None:
        self.directory, self.cluster = directory, cluster
        self.app_dir = directory / "app"
        self.backups = self.app_dir / "backups"
        self.shims = directory / "shims"
        for path in (self.app_dir, self.backups, self.app_dir / "scripts", self.shims, directory / "state"):
            path.mkdir()
            give_to_user(path)
        self.told = directory / "state/told"  # what the failure hook was told, one line each
        self.test_dir = directory / "restore-tests"
        self.test_dir.mkdir(mode=0o711)
        self.others = cluster.databases()
        self.database = cluster.new_database()
        self.configure(**settings)

    def configure(self, **settings: object) -> None:
        """Render everything with these settings on top of what the stand-in needs."""
        if settings.get("backup_databases") == "all":
            self.cluster.drop_databases(self.others)  # what earlier tests have left: hundreds
            self.others = []
        self.settings = settings_below(self.directory, **{
            "app_name": "medaction", "app_dir": str(self.app_dir), "backup_user": USER.pw_name,
            "postgres_host": "127.0.0.1", "postgres_port": self.cluster.port, "postgres_user": ROLE,
            "postgres_database": self.database, "postgres_password": SecretStr(PASSWORD),
            "postgres_backup_password": SecretStr(BACKUP_PASSWORD),
            "backup_reserve_mb": 1, "backup_restore_test_dir": str(self.test_dir),
            "backup_failure_hook": f'echo "$BACKUP_STEP $BACKUP_EXIT_CODE: $BACKUP_MESSAGE" >> {self.told}',
            **settings,
        })  # fmt: skip
        for file in layout.programs(self.settings):
            self.place(file.content, Path(file.path), file.mode)
        self.place(render("backup/pgpass.j2", self.settings), Path(self.settings.backup_pgpass_file), 0o600)
        if not self.log.exists():
            self.place("", self.log, 0o640)

    def place(self, text: str, path: Path, mode: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        give_to_user(path)

    def shim(self, tool: str, script: str) -> None:
        """Put a program of this name in front of the real one."""
        path = self.shims / tool
        path.write_text(f"#!/bin/bash\nreal=({' '.join(self._real(tool))})\n{script}\n", encoding="utf-8")
        path.chmod(0o755)

    def unshim(self) -> None:
        for path in self.shims.iterdir():
            path.unlink()

    def _real(self, tool: str) -> list[str]:
        own = bin_dir() / tool
        return [str(own) if own.exists() else f"$(PATH=${{PATH#*:}} command -v {tool})"]

    @property
    def environment(self) -> dict[str, str]:
        # As bare as cron's, with the shims first and the test server's own client next.
        return {"PATH": f"{self.shims}:{bin_dir()}:/usr/bin:/bin", "SHELL": "/bin/sh", "HOME": "/nonexistent"}

    def argv(self, script: str, *arguments: str, before: tuple[str, ...] = ()) -> list[str]:
        return [*PREFIX, *before, f"./scripts/{script}", *arguments]

    def popen(
        self, script: str, *arguments: str, before: tuple[str, ...] = (), as_root: bool = False, **environment: str
    ) -> subprocess.Popen:
        forget_dead_clocks()
        argv = [*before, f"./scripts/{script}", *arguments] if as_root else self.argv(script, *arguments, before=before)
        return subprocess.Popen(
            argv, cwd=self.app_dir, text=True,
            env={**self.environment, **environment}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def run(self, script: str, *arguments: str, **options) -> subprocess.CompletedProcess:
        return ended(self.popen(script, *arguments, **options))

    def backup(self, *arguments: str, **options) -> subprocess.CompletedProcess:
        return self.run("backup-database.sh", *arguments, **options)

    def good_backup(self, *arguments: str, **options) -> Path:
        """Make a backup that must succeed; return the dump that `latest` points to."""
        done = self.backup(*arguments, **options)
        assert done.returncode == 0, done.stderr
        return self.latest.resolve()

    def restore(self, *arguments: str, **options) -> subprocess.CompletedProcess:
        return self.run("restore-database.sh", *arguments, **options)

    def start_restore_test(self, *arguments: str, **options) -> subprocess.Popen:
        """Root's side of a restore test, with a stand-in for systemd that runs what the unit would."""
        if not AS_ROOT:
            pytest.skip("root starts a restore test: run these tests as root")
        self.shim("systemctl", SYSTEMCTL % {"directory": self.test_dir, "state": self.directory / "state",
                                            "program": f"{self.settings.backup_program_dir}/restore-test.sh",
                                            "as_user": " ".join(PREFIX)})  # fmt: skip
        return self.popen("restore-database.sh", "--test", *arguments, as_root=True, **options)

    def restore_test(self, *arguments: str, **options) -> subprocess.CompletedProcess:
        return ended(self.start_restore_test(*arguments, **options))

    @property
    def log(self) -> Path:
        return Path(self.settings.backup_log)

    @property
    def latest(self) -> Path:
        return self.backups / "medaction_latest.sql.gz"

    def dumps(self, tier: str = "daily") -> list[str]:
        """The names of a tier's dumps, oldest first."""
        directory = self.backups if tier == "daily" else self.backups / tier
        return sorted(path.name for path in directory.glob("medaction_[0-9]*.sql.gz"))

    def history(self) -> list[dict]:
        """Who restored what."""
        return [
            json.loads(line) for line in Path(self.settings.backup_state_dir, "history.jsonl").read_text().splitlines()
        ]

    def status(self) -> dict:
        """What the last run wrote about itself, of whichever tier."""
        files = Path(self.settings.backup_state_dir).glob("status*.json")
        return json.loads(max(files, key=lambda path: path.stat().st_mtime_ns).read_text(encoding="utf-8"))

    def status_of(self, file: str) -> dict:
        return json.loads((Path(self.settings.backup_state_dir) / file).read_text(encoding="utf-8"))

    def manifest(self, dump: Path | None = None) -> dict:
        dump = dump or self.latest.resolve()
        return json.loads(dump.with_name(f"{dump.name}.json").read_text(encoding="utf-8"))

    def plant(self, *stamps: str, tier: str = "daily", manifest: bool = True, verdict: str = "") -> None:
        """Put dumps of other days there, with what a good run leaves beside them and a restore test may."""
        directory = self.backups if tier == "daily" else self.backups / tier
        directory.mkdir(exist_ok=True)
        give_to_user(directory)
        for stamp in stamps:
            path = directory / f"medaction_{stamp}.sql.gz"
            beside = {".json": manifest, ".restore-test.json": verdict}
            for file, text in {
                path: "",
                **{Path(f"{path}{end}"): "{}" for end, there in beside.items() if there},
            }.items():
                file.write_text(text)
                give_to_user(file)
            if verdict:
                Path(f"{path}.restore-test.json").write_text(f'{{\n  "verdict": "{verdict}"\n}}\n')

    def published(self) -> dict[str, tuple[int, str]]:
        """Everything that stands under a final name, and what `latest` points to."""
        found = {
            str(path.relative_to(self.backups)): (path.stat().st_size, oct(stat.S_IMODE(path.stat().st_mode)))
            for path in self.backups.rglob("medaction_[0-9]*")
            if path.suffix != ".part"
        }
        return {**found, "latest": (0, str(self.latest.readlink()) if self.latest.is_symlink() else "")}

    def leftovers(self) -> list[str]:
        """Files and processes that a run should have taken with it."""
        files = [str(path) for path in self.backups.rglob("*") if ".part" in path.name or ".run" in path.name]
        files += [str(path) for path in self.test_dir.iterdir() if path.name != ".lock"]
        return files + self.processes()

    def processes(self) -> list[str]:
        """What runs on this host: the scripts and all that they start inherit its PATH."""
        return [line for line in processes() if str(self.directory) in line or str(self.shims) in _path_of(line)]


def settings_below(directory: Path, **values: object) -> Settings:
    """Settings whose paths outside of app_dir lie below a directory of the test."""

    class BelowDirectory(Settings):
        @property
        def backup_config_dir(self) -> str:
            return str(directory)

        @property
        def backup_program_dir(self) -> str:
            return str(directory / "programs")

        @property
        def backup_log_dir(self) -> str:
            return str(directory)

        @property
        def backup_state_dir(self) -> str:
            return str(directory / "state")

        @property
        def backup_restore_test_user(self) -> str:
            return USER.pw_name

    names = ("redis_password", "redis_operator_password", "postgres_backup_password")
    secrets = {name: SecretStr("unused") for name in names}
    return BelowDirectory(**{**secrets, **values})


def forget_dead_clocks() -> None:
    """A faketime that was killed leaves what it shares under its number; the next with that number would not start."""
    for left in Path("/dev/shm").glob("*faketime_s*_*"):
        if not Path(f"/proc/{left.name.rpartition('_')[2]}").exists():
            left.unlink(missing_ok=True)


def ended(process: subprocess.Popen) -> subprocess.CompletedProcess:
    try:
        output, errors = process.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def send(run: subprocess.Popen, number: int) -> None:
    """Send a run a signal as it is sent in life: Ctrl-C reaches all in the foreground, the others one process."""
    if number == signal.SIGINT:
        os.killpg(run.pid, number)
    else:
        os.kill(run.pid, number)


def until(condition: Callable[[], object], what: str, seconds: float = 20) -> object:
    """Wait until a condition holds; return what it returned."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds} s in vain: {what}")


def processes() -> list[str]:
    """The command lines of all processes, each after its id."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(f"{path.parts[2]} {path.read_bytes().replace(bytes(1), b' ').decode(errors='replace')}")
        except OSError:
            continue  # it ended while we looked
    return found


def _path_of(process: str) -> str:
    try:
        return Path(f"/proc/{process.split(maxsplit=1)[0]}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return ""  # it ended while we looked, or is somebody else's


def running(host: Host, tool: str) -> list[int]:
    """The ids of a tool's processes that work for this host's database."""
    found = [line.partition(" ")[::2] for line in processes()]
    return [
        int(pid) for pid, command in found
        if command.split(" ")[0].endswith(f"/{tool}") and f"'{host.database}'" in command
    ]  # fmt: skip


def process_of(host: Host, tool: str) -> int:
    """The id of a tool's process that works for this host's database, as soon as there is one."""
    return until(lambda: running(host, tool), f"{tool} runs")[0]
