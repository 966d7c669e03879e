"""Debian's mirror as this machine's own apt knows it, so that no address has to be written here."""

import re
import subprocess
from pathlib import Path

from tests.sandbox import packages
from tests.sandbox.errors import SandboxError

_FORMAT = "$(ORIGIN)|$(CODENAME)|$(COMPONENT)|$(REPO_URI)"
_QUERY = ["apt-get", "indextargets", "Created-By: Packages", "--format", _FORMAT]

# What a mirror may need to be usable at all: a proxy, or patience with a snapshot's outdated Release files.
_COPIED_OPTIONS = ("Acquire::Check-Valid-Until", "Acquire::Check-Date", "Acquire::http::Proxy", "Acquire::https::Proxy")


def debian_sources(targets: str, machine_codename: str, release: str) -> list[str]:
    """Return the sources.list lines of `release` on the mirror described by apt's index targets.

    Third parties' repositories are left out: apt says which ones come from Debian itself.
    """
    lines = []
    for target in dict.fromkeys(targets.splitlines()):
        origin, codename, component, uri = target.split("|")
        if origin == "Debian" and component == "main" and codename.split("-")[0] == machine_codename:
            suite = codename.replace(machine_codename, release, 1)
            if not suite.endswith(("-backports", "-proposed-updates")):
                lines.append(f"deb {uri.rstrip('/')} {suite} main")
    return lines


def sources_for(release: str) -> list[str]:
    """Return the sources.list lines for `release`; raise SandboxError where this machine has no Debian mirror."""
    lines = debian_sources(_index_targets(), _machine_codename(), release)
    if not lines:
        packages.update()  # apt knows its indexes only once it has fetched them
        lines = debian_sources(_index_targets(), _machine_codename(), release)
    if not lines:
        raise SandboxError(
            "no image registry answers and this machine's apt knows no Debian mirror: "
            "an image can neither be pulled nor bootstrapped"
        )
    return lines


def _index_targets() -> str:
    return subprocess.run(_QUERY, capture_output=True, text=True).stdout


def apt_options() -> list[str]:
    """Return the machine's apt options that the mirror depends on, as lines of apt.conf."""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True).stdout
    return [line for line in dump.splitlines() if line.split(" ")[0] in _COPIED_OPTIONS]


def _machine_codename() -> str:
    found = re.search(r'^VERSION_CODENAME="?([a-z]+)', Path("/etc/os-release").read_text(), re.MULTILINE)
    return found[1] if found else ""
