"""What the sandbox reads from the machine it runs on, and the images it makes there."""

import ctypes
import os
import subprocess
from pathlib import Path

from tests.sandbox import docker, engine, images, machine, mirror

HYBRID = """\
tmpfs /sys/fs/cgroup tmpfs rw,relatime,mode=755 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0
"""
UNIFIED = "proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nodev,noexec,relatime 0 0\n"
LEGACY = "cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n"


def test_cgroup_v2_is_found_on_hybrid_and_unified_machines():
    assert machine.cgroup2_mount(HYBRID) == "/sys/fs/cgroup/unified"
    assert machine.cgroup2_mount(UNIFIED) == "/sys/fs/cgroup"


def test_a_machine_with_only_cgroup_v1_has_no_mount_to_give():
    assert machine.cgroup2_mount(LEGACY) is None


def test_a_withheld_capability_is_named():
    without_sys_admin = ~(1 << 21) & 0x1FFFFFFFFFF
    assert machine.missing_capabilities(f"Name:\tx\nCapEff:\t{without_sys_admin:016x}\n") == ["CAP_SYS_ADMIN"]


def test_sys_resource_is_not_needed():
    assert machine.missing_capabilities("CapEff:\t000001fffeffffff\n") == []


TARGETS = """\
Debian|bookworm|main|http://mirror.example/debian/
Debian|bookworm-updates|main|http://mirror.example/debian/
Debian|bookworm-backports|main|http://mirror.example/debian/
Debian|bookworm|contrib|http://mirror.example/debian/
Debian|bookworm-security|main|http://mirror.example/debian-security/
. nodistro|nodistro|main|https://deb.third.example/node_20.x/
Docker|bookworm|main|https://download.third.example/linux/debian/
"""


def test_another_release_is_looked_for_on_the_machines_own_mirror():
    assert mirror.debian_sources(TARGETS, "bookworm", "trixie") == [
        "deb http://mirror.example/debian trixie main",
        "deb http://mirror.example/debian trixie-updates main",
        "deb http://mirror.example/debian-security trixie-security main",
    ]


def test_third_parties_repositories_are_no_source_of_an_image():
    assert mirror.debian_sources("Docker|bookworm|main|https://third.example/\n", "bookworm", "bookworm") == []


def test_the_log_line_that_explains_a_dead_engine_is_found_among_the_others():
    log = 'level=info msg="Starting up"\nfailed to start daemon: no cgroup\nlevel=warning msg="cleaning up"\n'
    assert engine.fatal_line(log) == "failed to start daemon: no cgroup"


def test_an_engine_that_died_silently_is_still_described():
    assert engine.fatal_line("") == "it said nothing"


def test_a_pid_file_of_no_living_engine_is_stale(tmp_path: Path):
    pid_file = tmp_path / "docker.pid"
    assert not engine.lives(pid_file)
    pid_file.write_text(str(os.getpid()))  # reused by a process that is no engine
    assert not engine.lives(pid_file)


def test_a_failed_docker_command_is_explained_by_what_the_engine_answered(monkeypatch, tmp_path: Path):
    client = tmp_path / "docker"
    client.write_text(
        "#!/bin/sh\necho 'Error response from daemon: Address already in use' >&2\n"
        "echo 'Error: failed to start containers: x' >&2\nexit 1\n"
    )
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert docker.complaint(docker.attempt("start", "x")) == "Address already in use"


def test_an_image_is_built_again_when_its_recipe_changes(monkeypatch, tmp_path: Path):
    before = {release: images.tag(release, "postgresql") for release in ("bookworm", "trixie")}
    assert before == {release: images.tag(release, "postgresql") for release in ("bookworm", "trixie")}
    recipe = tmp_path / "base.sh"
    recipe.write_bytes(images.BASE_RECIPE.read_bytes() + b"\n: more\n")
    monkeypatch.setattr(images, "BASE_RECIPE", recipe)
    after = {release: images.tag(release, "postgresql") for release in before}
    assert not set(before.values()) & set(after.values())


def test_inotify_instances_are_raised_for_the_hosts_to_come(tmp_path: Path):
    limit, said = tmp_path / "limit", []
    limit.write_text("128\n")
    machine.ensure_inotify(500, said.append, limit)
    assert int(limit.read_text()) >= 500 * machine.INOTIFY_PER_HOST
    assert len(said) == 1 and "raised from 128" in said[0]
    machine.ensure_inotify(500, said.append, limit)
    assert len(said) == 1


def test_where_they_cannot_be_raised_one_sentence_says_so():
    limit, said = Path("/proc/sys/kernel/ngroups_max"), []  # nobody can write it, root included
    machine.ensure_inotify(1_000_000, said.append, limit)
    assert len(said) == 1 and "as root, sysctl -w fs.inotify.max_user_instances=" in said[0]


def test_an_inotify_instance_in_use_is_counted():
    descriptors = [ctypes.CDLL(None).inotify_init() for _ in range(5)]
    try:
        assert machine.inotify_in_use() >= 5
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def test_processes_that_end_while_they_are_counted_are_no_error():
    hasty = subprocess.Popen(["sh", "-c", "for n in $(seq 3000); do sleep 0.1 & done; wait"])
    counts = [machine.inotify_in_use()]
    while hasty.poll() is None:
        counts.append(machine.inotify_in_use())
    assert hasty.returncode == 0 and len(counts) > 5
