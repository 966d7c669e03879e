"""How much memory what runs on a host takes at most: the proportional set sizes of its processes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.sandbox import docker

_EVERY_SECONDS = 0.05


def together(container: str, uid: int, action: Callable[[], object]) -> int:
    """The most bytes that a user's processes held together at any look, while the action ran."""
    peak = 0

    def look(processes: Iterator[Path]) -> None:
        nonlocal peak
        peak = max(peak, sum(_proportional_bytes(each) for each in processes if _owner(each) == uid))

    _watch(container, action, look)
    return peak


def largest(container: str, action: Callable[[], object]) -> dict[str, int]:
    """For each program, the most bytes that one process of it held at any look, while the action ran."""
    peaks: dict[str, int] = {}

    def look(processes: Iterator[Path]) -> None:
        for each in processes:
            name = _name(each)
            peaks[name] = max(peaks.get(name, 0), _proportional_bytes(each))

    _watch(container, action, look)
    return peaks


def _watch(container: str, action: Callable[[], object], look: Callable[[Iterator[Path]], None]) -> None:
    space = _process_space(docker.run("inspect", "--format", "{{.State.Pid}}", container))
    ended = threading.Event()

    def keep_looking() -> None:
        while not ended.is_set():
            look(_processes(space))
            time.sleep(_EVERY_SECONDS)

    watcher = threading.Thread(target=keep_looking)
    watcher.start()
    try:
        action()
    finally:
        ended.set()
        watcher.join()


def _processes(space: str) -> Iterator[Path]:
    """The processes in a container, as this machine, on which the containers run, sees them."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if _process_space(process.name) == space:
                yield process
        except OSError:
            continue  # it ended while we looked


def _process_space(pid: str) -> str:
    return str(Path(f"/proc/{pid}/ns/pid").readlink())


def _owner(process: Path) -> int | None:
    try:
        return process.stat().st_uid
    except OSError:
        return None


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return ""


def _proportional_bytes(process: Path) -> int:
    try:
        lines = (process / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
