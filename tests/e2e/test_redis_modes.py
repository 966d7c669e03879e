"""Redis from Debian's package, in a container, or somebody else's; and what a host may have of Redis already."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from provision.engine.private import PrivateInput
from provision.settings import secrets
from provision.settings.project import PROJECT
from tests.e2e.operator import Done, Operator
from tests.limiter.waiting import until
from tests.sandbox import fleet

REDIS1, DOCKER1 = (
    pytest.param("redis1", marks=pytest.mark.servers, id="redis1"),
    pytest.param("docker1", marks=pytest.mark.docker1, id="docker1"),
)
COMPOSE = '"redis_mode": "compose",'
LISTENS = "timeout 20 sh -c 'until ss -Hltn sport = :{} | grep -q .; do sleep 0.05; done'"
COMPOSE_UP = "cd /opt/medaction && docker compose --profile cache up -d redis"
# The directory of the data belongs to redis-tools, which stays.
PURGE = "apt-get -qq -y purge redis-server >/dev/null; rm -rf /etc/redis /var/lib/redis/*"
# From the file itself: on a clean checkout the secrets that the settings need are not there yet.
ADDRESS = {host.name: host.address for host in fleet.read(PROJECT / "inventories/sandbox.py")}


@pytest.fixture
def counter(deployed: Operator, hosts: frozenset[str]) -> Iterator[str]:
    """A key of the app, in each Redis that the test has for itself, for a second already."""
    key, its_hosts = "medaction:e2e-counter", sorted(hosts & {"redis1", "docker1"})
    for host in its_hosts:
        assert deployed.redis(host, f"SET {key} 4 EX 900", user="medaction") == "OK\nOK\n"
    yield key
    for host in its_hosts:
        deployed.redis(host, f"DEL {key}")


def edit(operator: Operator, file: str, old: str, new: str) -> None:
    path = operator.checkout / "inventories" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def settings_of(operator: Operator, *lines: str) -> None:
    """Give these settings to every host of a copy."""
    edit(operator, "group_data/sandbox.py", "redis_host =", "\n".join([*lines, "redis_host ="]))


def assert_refused(done: Done, *said: str) -> None:
    assert done.returncode == 1, done.stdout
    flat = " ".join(done.stdout.split())
    for words in said:
        assert words in flat
    assert "no host was changed" in flat
    assert "Starting operation" not in flat and "Traceback" not in flat


def until_it_answers(operator: Operator, host: str) -> None:
    operator.read(
        host, "for _ in $(seq 100); do redis-cli PING 2>&1 | grep -q NOAUTH && exit 0; sleep 0.1; done; exit 1"
    )
    # It says so before it has read its data, too.
    until(lambda: "LOADING" not in operator.redis(host, "PING"), f"Redis on {host} has read its data")


# --- In a container -----------------------------------------------------------------------------------


@pytest.mark.parametrize("host", [REDIS1, DOCKER1])
def test_nothing_is_to_do_right_after_a_deploy_in_either_mode(deployed: Operator, host: str) -> None:
    planned = deployed.plan(host)
    # It may warn of the role backup, which tests before this one have given docker1 for a while.
    assert planned.stdout.splitlines()[0] == "sandbox: nothing to do on 1 host(s)" and planned.returncode == 0


@pytest.mark.docker1
def test_the_handbooks_own_line_is_what_the_deploy_did(deployed: Operator, counter: str) -> None:
    running = "docker inspect -f '{{.Id}}' medaction-redis"
    before = deployed.read("docker1", running)
    for command in ("docker compose", "docker-compose"):
        deployed.read("docker1", f"cd /opt/medaction && {command} --profile cache up -d redis")
    assert deployed.read("docker1", running) == before
    deployed.read("docker1", "cd /opt/medaction && docker compose --profile cache down")
    assert deployed.plan("docker1").returncode == 2
    deployed.read("docker1", COMPOSE_UP)
    until_it_answers(deployed, "docker1")
    assert deployed.plan("docker1").returncode == 0
    assert deployed.redis("docker1", f"GET {counter}", user="medaction") == "OK\n4\n"


@pytest.mark.docker1
@pytest.mark.parametrize(
    ("by_hand", "named"),
    [
        (
            f"sed -i 's/127.0.0.1:6379/0.0.0.0:6379/' compose.redis.yaml; {COMPOSE_UP}",
            "compose.redis.yaml: its content",
        ),
        ("sed -i 's/unless-stopped/no/' compose.redis.yaml", "compose.redis.yaml: its content differs"),
        ("rm compose.yaml", "/opt/medaction/compose.yaml: is missing"),
        ("docker stop medaction-redis", "Redis' container is exited"),
        ("docker rm -f medaction-redis", "Redis' container is missing"),
        ("echo >> /etc/medaction-redis/mounted/users.acl", "users.acl: its content differs"),
    ],
)
def test_what_was_changed_by_hand_is_told_and_mended(deployed: Operator, by_hand: str, named: str) -> None:
    deployed.on("docker1", f"cd /opt/medaction; {by_hand}")
    planned = deployed.plan("docker1")
    assert planned.returncode == 2 and named in planned.stdout, planned.stdout
    deployed.deploy("docker1")
    assert deployed.plan("docker1").returncode == 0


@pytest.mark.docker1
def test_what_runs_in_the_container_is_mended_without_a_restart(deployed: Operator) -> None:
    started = "docker inspect -f '{{.State.StartedAt}}' medaction-redis"
    before = deployed.read("docker1", started)
    deployed.redis("docker1", "CONFIG SET maxmemory-policy allkeys-lru")
    assert "should be 'noeviction'" in deployed.plan("docker1").stdout
    deployed.deploy("docker1")
    assert (deployed.plan("docker1").returncode, deployed.read("docker1", started)) == (0, before)


@pytest.mark.docker1
def test_a_changed_setting_that_needs_a_restart_keeps_the_counters(project_copy: Operator, counter: str) -> None:
    edit(project_copy, "sandbox.py", COMPOSE, f'{COMPOSE} "redis_port": 6400,')
    planned = re.findall(r"^docker1: (.*)$", project_copy.plan("docker1").stdout, re.MULTILINE)
    deployed = project_copy.deploy("docker1").stdout
    assert f"\n{len(planned)} change(s) on 1 host(s)" in deployed, (planned, deployed)
    made = project_copy.read("docker1", "tail -n 1 /var/lib/medaction-deploy/history.jsonl")
    assert json.loads(made)["changes"] == planned
    assert project_copy.plan("docker1").returncode == 0
    moved = project_copy.read("docker1", "ss -Hltn 'sport = :6400 or sport = :6379'")
    assert ":6400" in moved and ":6379" not in moved
    Operator().deploy("docker1")
    assert project_copy.redis("docker1", f"GET {counter}", user="medaction") == "OK\n4\n"


@pytest.mark.docker1
def test_a_compose_file_of_a_person_stays_and_is_told_what_to_include(deployed: Operator) -> None:
    theirs = "/opt/medaction/docker-compose.yml"
    deployed.read("docker1", f"echo 'services: {{web: {{image: \"redis:7.2-alpine\"}}}}' > {theirs}")
    try:
        done = deployed.deploy("docker1")
        assert "docker-compose.yml is yours and stays as it is" in " ".join(done.stdout.split())
        assert deployed.plan("docker1").returncode == 0
        deployed.read("docker1", f"echo 'include: [compose.redis.yaml]' >> {theirs}; {COMPOSE_UP}")
        deployed.read("docker1", "cd /opt/medaction && docker compose config --services | grep web")
    finally:
        deployed.read("docker1", f"rm {theirs}")
        deployed.deploy("docker1")


# What an app may write where root calls `docker compose`: it would have the whole host.
HOSTILE = """
services:
  redis: {privileged: true, volumes: ["/:/host"], command: [sleep, "99"]}
  hostile: {image: "redis:7.2-alpine", profiles: [cache], privileged: true, volumes: ["/:/host"]}
