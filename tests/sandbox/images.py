"""One image per release and profile; its tag carries a hash of its recipe, so it is rebuilt when that changes.

A release's bare image is pulled where a registry answers, else bootstrapped from the machine's own apt
sources; either way the same recipe makes a server of it. A profile's image is one layer on top.
"""

import hashlib
import io
import os
import selectors
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.sandbox import docker, machine, mirror, packages, profiles
from tests.sandbox.errors import SandboxError
from tests.sandbox.fleet import PREFIX, RELEASES, Host

REPOSITORY = "medaction-sandbox"
BASE_RECIPE = profiles.RECIPES / "base.sh"
REGISTRY_SECONDS = 10
BUILD_SECONDS = 1200

Report = Callable[[str], None]

# What any bare server has, whichever tool will be deployed to it: no Redis, no PostgreSQL, no Python.
BASE_PACKAGES = (
    "systemd-sysv",
    "libpam-systemd",
    "dbus",
    "openssh-server",
    "iproute2",
    "ca-certificates",
    "procps",
    "sudo",
    "cron",
    "logrotate",
)


def ensure(hosts: list[Host], report: Report) -> None:
    """Build the images that these hosts need and that are not there yet, releases in parallel."""
    present = set(docker.run("images", "--format", "{{.Repository}}:{{.Tag}}", REPOSITORY + "/*").splitlines())
    needed = {(host.release, host.profile) for host in hosts}
    missing = {(release, profile) for release, profile in needed if tag(release, profile) not in present}
    missing |= {(release, "bare") for release, _ in missing if bare_tag(release) not in present}
    if missing:
        machine.require_disk(docker.run("info", "--format", "{{.DockerRootDir}}"))
        profiles_of: dict[str, list[str]] = {}
        for release, profile in sorted(missing):
            profiles_of.setdefault(release, []).append(profile)
        # Asked once and not per release: where nothing answers, that takes seconds.
        pulls = any("bare" in wanted for wanted in profiles_of.values()) and _registry_answers()
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda item: _build(*item, pulls, report), profiles_of.items()))
    current = {tag(*image) for image in needed}
    for release, _ in needed:
        current |= {bare_tag(release), _root_tag(release)}
    _remove_outdated(current, present)


def tag(release: str, profile: str) -> str:
    """Return the image of a release and profile, named by what it is made from."""
    recipe = profiles.get(profile).recipe
    if not recipe:
        return bare_tag(release)
    return f"{REPOSITORY}/{release}-{profile}:{_digest(bare_tag(release), *recipe)}"


def bare_tag(release: str) -> str:
    """Return the image of a release's bare server, named by what it is made from."""
    return f"{REPOSITORY}/{release}:{_digest(release, *BASE_PACKAGES, BASE_RECIPE)}"


def _root_tag(release: str) -> str:
    """Return the image of a release as bootstrapped: kept, so that a changed recipe is quick to try."""
    return f"{REPOSITORY}/{release}-root:{_digest(release, *BASE_PACKAGES)}"


def remove_all() -> None:
    """Remove every image that the sandbox ever made on this engine, but those that a container still needs."""
    images = docker.run("images", "--format", "{{.Repository}}:{{.Tag}}", REPOSITORY + "/*").split()
    if images:
        docker.attempt("rmi", *images)


def _digest(*parts: str | Path) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.read_bytes() if isinstance(part, Path) else part.encode())
        digest.update(b"\0")
    return digest.hexdigest()[:12]


def _build(release: str, missing: list[str], pulls: bool, report: Report) -> None:
    """Build a release's missing images, the bare one that the others stand on first."""
    if "bare" in missing:
        _build_bare(release, pulls, report)
    for profile in missing:
        if profile != "bare":
            _build_profile(release, profile, report)


def _build_bare(release: str, pulls: bool, report: Report) -> None:
    started = time.monotonic()
    if pulls:
        root = f"debian:{RELEASES[release]}"
        report(f"{release}: pulling {root}")
        docker.run("pull", "--quiet", root, timeout_seconds=BUILD_SECONDS)
    else:
        root = _root_tag(release)
        if docker.attempt("image", "inspect", root).returncode != 0:
            report(f"{release}: no registry answers, bootstrapping from this machine's apt sources")
            _bootstrap(release, root)
    _run_recipe(bare_tag(release), root, (BASE_RECIPE,), BASE_PACKAGES)
    report(f"{release}: image built ({time.monotonic() - started:.0f} s)")


