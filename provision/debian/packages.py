"""Debian packages, asked for by name.

`pyinfra.operations.apt.packages` either never refreshes apt's lists or counts the refresh as a change.
Here the lists are refreshed only when something is missing; an installation that was interrupted is finished
first, and another apt at work is waited for.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

from pyinfra.api import QuoteString, StringCommand, operation
from pyinfra.context import host
from typing_extensions import override

from provision.debian.programs import program
from provision.engine.changes import note
from provision.engine.claims import made, needed
from provision.engine.facts import Fact, asked
from provision.engine.reach import LONG

# apt's own switch for scripts; conffiles that a person changed stay as they are.
_APT = (
    "DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300"
    " -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold"
)


class Packages(Fact[dict[str, str]]):
    """Given package names, return dpkg's status word of each ("installed", "unpacked", ...); absent: never seen.

    The key "" is there when dpkg was stopped half-way through and wants `dpkg --configure -a`.
    """

    @override
    def command(self, names: Sequence[str]) -> StringCommand:
        quoted = [QuoteString(name) for name in names]
        return asked(
            r"dpkg-query -W -f '${Package} ${db:Status-Status}\n'", *quoted, "2>/dev/null;",
            "ls /var/lib/dpkg/updates | grep -q . && echo interrupted; true",
        )  # fmt: skip

    @staticmethod
    @override
    def default() -> dict[str, str]:
        return {}

    @override
    def read(self, lines: list[str]) -> dict[str, str]:
        status = {"": "interrupted"} if "interrupted" in lines else {}
        for line in lines:
            if line != "interrupted":
                name, word = line.split(" ")
                status[name] = word
        return status


@operation()
def installed(names: Sequence[str]) -> Generator[StringCommand, None, None]:
    """These packages are installed and configured."""
    needed("packages", names)
    status = host.get_fact(Packages, names=tuple(names))
    missing = [name for name in names if status.get(name) != "installed"]
    if "" in status or any(word in ("unpacked", "half-configured", "half-installed") for word in status.values()):
        note(host, "a package installation was interrupted")
        yield StringCommand(program("debian/configure.sh"), _timeout=LONG)
    if missing:
        note(host, f"not installed: {', '.join(missing)}")
        yield from made("packages", missing)
        yield StringCommand(f"{_APT} update", _timeout=LONG)
        packages = [QuoteString(name) for name in missing]
        yield StringCommand(f"{_APT} --no-install-recommends install", *packages, _timeout=LONG)
