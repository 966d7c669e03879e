"""A host that is paused, cut off, slow or endless is given up in time, by name and step; the others are done."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from tests.e2e.operator import Done, Operator
from tests.sandbox import docker

pytestmark = pytest.mark.servers

SILENCE = 12  # seconds, as these tests set it
APP2, ADDRESS = "medaction-sandbox-app2", "10.213.86.12"
HELD = "/run/held"  # there once a held program has begun


@pytest.fixture
def hasty(project_copy: Operator) -> Operator:
    """Somebody whose hosts are given up soon."""
    group_data = project_copy.checkout / "inventories/group_data/sandbox.py"
    group_data.write_text(group_data.read_text() + f"\ndeploy_silence_seconds = {SILENCE}\n")
    return project_copy


@contextmanager
def paused() -> Iterator[None]:
    docker.run("pause", APP2)
    try:
        yield
    finally:
        docker.run("unpause", APP2)


@contextmanager
def dropped() -> Iterator[None]:
    """What is sent to the host vanishes, as in a firewall: nobody is told."""
    rule = ["OUTPUT", "--destination", ADDRESS, "--jump", "DROP"]
    subprocess.run(["iptables", "--wait", "--insert", *rule], check=True)
    try:
        yield
    finally:
        subprocess.run(["iptables", "--wait", "--delete", *rule], check=True)


@contextmanager
def without_sshd() -> Iterator[None]:
    docker.run("exec", APP2, "systemctl", "stop", "ssh")
    try:
        yield
    finally:
        docker.run("exec", APP2, "systemctl", "start", "ssh")


Fault = Callable[[], AbstractContextManager[None]]
FAULTS = [
    pytest.param(paused, id="paused"),
    pytest.param(
        dropped, id="dropped",
        marks=pytest.mark.skipif(not shutil.which("iptables"), reason="there is no iptables to drop packets with"),
    ),
]  # fmt: skip


@contextmanager
def held(operator: Operator, program: str, only: str = "*", host: str = "app2") -> Iterator[None]:
    """On a host a program waits, when its arguments are like this, once it has said that it began."""
    real = operator.read(host, f"command -v {program}").strip()
    script = f'#!/bin/sh\ncase " $* " in {only}) touch {HELD}; sleep 300;; esac\nexec {real} "$@"\n'
    operator.read(host, f"rm -f {HELD}; printf %s {shq(script)} >/usr/local/bin/{program};"
                  f" chmod +x /usr/local/bin/{program}")  # fmt: skip
    try:
        yield
    finally:
        operator.read(host, f"rm -f /usr/local/bin/{program} {HELD}; pkill -x sleep || true")


def shq(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def await_held(host: str = "app2") -> None:
    deadline = time.monotonic() + 120
    while docker.attempt("exec", f"medaction-sandbox-{host}", "test", "-e", HELD).returncode != 0:
        assert time.monotonic() < deadline, "the host never came to it"
        time.sleep(0.2)


def ended(process: subprocess.Popen[str], within: float) -> Done:
    began = time.monotonic()
    out, _ = process.communicate(timeout=within + 60)
    assert time.monotonic() - began < within, out
    return subprocess.CompletedProcess(process.args, process.returncode, out, "")


def lost(said: str) -> list[str]:
    return [line for line in said.splitlines() if "gave no sign of life" in line]


@pytest.fixture
def both(hasty: Operator) -> Operator:
    """Two app hosts, each with something for a deploy to change."""
    for host in ("app1", "app2"):
        hasty.read(host, "sed -i 's/^REDIS_URL=.*/REDIS_URL=/' /opt/medaction/.env")
    return hasty


def is_changed(operator: Operator, host: str) -> bool:
    return operator.on(host, "grep -q '^REDIS_URL=.*redis://' /opt/medaction/.env").returncode == 0


@pytest.mark.parametrize("fault", FAULTS)
def test_a_host_that_is_silent_from_the_start_changes_nothing_anywhere(both: Operator, fault: Fault) -> None:
    with fault():
        done = ended(both.start("deploy", "--limit", "app1,app2"), within=60)
    assert done.returncode == 1 and "app2: cannot be reached" in done.stdout, done.stdout
    assert "no host was changed" in done.stdout and "Traceback" not in done.stdout
    assert not is_changed(both, "app1")


def test_partial_plans_and_deploys_the_host_that_answers_and_names_the_other(both: Operator) -> None:
    words = ("--limit", "app1,app2", "--partial")
    with without_sshd():
        planned = ended(both.start("plan", *words), within=30)
        assert not is_changed(both, "app1")
        done = ended(both.start("deploy", *words), within=60)
    assert (planned.returncode, done.returncode) == (1, 1), done.stdout
    assert planned.stdout.count("without app2: no answer from there (PARTIAL=1)") == 1
    made = re.search(r"^(\d+) change\(s\) pending; `make deploy .* PARTIAL=1` makes them", planned.stdout, re.MULTILINE)
    assert made and f"{made[1]} change(s) on 1 host(s), without app2 (no answer), " in done.stdout
    assert re.search(r"^app1 .* yes \(", done.stdout, re.MULTILINE) and "Traceback" not in done.stdout
    assert is_changed(both, "app1") and not is_changed(both, "app2")


@pytest.mark.parametrize(
    ("command", "fault"), list(zip(("plan", "deploy"), FAULTS, strict=True)), ids=["plan", "deploy"]
)
def test_a_host_lost_in_the_preflight_is_named_with_its_question_and_nothing_is_changed(
    both: Operator, fault: Any, command: str
) -> None:
    with held(both, "uname"):
        process = both.start(command, "--limit", "app1,app2")
        await_held()
        with fault.values[0]():
            done = ended(process, within=SILENCE + 30)
    assert done.returncode == 1, done.stdout
    assert len(lost(done.stdout)) == 1, done.stdout
    (line,) = lost(done.stdout)
    assert re.search(rf"app2: question Platform: gave no sign of life for {SILENCE} s; no host was changed", line)
    assert not is_changed(both, "app1") and "Traceback" not in done.stdout


@pytest.mark.parametrize("fault", FAULTS)
def test_a_host_lost_in_a_step_is_named_with_it_and_the_others_are_done(both: Operator, fault: Fault) -> None:
    both.read("app2", "dpkg --purge redis-tools")
    with held(both, "apt-get", "*' install '*"):
        process = both.start("deploy", "--limit", "app1,app2")
        await_held()
        with fault():
            done = ended(process, within=SILENCE + 120)
    assert done.returncode == 1, done.stdout
    assert len(lost(done.stdout)) == 1, done.stdout
    (line,) = lost(done.stdout)
    assert "app2: step 'App | Install redis-cli, to ask Redis from where the app stands': gave no sign" in line
    assert "failed: app2:" in done.stdout and re.search(r"^app1 .* yes \(", done.stdout, re.MULTILINE), done.stdout
    assert is_changed(both, "app1") and not is_changed(both, "app2")


def test_a_command_that_never_ends_is_given_up_in_its_own_time(hasty: Operator) -> None:
    group_data = hasty.checkout / "inventories/group_data/sandbox.py"
    group_data.write_text(group_data.read_text() + "\ndeploy_command_seconds = 5\n")
    with held(hasty, "dpkg-query"):
        done = ended(hasty.start("plan", "--limit", "app2"), within=60)
    assert done.returncode == 1 and "app2: question Packages: takes longer than 5 s; no host was changed" in done.stdout


MEMORY = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
print(done.stdout[-20_000:])
print("peak", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024, done.returncode)
"""


