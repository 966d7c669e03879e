"""What this machine offers to systemd hosts, and one clear sentence for each thing that it lacks."""

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.sandbox.errors import SandboxError

NEEDED_FREE_GB = 4
"""What two releases, their profiles and the hosts' own writes come to, with room to install packages."""

INOTIFY_LIMIT = Path("/proc/sys/fs/inotify/max_user_instances")
INOTIFY_PER_HOST = 16
"""systemd, udev, dbus, cron and whatever else watches files: 9 to 10 were counted on a host."""

# Bit numbers from linux/capability.h. Without one of these dockerd, or systemd in a host, cannot start.
ESSENTIAL_CAPABILITIES = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_NET_ADMIN": 12,
    "CAP_SYS_CHROOT": 18,
    "CAP_SYS_ADMIN": 21,
    "CAP_MKNOD": 27,
}


def cgroup2_mount(mounts: str) -> str | None:
    """Return where cgroup v2 is mounted, given the text of /proc/mounts; None where it is not."""
    for line in mounts.splitlines():
        _device, mount_point, filesystem, *_options = line.split()
        if filesystem == "cgroup2":
            return mount_point
    return None


def host_cgroups() -> str:
    """Return the directory that each host's systemd gets as its cgroup file system."""
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return "/sys/fs/cgroup"  # not Linux: the engine runs in a virtual machine, which has it there
    found = cgroup2_mount(mounts.read_text())
    if found is None:
        raise SandboxError(
            "this machine mounts no cgroup v2, which systemd in the hosts needs: "
            "mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified"
        )
    return found


def missing_capabilities(status: str) -> list[str]:
    """Return the essential capabilities that a process lacks, given the text of its /proc/PID/status."""
    for line in status.splitlines():
        if line.startswith("CapEff:"):
            effective = int(line.split()[1], 16)
            return [name for name, bit in ESSENTIAL_CAPABILITIES.items() if not effective >> bit & 1]
    return []


def require_engine_rights() -> None:
    """Raise SandboxError unless this machine is one on which we can install and run an engine."""
    if not is_debian_family():
        raise SandboxError(
            "no Docker engine answers: install and start Docker, then run this again "
            "(only on Debian and its family is that done for you)"
        )
    if os.geteuid() != 0:
        raise SandboxError(
            "no Docker engine answers: start it, or run this as root to have Debian's docker.io installed and started"
        )
    lacking = missing_capabilities(Path("/proc/self/status").read_text())
    if lacking:
        raise SandboxError(f"a Docker engine cannot run here: this machine withholds {', '.join(lacking)} from root")


def require_disk(directory: str) -> None:
    """Raise SandboxError when the file system of `directory` has too little room for the images."""
    existing = Path(directory)
    while not existing.exists():
        existing = existing.parent
    free_gb = shutil.disk_usage(existing).free / 1e9
    if free_gb < NEEDED_FREE_GB:
        raise SandboxError(f"{existing} has {free_gb:.1f} GB free; the sandbox's images need {NEEDED_FREE_GB} GB")


def ensure_inotify(more_hosts: int, report: Callable[[str], None], limit_file: Path = INOTIFY_LIMIT) -> None:
    """Have root's inotify instances suffice for so many more hosts; say in one sentence where they do not.

    All hosts' systemd draw on the same number; once it is used up, units fail with "Too many open files".
    """
    if not more_hosts or not limit_file.exists():
        return
    limit, needed = int(limit_file.read_text()), inotify_in_use() + more_hosts * INOTIFY_PER_HOST
    if limit >= needed:
        return
    raised = max(needed, 2 * limit)
    try:
        limit_file.write_text(f"{raised}\n")
    except OSError:
        report(
            f"machine: {more_hosts} more hosts need about {needed} inotify instances and {limit} are allowed, so units"
            f" in them may fail: as root, sysctl -w fs.inotify.max_user_instances={raised}"
        )
    else:
        report(f"machine: fs.inotify.max_user_instances raised from {limit} to {raised}, for {more_hosts} more hosts")


def inotify_in_use() -> int:
    """How many inotify instances the processes have that we may look at: for root, all."""
    found = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it is not ours, or has ended meanwhile
            for descriptor in (process / "fd").iterdir():
                with contextlib.suppress(OSError):  # it was closed meanwhile
                    found += str(descriptor.readlink()) == "anon_inode:inotify"
    return found


def is_debian_family() -> bool:
    """Whether apt manages this machine."""
    return shutil.which("apt-get") is not None and Path("/etc/debian_version").exists()


def has_running_systemd() -> bool:
    """Whether systemd is this machine's init (sd_booted(3) looks at the same directory)."""
    return Path("/run/systemd/system").is_dir()
