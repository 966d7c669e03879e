"""The project's commands: `provision COMMAND --env ENVIRONMENT`. `make help` lists them."""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import NoReturn

import provision.engine.loading  # before all that is large
import provision.engine.streams  # noqa: F401  before pyinfra
from provision.engine import hostkeys, loading, speed
from provision.engine.environments import InventoryError
from provision.engine.shown import line
from provision.settings.secrets import SecretError

loading.done()

COMMANDS = {
    "deploy": "bring the hosts to what the settings describe, verify them, print a summary",
    "plan": "print what a deploy would change; exit 0 nothing, 2 changes pending, 1 error, 130 interrupted",
    "verify": "prove on the hosts that everything is as described",
    "status": "the fleet at a glance, the worst first; exit 0 well, 1 warning, 2 critical, 3 a host was not asked",
    "report": "the same as one page for a browser, into the file --out: pictures, and what changed since the last one",
    "unlock": "let one client of one limiter begin anew: --limiter login, who it is on standard input",
    "render": "write every file that a deploy would put on each host below --out",
    "known-hosts": "ask the hosts for their SSH keys, show them, and accept no others from then on",
    "secrets": "generate the secrets that are missing",
    "keys": "make an offline key that opens what leaves the backup hosts, into the file --out",
    "recover": "bring the newest proven dumps of --host back to it from a vault",
    "remove": "take --role away from the hosts of --limit, by the lists that deploys have left there",
    "settings": "list every setting, its default and its meaning",
}


class _Parser(argparse.ArgumentParser):
    """Ends with 1 where argparse would with 2, which is the plan's word for "changes pending"."""

    def error(self, message: str) -> NoReturn:
        self.exit(1, f"error: {message}\n")


def parser() -> argparse.ArgumentParser:
    """What a command line may say."""
    words = _Parser(prog="provision", description=__doc__)
    words.add_argument("command", choices=COMMANDS, help="; ".join(f"{k}: {v}" for k, v in COMMANDS.items()))
    words.add_argument("--env", default="sandbox", help="the environment: a file in inventories/")
    words.add_argument("--limit", default="", help="only these hosts or groups, commas between")
    words.add_argument("--skip", default="", help="not these hosts or groups, commas between")
    words.add_argument("--partial", action="store_true", help="plan, deploy: the hosts that answer; exit 1 says so")
    words.add_argument(
        "--out", default="", help="render: the directory to write below; keys: the new file; report: the page"
    )
    words.add_argument("--limiter", default="", help="unlock: the limiter, such as login")
    words.add_argument(
        "--host", default="", help="recover: the host that lost its backups; remove: with --data, the hosts once more"
    )
    words.add_argument("--vault", default="", help="recover: from this vault alone; else from the first that answers")
    words.add_argument("--dump", default="", help="recover: this one, as the vault lists it, proven or not")
    words.add_argument(
        "--copy", default="", help="recover, secrets: from this copy of a vault's directory, or place of rclone's"
    )
    words.add_argument("--rclone", default="", help="recover, secrets: the rclone.conf that --copy's place is in")
    words.add_argument("--at", default="", help="recover, secrets: as --copy's place was then, 2026-11-24T20:00:00Z")
    words.add_argument("--identity", default="", help="recover, secrets: with --copy, the offline key's file")
    words.add_argument("--role", default="", help="remove: the role, or unused: what no setting asks for any more")
    words.add_argument("--app", default="", help="remove: of this app_name; else of the settings'")
    words.add_argument("--data", default="", help="remove: delete, and its data goes too; else it is kept")
    words.add_argument("--junit", default="", help="verify: write JUnit XML to this file")
    words.add_argument("--json", action="store_true", help="status, plan: print JSON")
    words.add_argument("--write-test", action="store_true", help="verify: also check what needs a write")
    return words


def main() -> int:
    arguments = parser().parse_args()
    try:
        command = importlib.import_module(f"provision.commands.{arguments.command.replace('-', '_')}")
        code: int = command.run(arguments)
        return code
    except (InventoryError, SecretError) as error:
        print(line(f"error: {error}"), file=sys.stderr)
        return 1
    except OSError as error:  # a full disk, a directory of somebody else's
        print(line(f"error: {error.filename or 'what is printed'}: {error.strerror or error}"), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: run the same command again, it continues from here", file=sys.stderr)
        return 130
    finally:
        for sentence in hostkeys.accepted():
            print(f"{sentence}; `make known-hosts` with this ENV pins the keys", file=sys.stderr)


def console() -> NoReturn:
    """The console script `provision`: its exit codes are the documented ones, where make has words of its own."""
    speed.leave(main())


if __name__ == "__main__":
    console()
