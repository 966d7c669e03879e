"""What a measurement ran on."""

from __future__ import annotations

import os
from pathlib import Path


def description() -> str:
    """Return the machine in one line: cores, memory, and how busy it was before the start."""
    cpu = _value("/proc/cpuinfo", "model name") or "unknown processor"
    memory_kb = int(_value("/proc/meminfo", "MemTotal").removesuffix(" kB") or 0)
    busy = f"load {os.getloadavg()[0]:.1f} before the start"
    return f"{os.cpu_count()} cores ({cpu}), {memory_kb / 2**20:.0f} GB, {busy}"


def _value(path: str, name: str) -> str:
    lines = Path(path).read_text().splitlines() if Path(path).exists() else []
    pairs = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in pairs if key.strip() == name), "")
