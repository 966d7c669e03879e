"""What the app finds on its host, and what it may do from there."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest

from provision.app import layout as app_layout
from tests.verify.target import Target

# Redis looks at the right before it looks at the arguments: where one is wrong, these do no harm either.
FORBIDDEN = ["KEYS *", "FLUSHALL NOTHING", "CONFIG GET *", "GET somebody-elses-key", "ACL LIST", "SHUTDOWN NEVER"]


@pytest.mark.parametrize("command", FORBIDDEN, ids=lambda command: command.split()[0])
def test_redis_denies_the_app_what_it_does_not_need(command: str, app_host: Target) -> None:
    if app_host.settings.redis_mode == "external":
        pytest.skip("its users and their rights are somebody else's")
    answer = app_host.redis_as_app(command)
    app_host.expect("NOPERM" in answer, f"Redis lets the app use {command.split(maxsplit=1)[0]}: deploy again")


def test_env_is_for_the_app_alone(app_host: Target) -> None:
    env, user = app_layout.env_file(app_host.settings), app_host.settings.app_user
    for path in (env, f"{env}.previous"):
        modes = app_host.text(f"if [ -f {path} ]; then stat -c %a {path}; fi").split()
        app_host.expect(all(int(mode, 8) & 0o007 == 0 for mode in modes), f"anybody can read {path}: deploy again")
    app_host.expect(app_host.run(f"runuser -u {user} -- test -r {env}").returncode == 0, f"{user} cannot read {env}")
    app_host.expect(app_host.run(f"runuser -u nobody -- test -r {env}").returncode != 0, f"anybody can read {env}")


def test_limiters_are_where_the_app_imports_them(app_host: Target) -> None:
    for below, text in app_layout.limiters(app_host.settings).items():
        path = f"{app_host.settings.app_dir}/{below}"
        found = app_host.run(f"sha256sum < {path}").stdout.split(" ")[0]
        wanted = sha256(text.encode()).hexdigest()
        app_host.expect(found == wanted, f"{path} is not what the settings say: deploy again")


def test_ioredis_is_one_that_the_limiters_were_tried_with(app_host: Target) -> None:
    """Where the app's packages lie in its directory; with another major the module counts per process, and says so."""
    package = f"{app_host.settings.app_dir}/node_modules/ioredis/package.json"
    text = app_host.text(f"if [ -e {package} ]; then cat {package}; fi")
    version = json.loads(text).get("version", "") if text else "5"
    major = version.partition(".")[0]
    app_host.expect(major in ("5", "6"), f"{package} is version {version}: have npm install ioredis 5 or 6")


@pytest.mark.writes
def test_two_app_hosts_count_in_the_same_redis(app_hosts: list[Target]) -> None:
    if len(app_hosts) < 2:
        pytest.skip(f"needs two app hosts, and there is {len(app_hosts)}")
    key = f"{app_hosts[0].settings.redis_key_prefix}:verify:{app_hosts[0].member.name}"
    for expected, target in enumerate(app_hosts, 1):
        answer = target.redis_as_app(f"INCRBY {key} 1", f"EXPIRE {key} 30").split()
        target.expect(answer[1] == str(expected), "counts in another Redis than the app hosts before it")
    app_hosts[0].redis_as_app(f"EXPIRE {key} 0")
