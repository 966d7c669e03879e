"""A host under verification: its settings, testinfra's view of it, and questions that need a standard input."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import NoReturn
from urllib.parse import SplitResult, unquote, urlsplit

import pytest
import testinfra

from provision.app import dotenv
from provision.engine.inventory import Member
from provision.engine.private import PrivateInput
from provision.engine.shown import shown
from provision.redis.running import quoted
from provision.settings.project import PROJECT

FIRST_ANSWER_SECONDS = 20
REDIS_SECONDS = 5
_TIMED_OUT = 124  # what timeout(1) ends with
NOTHING = PrivateInput("")
WARNED: list[str] = []  # of all hosts


class Target:
    """One host. Commands run as root there, by sudo where the inventory says so."""

    def __init__(self, member: Member, config: Path) -> None:
        self.member, self.settings, self._config = member, member.settings, config
        self.is_local = member.name == "@local"
        self._silent = ""  # the reason why this host, or Redis as seen from it, is not asked any more
        self._without_redis = ""
        self._is_asked = False
        sudo = "?sudo=true" if member.data.get("_sudo") else ""
        address = f"[{member.name}]" if ":" in member.name else member.name  # in a URL, IPv6
        # As `host`, testinfra's own way of asking; the check of a file reads `target.host.file(...)`.
        self.host = testinfra.get_host(
            "local://" + sudo if self.is_local else f"ssh://{address}{sudo}", ssh_config=str(config)
        )

    def fail(self, sentence: str) -> NoReturn:
        """End a check with one sentence that names the host; it may quote what the host says."""
        pytest.fail(f"{self.member.name}: {shown(sentence)}", pytrace=False)

    def expect(self, holds: object, sentence: str) -> None:
        """Fail with this sentence unless it holds."""
        if not holds:
            self.fail(sentence)

    def warn(self, sentence: str) -> None:
        """Tell at the end, with the host's name, what is no fault of the deploy and that somebody should know."""
        WARNED.append(f"{self.member.name}: {sentence}")

    def require_answer(self) -> None:
        """Fail once where the host does not answer at all; its other checks are not made then, and say so.

        The connection that this opens is shared by all checks. It is a process of its own: one that a check starts by
        the way would inherit that check's pipes, and a check that is given up would wait for it all the same.
        """
        if self._silent:
            pytest.skip(f"{self.member.name} is not asked: {self._silent}")
        if self.is_local or self._is_asked:
            return
        self._is_asked = True
        self._silent = self._open_connection()
        if self._silent:
            self.fail(f"cannot be verified: {self._silent}")

    def _open_connection(self) -> str:
        """Why the host cannot be asked; nothing where it can."""
        argv = ["ssh", "-F", str(self._config), "-o", "ControlPersist=60s", "-fN", self.member.name]
        try:
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                timeout=FIRST_ANSWER_SECONDS, check=False, encoding="utf-8", errors="replace",
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"it gives no answer in {FIRST_ANSWER_SECONDS} s"
        return _last_line(done.stderr) or f"ssh ends with {done.returncode}" if done.returncode else ""

    def run(
        self, command: str, stdin: PrivateInput = NOTHING, is_long: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command; what is secret goes on its standard input, never in the command.

        Where it takes longer it is ended on the host itself, and the check fails with a sentence.
        """
        seconds = self.settings.deploy_long_command_seconds if is_long else self.settings.deploy_command_seconds
        command = f"timeout --kill-after=5 {seconds} sh -c {shlex.quote(command)}"
        if self.member.data.get("_sudo"):
            command = f"sudo -n {command}"
        argv = ["sh", "-c", command] if self.is_local else ["ssh", "-F", str(self._config), self.member.name, command]
        try:
            done = subprocess.run(
                argv, input="".join(stdin), capture_output=True, encoding="utf-8", errors="replace",
                timeout=seconds + 15, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            self._silent = f"it stopped answering: no answer in {seconds} s"
            self.fail(f"cannot be verified: {self._silent}")
        if done.returncode == _TIMED_OUT:
            self.fail(f"gives no answer in {seconds} s to: {command}")
        return done

    def text(self, command: str, stdin: PrivateInput = NOTHING, is_long: bool = False) -> str:
        """The command's output. The check fails with its error output when it fails."""
        done = self.run(command, stdin, is_long)
        self.expect(done.returncode == 0, f"{command}: {_last_line(done.stderr) or _last_line(done.stdout)}")
        return done.stdout

    def redis(self, *commands: str, user: str = "", password: str = "", at: SplitResult | None = None) -> str:
        """Ask Redis from this host, at a URL's place; by default on its loopback. Returns all answers."""
        host, port = (at and at.hostname) or "127.0.0.1", (at and at.port) or self.settings.redis_port
        options = f"-h {shlex.quote(host)} -p {port}{' --tls' if at and at.scheme == 'rediss' else ''}"
        login = [f"AUTH {quoted(user)} {quoted(password)}"] if user else []
        lines = PrivateInput("\n".join([*login, *commands]) + "\n")
        if self._without_redis:
            pytest.skip(f"{self.member.name}: {self._without_redis}, as told above")
        done = self.run(f"timeout {REDIS_SECONDS} redis-cli {options}; echo redis-cli ended with $?", lines)
        answers, _, code = done.stdout.rstrip().rpartition("redis-cli ended with ")
        if "Could not connect" in done.stderr + answers or code == str(_TIMED_OUT):
            refused = re.search(r"Could not connect[^\n]*: ([^\n]*)", done.stderr + answers)
            reason = refused[1].lower() if refused else f"no answer in {REDIS_SECONDS} s"
            self._without_redis = f"Redis at {host}:{port} is not reached from here: {reason}"
            self.fail(self._without_redis)
        self.expect(code == "0", f"redis-cli at {host}:{port}: {_last_line(done.stderr) or _last_line(answers)}")
        return answers

    def redis_as_operator(self, *commands: str) -> str:
        return self.redis(*commands, user="operator", password=self.settings.redis_operator_password.get_secret_value())

    def redis_as_app(self, *commands: str) -> str:
        """Ask the shared Redis with nothing but the REDIS_URL of this host's own `.env`."""
        url = self.redis_url()
        return self.redis(*commands, user=unquote(url.username or ""), password=unquote(url.password or ""), at=url)

    def redis_url(self) -> SplitResult:
        # The app's own dotenv reads it the same way; tests/limiter checks that with the real one.
        values = dotenv.values(self.text(f"cat {shlex.quote(self.settings.app_dir)}/.env"))
        self.expect("REDIS_URL" in values, f"{self.settings.app_dir}/.env does not set REDIS_URL: deploy again")
        return urlsplit(values["REDIS_URL"])


def _last_line(text: str) -> str:
    """What a program says last is what ails it."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def ssh_config(members: list[Member], directory: Path) -> str:
    """OpenSSH's configuration for the same connections that pyinfra makes; shared ones live in `directory`."""
    lines = []
    for member in members:
        data = member.data
        lines.append(f"Host {member.name}")
        # A host that goes silent half-way ends its connection, and with it the check that waits for it.
        lines.append(f"    ServerAliveInterval {-(-member.settings.deploy_silence_seconds // 3)}")
        for key, option in _OPTIONS.items():
            # A name that is only the host's own is what ssh_config's HostName may replace.
            if data.get(key) not in (None, "", member.name):
                value = PROJECT / Path(data[key]).expanduser() if key.endswith(("_key", "_file")) else data[key]
                text = str(value) if option == "User" else str(value).replace("%", "%%")  # elsewhere % begins a token
                lines.append(f"    {option} {_word(text)}")
    sockets = str(directory).replace("%", "%%") + "/%C"
    lines += ["Host *", "    BatchMode yes", "    ControlMaster auto", f"    ControlPath {_word(sockets)}"]
    lines += ["    ControlPersist 60s", "    ConnectTimeout 10", "    ServerAliveCountMax 3"]
    # One file for all: the inventory's own (else the person's, which pyinfra reads too) comes last, because in
    # ssh_config the first value wins.
    named = {member.data.get("ssh_config_file") or "~/.ssh/config" for member in members}
    files = {str(PROJECT / Path(name).expanduser()) for name in named}
    return "\n".join([*lines, *(f"Include {_word(_literally(file))}" for file in sorted(files))]) + "\n"


def _word(text: str) -> str:
    """One argument of ssh_config(5), whatever is in it: a clone may lie below `My Documents`, or `it's mine`."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _literally(file: str) -> str:
    """As glob(7) matches this file alone."""
    return re.sub(r"([][*?\\])", r"\\\1", file)


_OPTIONS = {
    "ssh_hostname": "HostName", "ssh_user": "User", "ssh_port": "Port", "ssh_key": "IdentityFile",
    "ssh_known_hosts_file": "UserKnownHostsFile",
}  # fmt: skip
