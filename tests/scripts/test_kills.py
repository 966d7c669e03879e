"""A backup that is killed at any moment at all: what was there stays, what is there is whole, the next run mends it."""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import signal
import time
from collections.abc import Callable
from datetime import datetime

import pytest

from .host import Host, ended, until
from .test_retention import stamp


@pytest.mark.fault
@pytest.mark.parametrize("times", [pytest.param(8, id="eight"), pytest.param(300, id="many", marks=pytest.mark.prove)])
def test_kill_at_any_moment_loses_nothing_and_leaves_no_half_dump(
    host: Host, times: int, chance: random.Random, proved: Callable[[str], None]
) -> None:
    host.plant(*(stamp(day, datetime.now()) for day in (1, 2, 20)))
    started = time.monotonic()
    host.good_backup()
    seconds = time.monotonic() - started
    before_it_ended = 0
    for _ in range(times):
        kept = _dumps_with_what_belongs_to_them(host)
        before_it_ended += _killed(host, chance.uniform(0, 1.1 * seconds), chance.choice(["script", "all"]))
        assert host.published().items() >= kept.items()
        assert host.latest.exists()
        _require_whole(host)
    host.good_backup()
    until(lambda: not host.leftovers(), "nothing is left over")
    assert before_it_ended > times / 2, "most runs were through before they were killed"
    proved(f"{times} kills over a run's {seconds:.1f} s, {before_it_ended} of them before its end, no dump lost or cut")


def _killed(host: Host, after_seconds: float, whom: str) -> bool:
    """Kill a run, or with it all that works for it, as a power cut would; return whether it was still at work."""
    run = host.popen("backup-database.sh")
    time.sleep(after_seconds)  # chance's own moment is what this is about
    was_at_work = run.poll() is None
    if was_at_work:
        (os.killpg if whom == "all" else os.kill)(run.pid, signal.SIGKILL)
    ended(run)
    return was_at_work


def _dumps_with_what_belongs_to_them(host: Host) -> dict[str, tuple[int, str]]:
    """What stands under a final name, but for roles and manifests whose dump was not published any more."""
    dumps = host.dumps()
    return {name: what for name, what in host.published().items() if any(name.startswith(dump) for dump in dumps)}


def _require_whole(host: Host) -> None:
    for name in host.dumps():
        dump = host.backups / name
        if dump.stat().st_size:  # not one of those that were planted
            assert b"PostgreSQL database dump complete" in gzip.decompress(dump.read_bytes())[-4096:]
            assert hashlib.sha256(dump.read_bytes()).hexdigest() in dump.with_name(f"{name}.json").read_text()
