"""What a hostile review found once, each kept from coming back."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import SecretStr

from provision import layout
from provision.facts.redis import Redis
from provision.settings import SECRET_SETTINGS, Fault, Settings, check


def _faults(**data: object) -> list[Fault]:
    checked = check(data, lambda *_: SecretStr("x"))
    assert isinstance(checked, list)
    return checked


def test_a_wrong_app_name_is_one_fault_and_not_one_for_each_name_derived_from_it():
    assert [fault.setting for fault in _faults(app_name="../x")] == ["app_name"]


def test_a_refused_variable_of_the_app_is_not_shown():
    assert "zq-hidden" not in repr(_faults(app_env={"SMTP": "zq-hidden\n"}))


def test_rules_across_settings_are_told_beside_other_faults():
    told = repr(
        _faults(
            redis_port=70000,
            backup_weekly_retention_days=1,
            backup_daily_at="01:00",
            rate_limits_open_without_redis=["zz"],
        )
    )
    assert all(words in told for words in ("70000", "is shorter than", "would meet", "zz"))


def test_a_key_that_is_no_text_is_passed_over():
    assert isinstance(check({1: 2}, lambda *_: SecretStr("x")), Settings)


def test_an_empty_directive_at_the_end_of_what_redis_answers_is_read():
    assert Redis().process(["OK", "--8<--", "port", "1", "save", "", "--8<--"]).config["save"] == ""


def test_urls_of_ipv6_hosts_are_bracketed():
    settings = Settings(**dict.fromkeys(SECRET_SETTINGS, "x"), redis_host="fd00::5", postgres_host="fd00::8")
    variables = layout.app_variables(settings)
    assert urlsplit(variables["REDIS_URL"].strip('"')).hostname == "fd00::5"
    assert urlsplit(variables["DATABASE_URL"].strip('"')).port == 5432


def test_the_app_cannot_be_the_user_that_owns_its_backups():
    assert "could delete its backups" in repr(_faults(backup_user="medaction"))