"""
OVERRIDES = [
    "compose.override.yml", "compose.override.yaml", "docker-compose.override.yml", "docker-compose.override.yaml",
    "compose.yml", "docker-compose.yml", "docker-compose.yaml",
]  # fmt: skip
AS_APP = "setpriv --reuid medaction --regid medaction --init-groups "


@pytest.fixture
def app_on_docker1(project_copy: Operator) -> Iterator[Operator]:
    inventory = project_copy.checkout / "inventories/sandbox.py"
    inventory.write_text(inventory.read_text() + '\napp.append(next(each for each in redis if each[0] == "docker1"))\n')
    project_copy.deploy("docker1")
    yield project_copy
    # As it was: a host without the app.
    project_copy.read("docker1", "cd /opt/medaction && rm -rf .env* lib *compose*.y*ml*; userdel medaction")
    Operator().deploy("docker1")


def assert_no_hostile_container(operator: Operator) -> None:
    """Root's own command, as the handbook has it, and then what Docker says runs."""
    operator.read("docker1", f"{COMPOSE_UP}; cd /opt/medaction && docker compose --profile cache up -d")
    said = operator.read(
        "docker1",
        "docker inspect $(docker ps -q) -f"
        " '{{.Name}} privileged={{.HostConfig.Privileged}}{{range .Mounts}} {{.Source}}:{{.Destination}}{{end}}'",
    )
    assert "privileged=false" in said and "privileged=true" not in said
    assert " /:" not in said and "hostile" not in said
    until_it_answers(operator, "docker1")


