"""One disposable host: a container whose PID 1 is systemd, created, started and awaited.

What makes systemd reach `running` in a container, each flag because something fails without it:
  - the cgroup v2 tree, writable, at /sys/fs/cgroup (the engine puts each container in a subtree of its
    own, which its systemd finds in /proc/self/cgroup: hosts do not see each other's units);
  - /run, /run/lock and /tmp as fresh file systems at each boot;
  - no seccomp or AppArmor profile, no masked paths: units sandbox themselves (ProtectKernel..., User=);
  - all capabilities but SYS_RESOURCE, which the machine itself may not have to give.
"""

import hashlib
import io
import subprocess
import tarfile
import time
from dataclasses import dataclass

from tests.sandbox import docker, images, machine, paths, profiles, ssh
from tests.sandbox.errors import SandboxError
from tests.sandbox.fleet import PREFIX, RELEASES, Host

BOOT_SECONDS = 90

LABEL = "medaction-sandbox"
CHECKOUT_LABEL = LABEL + ".checkout"
SPECIFICATION_LABEL = LABEL + ".specification"
ADDRESS_LABEL = LABEL + ".address"

SYSTEMD_FLAGS = (
    "--cap-add=ALL",
    "--cap-drop=SYS_RESOURCE",
    "--security-opt=seccomp=unconfined",
    "--security-opt=apparmor=unconfined",
    "--security-opt=systempaths=unconfined",
    "--cgroupns=host",
    "--tmpfs=/run",
    "--tmpfs=/run/lock",
    "--tmpfs=/tmp",
    "--env=container=docker",
    "--stop-signal=SIGRTMIN+3",  # what systemd takes as "power off"
)


@dataclass(frozen=True)
class Container:
    """A host's container as the engine reports it, running or not."""

    name: str
    state: str
    address: str
    image: str
    checkout: str
    specification: str

    @property
    def host_name(self) -> str:
        return self.name.removeprefix(PREFIX)


def existing() -> dict[str, Container]:
    """Return the containers of all sandbox hosts on this engine, by container name."""
    columns = [
        "{{.Names}}",
        "{{.State}}",
        f'{{{{.Label "{ADDRESS_LABEL}"}}}}',
        "{{.Image}}",
        f'{{{{.Label "{CHECKOUT_LABEL}"}}}}',
        f'{{{{.Label "{SPECIFICATION_LABEL}"}}}}',
    ]
    table = docker.run("ps", "--all", "--filter", f"label={LABEL}", "--format", "\t".join(columns))
    containers = (Container(*line.split("\t")) for line in table.splitlines())
    return {container.name: container for container in containers}


def boot(host: Host, network: str, current: Container | None) -> str:
    """Bring a host to a running system, recreating it when its description changed; return what was done.

    Raise SandboxError when the host does not come up, or when a unit of a newly created one fails.
    """
    arguments = _create_arguments(host, network)
    specification = _specification(arguments)
    # Never started means that an earlier `up` was killed before the host was complete.
    if current and current.specification == specification and current.state != "created":
        if current.state == "running":
            action = "running"
        else:
            ssh.close_connections(host.name)
            docker.run("start", host.container)
            action = "started"
    else:
        if current:
            remove(current)
        _create(host, arguments, specification)
        docker.run("start", host.container)
        action = "recreated" if current else "booted"
    failed = _await_running(host)
    if failed and action in ("booted", "recreated"):
        raise SandboxError(f"booted with failed units: {', '.join(failed)}")
    at_up = profiles.get(host.profile).at_up
    if at_up:
        at_up(host.container)
    return f"{action}, but failed: {', '.join(failed)}" if failed else action


def remove(container: Container) -> None:
    """Remove a host with everything it wrote, and the SSH connections that lead to it."""
    ssh.close_connections(container.host_name)
    docker.run("rm", "--force", "--volumes", container.name)


def forget_keys(name: str) -> None:
    """Remove what a deploy kept of a host's public keys: a new host of the sandbox has others, and nobody minds."""
    for kept in paths.PUBLIC_KEYS.glob(f"{name}.*.pub"):
        kept.unlink()


