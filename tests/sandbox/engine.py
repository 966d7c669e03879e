"""A Docker engine: the one that answers, else Debian's own, installed and started here.

There may be no init system, so dockerd is started as a session of its own that outlives this command.
Its process is recorded with its start time: only that very process is ever stopped by `down`.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.sandbox import docker, machine, packages, paths
from tests.sandbox.errors import SandboxError

PID_FILE = Path("/var/run/docker.pid")
CONTAINERD_PID_FILE = Path("/var/run/docker/containerd/containerd.pid")
START_SECONDS = 60


def ensure(report: Callable[[str], None]) -> None:
    """Return once a Docker engine answers; install and start one where that is possible."""
    if answers():
        return
    if os.environ.get("DOCKER_HOST"):
        raise SandboxError(f"DOCKER_HOST is {os.environ['DOCKER_HOST']}, but no Docker engine answers there")
    machine.require_engine_rights()
    machine.host_cgroups()
    if shutil.which("dockerd") is None:
        report("engine: installing Debian's docker.io")
        machine.require_disk("/var/lib/docker")
        packages.install("docker.io", "iptables")
    started = time.monotonic()
    if machine.has_running_systemd():
        subprocess.run(["systemctl", "start", "docker"], stdin=subprocess.DEVNULL, capture_output=True)
        _await(None)
    elif lives(PID_FILE):
        _await(None)  # somebody else's is starting at this moment
    else:
        _await(_start())
    report(f"engine: dockerd started ({time.monotonic() - started:.1f} s)")


def answers() -> bool:
    """Whether a Docker engine answers the client's calls."""
    if shutil.which("docker") is None:
        return False
    return docker.attempt("version", "--format", "{{.Server.Version}}", timeout_seconds=30).returncode == 0


def is_ours() -> bool:
    """Whether this sandbox once started its own dockerd and has not stopped it since."""
    return paths.ENGINE_RECORD.exists()


def stop_own(report: Callable[[str], None]) -> None:
    """Stop the dockerd that this sandbox started, if it is still the same process."""
    if not is_ours():
        return
    pid, start_time = paths.ENGINE_RECORD.read_text().split()
    paths.ENGINE_RECORD.unlink()
    if _start_time(int(pid)) != start_time:
        return
    os.kill(int(pid), signal.SIGTERM)
    deadline = time.monotonic() + START_SECONDS
    while _start_time(int(pid)) == start_time and time.monotonic() < deadline:
        time.sleep(0.05)
    report("engine: dockerd stopped")


def fatal_line(log: str) -> str:
    """Return the line of dockerd's log that tells why it died: its last word that is not mere information."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    serious = [line for line in lines if "level=info" not in line and "level=warning" not in line]
    return (serious or lines or ["it said nothing"])[-1]


def lives(pid_file: Path, command: str = "dockerd") -> bool:
    """Whether the process that wrote this pid file is still there, and is that command."""
    try:
        process = _process(int(pid_file.read_text()))
    except (FileNotFoundError, ValueError):
        return False
    return process is not None and process[0] == command


def _start() -> subprocess.Popen[bytes]:
    # An engine that was killed leaves its pid files. With its own, the next one refuses to start; with
    # containerd's, it waits in vain for a dead process that nobody has reaped.
    PID_FILE.unlink(missing_ok=True)
    if not lives(CONTAINERD_PID_FILE, "containerd"):
        CONTAINERD_PID_FILE.unlink(missing_ok=True)
    paths.STATE.mkdir(exist_ok=True)
    with paths.ENGINE_LOG.open("wb") as log:
        process = subprocess.Popen(
            ["dockerd"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )
    paths.ENGINE_RECORD.write_text(f"{process.pid} {_start_time(process.pid)}\n")
    return process


def _await(process: subprocess.Popen[bytes] | None) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not answers():
        if process and process.poll() is not None:
            reason = fatal_line(paths.ENGINE_LOG.read_text(errors="replace"))
            raise SandboxError(f"dockerd died at its start: {reason} (all of it: {paths.ENGINE_LOG})")
        if time.monotonic() > deadline:
            where = paths.ENGINE_LOG if process else "journalctl -u docker"
            raise SandboxError(f"dockerd does not answer after {START_SECONDS} s; see {where}")
        time.sleep(0.1)


def _start_time(pid: int) -> str | None:
    """Return when a living process started, in clock ticks since boot; None where there is none."""
    process = _process(pid)
    return process[1] if process else None


def _process(pid: int) -> tuple[str, str] | None:
    """Return a living process's command name and start time, from proc_pid_stat(5); a zombie is dead."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command name may hold spaces and parentheses itself: it ends at the last parenthesis.
    name, _, rest = stat.partition("(")[2].rpartition(")")
    fields = rest.split()
    return None if fields[0] == "Z" else (name, fields[19])
