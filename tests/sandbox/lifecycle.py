"""Up, down and status: the order in which the sandbox is put together and taken apart.

For use from Python: `up()`, `down()`, and `hosts.existing()` for what is there. One command at a time works
on a checkout's sandbox; a second one waits.
"""

import contextlib
import fcntl
import sys
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Network
from pathlib import Path

from tests.sandbox import docker, engine, fleet, hosts, images, machine, paths, ssh
from tests.sandbox.errors import SandboxError
from tests.sandbox.fleet import Host
from tests.sandbox.hosts import Container
from tests.sandbox.images import Report


def say(line: str) -> None:
    """Print a line at once and in one piece, though several hosts report at the same time."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def up(inventory: Path = paths.DEFAULT_INVENTORY, report: Report = say, *, only: Collection[str] = ()) -> list[Host]:
    """Have every host of the inventory, or `only` these, booted and reachable by `.sandbox/ssh_config`; return them.

    What already runs as described is left alone. Raise SandboxError in one sentence where that cannot be.
    """
    started = time.monotonic()
    wanted = fleet.read(inventory, only)
    with _only_one():
        machine.host_cgroups()
        engine.ensure(report)
        present = hosts.existing()
        require_ownership([present[host.container] for host in wanted if host.container in present])
        running = {container.name for container in present.values() if container.state == "running"}
        machine.ensure_inotify(len([host for host in wanted if host.container not in running]), report)
        ssh.ensure_key()
        images.ensure(wanted, report)
        network = _ensure_network(fleet.subnet(wanted))
        with ThreadPoolExecutor(max_workers=len(wanted)) as pool:
            boots = [pool.submit(_boot, host, network, present.get(host.container), report) for host in wanted]
        problems = []
        for boot in boots:
            try:
                boot.result()
            except SandboxError as error:
                problems.append(str(error))
        _write_ssh_files()
        if problems:
            raise SandboxError("; ".join(problems))
    for name, reason in fleet.without(inventory).items():
        report(f"{name}: not booted, {reason}")
    report(
        f"sandbox: {len(wanted)} hosts up ({time.monotonic() - started:.1f} s); "
        f"ssh -F {_short(paths.SSH_CONFIG)} {wanted[0].name}"
    )
    return wanted


def down(inventory: Path | None = None, *, everything: bool = False, report: Report = say) -> None:
    """Remove this checkout's hosts (or only an inventory's) and their network, and stop our own dockerd.

    With `everything`, the images and the downloaded packages go too.
    """
    with _only_one():
        if not engine.answers():
            if not engine.is_ours():
                report("sandbox: no engine runs, so no host does")
                return
            engine.ensure(report)  # it was killed: its hosts are still on the disk
        own = _own(hosts.existing())
        going = own
        if inventory:
            names = {host.container for host in fleet.read(inventory)}
            going = [container for container in own if container.name in names]
        with ThreadPoolExecutor() as pool:
            list(pool.map(hosts.remove, going))
        for container in going:
            hosts.forget_keys(container.host_name)
        _write_ssh_files()
        _remove_empty_networks()
        report(f"sandbox: {len(going)} hosts removed")
        if len(going) < len(own):
            return
        if everything:
            images.remove_all()
            _remove_volumes()
            report("sandbox: images and downloaded packages removed")
        if docker.run("ps", "--quiet"):
            report("engine: left running, for others have containers on it")
        else:
            engine.stop_own(report)


def status(inventory: Path = paths.DEFAULT_INVENTORY, report: Report = say) -> bool:
    """Print a table of the inventory's hosts and this checkout's others; return whether all wanted ones run."""
    wanted = {host.container: host for host in fleet.read(inventory)}
    present = hosts.existing() if engine.answers() else {}
    others = sorted((other for other in _own(present) if other.name not in wanted), key=lambda other: other.name)
    report(f"{'host':<12}{'state':<10}{'address':<16}image")
    for name, host in wanted.items():
        container = present.get(name)
        state = container.state if container else "absent"
        report(f"{host.name:<12}{state:<10}{host.address:<16}{images.tag(host.release, host.profile)}")
    for container in others:
        report(f"{container.host_name:<12}{container.state:<10}{container.address:<16}{container.image}")
    return all(name in present and present[name].state == "running" for name in wanted)


def _boot(host: Host, network: str, current: Container | None, report: Report) -> None:
    started = time.monotonic()
    try:
        action = hosts.boot(host, network, current)
    except SandboxError as error:
        raise SandboxError(f"{host.name}: {error}") from error
    report(hosts.description(host, action, time.monotonic() - started))


def require_ownership(containers: list[Container]) -> None:
    """Refuse to take running hosts of another checkout that is still there: somebody may be working with them."""
    for container in containers:
        is_anothers = container.checkout != str(paths.CHECKOUT) and Path(container.checkout).is_dir()
        if is_anothers and container.state == "running":
            raise SandboxError(
                f"{container.host_name} belongs to the sandbox of {container.checkout}; "
                f"remove that one first: make -C {container.checkout} sandbox-down"
            )


def _own(containers: dict[str, Container]) -> list[Container]:
    return [container for container in containers.values() if container.checkout == str(paths.CHECKOUT)]


def _write_ssh_files() -> None:
    """Describe every host of this checkout that was booted, of whichever inventory: a paused one keeps its name."""
    running = [container for container in _own(hosts.existing()) if container.state in ("running", "paused")]
    with ThreadPoolExecutor() as pool:
        keys = list(pool.map(lambda container: hosts.host_key(container.name), running))
    addresses = {container.host_name: container.address for container in running}
    ssh.write_files(addresses, dict(zip(addresses, keys, strict=True)))


def _ensure_network(subnet: IPv4Network) -> str:
    """Have the sandbox's own bridge network, named by its subnet; return its name."""
    name = f"{fleet.PREFIX}{subnet.network_address}"
    if docker.attempt("network", "inspect", name).returncode != 0:
        docker.run("network", "create", "--label", hosts.LABEL, "--subnet", str(subnet), name)
    return name


def _remove_empty_networks() -> None:
    for name in docker.run("network", "ls", "--filter", f"label={hosts.LABEL}", "--format", "{{.Name}}").split():
        # A network that another inventory's host still uses refuses to go, rightly.
        docker.attempt("network", "rm", name)


def _remove_volumes() -> None:
    names = docker.run("volume", "ls", "--filter", f"name={fleet.PREFIX}", "--format", "{{.Name}}").split()
    if names:
        docker.attempt("volume", "rm", *names)  # another checkout's host may hold one


@contextlib.contextmanager
def _only_one() -> Iterator[None]:
    paths.STATE.mkdir(mode=0o700, exist_ok=True)
    with paths.LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
