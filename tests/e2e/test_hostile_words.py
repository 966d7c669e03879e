"""What a host says to an operator is shown, and obeyed by no terminal: run in a real one, seen by its bytes."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from provision.engine.private import PrivateInput
from tests.e2e.operator import Operator
from tests.e2e.test_lost_hosts import shq

pytestmark = pytest.mark.servers

# What a terminal would obey: a title, a cleared screen, a line overwritten, colours, C1, and turned directions.
HOSTILE = "\x1b]0;owned\x07\x1b[2J\x1b[31mfine\rover\x9b1m\u202egpj.exe\u2066"
RAW = re.compile("[\x07\r\x9b\u202e\u2066]|\x1b(?!\\[[0-9;]*m)")


ON_A_TERMINAL = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)"


def on_a_terminal(operator: Operator, *command: str) -> str:
    """What a command of the project's writes on a terminal, to the byte; the terminal's own line ends taken away."""
    done = subprocess.run(
        [sys.executable, "-c", ON_A_TERMINAL, sys.executable, "-m", "provision", *command, "--env", "sandbox"],
        cwd=operator.checkout, stdin=subprocess.DEVNULL, capture_output=True, timeout=300,
        env={**operator.environ, "PYINFRA_PROGRESS": "off"},  # its spinner turns on one line, which it clears
    )  # fmt: skip
    return done.stdout.decode(errors="surrogateescape").replace("\r\n", "\n")


def harmless(said: str) -> bool:
    return not RAW.search(said)


def test_the_table_and_its_words(deployed: Operator) -> None:
    state = "/var/lib/medaction-backup"
    run = json.dumps(
        {"database": f"db{HOSTILE}", "tier": "daily", "state": "failed", "message": HOSTILE}, ensure_ascii=False
    )
    odd = json.dumps({"database": "medaction", "dump": "x", "bytes": "many", "started": 7})
    deployed.read("db1", f"cat >{state}/status-x.json", PrivateInput(run))
    deployed.read("db1", "cat >/opt/medaction/backups/odd.json", PrivateInput(odd))
    try:
        said = on_a_terminal(deployed, "status", "--limit", "db1,redis1")
    finally:
        deployed.read("db1", f"rm {state}/status-x.json /opt/medaction/backups/odd.json")
    assert harmless(said), said
    assert "1 file(s) beside the daily dumps cannot be understood" in said
    assert re.search(r"^ok +redis1 ", said, re.MULTILINE) and re.search(
        r"^WARNING +db1 .*medaction", said, re.MULTILINE
    )


@pytest.mark.parametrize("command", ["plan", "deploy"])
def test_the_name_of_a_platform_and_a_banner(deployed: Operator, command: str) -> None:
    release = f'PRETTY_NAME="{HOSTILE}"\nID=hostile\n'
    # The link goes, what it leads to stays.
    deployed.read("app2", "rm /etc/os-release; cat >/etc/os-release", PrivateInput(release))
    banner = f"printf '%s\\n' {shq(HOSTILE)}"
    deployed.read("app2", f"cp /root/.bashrc /root/.bashrc.away; printf '%s\\n' {shq(banner)} >>/root/.bashrc")
    try:
        said = on_a_terminal(deployed, command, "--limit", "app2")
    finally:
        deployed.read("app2", "mv /root/.bashrc.away /root/.bashrc; rm /etc/os-release")
        deployed.read("app2", "ln -s ../usr/lib/os-release /etc/os-release")
    assert harmless(said), said
    assert "is not supported yet, only Debian" in said and r"\x1b]0;owned\x07" in said


def test_the_error_of_a_step_and_the_words_of_a_plan(deployed: Operator) -> None:
    deployed.read("app2", "sed -i 's/^REDIS_URL=.*/REDIS_URL=/' /opt/medaction/.env; dpkg --purge redis-tools")
    fake = f"#!/bin/sh\nprintf '%s\\n' {shq(HOSTILE)}\nprintf '%s\\n' {shq(HOSTILE)} >&2\nexit 100\n"
    deployed.read("app2", "cat >/usr/local/bin/apt-get; chmod +x /usr/local/bin/apt-get", PrivateInput(fake))
    try:
        said = on_a_terminal(deployed, "deploy", "--limit", "app2")
    finally:
        deployed.read("app2", "rm /usr/local/bin/apt-get")
    assert harmless(said) and said.count(r"\x1b]0;owned\x07") == 2, said
    assert "failed: app2: " in said


def test_what_a_check_quotes(deployed: Operator) -> None:
    script = "/usr/local/lib/medaction/backup-database.sh"
    deployed.read("db1", f"cp -p {script} {script}.away; cat >{script}",
                  PrivateInput(f"#!/bin/sh\nprintf '%s\\n' {shq(HOSTILE)}\nexit 2\n"))  # fmt: skip
    try:
        said = on_a_terminal(deployed, "verify", "--limit", "db1")
    finally:
        deployed.read("db1", f"mv {script}.away {script}")
    assert harmless(said) and r"\x1b]0;owned\x07" in said, said
