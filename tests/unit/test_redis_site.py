"""Whose Redis is on a host, and what then speaks against ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from provision.app import layout as app_layout
from provision.debian.entries import Directory
from provision.redis import layout as redis_layout
from provision.redis.existing import Listener, Site, holder, objection
from provision.redis.facts import Container, Keys, RedisSite
from provision.redis.firewall import Firewall
from provision.settings import Fault, Settings

ValidSettings = Callable[..., Settings]
Faults = Callable[..., list[Fault]]

SERVICE = Listener("redis-server", "7", "redis", "redis-server.service")
PROXY = Listener("docker-proxy", "8", "root", "docker.service")
DOCKER = Site(docker_answers=True, compose_version=(2, 26, 1))
OURS = replace(DOCKER, listeners=(SERVICE,), redis_conf="ours")
DEBIANS = replace(DOCKER, listeners=(SERVICE,), redis_conf="debian")
ELSEWHERE = replace(DOCKER, service_is_on=True, redis_conf="debian")
SERVICE_OF_ITS_OWN = Listener("redis-server", "9", "medaction-redis", "medaction-redis.service")
INSTANCE = Site(listeners=(SERVICE_OF_ITS_OWN,), instance="redis", instance_is_on=True)
NEIGHBOUR = Site(listeners=(Listener("redis-server", "9", "clinic-redis", "clinic-redis.service"),))
CONTAINER = replace(DOCKER, listeners=(PROXY,), published_by=("medaction-redis (redis:7.2-alpine)",))


@pytest.mark.parametrize(
    ("site", "whose"),
    [
        (DOCKER, "nobody"),
        (OURS, "package"),
        (DEBIANS, "debian"),
        (replace(OURS, redis_conf="changed"), "debian"),
        (CONTAINER, "compose"),
        (replace(CONTAINER, published_by=("medaction-redis-2 (redis)",)), "stranger"),
        (replace(CONTAINER, listeners=(PROXY, SERVICE)), "stranger"),
        (replace(OURS, listeners=(replace(SERVICE, unit="redis-server@other.service"),)), "stranger"),
        (replace(OURS, listeners=(SERVICE, replace(SERVICE, unit="nc.service"))), "stranger"),
        (replace(DOCKER, listeners=(Listener("", "", "", ""),)), "stranger"),
        (INSTANCE, "instance"),
        (replace(INSTANCE, listeners=(SERVICE_OF_ITS_OWN, SERVICE)), "stranger"),
        (NEIGHBOUR, "stranger"),
    ],
)
def test_whose_the_port_is(site: Site, whose: str, settings_of: ValidSettings):
    assert holder(site, settings_of()) == whose


@pytest.mark.parametrize(
    ("mode", "site", "keys"),
    [
        ("package", Site(), None),
        ("package", OURS, 5),
        ("package", DEBIANS, 0),
        ("package", CONTAINER, 0),
        ("compose", DOCKER, None),
        ("compose", CONTAINER, 5),
        ("compose", OURS, 0),
        ("package", ELSEWHERE, 0),
        ("compose", ELSEWHERE, 0),
        ("package", replace(OURS, listeners=(), service_is_on=True), None),
        ("instance", Site(), None),
        ("instance", INSTANCE, 5),
        ("instance", replace(OURS, users=frozenset({"medaction"})), 0),
        ("instance", CONTAINER, 0),
        ("instance", ELSEWHERE, 3),
        ("instance", replace(ELSEWHERE, redis_conf="changed"), None),
        ("instance", Site(other_package="valkey"), None),
        ("package", INSTANCE, 0),
        ("compose", replace(DOCKER, listeners=INSTANCE.listeners, instance="redis", instance_is_on=True), 0),
        ("package", replace(OURS, users=frozenset({"default", "operator", "sampler", "exporter", "medaction"})), 5),
    ],
)
def test_nothing_speaks_against(mode: str, site: Site, keys: int | None, settings_of: ValidSettings):
    assert objection(site, settings_of(redis_mode=mode), keys) is None


@pytest.mark.parametrize(
    ("mode", "site", "keys", "said"),
    [
        ("compose", Site(), None, "no Docker engine that answers"),
        ("compose", replace(DOCKER, compose_version=(2, 19, 9)), None, "no Compose 2.20 or newer"),
        ("compose", replace(DOCKER, compose_version=()), None, "no Compose 2.20 or newer"),
        ("package", CONTAINER, 5, "of mode 'compose' runs there with 5 key(s)"),
        ("package", INSTANCE, 5, "of mode 'instance' runs there with 5 key(s): the limits would count anew, and its"
         " data stay unused in /var/lib/medaction-redis."),
        ("instance", OURS, 5, "of mode 'package' runs there with 5 key(s)"),
        ("instance", CONTAINER, None, "of mode 'compose' runs there with counters in it"),
        ("instance", DEBIANS, 0, "redis_port = 6379 is held by redis-server (pid 7, user redis, redis-server.service),"
         " the Redis of Debian's package, which mode 'instance' leaves as it is: choose another redis_port"),
        ("instance", NEIGHBOUR, None, "redis_port = 6379 is held by redis-server (pid 9, user clinic-redis,"
         " clinic-redis.service), which serves the app clinic: choose another redis_port"),
        ("instance", replace(OURS, served=("clinic",)), 5, "serves the app clinic: choose another redis_port"),
        ("instance", replace(OURS, users=frozenset({"operator", "clinic"})), None, "serves the app clinic:"),
        ("instance", replace(INSTANCE, instance="valkey"), 5, "this app's Redis there is of the package valkey-server"),
        ("instance", Site(lacks_package=True), None, "this host's distribution has no redis-server"),
        ("compose", replace(DOCKER, listeners=INSTANCE.listeners), None, "of mode 'instance' runs there with counters"),
        ("external", INSTANCE, 3, "this project's Redis there, with 3 key(s), stays as it is"),
        ("compose", OURS, None, "of mode 'package' runs there with counters in it"),
        ("package", DEBIANS, 1, "Debian's package already, with 1 key(s)"),
        ("package", replace(DOCKER, redis_conf="changed"), None, "with a redis.conf that somebody changed"),
    ],
)  # fmt: skip
def test_what_speaks_against(mode: str, site: Site, keys: int | None, said: str, settings_of: ValidSettings):
    assert said in (objection(site, settings_of(redis_mode=mode), keys) or "")


ADDRESSES = frozenset({"127.0.0.1", "::1", "10.0.0.5", "fd00:0::5"})


@pytest.mark.parametrize("mode", ["package", "compose"])
@pytest.mark.parametrize(
    "bind",
    [
        ["127.0.0.1", "10.0.0.5", "fd00::5"],
        ["127.0.0.1", "-10.0.0.9"],
        ["127.0.0.1", "127.0.0.2"],
        ["0.0.0.0"],
        ["127.0.0.1", "-::1"],
    ],
)
def test_redis_may_listen_where_the_host_is_and_where_it_may_be_missing(
    mode: str, bind: list[str], settings_of: ValidSettings
):
    assert objection(replace(DOCKER, addresses=ADDRESSES), settings_of(redis_mode=mode, redis_bind=bind), None) is None


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"redis_bind": ["127.0.0.1", "10.0.0.9"]}, "redis_bind: Redis is to listen on 10.0.0.9"),
        ({"redis_host": "10.0.0.9"}, "redis_host: Redis is to listen on 10.0.0.9"),
        ({"redis_host": "10.0.0.9", "redis_mode": "compose"}, "redis_host: Redis is to listen on 10.0.0.9"),
    ],
)
def test_an_address_that_the_host_does_not_have_is_refused(values: dict, named: str, settings_of: ValidSettings):
    said = objection(replace(DOCKER, addresses=ADDRESSES), settings_of(**values), None) or ""
    assert said.startswith(named) and "127.0.0.1" in said


def test_another_app_is_not_locked_out_of_its_redis(settings_of: ValidSettings):
    shared = replace(OURS, users=frozenset({"default", "operator", "clinic"}))
    assert "serves clinic already, which medaction would lock out" in (objection(shared, settings_of(), 5) or "")
    assert objection(shared, settings_of(redis_take_over=True), 5) is None


def test_a_word_lets_a_redis_be_taken_over_and_never_a_strangers(settings_of: ValidSettings):
    settings = settings_of(redis_take_over=True)
    assert objection(DEBIANS, settings, 5) is None and objection(CONTAINER, settings, 5) is None
    own = settings_of(redis_take_over=True, redis_mode="instance")
    assert objection(replace(OURS, users=frozenset({"medaction"})), own, 5) is None
    assert "mode 'instance' leaves as it is" in (objection(DEBIANS, own, 0) or "")
    stranger = replace(DOCKER, listeners=(Listener("nc", "9", "bob", "session-1.scope"),))
    assert "held by nc (pid 9, user bob, session-1.scope)" in (objection(stranger, settings, None) or "")


def test_somebody_elses_redis_needs_no_host_of_ours(settings_of: ValidSettings):
    said = objection(OURS, settings_of(redis_mode="external"), 3) or ""
    assert "no host has the role redis" in said and "with 3 key(s), stays as it is" in said


@pytest.mark.parametrize(
    ("wanted", "site", "said"),
    [
        (
            "valkey",
            Site(lacks_package=True),
            "this host's distribution has no valkey-server: set redis_package = 'redis'",
        ),
        ("valkey", Site(other_package="redis"), "this project's Redis of the package redis-server, whose counters"),
        ("redis", Site(other_package="valkey"), "`apt-get purge valkey-server` there, and deploy again"),
    ],
)
@pytest.mark.parametrize("take_over", [True, False])
def test_another_package_is_for_new_hosts_that_can_have_it(
    wanted: str, site: Site, said: str, take_over: bool, settings_of: ValidSettings
):
    assert said in (objection(site, settings_of(redis_package=wanted, redis_take_over=take_over), None) or "")


def test_valkeys_own_service_is_ours_and_redis_beside_it_a_strangers(settings_of: ValidSettings):
    valkey = Listener("valkey-server", "7", "valkey", "valkey-server.service")
    settings = settings_of(redis_package="valkey")
    assert holder(replace(OURS, listeners=(valkey,)), settings) == "package"
    assert holder(OURS, settings) == "stranger" == holder(replace(OURS, listeners=(valkey,)), settings_of())


def test_a_host_is_read_from_one_answer():
    site = RedisSite().read([
        "address 127.0.0.1", "address ::1", "user operator", "user a",
        "listener\tdocker-proxy\t8\troot\tdocker.service", "conf changed", "service on", "docker answers",
        "compose v2.26.1-4", "published theirs (redis:7)", "container medaction-redis", "entry",
        "including /opt/a/compose.yml", "own /opt/a/docker-compose.yml", "shadowed /opt/a/docker-compose.yaml",
        "override roots", "other valkey", "lacks", "lacks", "instance redis", "instance-on yes",
    ])  # fmt: skip
    assert site == Site(
        listeners=(PROXY,), redis_conf="changed", service_is_on=True, docker_answers=True, compose_version=(2, 26, 1),
        addresses=frozenset({"127.0.0.1", "::1"}), users=frozenset({"operator", "a"}),
        published_by=("theirs (redis:7)",), has_container=True, has_compose_entry=True,
        compose_files=(("/opt/a/compose.yml", True), ("/opt/a/docker-compose.yml", False)),
        shadowed=("/opt/a/docker-compose.yaml",), has_override=True,
        other_package="valkey", lacks_package=True, instance="redis", instance_is_on=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "keys"),
    [(["OK", "12"], 12), (["0"], 0), (["NOAUTH Authentication required."], None), ([], None)],
)
def test_keys_are_counted_where_redis_tells(answer: list[str], keys: int | None):
    assert Keys().read(answer) == keys


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (["is running redis ab", "wanted redis ab"], ("running", True)),
        (["is running redis ab", "wanted redis cd"], ("running", False)),
        (["is exited redis ab", "wanted redis ab"], ("exited", True)),
        (["is ", "wanted "], ("", False)),
        (["is ", "wanted redis ab"], ("", False)),
        ([], ("", False)),
    ],
)
def test_a_container_is_that_of_its_compose_file_by_its_hash(answer: list[str], state: tuple[str, bool]):
    assert Container().read(answer) == state


def test_the_port_is_published_where_redis_would_listen(settings_of: ValidSettings):
    settings = settings_of(redis_mode="compose", redis_bind=["127.0.0.1", "-::1", "fd00::5"], redis_port=6400)
    (compose,) = [file for file in redis_layout.files(settings, app_is_here=False) if file.path.endswith(".yaml")]
    ports = [line.split('"')[1] for line in compose.content.splitlines() if ":6400:" in line]
    assert ports == ["127.0.0.1:6400:6400", "[fd00::5]:6400:6400"]


def test_only_root_reaches_what_the_container_reads(settings_of: ValidSettings):
    modes = {
        entry.path: entry.mode for entry in redis_layout.files(settings_of(redis_mode="compose"), app_is_here=False)
    }
    assert modes["/etc/medaction-redis"] == 0o700


def test_only_root_and_its_own_user_reach_what_a_redis_of_its_own_reads(settings_of: ValidSettings):
    entries = {entry.path: entry for entry in redis_layout.files(settings_of(redis_mode="instance"), app_is_here=False)}
    own = "/etc/medaction-redis"
    found = {path: (each.user, each.group, each.mode) for path, each in entries.items() if path.startswith(own)}
    assert found == {
        own: ("root", "medaction-redis", 0o750),
        f"{own}/redis.conf": ("root", "medaction-redis", 0o640),
        f"{own}/users.acl": ("root", "medaction-redis", 0o640),
    }
    assert entries["/var/lib/medaction-redis"].mode == 0o750


def test_what_several_rooms_lay_out_for_a_redis_of_its_own_agrees(settings_of: ValidSettings):
    """Two owners or modes of one directory would be mended to and fro by every deploy."""
    for mode in ("package", "instance", "compose"):
        settings = settings_of(redis_mode=mode, redis_host="10.0.0.5", redis_exporter_bind="127.0.0.1")
        entries = [
            *redis_layout.files(settings, app_is_here=False), *redis_layout.firewall(settings, Firewall()),
            *redis_layout.script_watch(settings), *redis_layout.exporter(settings),
        ]  # fmt: skip
        directories = {entry for entry in entries if isinstance(entry, Directory)}
        assert len({entry.path for entry in directories}) == len(directories), mode


def test_tls_is_for_an_external_redis_alone(faults_of: Faults, settings_of: ValidSettings):
    (fault,) = faults_of(redis_tls=True)
    assert (fault.setting, "external" in fault.reason) == ("redis_tls", True)
    variables = app_layout.variables(settings_of(redis_mode="external", redis_tls=True, redis_user="default"))
    assert variables["REDIS_URL"].startswith("rediss://default:")


def test_a_container_is_published_on_loopback_for_certain(faults_of: Faults):
    (fault,) = faults_of(redis_mode="compose", redis_bind=["-127.0.0.1", "10.0.0.5"])
    assert "must hold 127.0.0.1" in fault.reason


@pytest.mark.parametrize("image", ["redis 7", "redis:7; id", "", "$(id)"])
def test_an_image_is_a_name(image: str, faults_of: Faults):
    (fault,) = faults_of(redis_image=image)
    assert fault.setting == "redis_image"


@pytest.mark.parametrize("mode", ["package", "compose"])
@pytest.mark.parametrize(
    ("site", "keys"), [(ELSEWHERE, 3), (ELSEWHERE, None), (replace(ELSEWHERE, redis_conf="changed"), 0)]
)
def test_debians_redis_on_another_port_is_not_stopped_unasked(
    mode: str, site: Site, keys: int | None, settings_of: ValidSettings
):
    wanted = settings_of(redis_mode=mode, redis_port=6380)
    assert "Redis of Debian's package already" in (objection(site, wanted, keys) or "")
    assert objection(site, wanted.model_copy(update={"redis_take_over": True}), keys) is None
