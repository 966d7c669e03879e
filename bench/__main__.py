"""`python -m bench [MEASUREMENT...] [--quick]`: the measurements, one after the other; 1 when one failed."""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys

MEASUREMENTS = ("deploy", "limiter", "backup", "offsite", "scale")


def main() -> int:
    there = [name for name in MEASUREMENTS if importlib.util.find_spec(f"bench.{name}")]
    parser = argparse.ArgumentParser(prog="python -m bench", description="The project's measurements.")
    parser.add_argument("measurements", nargs="*", metavar="MEASUREMENT", help=f"of {', '.join(there)}")
    parser.add_argument("--quick", action="store_true", help="the least that shows that it works")
    arguments = parser.parse_args()
    for name in arguments.measurements:
        if name not in there:
            parser.error(f"there is no measurement {name}; there are: {', '.join(there)}")
    options = ["--quick"] if arguments.quick else []
    # A process each: what one has loaded or left behind is not measured by the next.
    codes = [
        subprocess.run([sys.executable, "-m", f"bench.{name}", *options], check=False).returncode
        for name in arguments.measurements or there
    ]
    return max(1 if code else 0 for code in codes)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
