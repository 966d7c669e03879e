"""Backups of a PostgreSQL that runs in a container, on a real Docker engine: the three ways to it, one contract."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from provision.engine.private import PrivateInput
from provision.settings import secrets
from provision.settings.project import PROJECT
from tests.e2e.operator import Done, Operator
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
# Where one of the two ways shows it and the other takes as long again.
MOSTLY_COMPOSE = ["compose", pytest.param("container", marks=pytest.mark.prove)]
MOSTLY_CONTAINER = ["container", pytest.param("compose", marks=pytest.mark.prove)]

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
    """The sample database in a container on docker1."""
    operator = Operator()
    start_database(operator)
    yield
    operator.read("docker1", IN_PROJECT + "docker compose down --volumes && rm -r /srv/medaction")


def start_database(operator: Operator) -> None:
    password = secrets.read("postgres_password", None, "sandbox").get_secret_value()
    operator.read("docker1", "mkdir -p /srv/medaction/backups")
    operator.on("docker1", "umask 077; cat > /srv/medaction/password", PrivateInput(password))
    operator.on("docker1", "cat > /srv/medaction/docker-compose.yml", PrivateInput(COMPOSE_FILE))
    # The app's own, as its role writes it: Compose would read it, and the backup user may not.
    operator.read("docker1", IN_PROJECT + "install -m 0640 /dev/null .env && echo SECRET=1 > .env")
    operator.read("docker1", IN_PROJECT + "docker compose up -d --wait postgres")
    ask(operator, (PROJECT / "tests/sandbox/medaction.sql").read_text(encoding="utf-8"))


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
    # What only a person can change is a warning: there, the SQL that makes the dumps' role.
    assert project_copy.plan("docker1").stdout.startswith("sandbox: nothing to do on 1 host(s)\n")
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


# --- Who may what: the backup user has one way into the container, and a dump none out of it -----------------

AS_BACKUP = "cd / && runuser -u medaction-backup -- "
WAY = "/usr/local/lib/medaction/postgres-in-container.sh"
MARK = "/tmp/hostile"
QUIET = "--no-psqlrc --no-password --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1"
OPTIONS = {
    "psql": f"{QUIET} --set=VERBOSITY=terse --set=SHOW_CONTEXT=never",
    "load": f"{QUIET} --set=VERBOSITY=verbose --set=SHOW_CONTEXT=errors --file=-",
}
# The line of the scripts' own, with which hostile ones differ in one thing. $db and $user may be overridden.
DATABASE = (
    "{place}user='{user}' dbname='{name}' application_name=medaction-backup-7 connect_timeout=10 keepalives_idle=30"
    " keepalives_interval=10 keepalives_count=3"
    " options='-c statement_timeout=0 -c default_transaction_read_only=off'"
)


def conninfo(mode: str, user: str = "medaction", name: str = "medaction") -> str:
    place = "host='postgres' port=5432 " if mode == "container" else ""
    return shlex.quote(f"--dbname={DATABASE.format(place=place, user=user, name=name)}")


def hostile_calls(mode: str) -> dict[str, tuple[str, str]]:
    """By name, what the backup user tells sudo, and what comes on standard input."""
    psql, load = (f"7 {program} {OPTIONS[program]} {conninfo(mode)}" for program in ("psql", "load"))
    return {
        "another program": (f"7 sh -c 'touch {MARK}'", ""),
        "psql's shell as a command": (psql + rf" '--command=\! touch {MARK}'", ""),
        "psql's copy as a command": (psql + rf""" "--command=\copy (SELECT 1) TO PROGRAM 'touch {MARK}'" """, ""),
        "psql's shell as text": (psql, rf"\! touch {MARK}"),
        "psql's shell in a dump": (load, rf"\! touch {MARK}"),
        "a pipe after a query": (psql, rf"SELECT 1 \g |touch {MARK}"),
        "a backquote": (load, f"\\set x `touch {MARK}`"),
        "another role as text": (load, "\\connect - postgres\nCREATE TABLE hostile()"),
        "another role": (f"7 psql {OPTIONS['psql']} {conninfo(mode, user='postgres')} '--command=SELECT 1'", ""),
        "another host": (psql + " --host=127.0.0.2 '--command=SELECT 1'", ""),
        "options of a server": (psql + " '--set=x=1' '--command=SELECT 1'", ""),
        "a name with a line break": (
            f"7 psql {OPTIONS['psql']} {conninfo(mode, name='x' + chr(10) + 'y')} '--command=SELECT 1'",
            "",
        ),
        "a file of psql's": (psql + " --file=/etc/passwd", ""),
        "a file of pg_dump's": (f"7 pg_dump {conninfo(mode)} --file={MARK}", ""),
        "a file of pg_restore's": (f"7 pg_restore --file={MARK}", ""),
        "a short option": (f"7 pg_dump {conninfo(mode)} -f{MARK}", ""),
        "an end of everything": ("'7 --filter name=postgres' end", ""),
    }


@pytest.fixture
def in_mode(database: None, project_copy: Operator, mode: str) -> Operator:
    backs_up(project_copy, mode)
    # As version 1.0.0 left it.
    project_copy.read("docker1", "id medaction-backup >/dev/null 2>&1 && usermod -aG docker medaction-backup || true")
    project_copy.deploy("docker1")
    return project_copy


@pytest.mark.parametrize("mode", IN_CONTAINERS)
def test_the_backup_user_has_one_way_into_the_container_and_no_other(in_mode: Operator, mode: str) -> None:
    assert "docker" not in in_mode.read("docker1", "id -nG medaction-backup").split()
    assert in_mode.on("docker1", f"{AS_BACKUP}docker ps").returncode != 0
    allowed = in_mode.read("docker1", "sudo -l -U medaction-backup | sed -n 's/^ *(root) NOPASSWD: //p'").split("\n")
    assert allowed == [WAY, ""]
    said = in_mode.read("docker1", f"visudo -c && stat -c %U:%G:%a {WAY} /etc/sudoers.d/medaction-backup")
    assert said.split()[-2:] == ["root:root:755", "root:root:440"]
    listed = json.loads(in_mode.read("docker1", "cat /var/lib/medaction-deploy/host.json"))
    assert {WAY, "/etc/sudoers.d/medaction-backup"} <= set(listed["files"])

    def call(arguments: str, text: str, before: str = "") -> Done:
        return in_mode.on("docker1", f"{AS_BACKUP}{before}sudo -n {WAY} {arguments}", PrivateInput(text))

    good = f"7 psql {OPTIONS['psql']} {conninfo(mode)}"
    assert call(f"{good} '--command=SELECT 6 * 7'", "").stdout == "42\n"
    assert call(good, "SELECT 6 * 7").stdout == "42\n"
    assert call(f"7 load {OPTIONS['load']} {conninfo(mode)}", "SELECT 6 * 7").stdout == "42\n"
    clean = f"rm -rf {MARK}; cd /srv/medaction; docker compose exec -T postgres rm -rf {MARK}"
    left = f"ls {MARK} 2>/dev/null; cd /srv/medaction; docker compose exec -T postgres ls {MARK} 2>/dev/null; true"
    in_mode.read("docker1", clean)
    for name, (arguments, text) in hostile_calls(mode).items():
        done = call(arguments, f"{text}\nSELECT 'went on'\n")
        assert done.returncode != 0 and "went on" not in done.stdout and done.stderr, (name, done)
        assert in_mode.read("docker1", left) == "", name
    assert ask(in_mode, "SELECT count(*) FROM pg_class WHERE relname = 'hostile'") == "0"
    # What sudo lets through of a caller's environment is nothing.
    evil = "env PGOPTIONS='-c statement_timeout=1' PGUSER=postgres LD_PRELOAD=/tmp/evil.so PATH=/tmp/evil:$PATH"
    evil += " BASH_ENV=/tmp/evil.sh DOCKER_HOST=tcp://127.0.0.2:1 COMPOSE_FILE=/tmp/evil.yml PERL5OPT=-Mevil "
    in_mode.read(
        "docker1",
        f"mkdir -p /tmp/evil; echo 'touch {MARK}' | tee /tmp/evil.sh > /tmp/evil/docker; chmod +x /tmp/evil/*",
    )
    assert call(good, "SELECT 6 * 7", evil).stdout == "42\n"
    assert in_mode.read("docker1", left) == ""
    assert in_mode.on("docker1", f"{AS_BACKUP}sudo -n PGUSER=x {WAY} 7 psql --version").returncode != 0


@pytest.mark.parametrize("mode", IN_CONTAINERS)
def test_a_file_of_the_apps_changes_no_container_of_ours(in_mode: Operator, mode: str) -> None:
    """Neither a Compose file, nor an override, nor an .env, is read by a backup: what root has written down is."""
    hostile = 'services: {postgres: {image: "nothing:like-it", command: "touch /tmp/hostile", privileged: true}}'
    names = ["docker-compose.yml", "compose.override.yml", "docker-compose.override.yml"]
    in_mode.read("docker1", "cp -a /srv/medaction /srv/kept")
    try:
        for name in names:
            in_mode.on("docker1", f"cat > /srv/medaction/{name}", PrivateInput(hostile))
        in_mode.read("docker1", "printf 'COMPOSE_PROJECT_NAME=other\nCOMPOSE_FILE=/nowhere\n' > /srv/medaction/.env")
        in_mode.read("docker1", "/opt/medaction/scripts/backup-database.sh")
    finally:
        in_mode.read("docker1", "rm -rf /srv/medaction && mv /srv/kept /srv/medaction")


# The restored role is a superuser, as an image makes it: what a dump holds runs with all that a server has.
PLANT = """
CREATE FUNCTION planted(int) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN
  IF current_database() LIKE 'restore_test%' THEN EXECUTE $c$COPY (SELECT 1) TO PROGRAM '{program}'$c$; END IF;
  RETURN true; END$$;
