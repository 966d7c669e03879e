"""A host under verification: its settings, testinfra's view of it, and questions that need a standard input."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

import testinfra

from provision.app import dotenv
from provision.engine.inventory import PROJECT, Member
from provision.engine.private import PrivateInput
from provision.redis.running import quoted

TIMEOUT_SECONDS = 60
NOTHING = PrivateInput("")


class Target:
    """One host. Commands run as root there, by sudo where the inventory says so."""

    def __init__(self, member: Member, config: Path) -> None:
        self.member, self.settings, self._config = member, member.settings, config
        self.is_local = member.name == "@local"
        sudo = "?sudo=true" if member.data.get("_sudo") else ""
        address = f"[{member.name}]" if ":" in member.name else member.name  # in a URL, IPv6
        # As `host`, testinfra's own way of asking; the check of a file reads `target.host.file(...)`.
        self.host = testinfra.get_host(
            "local://" + sudo if self.is_local else f"ssh://{address}{sudo}", ssh_config=str(config)
        )

    def run(
        self, command: str, stdin: PrivateInput = NOTHING, timeout_seconds: float | None = TIMEOUT_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command; what is secret goes on its standard input, never in the command."""
        if self.member.data.get("_sudo"):
            command = f"sudo -n sh -c {shlex.quote(command)}"
        argv = ["sh", "-c", command] if self.is_local else ["ssh", "-F", str(self._config), self.member.name, command]
        return subprocess.run(
            argv, input="".join(stdin), capture_output=True, encoding="utf-8", errors="replace",
            timeout=timeout_seconds, check=False,
        )  # fmt: skip

    def text(self, command: str, stdin: PrivateInput = NOTHING, timeout_seconds: float | None = TIMEOUT_SECONDS) -> str:
        """The command's output. AssertionError with its error output when it fails."""
        done = self.run(command, stdin, timeout_seconds)
        assert done.returncode == 0, f"{self.member.name}: {command}: {done.stderr.strip() or done.stdout.strip()}"
        return done.stdout

    def redis(self, *commands: str, user: str = "", password: str = "", at: SplitResult | None = None) -> str:
        """Ask Redis from this host, at a URL's place; by default on its loopback. Returns all answers."""
        place = shlex.quote((at and at.hostname) or "127.0.0.1")
        options = f"-p {(at and at.port) or self.settings.redis_port}{' --tls' if at and at.scheme == 'rediss' else ''}"
        login = [f"AUTH {quoted(user)} {quoted(password)}"] if user else []
        lines = PrivateInput("\n".join([*login, *commands]) + "\n")
        return self.text(f"redis-cli -h {place} {options}", lines)

    def redis_as_operator(self, *commands: str) -> str:
        return self.redis(*commands, user="operator", password=self.settings.redis_operator_password.get_secret_value())

    def redis_as_app(self, *commands: str) -> str:
        """Ask the shared Redis with nothing but the REDIS_URL of this host's own `.env`."""
        url = self.redis_url()
        return self.redis(*commands, user=unquote(url.username or ""), password=unquote(url.password or ""), at=url)

    def redis_url(self) -> SplitResult:
        # The app's own dotenv reads it the same way; tests/limiter checks that with the real one.
        values = dotenv.values(self.text(f"cat {shlex.quote(self.settings.app_dir)}/.env"))
        assert "REDIS_URL" in values, f"{self.member.name}: .env does not set REDIS_URL"
        return urlsplit(values["REDIS_URL"])


def ssh_config(members: list[Member], directory: Path) -> str:
    """OpenSSH's configuration for the same connections that pyinfra makes; shared ones live in `directory`."""
    lines = []
    for member in members:
        data = member.data
        lines.append(f"Host {member.name}")
        for key, option in _OPTIONS.items():
            # A name that is only the host's own is what ssh_config's HostName may replace.
            if data.get(key) not in (None, "", member.name):
                value = PROJECT / Path(data[key]).expanduser() if key.endswith(("_key", "_file")) else data[key]
                lines.append(f"    {option} {value}")
    lines += ["Host *", "    BatchMode yes", "    ControlMaster auto", f"    ControlPath {directory}/%C"]
    lines += ["    ControlPersist 60s", "    ConnectTimeout 15"]
    # One file for all: the inventory's own (else the person's, which pyinfra reads too) comes last, because in
    # ssh_config the first value wins.
    named = {member.data.get("ssh_config_file") or "~/.ssh/config" for member in members}
    files = {str(PROJECT / Path(name).expanduser()) for name in named}
    return "\n".join([*lines, *(f"Include {file}" for file in sorted(files))]) + "\n"


_OPTIONS = {
    "ssh_hostname": "HostName", "ssh_user": "User", "ssh_port": "Port", "ssh_key": "IdentityFile",
    "ssh_known_hosts_file": "UserKnownHostsFile",
}  # fmt: skip
