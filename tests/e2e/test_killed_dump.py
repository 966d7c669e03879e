"""A dump that dies half-way is no backup. (tests/scripts has the whole list of faults.)"""

from __future__ import annotations

import pytest

from tests.e2e.operator import Operator

pytestmark = pytest.mark.servers

STORE = "/opt/medaction/backups"


def test_killed_pg_dump_publishes_nothing(deployed: Operator) -> None:
    before = deployed.read("db1", f"ls -lR --time-style=full-iso {STORE}")
    killed = deployed.on(
        "db1",
        f"""
        (cd /opt/medaction && exec ./scripts/backup-database.sh) & script=$!
        for _ in $(seq 20000); do
            # Frozen first, so that "half-way" does not hang on who is quicker.
            if [ -n "$(find {STORE} -name '*.part' -size +0)" ] && pkill -STOP -x pg_dump; then break; fi
        done
        pkill -KILL -x pg_dump || echo "no pg_dump was caught"
        wait $script; echo "exit code $?"
        """,
    )
    assert "exit code 1" in killed.stdout and "no pg_dump was caught" not in killed.stdout, killed.stdout
    assert deployed.read("db1", f"ls -lR --time-style=full-iso {STORE}") == before
    assert deployed.read("db1", f"find {STORE} -name '*.part'") == ""


def test_next_run_recovers_by_itself(deployed: Operator) -> None:
    deployed.read("db1", "cd /opt/medaction && ./scripts/backup-database.sh")
    assert deployed.command("verify", "db1").returncode == 0
