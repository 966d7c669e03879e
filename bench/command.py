"""How a measurement of the sandbox's hosts is started: its arguments, its errors, its exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from bench import BenchError, say
from provision.engine.environments import InventoryError
from provision.settings.secrets import SecretError
from tests.sandbox import engine
from tests.sandbox.errors import SandboxError


def run(name: str, least: str, measure: Callable[[bool], None], remove: Callable[[], None]) -> int:
    """Measure, told whether `--quick` was given, which is the `least` that shows that it works; remove the hosts."""
    parser = argparse.ArgumentParser(prog=f"python -m bench.{name}", description=sys.modules["__main__"].__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{least}: shows that it works")
    quick = parser.parse_args().quick
    try:
        engine.ensure(say)
        try:
            measure(quick)
        finally:
            remove()
    except (BenchError, SandboxError, InventoryError, SecretError) as error:
        print(f"bench {name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
