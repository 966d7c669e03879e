"""What a hostile dump can do in a restore test: nothing, whatever the temporary server lets it do."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.operator import Operator

UNIT = "medaction-restore-test@medaction.service"
TEST = "/opt/medaction/scripts/restore-database.sh --test"
BACKUP = "/opt/medaction/scripts/backup-database.sh"
NEWEST = "ls -t /opt/medaction/backups/medaction_2*.sql.gz | head -n 1 | xargs basename"
LEFT = (
    "systemctl list-units --all --plain --no-legend 'medaction-restore-test@*';"
    " ps -o pid= -u medaction-restore-test; find /var/lib/medaction-restore-test -mindepth 1 ! -name .lock;"
    " find /tmp /var/tmp -maxdepth 1 -name '*restore-test*'; find /dev/shm -user medaction-restore-test;"
    " awk -v user=$(id -u medaction-restore-test) '$8 == user || $10 == user' /proc/sysvipc/shm; true"
)

# As the app's plain role, with nothing but DATABASE_URL: it runs where the dump is loaded. A test loads it as that very
# role, which on its own may start no program: so that this shows anything, an administrator has let it.
PLANT = """
CREATE FUNCTION planted(int) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN
  IF current_database() LIKE 'restore_test%' THEN EXECUTE $c$COPY (SELECT 1) TO PROGRAM '{program}'$c$; END IF;
  RETURN true; END$$;
{object}
"""
OBJECTS = {
    "a check": "CREATE TABLE trap (i int CHECK (planted(i))); INSERT INTO trap VALUES (1);",
    "a domain": "CREATE DOMAIN trapped AS int CHECK (planted(VALUE));"
    " CREATE TABLE trap (i trapped); INSERT INTO trap VALUES (1);",
    "an index": "CREATE FUNCTION planted_i(i int) RETURNS int IMMUTABLE LANGUAGE sql"
    " AS 'SELECT public.planted(i)::int';"
    " CREATE TABLE trap (i int); INSERT INTO trap VALUES (1); CREATE INDEX trap_i ON trap (planted_i(i));",
    "a generated column": "CREATE FUNCTION planted_i(i int) RETURNS int IMMUTABLE LANGUAGE sql"
    " AS 'SELECT public.planted(i)::int';"
    " CREATE TABLE trap (i int, j int GENERATED ALWAYS AS (planted_i(i)) STORED); INSERT INTO trap VALUES (1);",
    "a view that is filled": "CREATE TABLE trap (i int); INSERT INTO trap VALUES (1);"
    " CREATE MATERIALIZED VIEW trapped_view AS SELECT planted(i) FROM trap;",
}
# Ends with 0 only where every one of these ways is closed.
REACH = " || ".join([
    "cat /etc/medaction/pgpass", "cat /etc/shadow", "ls /opt/medaction/backups", "ls /var/lib/medaction-backup",
    "ls /run/postgresql", "ls /var/run/docker.sock", "touch /opt/medaction/x", "touch /var/log/medaction/x",
    "touch /etc/cron.d/x", "setpriv --reuid root id", "bash -c \"exec 3<>/dev/tcp/127.0.0.1/5432\"",
    "bash -c \"exec 3<>/dev/tcp/10.213.86.21/6379\"", "systemctl start cron", "ps -u root | grep -q systemd",
])  # fmt: skip


@pytest.fixture
def planted(deployed: Operator) -> Iterator[Operator]:
    deployed.postgres("GRANT pg_execute_server_program TO medaction")
    yield deployed
    deployed.postgres("REVOKE pg_execute_server_program FROM medaction")
    as_the_app(deployed, "DROP TABLE IF EXISTS trap CASCADE; DROP DOMAIN IF EXISTS trapped;"
               " DROP FUNCTION IF EXISTS planted_i; DROP FUNCTION IF EXISTS planted")  # fmt: skip
    # The trap's rows are gone on purpose, and what was found wanting is good again.
    deployed.read("db1", f"{BACKUP}; {BACKUP} --accept $({NEWEST}) || true; {TEST}")


def as_the_app(operator: Operator, sql: str) -> None:
    operator.postgres(f"SET ROLE medaction; {sql}")


def verdict(operator: Operator) -> dict:
    return json.loads(operator.read("db1", "cat /var/lib/medaction-backup/restore-test.json"))


@pytest.mark.parametrize("kind", OBJECTS)
def test_what_a_dump_runs_reaches_nothing(planted: Operator, kind: str) -> None:
    program = f"umask 0; id > /tmp/hostile; cp /etc/medaction/pgpass /tmp; ! {{ {REACH}; }}"
    as_the_app(planted, PLANT.format(program=program, object=OBJECTS[kind]))
    planted.read("db1", BACKUP)
    done = planted.on("db1", TEST)
    assert done.returncode == 0 and verdict(planted)["verdict"] == "ok", done.stderr
    assert planted.on("db1", "ls /tmp/hostile /tmp/pgpass /opt/medaction/x /etc/cron.d/x").stdout == ""
    assert planted.read("db1", LEFT) == ""


def test_it_did_run_and_can_spoil_no_more_than_its_own_verdict(planted: Operator) -> None:
    """The same with a program that fails: else the test above would show nothing."""
    as_the_app(planted, PLANT.format(program="false", object=OBJECTS["a check"]))
    planted.read("db1", BACKUP)
    done = planted.on("db1", TEST)
    assert done.returncode == 1 and verdict(planted)["verdict"] == "failed"
    assert "code of the dump refused it" in verdict(planted)["message"] and "(38000)" in verdict(planted)["message"]
    assert planted.read("db1", LEFT) == ""


def test_what_it_says_is_bounded_and_moves_no_terminal(planted: Operator) -> None:
    """It writes where the unit's own output goes: an escape sequence, and then without end."""
    program = "out=/proc/$(pgrep -o restore-test.sh || pgrep -o bash)/fd/1; "
    program += 'for i in 1 2 3; do printf "\\033]0;owned\\007\\n"; done > $out; yes | head -c 3000000 > $out'
    as_the_app(planted, PLANT.format(program=program, object=OBJECTS["a check"]))
    planted.read("db1", BACKUP)
    done = planted.on("db1", TEST)
    assert "\033" not in done.stdout + done.stderr and len(done.stderr) < 100_000
    assert len(json.dumps(verdict(planted))) < 10_000
    assert planted.read("db1", LEFT) == ""