@pytest.mark.docker1
def test_no_compose_file_of_the_apps_reaches_roots_compose(app_on_docker1: Operator) -> None:
    app_on_docker1.on("docker1", "cat > /tmp/hostile.yml; chmod 644 /tmp/hostile.yml", PrivateInput(HOSTILE))
    for name in OVERRIDES:
        write = f"{AS_APP}cp /tmp/hostile.yml /opt/medaction/{name}"
        assert (app_on_docker1.on("docker1", write).returncode == 0) == (name != "compose.override.yml")
        assert_no_hostile_container(app_on_docker1)
    for in_the_way in ("mv compose.override.yml x", "rm -f compose.override.yml", "mv compose.yaml x", "rm -f .env"):
        assert app_on_docker1.on("docker1", f"cd /opt/medaction && {AS_APP}{in_the_way}").returncode != 0
    done = app_on_docker1.deploy("docker1")
    assert "/opt/medaction/docker-compose.yml is not root's" in " ".join(done.stdout.split())
    assert app_on_docker1.plan("docker1").returncode == 0
    assert_no_hostile_container(app_on_docker1)


@pytest.mark.docker1
def test_overrides_that_an_app_wrote_before_the_first_deploy_are_not_merged(app_on_docker1: Operator) -> None:
    again = "docker rm -f medaction-redis; rm -rf /opt/medaction; install -d -o medaction -g medaction /opt/medaction"
    app_on_docker1.read("docker1", again)
    app_on_docker1.on("docker1", "cat > /tmp/hostile.yml; chmod 644 /tmp/hostile.yml", PrivateInput(HOSTILE))
    for name in OVERRIDES[:4]:
        app_on_docker1.read("docker1", f"{AS_APP}cp /tmp/hostile.yml /opt/medaction/{name}")
    app_on_docker1.deploy("docker1")
    assert_no_hostile_container(app_on_docker1)
    assert "hostile" in app_on_docker1.read("docker1", "cat /opt/medaction/compose.override.yml.previous")


