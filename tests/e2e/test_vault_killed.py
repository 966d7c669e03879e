"""Either side of a vault's visit is killed at any moment: what counts as a copy is whole, the next visit goes on."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from tests.e2e.operator import Operator
from tests.e2e.vaults import OUTBOX, STORE, encrypt, newest, stored, visit

pytestmark = pytest.mark.servers

# Of each manifest's files those that are not there, or are not what it says, by another program than the vault's.
BROKEN = """for manifest in {directory}/*/*.manifest.json; do
    jq --raw-output '.files[] | .sha256 + "  " + .name' "$manifest" |
        (cd "${{manifest%/*}}" && sha256sum --check --quiet - 2>&1)
done"""
# What a run has while it is at work.
AT_WORK = {
    "vault1": "ls -d /var/lib/medaction/vault/state/.run.* /var/lib/medaction/vault/incoming/*"
    " /var/lib/medaction/vault/proof/*; pgrep -u medaction-vault,medaction-restore-test",
    "db1": f"ls -d {OUTBOX}-work/.run.*/",
}
EVERYTHING = "systemctl kill --signal=KILL medaction-vault 'medaction-vault-*' 'medaction-restore-test@*'"
# Where a run begins, its unit, and what is killed from where.
KILLS = {
    "the vault's program": ("vault1", "medaction-vault", "vault1", "systemctl kill --signal=KILL medaction-vault"),
    "all of the vault's": ("vault1", "medaction-vault", "vault1", EVERYTHING),
    "its session at the source": ("vault1", "medaction-vault", "db1", "pkill -KILL -u medaction-at-vault1"),
    "the source's program": ("db1", "medaction-offsite", "db1", "systemctl kill --signal=KILL medaction-offsite"),
}


@pytest.mark.fault
@pytest.mark.parametrize("times", [pytest.param(3, id="three"), pytest.param(20, id="many", marks=pytest.mark.prove)])
def test_kills_of_either_side_leave_no_half_copy_and_the_next_visit_goes_on(
    both: Operator, times: int, chance: random.Random, proved: Callable[[str], None]
) -> None:
    both.read("vault1", "systemctl stop medaction-vault.timer")
    both.read("db1", "systemctl stop medaction-offsite.timer")
    at_work = dict.fromkeys(KILLS, 0)
    seconds = {"vault1": 6.0, "db1": 2.0}
    for turn in range(times):
        whom = list(KILLS)[turn % len(KILLS)] if turn < len(KILLS) else chance.choice(list(KILLS))
        both.read("db1", "/usr/local/lib/medaction/backup-database.sh")
        host = KILLS[whom][0]
        if host == "vault1":
            encrypt(both)
        before = stored(both)
        at_work[whom] += killed(both, whom, chance.uniform(0, seconds[host]))
        assert before.items() <= stored(both).items()
        assert both.read("vault1", BROKEN.format(directory=STORE)) == ""
        assert both.read("db1", BROKEN.format(directory=OUTBOX)) == ""
        encrypt(both)
        began = time.monotonic()
        assert visit(both).returncode == 0
        seconds["vault1"] = time.monotonic() - began
        assert f"./daily/{newest(both)}.manifest.json.sig" in stored(both)
        for where, command in AT_WORK.items():
            assert both.on(where, command).stdout == ""
    both.read("vault1", "systemctl start medaction-vault.timer")
    both.read("db1", "systemctl start medaction-offsite.timer")
    proved(f"{times} kills, of them while it was at work: {at_work}; no copy lost or half, each next visit signed")


def killed(operator: Operator, whom: str, after_seconds: float) -> bool:
    """Begin a run, and kill a part of it after a time that is chance's own; return whether it was still at work."""
    host, unit, where, kill = KILLS[whom]
    operator.read(host, f"systemctl reset-failed {unit}; systemctl start --no-block {unit}; sleep {after_seconds:.2f}")
    was_at_work = operator.on(host, f"systemctl is-active {unit}").stdout.strip() == "activating"
    operator.on(where, kill)
    operator.read(host, f"while systemctl is-active {unit} | grep -q activating; do sleep 0.1; done")
    return was_at_work
