"""A private Redis with the configuration and the users that a deploy gives it, on a loopback port of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

from provision.settings import Settings
from provision.settings.render import plain, render
from tests.limiter.waiting import until


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class RedisServer:
    def __init__(
        self, directory: Path, settings: Settings, environment: dict[str, str] | None = None,
        *, allow_eval: bool = False, has_function: bool = True, program: str = "redis-server",
    ) -> None:  # fmt: skip
        self._has_function, self._program = has_function, program
        self.settings, self._directory, self._environment = settings, directory, environment or {}
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "redis.conf").write_text(render("redis/redis.conf.j2", settings))
        (directory / "users.acl").write_text(render("redis/users.acl.j2", settings, allow_eval=allow_eval))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> RedisServer:
        """Run it, and return once it answers and has the limiters' function."""
        self.launch()
        until(lambda: self.operator("PING") == "PONG", f"Redis answers; see {self._directory}/log")
        if self._has_function:
            assert self.operator("FUNCTION", "LOAD", "REPLACE", plain("redis/rate-limit.lua")) == "rate_limit"
        return self

    def launch(self) -> None:
        arguments = {
            "--port": self.settings.redis_port, "--bind": "127.0.0.1", "--dir": self._directory,
            "--aclfile": self._directory / "users.acl", "--pidfile": self._directory / "pid", "--logfile": "",
        }  # fmt: skip
        words = [str(word) for pair in arguments.items() for word in pair]
        log = (self._directory / "log").open("ab")
        command = [self._program, str(self._directory / "redis.conf"), *words]
        self._process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **self._environment})

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """Without a chance to finish or to write anything."""
        if self._process:
            self._signal(signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    def wait_until_written(self) -> None:
        """With `appendfsync everysec` a write waits for the last sync; in a second or two it is in the file."""
        until(
            lambda: "aof_buffer_length:0" in self.operator("INFO", "persistence").splitlines(), "counters are written"
        )

    def operator(self, *command: str) -> str:
        return self.cli("operator", self.settings.redis_operator_password.get_secret_value(), *command)

    def app(self, *command: str) -> str:
        return self.cli(self.settings.redis_user, self.settings.redis_password.get_secret_value(), *command)

    def cli(self, user: str, password: str, *command: str) -> str:
        environment = {**os.environ, "REDISCLI_AUTH": password}
        base = ["redis-cli", "-p", str(self.settings.redis_port), "--no-auth-warning"]
        login = ["--user", user] if user else []
        done = subprocess.run(
            [*base, *login, *command], env=environment if user else None, capture_output=True, text=True, timeout=10
        )
        return done.stdout.strip()

    def counters(self) -> list[str]:
        return self.operator("--scan").split()

    def _signal(self, number: int) -> None:
        assert self._process, "Redis is not running"
        self._process.send_signal(number)
