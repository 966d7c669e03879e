"""What kind of system a host is."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from pyinfra.api import StringCommand
from typing_extensions import override

from provision.engine.facts import Fact, asked


@dataclass(frozen=True)
class System:
    """`family` and `codename` as /etc/os-release has them ("" where there is none); `kernel` as uname says."""

    kernel: str = ""
    name: str = ""
    family: tuple[str, ...] = ()
    codename: str = ""
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
            'echo "KERNEL=$(uname -s)"; echo "USER_ID=$(id -u)"; cat /etc/os-release 2>/dev/null;'
            # A container shares its machine's kernel, whatever /proc/sys lets it write.
            " if ! systemd-detect-virt --container --quiet 2>/dev/null && [ -w /proc/sys/vm/overcommit_memory ];"
            " then echo OWNS_KERNEL=yes; fi"
        )

    @staticmethod
    @override
    def default() -> System:
        return System()

    @override
    def read(self, lines: list[str]) -> System:
        pairs = (line.partition("=") for line in lines if "=" in line)
        values = {key: " ".join(shlex.split(value)) for key, _, value in pairs}
        return System(
            kernel=values["KERNEL"],
            name=values.get("PRETTY_NAME", values["KERNEL"]),
            family=(values.get("ID", ""), *values.get("ID_LIKE", "").split()),
            codename=values.get("VERSION_CODENAME", ""),
            is_root=values["USER_ID"] == "0",
            owns_kernel="OWNS_KERNEL" in values,
        )
