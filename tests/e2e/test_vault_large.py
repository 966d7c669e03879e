"""A copy of many gigabytes travels to the vault in the memory of a small one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bench import memory
from tests.e2e.operator import Operator
from tests.e2e.vaults import OUTBOX, STORE, night, vault, visit
from tests.sandbox.fleet import PREFIX

pytestmark = [pytest.mark.servers, pytest.mark.prove]

DUMP = "medaction-huge_2026-01-01_00-00-00.dump"
# No key opens it, and the vault finds that out after the journey. What cannot be compressed lies on both disks; a hole
# costs its source nothing.
NOISE = "openssl enc -aes-256-ctr -nosalt -pbkdf2 -pass pass:noise </dev/zero 2>/dev/null | head -c SIZE"
HOLE = f"truncate -s SIZE {DUMP}.age"
OFFERED = f"""cd {OUTBOX}/daily && MAKE &&
cp "$(ls -d *.sql.gz.json.age | tail -n 1)" {DUMP}.json.age
model=$(ls -d *.manifest.json | tail -n 1)
jq --arg dump {DUMP} --argjson bytes SIZE --arg sum "$(sha256sum <{DUMP}.age | cut -d ' ' -f 1)" '.dump = $dump
    | .database = "huge"
    | (.files[] | select(.name | endswith(".json.age") and (endswith(".properties.json.age") | not))) as $told
    | .files = [{{name: ($dump + ".age"), plain_name: $dump, $bytes, sha256: $sum, plain_sha256: $sum}},
        ($told | .name = $dump + ".json.age" | .plain_name = $dump + ".json")]' "$model" >m
chgrp medaction-offsite {DUMP}.* m && chmod 0640 {DUMP}.* m && mv m {DUMP}.manifest.json"""
OURS = ("vault.sh", "fetch-files.sh", "sftp", "ssh", "sha256sum", "age")
MINUTES = 60


@pytest.mark.parametrize(("gibibytes", "made"), [(5, f"{NOISE} >{DUMP}.age"), (20, HOLE)], ids=["noise", "zeros"])
def test_copy_of_many_gigabytes_is_fetched_in_bounded_memory(
    both: Operator, gibibytes: int, made: str, proved: Callable[[str], None]
) -> None:
    free = int(both.read("vault1", f"df --output=avail --block-size=1G {STORE} | tail -n 1"))
    if free < gibibytes + 8:
        pytest.skip(f"not run: the vault's disk has {free} GiB free, {gibibytes + 8} are needed")
    night(both)
    both.read("db1", "systemctl stop medaction-offsite.timer")
    both.read("vault1", "systemctl stop medaction-vault.timer")
    peaks: dict[str, int] = {}
    try:
        slowly(both, "db1", OFFERED.replace("MAKE", made).replace("SIZE", str(gibibytes << 30)))
        at_source = memory.largest(
            PREFIX + "db1",
            lambda: peaks.update(memory.largest(PREFIX + "vault1", lambda: visit(both, timeout=MINUTES * 60))),
        )
        assert int(both.read("vault1", f"stat -c %s {STORE}/daily/{DUMP}.age")) == gibibytes << 30
        there = slowly(both, "vault1", f"openssl dgst -sha256 -r <{STORE}/daily/{DUMP}.age").split()[0]
        assert there == slowly(both, "db1", f"openssl dgst -sha256 -r <{OUTBOX}/daily/{DUMP}.age").split()[0]
        assert f"{DUMP}.age cannot be opened" in vault(both, "--check")
        ours = {name: held for name, held in peaks.items() if name in OURS}
        ours["sshd at the source"] = max(held for name, held in at_source.items() if name.startswith("sshd"))
        assert "sftp" in ours and max(ours.values()) < 64e6, ours
        told = ", ".join(f"{name} {held / 1e6:.1f}" for name, held in ours.items())
        what = "zeros" if made == HOLE else "noise"
        proved(f"{gibibytes} GiB of {what} over SFTP; MB that one process held at most: {told}")
    finally:
        both.read("vault1", f"rm -f {STORE}/daily/{DUMP}* && systemctl start medaction-vault.timer")
        both.read("db1", f"rm -f {OUTBOX}/daily/{DUMP}* && systemctl start medaction-offsite.timer")


def slowly(operator: Operator, host: str, command: str) -> str:
    """What a command that reads gigabytes prints."""
    done = operator.on(host, command, timeout=MINUTES * 60)
    assert done.returncode == 0, done.stderr
    return done.stdout