@pytest.mark.docker1
def test_an_override_of_roots_own_is_merged_as_before(app_on_docker1: Operator) -> None:
    own = 'services: {redis: {labels: {"mine": "yes"}}}'
    app_on_docker1.on("docker1", "cat > /opt/medaction/compose.override.yml", PrivateInput(own))
    app_on_docker1.deploy("docker1")
    app_on_docker1.read("docker1", COMPOSE_UP)
    assert app_on_docker1.read("docker1", "docker inspect medaction-redis -f '{{.Config.Labels.mine}}'") == "yes\n"
    assert app_on_docker1.read("docker1", "cat /opt/medaction/compose.override.yml") == own
    app_on_docker1.read("docker1", "rm /opt/medaction/compose.override.yml")


@pytest.mark.docker1
def test_an_env_that_compose_cannot_read_is_no_obstacle(deployed: Operator) -> None:
    deployed.read("docker1", "printf 'what is this\\n\\x01=\"' > /opt/medaction/.env; docker rm -f medaction-redis")
    try:
        assert deployed.on("docker1", COMPOSE_UP).returncode != 0
        deployed.deploy("docker1")
        assert deployed.plan("docker1").returncode == 0
    finally:
        deployed.read("docker1", "rm /opt/medaction/.env")


@pytest.mark.servers
def test_a_host_without_docker_is_told_what_to_install(project_copy: Operator) -> None:
    settings_of(project_copy, 'redis_mode = "compose"')
    assert_refused(
        project_copy.command("deploy", "redis1"),
        "redis1: redis_mode = 'compose', and there is no Docker engine that answers", "apt-get install docker.io",
    )  # fmt: skip


# --- A crash ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "kill"),
    [
        pytest.param("redis1", "systemctl kill -s KILL redis-server", marks=pytest.mark.servers),
        pytest.param(
            "docker1", "kill -KILL $(docker inspect -f '{{.State.Pid}}' medaction-redis)", marks=pytest.mark.docker1
        ),
        # Docker takes its own kill for a stop.
        pytest.param("docker1", f"docker kill -s KILL medaction-redis; {COMPOSE_UP}", marks=pytest.mark.docker1),
    ],
)
def test_a_counter_a_second_old_survives_a_crash(deployed: Operator, counter: str, host: str, kill: str) -> None:
    deployed.read(host, f"sleep 1.1; {kill}")
    until_it_answers(deployed, host)
    assert deployed.redis(host, f"GET {counter}", user="medaction") == "OK\n4\n"
    assert deployed.plan(host).returncode == 0


# --- Something else is there --------------------------------------------------------------------------


@pytest.mark.docker1
def test_what_else_holds_the_port_is_told_with_its_owner(project_copy: Operator) -> None:
    edit(project_copy, "sandbox.py", COMPOSE, f'{COMPOSE} "redis_port": 6400,')
    listen = "use IO::Socket::INET; $s = IO::Socket::INET->new(LocalPort => 6400, Listen => 1, ReuseAddr => 1); sleep"
    started = f"systemd-run -q --unit=e2e-stranger --uid=nobody perl -e '{listen}'"
    project_copy.read("docker1", f"{started}; {LISTENS.format(6400)}")
    try:
        pid = project_copy.read("docker1", "systemctl show -P MainPID e2e-stranger").strip()
        said = f"docker1: redis_port = 6400 is held by perl (pid {pid}, user nobody, e2e-stranger.service)"
        assert_refused(project_copy.command("deploy", "docker1"), said, "stop it, or choose another redis_port")
        assert_refused(project_copy.plan("docker1"), said)
    finally:
        project_copy.read("docker1", "systemctl stop e2e-stranger")


