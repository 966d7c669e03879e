"""`python -m tests.sandbox up|down|status`: the sandbox from the shell."""

import argparse
import sys
from pathlib import Path

import provision.engine.streams  # noqa: F401  `make deploy | head` is no reason to stop half-way
from tests.sandbox import lifecycle, paths
from tests.sandbox.errors import SandboxError


def main() -> int:
    """Run one command; return 0, or 1 after one sentence on stderr."""
    parser = argparse.ArgumentParser(prog="python -m tests.sandbox", description="Disposable Debian hosts.")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="boot what is not running")
    down = commands.add_parser("down", help="remove the hosts")
    status = commands.add_parser("status", help="show the hosts; exit 1 unless all run")
    for command in (up, status):
        command.add_argument("--inventory", type=Path, default=paths.DEFAULT_INVENTORY, help="whose hosts")
    up.add_argument("hosts", nargs="*", metavar="HOST", help="only these, looking at no other")
    down.add_argument("--inventory", type=Path, help="only this inventory's hosts (default: all of this checkout)")
    down.add_argument("--all", action="store_true", help="remove images and downloaded packages too")
    arguments = parser.parse_args()
    try:
        if arguments.command == "up":
            lifecycle.up(arguments.inventory, only=arguments.hosts)
        elif arguments.command == "down":
            lifecycle.down(arguments.inventory, everything=arguments.all)
        else:
            return 0 if lifecycle.status(arguments.inventory) else 1
    except SandboxError as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("sandbox: interrupted; run it again to continue", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