def description(host: Host, action: str, seconds: float) -> str:
    """Return a host's progress line: what was done, what it is, where, and how long that took."""
    return f"{host.name}: {action}, Debian {RELEASES[host.release]}, {host.address} ({seconds:.1f} s)"


def host_key(container: str) -> str:
    """Return a host's public SSH key, read through the engine and not over the network: a paused host answers none."""
    copied = docker.attempt("cp", f"{container}:/etc/ssh/ssh_host_ed25519_key.pub", "-")
    if copied.returncode != 0:
        raise SandboxError(f"{container}: its public SSH key cannot be read: {docker.complaint(copied)}")
    with tarfile.open(fileobj=io.BytesIO(copied.stdout)) as archive:
        (member,) = archive
        key = archive.extractfile(member)
        assert key
        return " ".join(key.read().decode().split()[:2])


def _create_arguments(host: Host, network: str) -> list[str]:
    return [
        f"--name={host.container}",
        f"--hostname={host.name}",
        f"--network={network}",
        f"--ip={host.address}",
        f"--network-alias={host.name}",
        *SYSTEMD_FLAGS,
        f"--volume={machine.host_cgroups()}:/sys/fs/cgroup:rw",
        "--shm-size=1g",  # PostgreSQL's parallel workers outgrow Docker's 64 MB
        # Downloaded packages outlive the host, one store each because apt locks it: the next host of that
        # name installs without downloading again.
        f"--volume={host.container}-{host.release}-apt:/var/cache/apt/archives",
        *(f"--volume={directory}" for directory in profiles.get(host.profile).volumes),
        f"--label={LABEL}",
        f"--label={CHECKOUT_LABEL}={paths.CHECKOUT}",
        f"--label={ADDRESS_LABEL}={host.address}",
        images.tag(host.release, host.profile),
    ]


def _specification(arguments: list[str]) -> str:
    """Return what a host is made from, as one short word: when it changes, the host is made anew."""
    return hashlib.sha256("\0".join([*arguments, paths.PUBLIC_KEY.read_text()]).encode()).hexdigest()[:12]


def _create(host: Host, arguments: list[str], specification: str) -> None:
    forget_keys(host.name)
    docker.run("create", f"--label={SPECIFICATION_LABEL}={specification}", *arguments)
    key = paths.PUBLIC_KEY.read_bytes()
    # Put there before the first boot, so that a host is never seen without its key. 1000 is `admin`.
    docker.run("cp", "-", f"{host.container}:/root/.ssh", stdin=images.archive_of({"authorized_keys": key}))
    docker.run(
        "cp", "-", f"{host.container}:/home/admin/.ssh", stdin=images.archive_of({"authorized_keys": key}, owner=1000)
    )


def _await_running(host: Host) -> list[str]:
    """Wait until systemd has finished booting; return the units that failed, if any."""
    deadline = time.monotonic() + BOOT_SECONDS
    answer = "nothing"
    while time.monotonic() < deadline:
        result = _system_state(host, deadline)
        answer = result.stdout.decode(errors="replace").strip() or docker.complaint(result)
        if answer == "running":
            return []
        if answer == "degraded":
            table = docker.run("exec", host.container, "systemctl", "--failed", "--plain", "--no-legend")
            return [line.split()[0] for line in table.splitlines()]
        if docker.run("inspect", "--format", "{{.State.Running}}", host.container) != "true":
            words = docker.attempt("logs", "--tail", "1", host.container)
            raise SandboxError(f"systemd stopped at its start: {docker.complaint(words)}")
        time.sleep(0.05)  # systemd does not answer calls yet
    raise SandboxError(f"not booted after {BOOT_SECONDS} s; systemd says: {answer}")


def _system_state(host: Host, deadline: float) -> subprocess.CompletedProcess[bytes]:
    command = ("exec", host.container, "systemctl", "is-system-running", "--wait")
    return docker.attempt(*command, timeout_seconds=max(1, deadline - time.monotonic()))