CREATE TABLE trap (i int CHECK (planted(i))); INSERT INTO trap VALUES (1);
"""
REACH = " || ".join([
    "cat /etc/medaction/pgpass", "ls /opt/medaction", "ls /var/run/docker.sock", "touch /etc/x", "touch /x",
    "touch $(ls -d /var/lib/medaction-restore-test/.test.*)/dump/x", "ls /var/lib/medaction-restore-test/.lock",
    "bash -c \"exec 3<>/dev/tcp/127.0.0.1/22\"", "bash -c \"exec 3<>/dev/tcp/10.213.86.41/22\"",
    "bash -c \"exec 3<>/dev/tcp/postgres/5432\"", "setpriv --reuid 0 id", "[ $(id -u) = 0 ]",
    "grep -q CapEff:.*[1-9a-f] /proc/self/status", "grep -q NoNewPrivs:.0 /proc/self/status",
])  # fmt: skip
NO_MORE = "DROP TABLE IF EXISTS trap; DROP FUNCTION IF EXISTS planted"
LEFT = (
    "docker ps --all --format '{{.Names}}' | grep restore-test;"
    " systemctl list-units --all --plain --no-legend 'medaction-restore-test@*';"
    " find /var/lib/medaction-restore-test -mindepth 1 ! -name .lock; ps -o pid= -u medaction-restore-test; true"
)
TEST, BACKUP = "/opt/medaction/scripts/restore-database.sh --test", "/opt/medaction/scripts/backup-database.sh"


@pytest.mark.parametrize("mode", MOSTLY_COMPOSE)
def test_what_a_dump_runs_in_a_restore_test_reaches_nothing(in_mode: Operator, mode: str) -> None:
    def verdict() -> dict:
        return json.loads(in_mode.read("docker1", "cat /var/lib/medaction-backup/restore-test.json"))

    try:
        ask(in_mode, PLANT.format(program=f"! {{ {REACH}; }}"))
        in_mode.read("docker1", BACKUP)
        done = in_mode.on("docker1", TEST)
        assert done.returncode == 0 and verdict()["verdict"] == "ok", done.stderr
        assert in_mode.read("docker1", LEFT) == ""
        # It did run: else this would show nothing.
        ask(in_mode, f"{NO_MORE};" + PLANT.format(program="false"))
        in_mode.read("docker1", BACKUP)
        done = in_mode.on("docker1", TEST)
        assert done.returncode == 1 and "(38000)" in verdict()["message"], done.stderr
        assert in_mode.read("docker1", LEFT) == ""
    finally:
        ask(in_mode, NO_MORE)
    in_mode.read("docker1", f"{BACKUP}; {BACKUP} --accept $(ls /opt/medaction/backups/medaction_2*.sql.gz | tail -n 1)")
    in_mode.read("docker1", TEST)


@pytest.mark.parametrize("mode", ["compose"])
def test_a_killed_restore_test_leaves_nothing_after_the_next(in_mode: Operator, mode: str) -> None:
    for victim in ("[r]estore-database.sh --test", "[t]est-container.sh", "[r]estore-test.sh"):
        in_mode.on("docker1", f"setsid {TEST} >/dev/null 2>&1 </dev/null &")
        in_mode.read("docker1", f"for _ in $(seq 300); do pgrep -f '{victim}' && break; sleep 0.1; done >/dev/null")
        in_mode.on("docker1", f"pgrep -f '{victim}' | xargs -r kill -9")
        in_mode.on("docker1", "timeout 60 sh -c 'while pgrep -f [r]estore-database.sh >/dev/null; do sleep 0.1; done'")
    done = in_mode.on("docker1", TEST)
    assert done.returncode == 0, done.stderr
    assert in_mode.read("docker1", LEFT) == ""


@pytest.mark.parametrize("mode", MOSTLY_CONTAINER)
def test_a_custom_dump_is_restored_in_part_from_a_container(in_mode: Operator, mode: str) -> None:
    """The container's pg_restore has the dump on its standard input alone."""
    name = in_mode.checkout / "inventories/sandbox.py"
    name.write_text(name.read_text() + '_docker1[1]["backup_format"] = "custom"\n')
    in_mode.deploy("docker1")
    in_mode.read("docker1", BACKUP)
    in_mode.read("docker1", "/opt/medaction/scripts/restore-database.sh --into in_part --no-owner 2>&1")
    require_equal_to_the_source(in_mode, "in_part")
    in_mode.read("docker1", TEST)


