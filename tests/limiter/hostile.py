"""Every command there is, with arguments meant to stop Redis for everybody, while another client says PING."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

LONGEST_MS = 100
MANY = 1_000_000
KEYS = [f"medaction:{i}" for i in range(64)]
BIG = "x" * 3_000_000


class Login(NamedTuple):
    user: str
    password: str


class Connection:
    def __init__(self, port: int, login: Login) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        assert self.ask("AUTH", *login).startswith(b"+OK")

    def ask(self, *words: str) -> bytes:
        encoded = [word.encode() for word in words]
        parts = [b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded]
        self._socket.sendall(b"*%d\r\n" % len(encoded) + b"".join(parts))
        return self._socket.recv(65536)

    def close(self) -> None:
        self._socket.close()


# A process of its own: in ours it would wait for us while we write a long command.
NEIGHBOUR = """
import socket, sys, time
redis = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
redis.sendall(sys.stdin.readline().encode()); assert redis.recv(100).startswith(b"+OK")
print("ready", flush=True)
slowest = 0
for line in sys.stdin:
    if line == "begin\\n":
        redis.setblocking(True); slowest = 0; running = True
        import threading
        def ping():
            global slowest
            while running:
                start = time.perf_counter(); redis.sendall(b"PING\\r\\n"); assert redis.recv(100) == b"+PONG\\r\\n"
                slowest = max(slowest, time.perf_counter() - start); time.sleep(0.002)
        thread = threading.Thread(target=ping); thread.start()
    else:
        running = False; thread.join(); print(slowest * 1000, flush=True)
"""


class Neighbour:
    """Another client, who says PING all the time."""

    def __init__(self, port: int, login: Login) -> None:
        command = [sys.executable, "-c", NEIGHBOUR, str(port)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._tell(f"AUTH {login.user} {login.password}")
        assert self._hear() == "ready"

    def slowest_ms(self, meanwhile: Callable[[], None]) -> float:
        """What it waited for at most."""
        self._tell("begin")
        meanwhile()
        self._tell("end")
        return float(self._hear())

    def close(self) -> None:
        self._process.kill()
        self._process.wait(10)

    def _tell(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _hear(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()


def hostile(command: str) -> Iterator[list[str]]:
    yield []
    yield ["medaction:k"]
    yield ["medaction:k", BIG]
    yield ["-1", "9" * 400, "nan"]
    if command in ("fcall", "get", "set", "incrby", "pttl", "expire", "info", "ping", "hello", "auth"):
        yield ["medaction:k"] * MANY
        yield ["k"] * (MANY // 2)
    if command.startswith("fcall"):
        for function in ("rate_limit_take", "rate_limit_look"):
            yield [function, str(MANY), *["medaction:k"] * MANY, "1", "1"]
            yield [function, str(MANY // 3), *["medaction:k"] * (MANY // 3), "1", "1"]
            yield [function, "64", *KEYS, "1e308", "nan", *["-1e308"] * 64]
            yield [function, "64", *KEYS, "1", "1e308", *["1"] * 64]
            yield [function, "1", "medaction:k", "60", "5", "9007199254740993"]


def attack(port: int, app: Login, command: str, arguments: list[str]) -> None:
    with contextlib.suppress(OSError):  # Redis may well hang up on that
        attacker = Connection(port, app)
        attacker.ask(*command.split("|"), *arguments)
        attacker.close()


def slow_commands(commands: list[str], port: int, app: Login, neighbour: Neighbour) -> dict[str, float]:
    """What keeps the neighbour waiting, whoever has the app's password, and for how many milliseconds."""
    slow: dict[str, float] = {}
    for command in commands:
        for arguments in hostile(command):
            # The machine's own pauses are not Redis': what is slow each time is.
            fastest = LONGEST_MS * 10.0
            for _ in range(4):
                slowest = neighbour.slowest_ms(lambda c=command, a=arguments: attack(port, app, c, a))
                fastest = min(fastest, slowest)
                if fastest < LONGEST_MS:
                    break
            if fastest >= LONGEST_MS:
                slow[f"{command} with {len(arguments)} arguments"] = fastest
    return slow