def test_queries_that_the_dump_has_compiled_restore_where_the_unit_forbids_that(planted: Operator) -> None:
    """As every large database has by itself: PostgreSQL's JIT makes code as it goes."""
    assert planted.postgres("SELECT pg_jit_available()") == "t"  # else this shows nothing
    as_the_app(planted, f"""
        CREATE FUNCTION planted(int) RETURNS boolean LANGUAGE plpgsql SET jit = on SET jit_above_cost = 0 AS $$BEGIN
            RETURN (SELECT count(*) = 50 FROM generate_series(1, 100) n WHERE n % 2 = 0); END$$;
        {OBJECTS["a check"]}
    """)  # fmt: skip
    planted.read("db1", BACKUP)
    planted.read("db1", TEST)


def test_only_root_starts_it(deployed: Operator) -> None:
    as_backup = "cd / && runuser -u medaction-backup -- "
    done = deployed.on("db1", f"{as_backup}/usr/local/lib/medaction/restore-database.sh --test")
    assert done.returncode == 2 and "root starts a restore test" in done.stderr
    assert deployed.on("db1", f"{as_backup}systemctl start {UNIT} </dev/null").returncode != 0
    assert deployed.on("db1", f"{as_backup}sudo -n true").returncode != 0
    assert deployed.on("db1", "runuser -u medaction-restore-test -- cat /etc/medaction/pgpass").returncode != 0


def test_unit_holds_nothing_that_it_does_not_need(deployed: Operator) -> None:
    said = deployed.read("db1", f"systemd-analyze security --no-pager {UNIT} | tail -n 1")
    assert float(said.split("exposure level for")[1].split(":")[1].split()[0]) <= 2.0, said


def survives_kills(operator: Operator, times: int, moments: random.Random) -> int:
    """Returns how many kills met a process."""
    hit = 0
    for _ in range(times):
        # The brackets keep the shell that asks from finding itself; the host has a server of its own.
        victim = moments.choice(["[r]estore-database.sh --test", "[r]estore-test.sh", "[b]in/postgres"])
        whose = "-u medaction-restore-test" if "postgres" in victim else ""
        operator.on("db1", f"setsid {TEST} >/dev/null 2>&1 </dev/null &")
        time.sleep(moments.uniform(0.1, 6))  # a random moment is what is tested
        killed = operator.on("db1", f"pgrep {whose} -f '{victim}' | xargs kill -9")
        hit += killed.returncode == 0
        operator.on("db1", "timeout 60 sh -c 'while pgrep -f [r]estore-database.sh >/dev/null; do sleep 0.1; done'")
    done = operator.on("db1", TEST)
    assert done.returncode == 0, done.stderr
    assert operator.read("db1", LEFT) == ""
    return hit


@pytest.mark.parametrize("times", [pytest.param(2, id="two"), pytest.param(20, id="many", marks=pytest.mark.prove)])
def test_killed_tests_leave_nothing_after_the_next(
    deployed: Operator, times: int, chance: random.Random, proved: Callable[[str], None]
) -> None:
    hit = survives_kills(deployed, times, chance)
    proved(
        f"{times} restore tests killed at random moments, {hit} of them while they ran: no process, file, shared memory"
        " or unit is left after the next"
    )
