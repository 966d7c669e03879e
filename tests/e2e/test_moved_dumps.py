"""A changed `backup_dir`: the plan offers to move the dumps, and the command that it gives does so, killed or not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.operator import Operator
from tests.limiter.waiting import until

pytestmark = [pytest.mark.servers, pytest.mark.prove]

OLD, NEW = "/opt/medaction/backups", "/srv/dumps"
# With its owner, mode and contents, whichever of the two places it lies in.
LYING = "cd {} && find . -type f -name 'medaction_[0-9]*' -exec stat -c '%n %U %a' {{}} + -exec sha256sum {{}} + | sort"
PROGRAM = "/usr/local/lib/medaction/move-dumps.sh"


@pytest.fixture
def elsewhere(project_copy: Operator) -> Iterator[Operator]:
    """Somebody who has changed backup_dir of db1, to another disk, after two backups."""
    project_copy.read("db1", f"mkdir {NEW} && mount -t tmpfs -o size=2g tmpfs {NEW}")
    for tier in ("daily", "weekly"):
        project_copy.read("db1", f"/opt/medaction/scripts/backup-database.sh --tier {tier}")
    group_data = project_copy.checkout / "inventories/group_data/sandbox.py"
    kept = group_data.read_text()
    group_data.write_text(f'{kept}\nbackup_dir = "{NEW}"\n')
    yield project_copy
    group_data.write_text(kept)
    project_copy.deploy("db1")
    project_copy.read("db1", f"{PROGRAM} {NEW}; umount -l {NEW}; rmdir {NEW}")


def lying(operator: Operator, directory: str) -> set[str]:
    return set(operator.read("db1", LYING.format(directory)).splitlines())


def test_dumps_move_to_the_new_backup_dir_by_the_command_that_plan_gives(
    elsewhere: Operator, proved: Callable[[str], None]
) -> None:
    before = lying(elsewhere, OLD)
    dumps = {line for line in before if re.search(r"\.sql\.gz$", line)}
    planned = elsewhere.plan("db1").stdout
    (told,) = [line for line in planned.splitlines() if f"{OLD} was backup_dir before" in line]
    (command,) = re.findall(r"`(.*)` moves them to /srv/dumps$", told)
    deployed = elsewhere.deploy("db1").stdout
    (number,) = re.findall(r"^(\d+) change\(s\) pending", planned, re.MULTILINE)
    assert f"\n{number} change(s) on 1 host(s)" in deployed, f"plan said {number}: {deployed[-300:]}"
    assert lying(elsewhere, OLD) == before, "a deploy moves nothing by itself"
    elsewhere.read("db1", f"systemd-run -q --collect --unit=e2e-move {PROGRAM} {OLD}")
    until(lambda: lying(elsewhere, NEW) & dumps, "the first dump is there")
    elsewhere.on("db1", "systemctl kill -s KILL e2e-move")
    until(lambda: elsewhere.on("db1", "systemctl is-active e2e-move").returncode, "it is gone")
    assert dumps <= lying(elsewhere, OLD) | lying(elsewhere, NEW), "whole in one of the two places"
    elsewhere.read("db1", command)
    assert before <= lying(elsewhere, NEW)
    assert elsewhere.on("db1", f"test -e {OLD}").returncode == 1
    assert "backup_dir before" not in elsewhere.plan("db1").stdout
    elsewhere.deploy("db1")
    assert elsewhere.plan("db1").stdout == "sandbox: nothing to do on 1 host(s)\n"
    elsewhere.read("db1", "/opt/medaction/scripts/backup-database.sh --verify")
    elsewhere.read("db1", "/opt/medaction/scripts/restore-database.sh --test")
    proved(f"{len(before) // 2} files of dumps moved to another disk, killed half-way and run again: all of them whole")
