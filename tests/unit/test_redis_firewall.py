"""Who may reach Redis: from the settings and what was seen to nftables' sets, and who would be cut off."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from provision.redis import layout
from provision.redis.firewall import Before, Client, Firewall, Knock, Visitors, addresses_of, cut_off, setting, told
from provision.settings import Fault, Settings

ValidSettings = Callable[..., Settings]
Faults = Callable[..., list[Fault]]

OWN = frozenset({"10.0.0.5", "fd00::5", "127.0.0.1"})
NAME = "deploy-1"


def letting_in(*named: str, refused: tuple[str, ...] = (), **hosts: str) -> Firewall:
    return Firewall(
        {name: tuple(addresses.split()) for name, addresses in hosts.items()},
        tuple(map(ip_network, named)), tuple(map(ip_network, refused)),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("10.0.0.5/24", "is an address within a network: write 10.0.0.0/24, or the address alone"),
        ("!10.0.0.5/24", "write !10.0.0.0/24"),
        ("apps", "must be 'app', an IP address or a network"),
        ("app1.example.com", "must be 'app', an IP address or a network"),
        ("10.0.0", "must be 'app', an IP address or a network"),
        ("10.0.0.300", "must be 'app', an IP address or a network"),
        ("10.0.0.1:6379", "must be 'app', an IP address or a network"),
        ("!app", "must be 'app', an IP address or a network"),
        ("", "must be 'app', an IP address or a network"),
        ("10.0.0.0/33", "must be 'app', an IP address or a network"),
        ("10.0.0.1 } drop", "must be 'app', an IP address or a network"),
        ("fe80::1%eth0", "must be without an interface"),
        ("::ffff:10.0.0.1", "is an IPv4 address in IPv6's clothes: write 10.0.0.1"),
    ],
)
def test_what_is_no_address_is_refused_in_a_sentence(value: str, says: str, faults_of: Faults):
    (fault,) = faults_of(redis_allow_from=["app", value])
    assert says in fault.reason and fault.setting.startswith("redis_allow_from")


@pytest.mark.parametrize("value", ["app", None, 7, [7], [None]])
def test_what_is_no_list_is_refused(value: Any, faults_of: Faults):
    assert [fault.setting.split(".")[0] for fault in faults_of(redis_allow_from=value)] == ["redis_allow_from"]


@pytest.mark.parametrize(
    ("changed", "needed"),
    [
        ({}, False),
        ({"redis_host": "10.0.0.5"}, True),
        ({"redis_host": "fd00::5"}, True),
        ({"redis_host": "10.0.0.5", "redis_bind": ["127.0.0.1", "-10.0.0.5"]}, True),
        ({"redis_host": "10.0.0.5", "redis_bind": ["127.0.0.1", "::1"]}, False),
        ({"redis_bind": ["0.0.0.0"]}, True),
        ({"redis_host": "10.0.0.5", "redis_mode": "compose"}, True),
        ({"redis_host": "10.0.0.5", "redis_mode": "external"}, False),
        ({"redis_host": "10.0.0.5", "redis_allow_from": []}, True),
        ({"redis_host": "10.0.0.5", "redis_allow_from": ["0.0.0.0/0"]}, True),
        ({"redis_host": "10.0.0.5", "redis_allow_from": ["0.0.0.0/0", "::/0"]}, False),
        ({"redis_host": "10.0.0.5", "redis_allow_from": ["0.0.0.0/0", "::/0", "!10.0.0.9"]}, True),
    ],
)
def test_only_a_redis_that_others_could_reach_needs_it(changed: dict[str, Any], needed: bool, settings_of: Any):
    assert settings_of(**changed).redis_needs_firewall is needed


@pytest.mark.parametrize(
    ("knock", "seen", "addresses", "is_seen"),
    [
        (Knock((("10.0.0.5", "10.0.0.11"),), "-WRONGPASS"), "10.0.0.11", ["10.0.0.11"], True),
        (Knock((("10.0.0.5", "10.0.0.11"),)), None, ["10.0.0.11"], False),  # it does not run yet
        (Knock((("10.0.0.5", "192.168.1.2"),), "-WRONGPASS"), "10.0.0.1", ["10.0.0.1"], True),  # NAT
        (Knock((("203.0.113.9", "192.168.1.2"),), "-WRONGPASS"), "10.0.0.1", ["10.0.0.1"], True),  # both ways
        (Knock((("203.0.113.9", "192.168.1.2"),)), None, [], False),  # somewhere else
        (Knock(()), None, [], False),  # a name that nobody knows
        (Knock((("fd00::5", "fd00::11"), ("10.0.0.5", "10.0.0.11"))), None, ["fd00::11", "10.0.0.11"], False),
        # By one family it was seen; by the other it may come another time.
        (Knock((("fd00::5", "fd00::11"), ("10.0.0.5", "10.0.0.11")), "-"), "fd00::11", ["fd00::11", "10.0.0.11"], True),
        (Knock((("10.0.0.5", "10.0.0.5"),), "-WRONGPASS"), "10.0.0.5", [], False),  # on the same machine
        (Knock((("10.0.0.5", "127.0.0.1"),)), None, [], False),
        (Knock((("10.0.0.5", ""),)), None, [], False),  # no route
    ],
)
def test_an_address_is_what_redis_sees_or_else_the_route(
    knock: Knock, seen: str | None, addresses: list[str], is_seen: bool
):
    visitors = Visitors(seen={NAME: seen} if seen else {})
    assert addresses_of([(knock, NAME)], visitors, OWN) == (addresses, is_seen)


def test_what_another_tried_is_no_sighting():
    visitors = Visitors(seen={"deploy-2": "10.9.9.9"})
    assert addresses_of([(Knock((("10.0.0.5", "10.0.0.11"),)), NAME)], visitors, OWN) == (["10.0.0.11"], False)


def test_whoever_is_connected_and_not_let_in_is_named_with_the_setting(settings_of: ValidSettings):
    visitors = Visitors(
        (
            Client("10.0.0.11", "medaction"), Client("10.0.0.99", "medaction"), Client("10.0.0.99", "default"),
            Client("127.0.0.1", "operator"), Client("10.0.0.5", "operator"), Client("172.18.0.3", "medaction"),
            Client("fd00::99", "operator"),
        )
    )  # fmt: skip
    before = Before(peers=("10.0.0.99", "10.0.0.98", "10.0.0.11"), inside=("172.18.0.0/16",))
    strangers = cut_off(letting_in(app1="10.0.0.11"), before, visitors, OWN)
    assert list(strangers) == ["10.0.0.99", "fd00::99", "10.0.0.98"]
    said = told(strangers, settings_of())
    assert "10.0.0.99 (not logged in, as medaction, 2 connections), fd00::99 (as operator), 10.0.0.98." in said
    assert 'redis_allow_from = ["app", "10.0.0.99", "fd00::99", "10.0.0.98"]' in said and '"!10.0.0.99"' in said
    answered = settings_of(redis_allow_from=["10.0.0.99", "!fd00::/64", "10.0.0.98", "app"])
    allowed = Firewall(
        {"app1": ("10.0.0.11",)}, tuple(answered.redis_allowed_networks), tuple(answered.redis_refused_networks)
    )
    assert cut_off(allowed, before, visitors, OWN) == {}


@pytest.mark.parametrize(
    ("allowed", "told_of"),
    [
        ((), []),
        (("10.0.0.11", "10.0.0.96-10.0.0.98"), ["10.0.0.98"]),
        (("10.0.0.0/24", "fd00::/64"), ["10.0.0.99", "fd00::99", "10.0.0.98"]),
    ],
)
def test_a_connection_that_is_refused_already_is_not_told(allowed: tuple[str, ...], told_of: list[str]):
    """Nobody has ended it: Redis does not learn that the other side is gone."""
    visitors = Visitors(
        (Client("10.0.0.11", "medaction"), Client("10.0.0.99", "default"), Client("fd00::99", "default"))
    )
    before = Before(is_up=True, allowed=allowed, peers=("10.0.0.98", "10.0.0.11"))
    assert list(cut_off(letting_in(app1="10.0.0.11"), before, visitors, OWN)) == told_of


def test_the_line_to_write_keeps_what_is_set(settings_of: ValidSettings):
    known = settings_of(redis_allow_from=["10.0.7.0/24", "!10.0.7.9"])
    assert setting(known, "10.0.0.9") == 'redis_allow_from = ["10.0.7.0/24", "!10.0.7.9", "10.0.0.9"]'


def test_the_sets_hold_exactly_what_is_allowed_and_not_refused():
    """Two hundred lists of our own making, each address of a small network asked one by one."""
    random.seed(14)
    net = ip_network("10.0.0.0/27")
    parts = [str(sub) for length in range(27, 33) for sub in net.subnets(new_prefix=length)]
    for _ in range(200):
        named, refused = (tuple(random.sample(parts, random.randint(0, 4))) for _ in range(2))
        sets = [ip_network(each) for each in letting_in(*named, refused=refused).networks[4]]
        assert not any(one.overlaps(other) for one, other in itertools.combinations(sets, 2))  # nft refuses those
        for address in net:
            allowed = any(address in ip_network(each) for each in named)
            allowed = allowed and not any(address in ip_network(each) for each in refused)
            assert any(address in each for each in sets) is allowed, (address, named, refused)


def test_the_table_has_both_families_and_says_whose_address_is_which(settings_of: ValidSettings):
    settings = settings_of(redis_host="10.0.0.5", redis_port=6400)
    _, file, unit, *_ = layout.firewall(settings, letting_in("10.0.7.0/24", "fd00:7::/48", app1="10.0.0.11 fd00::11"))
    assert "elements = { 10.0.0.11, 10.0.7.0/24 }" in file.content and "{ fd00::11, fd00:7::/48 }" in file.content
    assert "# host app1 10.0.0.11\n# host app1 fd00::11\n" in file.content
    assert file.content.count("tcp dport { 6400 }") == 2 and file.path in unit.content


def test_nobody_allowed_is_a_table_without_elements(settings_of: ValidSettings):
    _, file, *_ = layout.firewall(settings_of(redis_host="10.0.0.5", redis_allow_from=[]), letting_in())
    assert "elements" not in file.content and "reject with tcp reset" in file.content


def test_an_address_is_told_apart_from_one_that_only_looks_like_it():
    known = letting_in(app1="10.0.0.1")
    assert known.lets_in("10.0.0.1") and not known.lets_in("10.0.0.10") and not known.lets_in(str(ip_address("::1")))
