"""Debian packages, asked for by name.

`pyinfra.operations.apt.packages` either never refreshes apt's lists or counts the refresh as a change.
Here the lists are refreshed only when something is missing; an installation that was cut off is finished
first, and another apt at work is waited for.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

from pyinfra.api import QuoteString, StringCommand, operation
from pyinfra.context import host

from provision.changes import note
from provision.facts.packages import Packages

# apt's own switch for scripts; conffiles that a person changed stay as they are.
_APT = (
    "DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300"
    " -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold"
)

# Waits, up to five minutes, for whoever holds dpkg's lock: often what an interrupted deploy left running.
_CONFIGURE = r"""n=0
until said=$(LC_ALL=C DEBIAN_FRONTEND=noninteractive dpkg --force-confold --configure -a 2>&1); do
    case $said in *lock*) n=$((n + 1)) ;; *) n=300 ;; esac
    [ "$n" -lt 300 ] || { echo "$said" >&2; exit 1; }
    sleep 1
done
"""


@operation()
def installed(names: Sequence[str]) -> Generator[StringCommand, None, None]:
    """These packages are installed and configured."""
    status = host.get_fact(Packages, names=tuple(names))
    missing = [name for name in names if status.get(name) != "installed"]
    if "" in status or any(word in ("unpacked", "half-configured", "half-installed") for word in status.values()):
        note(host, "a package installation was interrupted")
        yield StringCommand("sh -c", QuoteString(_CONFIGURE))
    if missing:
        note(host, f"not installed: {', '.join(missing)}")
        yield StringCommand(f"{_APT} update")
        yield StringCommand(f"{_APT} --no-install-recommends install", *(QuoteString(name) for name in missing))
