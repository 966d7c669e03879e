"""The rates as they are written in an inventory: what is read, and what is refused with the right words."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from provision.settings import check
from provision.settings.rate_limits import Rate
from provision.settings.render import render
from tests.limiter.deployed import settings_with


@pytest.mark.parametrize(
    ("text", "points", "seconds"),
    [("5/15min", 5, 900), ("100/min", 100, 60), ("3/h", 3, 3600), ("10/2d", 10, 172800), ("1/s", 1, 1), ("7/9s", 7, 9)],
)
def test_a_rate_is_read_and_written_the_same(text: str, points: int, seconds: int):
    rate = Rate.parse(text)
    assert (rate.points, rate.window_seconds) == (points, seconds)
    assert str(rate) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0/min", "allows nothing"),
        ("5/heure", "unit 'heure'; the units are s, min, h, d"),
        ("5/15m", "unit 'm'"),
        ("5/0min", "between 1s and 366d"),
        ("5/9999d", "between 1s and 366d"),
        ("-5/min", "requests per time"),
        ("5", "requests per time"),
        ("", "requests per time"),
        ("five/min", "requests per time"),
        ("5 / min", "requests per time"),
        (5, "requests per time"),
    ],
)
def test_a_wrong_rate_is_refused_with_its_name_and_the_remedy(text: object, words: str):
    fault = only_fault(rate_limits={"login": text})
    assert fault.setting == "rate_limits.login"
    assert fault.found == repr(text)
    assert words in fault.reason


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("rate_limits", {"Login": "5/min"}, "words of a-z"),
        ("rate_limits", {"a'; drop": "5/min"}, "words of a-z"),
        ("rate_limits_open_without_redis", ["nobody"], "not in rate_limits"),
        ("redis_key_prefix", "med*", "must be 1 to 64"),
        ("redis_key_prefix", "a b", "must be 1 to 64"),
        ("app_trusted_proxies", ["10.0.0.1/8"], "host bits set"),
        ("app_trusted_proxies", ["proxy.example.com"], "IP address or a network"),
        ("app_client_ip_header", "x real ip", "name of an HTTP header"),
    ],
)
def test_other_wrong_values_are_refused(setting: str, value: object, words: str):
    assert words in only_fault(**{setting: value}).reason


def test_what_an_inventory_adds_joins_the_guides_six():
    limiters = {limiter.name: limiter for limiter in settings_with(rate_limits={"upload": "9/h"}).rate_limiters}
    names = ["login", "api", "mobile_api", "reclamation", "registration", "password_reset", "upload"]
    assert list(limiters) == names
    assert limiters["mobile_api"].pascal_name == "MobileApi"
    assert [name for name in names if limiters[name].is_open_without_redis] == ["api", "mobile_api"]


def test_the_key_prefix_follows_the_apps_name_and_is_the_users_fence():
    settings = settings_with(app_name="clinic")
    assert settings.redis_key_prefix == "clinic"
    assert "~clinic:* " in render("redis/users.acl.j2", settings, allow_eval=False)


def only_fault(**values: object):
    found = check(values, lambda name, _: SecretStr("x"))
    assert isinstance(found, list)
    # A default that is derived from other settings cannot be made while one of them is wrong.
    own = [fault for fault in found if "default factory" not in fault.reason]
    assert len(own) == 1, found
    return own[0]
