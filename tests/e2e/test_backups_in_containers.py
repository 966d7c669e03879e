"""Backups of a PostgreSQL that runs in a container, on a real Docker engine: the three ways to it, one contract."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

import pytest

from provision.engine.inventory import PROJECT
from provision.engine.private import PrivateInput
from provision.settings import secrets
from tests.e2e.operator import Operator
from tests.e2e.tables import contents

pytestmark = pytest.mark.docker1

# As an app of this kind brings it: its own Compose project, with a network of a known name.
COMPOSE_FILE = """
services:
  postgres:
    image: postgres:16-alpine
    environment:
      POSTGRES_USER: medaction
      POSTGRES_DB: medaction
      POSTGRES_PASSWORD_FILE: /run/secrets/postgres
    secrets: [postgres]
    ports: ["127.0.0.1:5432:5432"]
    volumes: [data:/var/lib/postgresql/data]
    healthcheck: {test: pg_isready -h 127.0.0.1 -U medaction, interval: 1s, retries: 60}
networks: {default: {name: medaction-network}}
volumes: {data: {}}
secrets: {postgres: {file: ./password}}
"""
IN_PROJECT = "cd /srv/medaction && "
IN_APP_DIR = "cd /opt/medaction && "
MODES = {
    "direct": {"postgres_mode": "direct", "postgres_host": "127.0.0.1"},
    "compose": {
        "postgres_mode": "compose",
        "postgres_compose_file": "/srv/medaction/docker-compose.yml",
        "postgres_image": "postgres:of-mode-container-alone",
    },
    "container": {"postgres_mode": "container", "postgres_host": "postgres"},
}
IN_CONTAINERS = [mode for mode in MODES if mode != "direct"]

# A table that somebody holds keeps pg_dump where it is until the container has gone.
STOPPED_MID_DUMP = """
cd /srv/medaction
ask() { docker compose exec -T postgres psql -U medaction -Atc "$1"; }
ask 'BEGIN; LOCK patients; SELECT pg_sleep(99)' >/dev/null 2>&1 &
held="SELECT 'held' FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted"
until ask "$held" | grep -q held; do sleep 0.1; done
/opt/medaction/scripts/backup-database.sh & run=$!
until ask "SELECT 'waits' FROM pg_locks WHERE NOT granted" | grep -q waits; do sleep 0.1; done
docker compose kill postgres >/dev/null 2>&1
wait $run
"""


@pytest.fixture(scope="module")
def database() -> Iterator[None]:
    """The sample database in a container on docker1, and one beside it to restore into."""
    operator = Operator()
    password = secrets.read("postgres_password", None, "sandbox").get_secret_value()
    operator.read("docker1", "mkdir -p /srv/medaction/backups")
    operator.on("docker1", "umask 077; cat > /srv/medaction/password", PrivateInput(password))
    operator.on("docker1", "cat > /srv/medaction/docker-compose.yml", PrivateInput(COMPOSE_FILE))
    # The app's own, as its role writes it: Compose would read it, and the backup user may not.
    operator.read("docker1", IN_PROJECT + "install -m 0640 /dev/null .env && echo SECRET=1 > .env")
    operator.read("docker1", IN_PROJECT + "docker compose up -d --wait postgres")
    ask(operator, (PROJECT / "tests/sandbox/medaction.sql").read_text(encoding="utf-8"))
    yield
    operator.read("docker1", IN_PROJECT + "docker compose down --volumes && rm -r /srv/medaction")


def ask(operator: Operator, sql: str, database: str = "medaction") -> str:
    """What the superuser of the database in the container is answered."""
    psql = f"docker compose exec -T postgres psql -X -q -At -v ON_ERROR_STOP=1 -U medaction -d {database}"
    done = operator.on("docker1", IN_PROJECT + psql, PrivateInput(sql))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def require_equal_to_the_source(operator: Operator, database: str) -> None:
    assert contents(partial(ask, operator, database=database)) == contents(partial(ask, operator))
    ask(operator, f"DROP DATABASE {database}", "postgres")


def backs_up(operator: Operator, mode: str) -> None:
    """Have docker1 back its database up in this mode, in a copy's inventory, by cron at another time of the day."""
    hour = (datetime.now(UTC).hour + 12) % 24
    described = {**MODES[mode], "backup_daily_at": f"{hour:02}:10", "backup_weekly_at": f"{hour:02}:40"}
    inventory = operator.checkout / "inventories/sandbox.py"
    inventory.write_text(
        inventory.read_text() + '\n_docker1 = next(each for each in redis if each[0] == "docker1")\n'
        f"_docker1[1].update({described})\nbackup.append(_docker1)\n"
    )


