"""What kind of system a host is."""

from __future__ import annotations

import contextlib
import shlex
from dataclasses import dataclass

from pyinfra.api import StringCommand
from typing_extensions import override

from provision.engine.facts import Fact, asked

RELEASE = "/etc/os-release"
_KIND = "RELEASE="
_LARGEST = 65536  # bytes


@dataclass(frozen=True)
class System:
    """`family` and `codename` as RELEASE has them ("" where it does not say); `kernel` as uname says."""

    kernel: str = ""
    name: str = ""
    family: tuple[str, ...] = ()
    codename: str = ""
    release: str = ""  # what is in RELEASE's place, as `stat` names it; "" where nothing is
    is_root: bool = False
    owns_kernel: bool = False

    @property
    def is_windows(self) -> bool:
        return self.kernel == "Windows"

    @property
    def is_debian_family(self) -> bool:
        return "debian" in self.family


class Platform(Fact[System]):
    """The host's platform, who we are on it, and whether its kernel settings are its own."""

    @override
    def command(self) -> StringCommand:
        return asked(
            'echo "KERNEL=$(uname -s)"; echo "USER_ID=$(id -u)";'
            # A container shares its machine's kernel, whatever /proc/sys lets it write.
            " if ! systemd-detect-virt --container --quiet 2>/dev/null && [ -w /proc/sys/vm/overcommit_memory ];"
            " then echo OWNS_KERNEL=yes; fi;"
            f' echo "{_KIND}$(LC_ALL=C stat -L -c %F {RELEASE} 2>/dev/null)";'
            f" if [ -f {RELEASE} ]; then head -c {_LARGEST} {RELEASE} 2>/dev/null; fi; true"
        )

    @staticmethod
    @override
    def default() -> System:
        return System()

    @override
    def read(self, lines: list[str]) -> System:
        at = next((number for number, line in enumerate(lines) if line.startswith(_KIND)), len(lines))
        own, said = _values(lines[:at]), _values(lines[at + 1 :])
        return System(
            kernel=own["KERNEL"],
            name=said.get("PRETTY_NAME") or own["KERNEL"],
            family=(said.get("ID", ""), *said.get("ID_LIKE", "").split()),
            codename=said.get("VERSION_CODENAME", ""),
            release="".join(lines[at : at + 1]).removeprefix(_KIND),
            is_root=own["USER_ID"] == "0",
            owns_kernel="OWNS_KERNEL" in own,
        )


def _values(lines: list[str]) -> dict[str, str]:
    """The variables that a shell would read there; a line that it could not read says nothing."""
    values = {}
    for key, sign, value in (line.partition("=") for line in lines):
        with contextlib.suppress(ValueError):
            if sign:
                values[key] = " ".join(shlex.split(value))
    return values