@pytest.mark.docker1
def test_another_container_on_the_port_is_told_by_its_name(project_copy: Operator) -> None:
    edit(project_copy, "sandbox.py", COMPOSE, f'{COMPOSE} "redis_port": 6400,')
    project_copy.read("docker1", "docker run -d --rm --name theirs -p 6400:6379 redis:7.2-alpine")
    try:
        assert_refused(project_copy.command("deploy", "docker1"), "is held by the container theirs (redis:7.2-alpine)")
    finally:
        project_copy.read("docker1", "docker stop theirs")


@pytest.mark.servers
def test_another_redis_on_the_port_is_not_taken_for_ours(project_copy: Operator) -> None:
    settings_of(project_copy, "redis_port = 6400")
    server = "redis-server --port 6400 --save '' --dir /tmp"
    project_copy.read("redis1", f"systemd-run -q --unit=e2e-redis --uid=nobody {server}; {LISTENS.format(6400)}")
    try:
        assert_refused(
            project_copy.command("deploy", "redis1"), "6400 is held by redis-server (pid", "e2e-redis.service"
        )
    finally:
        project_copy.read("redis1", "systemctl stop e2e-redis")


@pytest.mark.parametrize("host", [REDIS1, DOCKER1])
def test_an_address_that_the_host_does_not_have_is_told_before_redis_would_not_start(
    project_copy: Operator, host: str
) -> None:
    settings_of(project_copy, 'redis_bind = ["127.0.0.1", "10.213.86.99"]')
    told = f"{host}: redis_bind: Redis is to listen on 10.213.86.99, and this host's addresses are 10.213.86"
    assert_refused(project_copy.command("deploy", host), told)


@pytest.mark.servers
def test_another_app_is_not_locked_out_of_the_redis_that_serves_it(project_copy: Operator, counter: str) -> None:
    settings_of(project_copy, 'redis_user = "clinic"')
    assert_refused(
        project_copy.command("deploy", "redis1"), "redis1: this project's Redis there serves medaction already"
    )
    assert project_copy.redis("redis1", f"GET {counter}", user="medaction") == "OK\n4\n"


@pytest.mark.servers
def test_a_redis_of_debians_package_with_data_is_handed_over_by_a_word(project_copy: Operator) -> None:
    edit(project_copy, "sandbox.py", "redis = [", 'redis = ["app1",')
    settings_of(project_copy, 'redis_bind = ["127.0.0.1"]')
    install = "DEBIAN_FRONTEND=noninteractive apt-get -qq -y install redis-server"
    try:
        project_copy.read("app1", f"{install} >/dev/null && redis-cli SET theirs 1")
        unasked = "there is a Redis of Debian's package already,"
        assert_refused(
            project_copy.command("deploy", "app1"), f"app1: {unasked} with 1 key(s)", "redis_take_over = True"
        )
        project_copy.read("app1", "redis-cli DEL theirs; sed -i 's/^databases 16/databases 2/' /etc/redis/redis.conf")
        assert_refused(project_copy.plan("app1"), f"{unasked} with a redis.conf that somebody changed")
        settings_of(project_copy, "redis_take_over = True")
        project_copy.deploy("app1")
        assert project_copy.plan("app1").returncode == 0
        assert "databases 2\n" in project_copy.read("app1", "cat /etc/redis/redis.conf.previous")
    finally:
        project_copy.read("app1", PURGE)


# --- From one mode to another -------------------------------------------------------------------------


@pytest.mark.docker1
def test_a_change_of_mode_says_what_becomes_of_the_counters(project_copy: Operator, counter: str) -> None:
    edit(project_copy, "sandbox.py", COMPOSE, "")
    try:
        assert_refused(
            project_copy.command("deploy", "docker1"),
            "docker1: redis_mode = 'package', and this project's Redis of mode 'compose' runs there with",
            "would count anew", "the Docker volume medaction-redis-data", "redis_take_over = True",
        )  # fmt: skip
        settings_of(project_copy, "redis_take_over = True")
        project_copy.deploy("docker1")
        assert project_copy.plan("docker1").returncode == 0
        assert project_copy.redis("docker1", "DBSIZE") == "OK\n0\n"
        # Nothing counts there yet, so the way back needs no word; and the volume has kept what was in it.
        Operator().deploy("docker1")
        assert project_copy.redis("docker1", f"GET {counter}", user="medaction") == "OK\n4\n"
        assert Operator().plan("docker1").returncode == 0
    finally:
        project_copy.read("docker1", PURGE)


