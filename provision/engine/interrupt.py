"""Ctrl-C reaches the one who is in charge of the run.

Python raises KeyboardInterrupt in whichever greenlet is at work. Where that is paramiko's transport, the
transport dies of it, nobody wakes the greenlets that wait for its channel, and the run hangs for good.
"""

from __future__ import annotations

import signal

import gevent


def in_main_greenlet() -> None:
    """Have SIGINT raise KeyboardInterrupt in the greenlet that calls this; one that is ignored stays ignored."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        gevent.signal_handler(signal.SIGINT, gevent.kill, gevent.getcurrent(), KeyboardInterrupt)
