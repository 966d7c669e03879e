"""The vault is gone too: what lies in the safe, and a copy of its directory, bring the backups back."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from provision.engine.private import PrivateInput
from provision.settings.project import PROJECT
from tests.e2e.conftest import copied
from tests.e2e.operator import Operator
from tests.e2e.tables import contents
from tests.e2e.vaults import HOSTS, MARKER, newest, night
from tests.limiter.waiting import until

pytestmark = pytest.mark.servers


@pytest.mark.prove
def test_what_lies_in_the_safe_and_a_copy_of_the_vault_are_enough_for_a_bare_clone(
    both: Operator, tmp_path: Path
) -> None:
    parts = ("inventories", "provision", "templates", "files", "tests/verify")
    team = copied(tmp_path / "team", *parts, ".secrets")
    stick, copy = tmp_path / "medaction.key", tmp_path / "copy"
    said = team.python("-m", "provision", "keys", "--env", "sandbox", "--out", str(stick)).stdout
    group_data = team.checkout / "inventories/group_data/sandbox.py"
    (line,) = [line.strip() for line in said.splitlines() if "backup_encrypt_to" in line]
    group_data.write_text(f"{group_data.read_text()}\n{line}\n")
    team.deploy(HOSTS)
    night(team)
    good, truth = newest(team), contents(team.postgres)
    secret = (team.checkout / ".secrets/sandbox.env").read_bytes()
    copy.mkdir()
    packed = subprocess.run(
        ["ssh", "-F", PROJECT / ".sandbox/ssh_config", "vault1", "tar -C /var/lib/medaction/vault -c store secrets"],
        check=True, capture_output=True,
    ).stdout  # fmt: skip
    subprocess.run(["tar", "-C", copy, "-x"], input=packed, check=True)
    passwords = [value.split(b"=", 1)[1] for value in secret.split() if b"=" in value]
    everything = b"".join(path.read_bytes() for path in copy.rglob("*") if path.is_file())
    assert passwords and not [each for each in (*passwords, MARKER.encode()) if each in everything]

    both.bare("db1", "vault1")
    bare = copied(tmp_path / "clone", *parts[1:])  # what is committed; `.secrets` is not
    shutil.copytree(team.checkout / "inventories", bare.checkout / "inventories")
    safe = ("--copy", str(copy), "--identity", str(stick))
    bare.python("-m", "provision", "secrets", "--env", "sandbox", *safe)
    assert (bare.checkout / ".secrets/sandbox.env").read_bytes() == secret
    done = bare.python("-m", "provision", "recover", "--env", "sandbox", "--host", "db1", *safe)
    assert f"{good}, proven, from {copy}" in done.stdout, done.stdout
    for old in (bare.checkout / "inventories/keys/sandbox").glob("*.pub"):
        old.unlink()
    bare.deploy(HOSTS)
    bare.read("db1", f"/usr/local/lib/medaction/restore-database.sh --into medaction_back --from {good}")
    assert contents(lambda sql: bare.postgres(sql, "medaction_back")) == truth


@pytest.fixture
def new_disk(both: Operator) -> Iterator[str]:
    """An empty place for dumps on db1, of 8 MiB: what is there otherwise lies beneath. Its newest dump has 16 MiB."""
    backups = "/opt/medaction/backups"
    both.read("db1", f"mount -t tmpfs -o size=8m,mode=0750,uid=medaction-backup,gid=medaction-backup tmpfs {backups}")
    yield backups
    both.read("db1", f"umount {backups}")


# In place of cat: of what is longer than a megabyte it takes that much, says so, and waits.
SLOW_CAT = """#!/bin/sh
[ $# = 0 ] || exec /usr/bin/cat "$@"
head -c 1000000
[ "$(head -c 1 | wc -c)" = 0 ] || { touch /run/cut/here; exec sleep 600; }
"""
# Of whoever waits there, the SSH sessions above.
SESSIONS = """
pid=$(pgrep -u medaction-backup -x sleep)
while [ "$pid" -gt 1 ]; do
    case $(cat /proc/$pid/comm) in sshd-session | sshd) echo "$pid" ;; esac
    pid=$(ps -o ppid= -p "$pid" | tr -d ' ')
done | head -n -1
"""


def are_whole(operator: Operator, directory: str) -> None:
    dumps = operator.read("db1", f"find {directory} -type f -name 'medaction_*.sql.gz'").split()
    assert dumps
    for dump in dumps:
        operator.read("db1", f"/usr/local/lib/medaction/backup-database.sh --verify {dump}")


@pytest.mark.prove
@pytest.mark.fault
def test_recovery_onto_a_full_disk_says_so_leaves_no_dump_and_can_be_run_again(both: Operator, new_disk: str) -> None:
    done = both.run("make", "-s", "recover", "HOST=db1")
    assert done.returncode != 0, done.stdout
    assert re.search(rf"db1: {new_disk}/medaction_\S+: .*No space left on device", done.stdout), done.stdout
    assert "nothing half has its name; run this again" in done.stdout and "Traceback" not in done.stdout
    left = both.read("db1", f"find {new_disk} -type f -o -type l").split()
    assert [path for path in left if path.endswith((".sql.gz", ".arriving", ".part"))] == []
    both.read("db1", f"mount -o remount,size=100m {new_disk}")
    done = both.run("make", "-s", "recover", "HOST=db1")
    assert done.returncode == 0 and "proven, from vault1" in done.stdout, done.stdout
    are_whole(both, new_disk)


@pytest.mark.prove
@pytest.mark.fault
def test_recovery_that_is_cut_says_so_leaves_no_dump_and_can_be_run_again(both: Operator, new_disk: str) -> None:
    both.read("db1", f"mount -o remount,size=100m {new_disk}; mkdir -m 1777 /run/cut")
    both.on("db1", "cat >/run/cut/cat && install -m 0755 /run/cut/cat /usr/local/bin/cat", PrivateInput(SLOW_CAT))
    recovering = subprocess.Popen(
        ["make", "-s", "recover", "HOST=db1"], cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        until(
            lambda: both.on("db1", "test -e /run/cut/here").returncode == 0, "a part of the dump has come", seconds=120
        )
        both.read("db1", f"rm /usr/local/bin/cat; kill -9 $({SESSIONS})")
        said, _ = recovering.communicate(timeout=120)
    finally:
        recovering.kill()
        both.read("db1", "rm -rf /run/cut /usr/local/bin/cat; pkill -u medaction-backup -x sleep || true")
    assert recovering.returncode != 0
    assert "the connection was cut" in said or "the connection ended" in said, said
    assert "run this again" in said and "Traceback" not in said, said
    assert both.read("db1", f"find {new_disk} -name '*.sql.gz'") == ""
    done = both.run("make", "-s", "recover", "HOST=db1")
    assert done.returncode == 0 and "proven, from vault1" in done.stdout, done.stdout
    are_whole(both, new_disk)
    assert both.read("db1", f"find {new_disk} -name '.arriving*'") == ""