# --- Somebody else's ----------------------------------------------------------------------------------


def test_an_external_redis_is_asked_before_and_is_all_in_env(project_copy: Operator) -> None:
    edit(project_copy, "sandbox.py", "redis = [", "_redis = [")
    edit(project_copy, "group_data/sandbox.py", f'"{ADDRESS["redis1"]}"', f'"{ADDRESS["docker1"]}"')
    settings_of(project_copy, 'redis_mode = "external"')
    try:
        project_copy.deploy("app")
        assert project_copy.plan("app").stdout == "sandbox: nothing to do on 2 host(s)\n"
        assert f"@{ADDRESS['docker1']}:6379" in project_copy.read("app1", "grep ^REDIS_URL= /opt/medaction/.env")
        settings_of(project_copy, 'redis_password = "env:E2E_WRONG"')
        project_copy.environ["E2E_WRONG"] = "not-the-password"
        assert_refused(
            project_copy.command("deploy", "app"), "redis_user (medaction) or redis_password:", "refuses the login"
        )
        settings_of(project_copy, "redis_port = 22")
        assert_refused(project_copy.command("deploy", "app"), f"what answers at {ADDRESS['docker1']}:22 is not Redis")
        settings_of(project_copy, "redis_port = 6399")
        edit(project_copy, "group_data/sandbox.py", "redis_port = 22\n", "")
        assert_refused(
            project_copy.command("deploy", "app"), f"redis_port: {ADDRESS['docker1']}:6399 cannot be reached"
        )
    finally:
        Operator().deploy("app")


@pytest.mark.servers
def test_an_external_redis_leaves_no_host_the_role(project_copy: Operator) -> None:
    settings_of(project_copy, 'redis_mode = "external"')
    assert_refused(
        project_copy.command("deploy", "redis1"), "redis1: redis_mode = 'external', so Redis is somebody else's server",
        "stays as it is, and limits count anew",
    )  # fmt: skip


@pytest.mark.servers
def test_an_external_redis_over_tls(project_copy: Operator, tmp_path: Path) -> None:
    """As a cloud provider has it: TLS, the user `default`, a password. Its authority is known to this machine."""
    key, certificate = tmp_path / "key", tmp_path / "ca.crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
         "-subj", "/CN=e2e", "-addext", f"subjectAltName=IP:{ADDRESS['redis1']}"],
        check=True, capture_output=True,
    )  # fmt: skip
    password = secrets.read("redis_password", None, "sandbox").get_secret_value()
    config = "port 0\ntls-port 6500\ntls-cert-file /run/e2e-tls/ca.crt\ntls-key-file /run/e2e-tls/key\n"
    config += f'tls-auth-clients no\nbind 0.0.0.0\nsave ""\nrequirepass {password}\n'
    files = {"key": key.read_text(), "ca.crt": certificate.read_text(), "conf": config}
    for name, text in files.items():
        project_copy.on("redis1", f"mkdir -p /run/e2e-tls; cat > /run/e2e-tls/{name}", PrivateInput(text))
    server = "redis-server /run/e2e-tls/conf"
    project_copy.read("redis1", f"systemd-run -q --unit=e2e-tls {server}; {LISTENS.format(6500)}")
    edit(project_copy, "sandbox.py", "redis = [", "_redis = [")
    settings_of(project_copy, 'redis_mode = "external"', 'redis_user = "default"', "redis_port = 6500")
    try:
        assert_refused(project_copy.command("deploy", "app"), "where it speaks TLS, set redis_tls = True")
        settings_of(project_copy, "redis_tls = True")
        assert_refused(project_copy.command("deploy", "app"), "redis_tls = True:", "self-signed certificate")
        project_copy.environ["SSL_CERT_FILE"] = str(certificate)
        for host in ("app1", "app2"):
            into = "cat > /usr/local/share/ca-certificates/e2e.crt; update-ca-certificates >/dev/null 2>&1"
            project_copy.on(host, into, PrivateInput(files["ca.crt"]))
        project_copy.deploy("app")
        assert project_copy.plan("app").returncode == 0
        assert "rediss://default:" in project_copy.read("app1", "grep ^REDIS_URL= /opt/medaction/.env")
    finally:
        project_copy.read("redis1", "systemctl stop e2e-tls; rm -r /run/e2e-tls")
        for host in ("app1", "app2"):
            project_copy.on(host, "rm -f /usr/local/share/ca-certificates/e2e.crt; update-ca-certificates --fresh")
        Operator().deploy("app")