# As the server's administrator would: a certificate for its name, and nobody let in without TLS.
SERVE_TLS = """
cd /srv/medaction
within() { docker compose exec -T --user 0 postgres sh -c "$1"; }
within 'cat > /var/lib/postgresql/data/server.crt' < server.crt
within 'cat > /var/lib/postgresql/data/server.key' < server.key
within 'cd /var/lib/postgresql/data && chown postgres server.* && chmod 600 server.key &&
    sed -i "s/^host all all all/hostssl all all all/" pg_hba.conf && grep -q ^hostssl pg_hba.conf'
docker compose exec -T postgres psql -U medaction -qc 'ALTER SYSTEM SET ssl = on' -c 'SELECT pg_reload_conf()'
"""


@pytest.mark.prove
@pytest.mark.parametrize("mode", ["container"])
def test_a_root_certificate_reaches_the_programs_in_a_container(in_mode: Operator, mode: str, tmp_path: Path) -> None:
    for name in ("right", "other"):
        openssl(tmp_path, "req -x509 -newkey rsa:2048 -nodes -days 2", "-subj", f"/CN={name}", "-keyout", f"{name}.key",
                "-out", f"{name}.crt")  # fmt: skip
    openssl(tmp_path, "req -newkey rsa:2048 -nodes -subj /CN=postgres -addext subjectAltName=DNS:postgres"
            " -keyout server.key -out server.csr")  # fmt: skip
    openssl(tmp_path, "x509 -req -in server.csr -CA right.crt -CAkey right.key -CAcreateserial -days 2"
            " -copy_extensions copy -out server.crt")  # fmt: skip
    for name in ("server.crt", "server.key"):
        in_mode.on("docker1", f"cat > /srv/medaction/{name}", PrivateInput((tmp_path / name).read_text()))
    in_mode.read("docker1", SERVE_TLS)
    inventory = in_mode.checkout / "inventories/sandbox.py"
    said = {"postgres_sslmode": "verify-full", "postgres_sslrootcert": str(tmp_path / "root.crt")}
    inventory.write_text(inventory.read_text() + f"_docker1[1].update({said})\n")
    shutil.copy(tmp_path / "right.crt", tmp_path / "root.crt")
    in_mode.deploy("docker1")
    in_mode.read("docker1", BACKUP)
    in_mode.read("docker1", "/opt/medaction/scripts/restore-database.sh --into over_tls")
    require_equal_to_the_source(in_mode, "over_tls")
    in_mode.read("docker1", TEST)
    assert in_mode.plan("docker1").stdout.startswith("sandbox: nothing to do on 1 host(s)\n")
    # It is looked at: by another CA the server is nobody's.
    in_mode.on("docker1", "cat > /usr/local/lib/medaction/postgres-ca.crt",
               PrivateInput((tmp_path / "other.crt").read_text()))  # fmt: skip
    done = in_mode.on("docker1", BACKUP)
    assert done.returncode == 1 and "see postgres_sslmode and postgres_sslrootcert" in done.stderr, done.stderr


def openssl(directory: Path, arguments: str, *more: str) -> None:
    subprocess.run(["openssl", *arguments.split(), *more], cwd=directory, check=True, capture_output=True)