def _build_profile(release: str, profile: str, report: Report) -> None:
    started = time.monotonic()
    report(f"{release}-{profile}: building the image")
    recipe = profiles.get(profile)
    _run_recipe(tag(release, profile), bare_tag(release), (*recipe.recipe, *recipe.fetched()))
    report(f"{release}-{profile}: image built ({time.monotonic() - started:.0f} s)")


def _registry_answers() -> bool:
    """Whether an image can be pulled: the registry has begun to answer within a few seconds."""
    command = ["docker", "pull", f"debian:{RELEASES['bookworm']}"]
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **streams) as pull:
        with selectors.DefaultSelector() as selector:
            selector.register(pull.stdout, selectors.EVENT_READ)
            answered = bool(selector.select(REGISTRY_SECONDS)) and bool(os.read(pull.stdout.fileno(), 1))
        pull.kill()
    return answered


def _bootstrap(release: str, image: str) -> None:
    """Make an image of Debian's important packages with mmdebstrap, from the machine's own mirror."""
    if not machine.is_debian_family():
        raise SandboxError("no image registry answers, and only a Debian machine can bootstrap Debian without one")
    if shutil.which("mmdebstrap") is None:
        packages.install("mmdebstrap", "debian-archive-keyring")
    options = mirror.apt_options()
    with tempfile.TemporaryDirectory(prefix="medaction-sandbox-") as directory:
        archive = Path(directory) / "root.tar"
        command = [
            "mmdebstrap",
            "--variant=important",
            "--include=" + ",".join(BASE_PACKAGES),
            *(f"--aptopt={option}" for option in options),
            release,
            str(archive),
            "-",
        ]
        sources = "\n".join(mirror.sources_for(release)) + "\n"
        result = subprocess.run(command, input=sources, capture_output=True, text=True, errors="replace")
        if result.returncode != 0:
            errors = [line for line in result.stderr.splitlines() if line.startswith("E:")]
            raise SandboxError(f"mmdebstrap could not bootstrap {release}: {(errors or ['it said nothing'])[0]}")
        docker.run("import", str(archive), image, timeout_seconds=BUILD_SECONDS)


def _run_recipe(image: str, base: str, recipe: tuple[Path, ...], arguments: tuple[str, ...] = ()) -> None:
    """Run a recipe's script, the first of its files, in a container of `base`; keep the outcome as `image`."""
    container = f"{PREFIX}build-{image.rpartition('/')[2].replace(':', '-')}"
    docker.attempt("rm", "--force", "--volumes", container)
    docker.run(
        "create",
        "--name",
        container,
        "--shm-size",
        "1g",
        base,
        "sh",
        "-c",
        'sh "$@" && rm -r /var/tmp/recipe',
        "sh",
        f"/var/tmp/recipe/{recipe[0].name}",
        *arguments,
    )
    try:
        docker.run(
            "cp",
            "-",
            f"{container}:/var/tmp",
            stdin=archive_of({f"recipe/{path.name}": path.read_bytes() for path in recipe}),
        )
        docker.run("start", "--attach", container, timeout_seconds=BUILD_SECONDS)
        docker.run(
            "commit", "--change", 'CMD ["/lib/systemd/systemd"]', container, image, timeout_seconds=BUILD_SECONDS
        )
    except SandboxError as error:
        raise SandboxError(f"the image {image} could not be built: {error}") from error
    finally:
        docker.attempt("rm", "--force", "--volumes", container)


def archive_of(files: dict[str, bytes], *, owner: int = 0, mode: int = 0o600) -> bytes:
    """Return a tar archive of these files, as `docker cp -` takes it; directories are made as needed."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.uid, member.gid = len(content), mode, owner, owner
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _remove_outdated(current: set[str], present: set[str]) -> None:
    """Remove older builds of the current images; one that a container still needs stays."""
    repositories = {image.partition(":")[0] for image in current}
    for image in present - current:
        if image.partition(":")[0] in repositories:
            docker.attempt("rmi", image)
