"""How much memory a backup takes at most: the proportional set sizes of all its processes, added up."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from bench.backup import host
from tests.sandbox import docker

_EVERY_SECONDS = 0.05


def peak_bytes(script: str, user: str) -> int:
    """Run a script on the host; return the most that the user's processes there held at any look."""
    uid = int(host.run(f"id -u {user}"))
    space = _process_space(docker.run("inspect", "--format", "{{.State.Pid}}", host.container()))
    peak, ended = 0, threading.Event()

    def look() -> None:
        nonlocal peak
        while not ended.is_set():
            peak = max(peak, sum(_proportional_bytes(process) for process in _processes(uid, space)))
            time.sleep(_EVERY_SECONDS)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        host.run(script)
    finally:
        ended.set()
        watcher.join()
    return peak


def _processes(uid: int, space: str) -> list[Path]:
    """The user's processes in a container, as this machine, on which the containers run, sees them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid == uid and _process_space(process.name) == space:
                found.append(process)
        except OSError:
            continue  # it ended while we looked
    return found


def _process_space(pid: str) -> str:
    return str(Path(f"/proc/{pid}/ns/pid").readlink())


def _proportional_bytes(process: Path) -> int:
    try:
        lines = (process / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
