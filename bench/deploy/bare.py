"""The bare minimum: what the project sends when it has nothing to do, sent by `ssh` alone.

Captured from a deploy, not written by hand: the same commands with the same input, in the same order, each an
`ssh` of its own over the one connection per host that the first of them opens, all hosts in parallel. Nothing
reads the answers, so nothing is decided: a tool that asks the same cannot be faster by asking better.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

from bench import BenchError
from bench.deploy.hosts import SSH_CONFIG
from bench.deploy.run import timed

NAME = "bare ssh"

Sent = dict[str, list[dict[str, str]]]


def capture() -> Sent:
    """Return what a deploy with nothing to do sends to each host."""
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "sent.json"
        _, output = timed([sys.executable, "-m", "bench.deploy.once", str(out)], os.environ)
        if int(output.splitlines()[-1]):
            raise BenchError("the deploy changed something where there was nothing to do")
        return json.loads(out.read_text())


def replay(sent: Sent) -> float:
    """Send it all again; return the seconds."""
    with tempfile.TemporaryDirectory() as sockets:
        started = perf_counter()
        with ThreadPoolExecutor(len(sent)) as pool:
            list(pool.map(lambda name: _send(name, sent[name], sockets), sent))
        seconds = perf_counter() - started
        for name in sent:
            subprocess.run([*_ssh(sockets), "-O", "exit", name], capture_output=True, check=False)
    return seconds


def _send(name: str, commands: list[dict[str, str]], sockets: str) -> None:
    for each in commands:
        done = subprocess.run(
            [*_ssh(sockets), name, each["command"]],
            input=each["stdin"].encode(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        if done.returncode:
            raise BenchError(f"{name}: a command that succeeded in the deploy ended with {done.returncode}")


def _ssh(sockets: str) -> list[str]:
    control = ["-o", "ControlMaster=auto", "-o", "ControlPersist=60", "-o", f"ControlPath={sockets}/%n"]
    return ["ssh", "-F", str(SSH_CONFIG), *control]