# --- Valkey -------------------------------------------------------------------------------------------

PURGE_VALKEY = (
    "apt-get -qq -y purge valkey-server valkey-tools >/dev/null; rm -rf /etc/valkey /var/lib/valkey /var/log/valkey"
)


@pytest.mark.servers
def test_valkey_is_for_new_hosts_of_a_distribution_that_has_it(project_copy: Operator) -> None:
    edit(project_copy, "sandbox.py", "redis = [", 'redis = ["app1",')
    settings_of(project_copy, 'redis_bind = ["127.0.0.1"]', 'redis_package = "valkey"')
    assert_refused(
        project_copy.plan("app1"),
        "app1: redis_package = 'valkey', and this host's distribution has no valkey-server: set redis_package",
    )
    assert_refused(
        project_copy.plan("redis1"),
        "redis1: redis_package = 'valkey', and this host has this project's Redis of the package redis-server",
    )


@pytest.mark.prove
@pytest.mark.servers
def test_valkey_in_place_of_redis_on_a_new_host(project_copy: Operator) -> None:
    edit(project_copy, "sandbox.py", "redis = [", 'redis = ["app2",')
    settings_of(project_copy, 'redis_bind = ["127.0.0.1"]', 'redis_package = "valkey"')
    try:
        project_copy.deploy("app2")  # verified by tests/verify at its end
        assert project_copy.plan("app2").stdout == "sandbox: nothing to do on 1 host(s)\n"
        assert "server_name:valkey" in project_copy.redis("app2", "INFO server")
        kept = "SET medaction:e2e 4 EX 900"
        assert project_copy.redis("app2", kept, user="medaction") == "OK\nOK\n"
        project_copy.read("app2", "sleep 1.1; systemctl kill -s KILL valkey-server")
        until_it_answers(project_copy, "app2")
        assert project_copy.redis("app2", "GET medaction:e2e", user="medaction") == "OK\n4\n"
        # A power loss: zeros at the file's end, and a service that gave up.
        project_copy.read(
            "app2",
            "systemctl stop valkey-server; cd /var/lib/valkey/appendonlydir &&"
            ' head -c 100 /dev/zero >> "$(ls -- *.incr.aof | tail -n 1)"; systemctl start valkey-server;'
            " timeout 60 sh -c 'until systemctl is-failed -q valkey-server; do sleep 0.1; done'",
        )
        assert "append-only file is damaged" in project_copy.plan("app2").stdout
        project_copy.deploy("app2")
        assert project_copy.redis("app2", "GET medaction:e2e", user="medaction") == "OK\n4\n"
        edit(project_copy, "group_data/sandbox.py", '"valkey"', '"redis"')
        assert_refused(project_copy.plan("app2"), "this project's Redis of the package valkey-server, whose counters")
    finally:
        project_copy.read("app2", PURGE_VALKEY)
    print("proved: valkey: deployed, verified, a crash and a damaged file survived")