def measured(operator: Operator, *command: str) -> tuple[str, int, int]:
    """What a command of the project's says, the MiB that it took at most, and its exit code."""
    argv = [sys.executable, "-c", MEMORY, sys.executable, "-m", "provision", *command, "--env", "sandbox"]
    done = operator._run(*argv)
    said, _, figures = done.stdout.rpartition("peak ")
    peak, code = figures.split()
    return said, int(peak), int(code)


@pytest.mark.parametrize("endless", ["yes", "yes | tr -d '\\n'", "yes 'a line of some length, to standard error' >&2"])
def test_a_login_script_that_prints_without_end_fills_no_memory(hasty: Operator, endless: str) -> None:
    _, usual, _ = measured(hasty, "plan", "--limit", "app2")
    hasty.read("app2", f"cp /root/.bashrc /root/.bashrc.away; printf '%s\\n' {shq(endless)} >/root/.bashrc")
    try:
        said, peak, code = measured(hasty, "plan", "--limit", "app2")
    finally:
        docker.run("exec", APP2, "mv", "/root/.bashrc.away", "/root/.bashrc")
    assert code == 1 and re.search(r"app2: question \w+: printed more than 8 MiB or 200000 lines", said), said
    assert peak - usual < 100, f"{usual} MiB, then {peak}"


def test_a_hostile_jq_takes_its_own_row_alone(hasty: Operator) -> None:
    hasty.read("db1", "printf '#!/bin/sh\\nyes 1234567890 | tr -d \"\\\\n\"\\n' >/usr/local/bin/jq;"
               " chmod +x /usr/local/bin/jq")  # fmt: skip
    try:
        said, peak, code = measured(hasty, "status", "--limit", "db1,redis1")
    finally:
        hasty.read("db1", "rm /usr/local/bin/jq")
    assert code == 3 and "NO ANSWER db1: could not be asked: printed more than 8 MiB" in said, said
    assert re.search(r"^ok +redis1 +up", said, re.MULTILINE) and peak < 300


def test_status_of_a_paused_host_ends_and_tells_the_others(hasty: Operator, hosts: frozenset[str]) -> None:
    words = ("status", "--env", "sandbox", "--limit", ",".join(hosts), "--json")
    began = time.monotonic()
    with paused():
        done = hasty.run(sys.executable, "-m", "provision", *words)
    assert time.monotonic() - began < 60 and done.returncode == 3, done.stdout
    document = json.loads(done.stdout[done.stdout.index("{\n") :])
    assert [each["host"] for each in document["hosts"] if not each["asked"]] == ["app2"]
    assert document["hosts"][0]["host"] == "app2"
