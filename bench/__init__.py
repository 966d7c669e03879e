"""Measurements, each beside what else one could use, in one run: ratios travel better than seconds.

One package each, run by `python -m bench` or alone: `python -m bench deploy`. What they share stands here.
"""

import sys


class BenchError(Exception):
    """The measurement cannot go on; the text says why."""


def say(line: str) -> None:
    """Progress, apart from the table."""
    print(line, file=sys.stderr, flush=True)
