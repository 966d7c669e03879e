"""The bench's hosts: made anew, prepared, asked, removed."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import BenchError
from bench.deploy import ENVIRONMENT
from tests.sandbox import fleet, hosts, lifecycle, paths

CHECKOUT = paths.CHECKOUT
STATE = CHECKOUT / ".bench"
SSH_CONFIG = paths.SSH_CONFIG
MOST = 8
_INVENTORY = Path(__file__).resolve().parent / "inventories" / f"{ENVIRONMENT}.py"

# Python is what Ansible needs on a host; the rest is what both will install. apt's lists go, and look old:
# both refresh them.
_PREPARE = """set -e; export DEBIAN_FRONTEND=noninteractive
apt-get -q update
apt-get -q -y --no-install-recommends install python3 python3-apt
apt-get -q -y --no-install-recommends --download-only install redis-server redis-tools
rm -rf /var/lib/apt/lists/*; touch -d yesterday /var/lib/apt/lists
"""


def select(count: int) -> None:
    """Have the bench's inventory be this many hosts, here and in every process started from here."""
    os.environ["BENCH_HOSTS"] = str(count)


def names() -> list[str]:
    return [host.name for host in fleet.read(_INVENTORY)]


def recreate() -> None:
    """Have the selected hosts as new: booted, prepared, nothing deployed."""
    containers = {host.container for host in fleet.read(_INVENTORY)}
    going = [container for name, container in hosts.existing().items() if name in containers]
    with ThreadPoolExecutor() as pool:
        list(pool.map(hosts.remove, going))
    lifecycle.up(_INVENTORY, report=_quietly)
    on_each(_PREPARE)


def remove() -> None:
    """Remove the bench's hosts, and their network; the sandbox's stay."""
    select(MOST)
    lifecycle.down(_INVENTORY, report=_quietly)


def _quietly(line: str) -> None:
    pass


def on_each(script: str, stdin: str = "") -> dict[str, str]:
    """Run a shell script on every host at once; return what it printed on each."""
    with ThreadPoolExecutor() as pool:
        return dict(zip(names(), pool.map(lambda name: _run(name, script, stdin), names()), strict=True))


def _run(name: str, script: str, stdin: str) -> str:
    command = ["ssh", "-F", str(SSH_CONFIG), name, script]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
        raise BenchError(f"{name}: {said[-1]}")
    return done.stdout
