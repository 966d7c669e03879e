"""While all is loaded, which takes a second, an interrupt ends the process and shows no traceback of that.

For `provision.__main__` alone, to be imported before anything that is large.
"""

from __future__ import annotations

import signal

_on_interrupt = signal.getsignal(signal.SIGINT)


def done() -> None:
    """From now on an interrupt is a KeyboardInterrupt again; one that is ignored stayed ignored."""
    signal.signal(signal.SIGINT, _on_interrupt)


if _on_interrupt is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