@pytest.mark.parametrize("mode", MODES)
def test_dump_in_each_mode_restores_equal_to_the_source(database: None, project_copy: Operator, mode: str) -> None:
    backs_up(project_copy, mode)
    project_copy.deploy("docker1")  # it makes a first backup where there is none, and verifies it
    assert project_copy.plan("docker1").stdout == "sandbox: nothing to do on 1 host(s)\n"
    # As bare as cron's environment, with the line that cron runs.
    line = project_copy.read("docker1", "grep -m 1 backup-database.sh /etc/cron.d/medaction-backup").split(maxsplit=6)
    assert line[5] == "medaction-backup"
    project_copy.on("docker1", "cat > /run/e2e-line", PrivateInput(line[6]))
    bare = "env -i SHELL=/bin/sh PATH=/usr/bin:/bin HOME=/nonexistent LOGNAME=medaction-backup"
    newest = IN_APP_DIR + "readlink backups/*_latest.sql.gz"
    before = project_copy.read("docker1", newest)
    project_copy.read("docker1", f"runuser -u medaction-backup -- {bare} sh /run/e2e-line")
    assert project_copy.read("docker1", newest) != before
    manifest = json.loads(
        project_copy.read("docker1", IN_APP_DIR + "cat backups/$(readlink backups/*_latest.sql.gz).json")
    )
    rows = ask(project_copy, "SELECT count(*) FROM reclamations")
    assert manifest["content"]["tables"]["public.reclamations"] == int(rows) > 30_000
    project_copy.read("docker1", IN_APP_DIR + "./scripts/restore-database.sh --into restored")
    require_equal_to_the_source(project_copy, "restored")
    unused = "docker volume ls --quiet --filter dangling=true"
    before = project_copy.read("docker1", unused)
    project_copy.read("docker1", IN_APP_DIR + "./scripts/restore-database.sh --test")
    assert project_copy.read("docker1", unused) == before, "the restored data were left behind"
    assert (
        json.loads(project_copy.read("docker1", "cat /var/lib/medaction-backup/restore-test.json"))["verdict"] == "ok"
    )
    assert "restore-test" not in project_copy.read("docker1", "docker ps --all --format '{{.Names}}'")


@pytest.mark.fault
@pytest.mark.parametrize("mode", IN_CONTAINERS)
@pytest.mark.parametrize("fault", ["stopped mid-dump", "absent"])
def test_container_that_goes_away_fails_like_any_fault(
    database: None, project_copy: Operator, mode: str, fault: str
) -> None:
    backs_up(project_copy, mode)
    project_copy.deploy("docker1")
    published = "cd /opt/medaction/backups && find . -name 'medaction_*' -printf '%p %s %l\\n' | sort"
    before = project_copy.read("docker1", published)
    start = IN_PROJECT + "docker compose up -d --wait postgres"
    if fault == "absent":
        project_copy.read("docker1", IN_PROJECT + "docker compose rm --stop --force postgres")
        done = project_copy.on("docker1", "/opt/medaction/scripts/backup-database.sh")
    else:
        done = project_copy.on("docker1", STOPPED_MID_DUMP)
    try:
        assert done.returncode == 1, done.stdout + done.stderr
        status = json.loads(project_copy.read("docker1", "cat /var/lib/medaction-backup/status.json"))
        assert (status["state"], status["exit_code"]) == ("failed", 1) and status["message"] in done.stderr
        assert project_copy.read("docker1", published) == before
    finally:
        project_copy.read("docker1", start)
    assert project_copy.on("docker1", "/opt/medaction/scripts/backup-database.sh").returncode == 0
    assert "backup=" not in project_copy.read("docker1", "docker ps --all --format '{{.Labels}}'")


def test_handbooks_own_docker_commands_make_dumps_that_restore(database: None, operator: Operator) -> None:
    password = secrets.read("postgres_password", None, "sandbox").get_secret_value()
    from_the_service = (
        "docker-compose exec postgres pg_dump -U medaction medaction"
        " | gzip > backups/medaction_$(date +%Y-%m-%d).sql.gz"
    )
    # As it stands there but for two things: the password is not an argument that all could read in `ps`, and
    # gzip, which runs on the host, writes below the directory that is mounted and not into the host's /backups.
    from_a_container = (
        "docker run --rm --network medaction-network -e PGPASSWORD -v $(pwd)/backups:/backups postgres:16-alpine"
        " pg_dump -h postgres -U medaction medaction | gzip > backups/backup.sql.gz"
    )
    for command, dump in (
        (from_the_service, "backups/medaction_20*.sql.gz"),
        (f"PGPASSWORD=$(cat) && export PGPASSWORD && {from_a_container}", "backups/backup.sql.gz"),
    ):
        done = operator.on("docker1", f"{IN_PROJECT} set -o pipefail; {command}", PrivateInput(password))
        assert done.returncode == 0, done.stderr
        ask(operator, "CREATE DATABASE medaction_test", "postgres")
        operator.read(
            "docker1",
            f"{IN_PROJECT} gunzip -c {dump} | docker compose exec -T postgres psql -q -U medaction -d medaction_test",
        )
        require_equal_to_the_source(operator, "medaction_test")
