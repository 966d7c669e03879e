"""Whether a host's platform is one that this project can manage."""

from __future__ import annotations

from pyinfra.api import Host

from provision.debian.system import RELEASE, Platform, System
from provision.engine.inside import transport_of
from provision.engine.preflight import PreflightError
from provision.winssh.connector import is_windows, plain_ssh_to_windows


def platform(host: Host) -> System:
    """Return the host's platform. Raise PreflightError when this project cannot manage it yet."""
    if is_windows(host):  # its connector has looked, as it connected
        return System(kernel="Windows", name="Windows")
    if told := _windows_behind_plain_ssh(host):
        raise PreflightError(f"{host.name}: {told}; no host was changed")
    system = host.get_fact(Platform)
    if system.kernel == "Linux" and not system.family[0]:
        raise PreflightError(
            f"{host.name}: which system this is cannot be told: {RELEASE} {_fault(system)}; no host was changed. On"
            f" Debian it is a link of the package base-files: ln -sfn ../usr/lib/os-release {RELEASE}"
        )
    if not system.is_debian_family:
        raise PreflightError(
            f"{host.name}: {system.name or 'an unknown platform'} is not supported yet, only Debian and its derivatives"
            " are; no host was changed. Take the host out of the inventory, or choose the others with LIMIT="
        )
    if not system.is_root:
        user = host.data.get("ssh_user") or "this user"
        if not host.data.get("_sudo"):
            raise PreflightError(
                f"{host.name}: {user} is not root; set _sudo = True in inventories/group_data/, no host was changed"
            )
    return system


def _fault(system: System) -> str:
    if not system.release:
        return "is not there"
    return "has no line ID=" if system.release.startswith("regular") else f"is a {system.release}"


def _windows_behind_plain_ssh(host: Host) -> str | None:
    transport = transport_of(host)
    return plain_ssh_to_windows(transport.remote_version) if transport else None
