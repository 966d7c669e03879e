"""An interrupt that arrives while another greenlet is at work ends the run all the same."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

RUN = """
import pyinfra_cli  # it has gevent take the place of threads
import os, signal, sys, threading
from provision.engine import interrupt

{arm}
threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT)).start()
try:
    threading.Event().wait({seconds})
except KeyboardInterrupt:
    os._exit(3)
os._exit(0)
"""


def _run(arm: str, seconds: int, ignored: bool = False) -> int:
    disposition = signal.SIG_IGN if ignored else signal.SIG_DFL
    return subprocess.run(
        [sys.executable, "-c", RUN.format(arm=arm, seconds=seconds)], timeout=60, check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, disposition),
    ).returncode  # fmt: skip


def test_interrupt_in_another_greenlet_reaches_the_main_one():
    assert _run("interrupt.in_main_greenlet()", 50) == 3


def test_without_it_the_other_greenlet_swallows_the_interrupt():
    """The fault that the module mends; should Python or gevent mend it, the module can go."""
    assert _run("", 2) == 0


@pytest.mark.parametrize("arm", ["interrupt.in_main_greenlet()", ""])
def test_ignored_interrupt_stays_ignored(arm: str):
    assert _run(arm, 2, ignored=True) == 0
