"""Who deploys: runs the project's commands, and looks at the hosts over plain ssh."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from provision.engine import inventory
from provision.engine.private import PrivateInput
from provision.redis.running import quoted
from provision.settings import secrets
from provision.settings.project import PROJECT
from tests.sandbox import docker

Done = subprocess.CompletedProcess[str]
NOTHING = PrivateInput("")
ALL = ""  # as a limit: every host
READS = ("status", "plan", "verify", "render")


class Operator:
    """Runs commands in a checkout (this one, or a copy with other inventories) and on the sandbox's hosts."""

    # Hosts that may differ from what this checkout deploys: whoever needs them deployed looks at these alone.
    unsure: ClassVar[set[str]] = set()

    def __init__(self, checkout: Path = PROJECT, environment: str = "sandbox") -> None:
        self.checkout, self.environment = checkout, environment
        self.environ = {**os.environ, "PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}

    @classmethod
    def touches(cls, limit: str = ALL) -> None:
        cls.unsure |= names(limit)

    def run(self, *argv: str, timeout: float = 300) -> Done:
        if not set(READS) & set(argv):
            self.touches()
        return self._run(*argv, timeout=timeout)

    def _run(self, *argv: str, timeout: float = 300) -> Done:
        return subprocess.run(
            argv, cwd=self.checkout, env=self.environ, timeout=timeout, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace",
        )  # fmt: skip

    def python(self, *arguments: str, timeout: float = 300) -> Done:
        done = self.run(sys.executable, *arguments, timeout=timeout)
        assert done.returncode == 0, done.stdout
        return done

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start one of the project's commands in a process group of its own."""
        self.touches(arguments[arguments.index("--limit") + 1] if "--limit" in arguments else ALL)
        return subprocess.Popen(
            [sys.executable, "-m", "provision", *arguments, "--env", self.environment],
            cwd=self.checkout, env={**self.environ, "PYTHONUNBUFFERED": "1"}, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace",
        )  # fmt: skip

    def command(self, name: str, limit: str = ALL) -> Done:
        if name not in READS:
            self.touches(limit)
        done = self._run(sys.executable, "-m", "provision", name, "--env", self.environment, "--limit", limit)
        if self.checkout == PROJECT and name in ("deploy", "plan") and done.returncode == 0:
            Operator.unsure -= names(limit)
        return done

    def deploy(self, limit: str = ALL) -> Done:
        """Deploy, which must succeed."""
        done = self.command("deploy", limit)
        assert done.returncode == 0, done.stdout
        return done

    def plan(self, limit: str = ALL) -> Done:
        return self.command("plan", limit)

    def status(self, limit: str = ALL) -> dict[str, dict[str, Any]]:
        """What `status` tells programs of each host."""
        done = self._run(
            sys.executable, "-m", "provision", "status", "--env", self.environment, "--limit", limit, "--json"
        )
        whole, _ = json.JSONDecoder().raw_decode(done.stdout[done.stdout.index("{\n") :])
        return {host["host"]: host for host in whole["hosts"]}

    def on(self, host: str, command: str, stdin: PrivateInput = NOTHING, timeout: float = 120) -> Done:
        """Run a shell command as root on a host."""
        self.touches(host)
        return subprocess.run(
            ["ssh", "-F", str(PROJECT / ".sandbox/ssh_config"), host, command], input="".join(stdin),
            timeout=timeout, check=False, capture_output=True, encoding="utf-8", errors="replace",
        )  # fmt: skip

    def read(self, host: str, command: str, stdin: PrivateInput = NOTHING) -> str:
        """What a command that must succeed prints on a host."""
        done = self.on(host, command, stdin)
        assert done.returncode == 0, f"{host}: {command}: {done.stdout}{done.stderr}"
        return done.stdout

    def postgres(self, sql: str, database: str = "medaction") -> str:
        """What the superuser of the sandbox's PostgreSQL is answered."""
        done = self.on("db1", f"runuser -u postgres -- psql -X -At -v ON_ERROR_STOP=1 -d {database}", PrivateInput(sql))
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def bare(self, *hosts: str) -> None:
        """Boot hosts anew: nothing was ever deployed to them. A vault knows db1 by its key, which is another then."""
        self.touches(",".join((*hosts, *(["vault"] if "db1" in hosts else []))))
        docker.run("rm", "--force", *(f"medaction-sandbox-{host}" for host in hosts))
        done = Operator()._run(sys.executable, "-m", "tests.sandbox", "up", *hosts)
        assert done.returncode == 0, done.stdout

    def redis(self, host: str, *commands: str, user: str = "operator") -> str:
        """What a user of Redis (its operator, or the app's) is answered on a host; the password goes on stdin."""
        setting = "redis_operator_password" if user == "operator" else "redis_password"
        password = secrets.read(setting, None, "sandbox").get_secret_value()
        lines = "\n".join([f"AUTH {user} {quoted(password)}", *commands]) + "\n"
        return self.on(host, "redis-cli", PrivateInput(lines)).stdout


@cache
def names(limit: str) -> frozenset[str]:
    """The hosts that a limit means. No secret is read: the first one to ask is the run that makes them."""
    hosts, wanted = inventory.Environment("sandbox").hosts, set(limit.split(","))
    return frozenset(host.name for host in hosts if not limit or wanted & {host.name, *host.groups})
