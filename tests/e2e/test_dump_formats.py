"""A dump in each of the other formats: deployed, verified, restored as a test."""

from __future__ import annotations

import pytest

from tests.e2e.operator import Operator

pytestmark = pytest.mark.servers


@pytest.mark.parametrize(
    ("form", "jobs", "suffix"), [("plain-zstd", 1, ".sql.zst"), ("custom", 2, ".dump"), ("directory", 2, ".dir")]
)
def test_format_is_deployed_verified_and_restores(project_copy: Operator, form: str, jobs: int, suffix: str) -> None:
    group_data = project_copy.checkout / "inventories/group_data/sandbox.py"
    group_data.write_text(group_data.read_text() + f'\nbackup_format = "{form}"\nbackup_parallel_jobs = {jobs}\n')
    project_copy.deploy("db1")  # it verifies the newest backup, too
    latest = project_copy.read("db1", "cd /opt/medaction/backups && ls -d *_latest* && readlink *_latest*").split()
    assert latest[0] == f"medaction_latest{suffix}" and latest[1].endswith(suffix)
    project_copy.read("db1", "/opt/medaction/scripts/restore-database.sh --test")
    assert project_copy.plan("db1").returncode == 0
