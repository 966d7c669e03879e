"""The settings: valid without a word, and every mistake told at once, with its remedy and without a secret."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr

from provision.commands.settings import page
from provision.settings import SECRET_SETTINGS, Fault, Settings, check
from provision.settings.secrets import SecretError

ValidSettings = Callable[..., Settings]
Faults = Callable[..., list[Fault]]


def found(faults: list[Fault], setting: str) -> str:
    """The reason why a setting is refused."""
    return next(fault.reason for fault in faults if fault.setting == setting)


def test_every_setting_but_the_secrets_has_a_valid_default(settings_of: ValidSettings):
    settings_of()


@pytest.mark.parametrize("name", [name for name in Settings.model_fields if name not in SECRET_SETTINGS])
def test_a_default_is_accepted_when_it_is_written_down(name: str, settings_of: ValidSettings):
    assert getattr(settings_of(**{name: getattr(settings_of(), name)}), name) == getattr(settings_of(), name)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_setting_is_described_by_a_sentence(name: str):
    description = Settings.model_fields[name].description or ""
    assert description.endswith(".") and len(description) > 20


def test_the_page_of_settings_lists_each_one_and_no_secret():
    rows = [line for line in page().splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == list(Settings.model_fields)


def test_paths_and_users_follow_the_apps_name(settings_of: ValidSettings):
    settings = settings_of(app_name="clinic")
    derived = [settings.app_dir, settings.app_user, settings.backup_dir, settings.backup_user, settings.backup_log]
    assert derived == ["/opt/clinic", "clinic", "/opt/clinic/backups", "clinic-backup", "/var/log/clinic/backup.log"]


def test_the_longest_app_name_still_gives_a_user_that_the_system_accepts(settings_of: ValidSettings):
    assert len(settings_of(app_name="a" * 30).backup_user) <= 32


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("app_name", "../x", "must be 1 to 30 of a-z"),
        ("app_name", "Medaction", "must be 1 to 30 of a-z"),
        ("app_name", "", "must be 1 to 30 of a-z"),
        ("app_name", "medaction\n", "must be 1 to 30 of a-z"),
        ("app_name", None, "must be a valid string"),
        ("app_dir", "opt/medaction", "must be an absolute path"),
        ("app_dir", "/opt/../etc", "must be an absolute path"),
        ("app_dir", "/opt/$HOME", "must be an absolute path"),
        ("app_dir", "/opt/100%", "must be an absolute path"),
        ("app_user", "a b", "must be a system user name"),
        ("app_env", {"A B": "1"}, None),
        ("app_env", ["A=1"], "must be a valid dictionary"),
        ("redis_mode", "docker", "must be 'package', 'instance', 'compose' or 'external'"),
        ("redis_host", "http://redis", "must be a host name or an IP address"),
        ("redis_port", 70000, "must be less than or equal to 65535"),
        ("redis_port", 0, "must be greater than or equal to 1"),
        ("redis_port", "6379", "must be a valid integer"),
        ("redis_port", True, "must be a valid integer"),
        ("redis_bind", "127.0.0.1", "must be a valid list"),
        ("redis_bind", ["127.0.0.1", "0.0.0.0"], "holds 0.0.0.0 beside others"),
        ("redis_bind", ["127.0.0.1", "-::1", "::"], "holds :: beside others"),
        ("redis_bind", ["127.0.0.1", "fd00::5", "-fd00:0::5"], "holds fd00::5 twice"),
        ("redis_max_memory_mb", 1, "must be greater than or equal to 16"),
        ("rate_limits", None, "must be a valid dictionary"),
        ("app_trusted_proxies", "10.0.0.0/8", "must be a valid list"),
        ("redis_key_prefix", "a b", "must be 1 to 64"),
        ("postgres_port", 5432.0, "must be a valid integer"),
        ("postgres_database", "a\nb", "must be one line of text"),
        ("postgres_database", "a'b\"c`d", "holds all three of"),
        ("backup_dir", "backups", "must be an absolute path"),
        ("backup_daily_at", "25:00", "must be a time of day from 00:00 to 23:59"),
        ("backup_daily_at", "2:00", "must be a time of day from 00:00 to 23:59"),
        ("backup_daily_at", 200, "must be a valid string"),
        ("backup_weekly_day", "someday", "must be one of sunday, monday"),
        ("backup_daily_retention_days", 0, "must be greater than or equal to 1"),
        ("backup_weekly_retention_days", "90 days", "must be a valid integer"),
        ("backup_minimum_kept", 0, "must be greater than or equal to 1"),
    ],
)
def test_a_wrong_value_is_refused_with_what_would_be_right(
    setting: str, value: object, reason: str | None, faults_of: Faults
):
    faults = faults_of(**{setting: value})
    assert any(fault.setting.split(".")[0] == setting and (reason or "") in fault.reason for fault in faults)


@pytest.mark.parametrize("value", ["10.0.0", "redis", "10.0.0.5:6379", "-", ""])
def test_redis_is_bound_to_addresses_only(value: str, faults_of: Faults):
    assert "must be an IP address" in found(faults_of(redis_bind=["127.0.0.1", value]), "redis_bind.1")


@pytest.mark.parametrize("rate", ["5", "5/15", "0/min", "5/0s", "5/1week", "5/400d", "-1/min", "1e3/min", ""])
def test_a_rate_that_cannot_be_kept_is_refused(rate: str, faults_of: Faults):
    assert found(faults_of(rate_limits={"login": rate}), "rate_limits.login")


def test_a_misspelt_setting_is_refused_with_the_right_spelling(faults_of: Faults):
    assert found(faults_of(redis_max_memroy_mb=64), "redis_max_memroy_mb") == (
        "is not a setting; did you mean redis_max_memory_mb?"
    )


def test_a_setting_without_a_neighbour_is_refused_all_the_same(faults_of: Faults):
    assert found(faults_of(backup_zzzzzzzz=1), "backup_zzzzzzzz") == "is not a setting"


@pytest.mark.parametrize("key", ["ssh_user", "ssh_port", "_sudo", "sandbox_release", "winrm_port"])
def test_data_of_others_is_passed_over(key: str, settings_of: ValidSettings):
    settings_of(**{key: 1})


@pytest.mark.parametrize(
    "entry",
    ["public.audit", "table:audit", "table:public.Audit", "schema:a.b", "data:public.*", "rows:public.audit", "table:",
     "schema:", 'data:public."a', "table:public.audit ", "table:a.b.c", "schema:x;", 'schema:""'],
)  # fmt: skip
def test_an_exclusion_that_says_nothing_certain_is_refused(entry: str, faults_of: Faults):
    assert "must be 'table:SCHEMA.TABLE'" in found(faults_of(backup_exclude=[entry]), "backup_exclude.0")


def test_names_as_postgresql_writes_them_are_excluded(settings_of: ValidSettings):
    entries = ["table:public.audit", 'data:public."Réclamations"', 'schema:"a""b.c"', 'table:"S"."t t"']
    assert settings_of(backup_exclude=entries).backup_exclude == entries


def test_weekly_dumps_are_not_kept_shorter_than_daily_ones(faults_of: Faults):
    (fault,) = faults_of(backup_daily_retention_days=30, backup_weekly_retention_days=29)
    assert "is shorter than backup_daily_retention_days = 30" in fault.reason


def test_both_tiers_may_be_kept_equally_long(settings_of: ValidSettings):
    settings_of(backup_daily_retention_days=90, backup_weekly_retention_days=90)


def test_the_two_backups_do_not_start_at_the_same_minute(faults_of: Faults):
    (fault,) = faults_of(backup_daily_at="03:00", backup_weekly_at="03:00")
    assert "the two runs would meet" in fault.reason


def test_a_limiter_that_is_open_without_redis_must_exist(faults_of: Faults):
    (fault,) = faults_of(rate_limits_open_without_redis=["nothing"])
    assert "'nothing'" in fault.reason


def test_a_redis_known_by_name_must_say_where_it_listens(faults_of: Faults):
    assert "'redis.internal'" in found(faults_of(redis_host="redis.internal"), "redis_bind")


def test_that_rule_is_told_beside_the_other_faults(faults_of: Faults):
    faults = faults_of(redis_host="redis.internal", backup_daily_at="25:00")
    assert {"redis_bind", "backup_daily_at"} <= {fault.setting for fault in faults}


def test_redis_always_listens_where_the_deploy_asks_it(faults_of: Faults):
    assert "must hold 127.0.0.1" in found(faults_of(redis_bind=["10.0.0.5"]), "redis_bind")


@pytest.mark.parametrize("name", ["operator", "default", "sampler"])
def test_the_app_cannot_have_the_name_of_redis_own_users(name: str, faults_of: Faults):
    assert "is a user of Redis already" in found(faults_of(redis_user=name), "redis_user")


@pytest.mark.parametrize(
    ("given", "setting", "said"),
    [
        (
            {"redis_exporter_bind": "10.0.0.9"},
            "redis_exporter_bind",
            "must be loopback or an address that Redis listens",
        ),
        ({"redis_exporter_bind": "0.0.0.0"}, "redis_exporter_bind", "must be one IP address"),
        ({"redis_exporter_bind": "redis1"}, "redis_exporter_bind", "must be one IP address"),
        ({"redis_exporter_bind": "10.0.0.5:9121"}, "redis_exporter_bind", "must be one IP address"),
        ({"redis_exporter_bind": "fe80::1%eth0"}, "redis_exporter_bind", "must be one IP address"),
        (
            {"redis_exporter_bind": "10.0.0.5"},
            "redis_exporter_allow_from",
            "nobody could ask redis_exporter at 10.0.0.5",
        ),
        ({"redis_exporter_allow_from": ["app"]}, "redis_exporter_allow_from", "must be an IP address or a network"),
        (
            {"redis_exporter_allow_from": ["!10.0.0.1"]},
            "redis_exporter_allow_from",
            "must be an IP address or a network",
        ),
        (
            {"redis_exporter_bind": "127.0.0.1", "redis_exporter_port": 6379},
            "redis_exporter_port",
            "is Redis' own port",
        ),
        (
            {"redis_exporter_bind": "127.0.0.1", "redis_user": "exporter"},
            "redis_exporter_bind",
            "choose another redis_user",
        ),
        ({"redis_exporter_bind": "127.0.0.1", "app_name": "a" * 24}, "redis_exporter_bind", "shorten app_name"),
        ({"redis_exporter_bind": "127.0.0.1", "redis_mode": "external"}, "redis_exporter_bind", "has no host here"),
    ],
)
def test_redis_exporter_listens_where_its_firewall_is(
    given: dict[str, Any], setting: str, said: str, faults_of: Faults
):
    faults = faults_of(redis_host="10.0.0.5", **given)
    assert said in next(fault.reason for fault in faults if fault.setting.split(".")[0] == setting)


@pytest.mark.parametrize(
    ("given", "listens"),
    [
        ({"redis_exporter_bind": "127.0.0.1"}, "127.0.0.1:9121"),
        ({"redis_exporter_bind": "::1"}, "[::1]:9121"),
        ({"redis_exporter_bind": "10.0.0.5", "redis_exporter_allow_from": ["10.0.0.20"]}, "10.0.0.5:9121"),
        (
            {
                "redis_bind": ["0.0.0.0"],
                "redis_exporter_bind": "10.0.0.6",
                "redis_exporter_allow_from": ["10.1.0.0/16"],
            },
            "10.0.0.6:9121",
        ),
        (
            {
                "redis_bind": ["127.0.0.1", "-fd00::5"],
                "redis_exporter_bind": "fd00:0::5",
                "redis_exporter_allow_from": ["::/0"],
            },
            "[fd00::5]:9121",
        ),
    ],
)
def test_redis_exporter_takes_its_address_as_it_writes_it(
    given: dict[str, Any], listens: str, settings_of: ValidSettings
):
    assert settings_of(redis_host="10.0.0.5", **given).redis_exporter_listens_on == listens


def test_networks_within_others_are_named_once(settings_of: ValidSettings):
    """Nft refuses a set whose intervals overlap."""
    named = ["10.1.0.0/16", "10.1.2.3", "10.0.0.20", "fd00::1"]
    settings = settings_of(redis_host="10.0.0.5", redis_exporter_bind="10.0.0.5", redis_exporter_allow_from=named)
    assert [[str(each) for each in of] for of in settings.redis_exporter_networks.values()] == [
        ["10.0.0.20/32", "10.1.0.0/16"], ["fd00::1/128"],
    ]  # fmt: skip


def test_an_app_named_as_a_redis_user_is_told_which_setting_mends_it(faults_of: Faults):
    assert "is a user of Redis already" in found(faults_of(app_name="operator"), "redis_user")


def test_a_redis_of_its_own_needs_a_user_whose_name_is_short_enough(faults_of: Faults, settings_of: ValidSettings):
    longest = "a" * 26
    assert settings_of(app_name=longest, redis_mode="instance").redis_system_user == f"{longest}-redis"
    said = found(faults_of(app_name=f"{longest}a", redis_mode="instance"), "redis_mode")
    assert "which is longer than 32: shorten app_name" in said


@pytest.mark.parametrize("path", ["/", "//", "/etc", "/usr/", "/opt", "/var/lib", "/usr/local", "/var/tmp", "/dev/shm"])
def test_a_directory_that_belongs_to_the_system_is_not_taken_over(path: str, faults_of: Faults):
    assert "must be a directory of its own" in found(faults_of(app_dir=path), "app_dir")


@pytest.mark.parametrize("path", ["/srv/backups", "/mnt/backups", "/opt/mail", "/srv/tmp", "/var/www"])
def test_a_directory_of_ones_own_is_fine_whatever_its_name(path: str, settings_of: ValidSettings):
    assert settings_of(backup_dir=path).backup_dir == path


@pytest.mark.parametrize("path", ["/opt/medaction", "/opt/medaction/tests", "/opt/medaction/backups"])
def test_restore_tests_keep_out_of_what_is_not_roots(path: str, faults_of: Faults):
    assert "which is not root's" in found(faults_of(backup_restore_test_dir=path), "backup_restore_test_dir")


@pytest.mark.parametrize("name", ["ssh", "ssl", "redis", "postgresql", "systemd"])
def test_an_app_cannot_be_named_after_a_directory_of_the_system(name: str, faults_of: Faults):
    assert f"would take over /etc/{name}" in found(faults_of(app_name=name), "app_name")


@pytest.mark.parametrize(
    "address", ["apt.postgresql.org", 'https://x/"; id; "', "https://x/$(id)", "https://x/ main", ""]
)
def test_a_package_repository_is_an_address_and_nothing_more(address: str, faults_of: Faults):
    assert "must be the address" in found(faults_of(postgres_apt_repository=address), "postgres_apt_repository")


@pytest.mark.parametrize("address", ["http://mirror:3142/pgdg", "https://u:p%40@m.example.com/pgdg", "file:/srv/pgdg"])
def test_a_mirror_may_serve_the_packages(address: str, settings_of: ValidSettings):
    assert settings_of(postgres_apt_repository=address).postgres_apt_repository == address


@pytest.mark.parametrize("path", ["files/nowhere.asc", "Makefile", "files", "/bin/sh"])
def test_a_repositorys_key_is_read_before_anything_is_touched(path: str, faults_of: Faults):
    assert "ASCII-armoured public key" in found(faults_of(postgres_apt_key=path), "postgres_apt_key")


@pytest.mark.parametrize("host", ["db1.example.com:5432", "10.0.0.300", "fd00::5%eth0", "[::1]", "-h", "a b", ""])
def test_a_host_is_a_name_or_an_address_and_nothing_more(host: str, faults_of: Faults):
    assert "without a port" in found(faults_of(postgres_host=host), "postgres_host")


@pytest.mark.parametrize("host", ["db1.example.com", "DB-1", "10.0.0.8", "fd00::5", "::1"])
def test_a_host_may_be_a_name_or_an_address_of_either_kind(host: str, settings_of: ValidSettings):
    assert settings_of(postgres_host=host).postgres_host == host


def test_a_variable_that_no_parser_can_read_is_refused_by_its_name(faults_of: Faults):
    assert "encode the value" in found(faults_of(app_env={"GOOD": "1", "BAD": "'\"`"}), "app_env.BAD")


def test_redis_listens_on_loopback_and_the_shared_address(settings_of: ValidSettings):
    assert settings_of(redis_host="10.0.0.5").redis_listens_on == ["127.0.0.1", "-::1", "10.0.0.5"]


def test_all_faults_are_reported_at_once(faults_of: Faults):
    values = {"redis_port": 70000, "backup_daily_at": "25:00", "backup_daily_retention_days": 0, "app_dir": "opt"}
    assert set(values) | {"redis_prot"} <= {fault.setting for fault in faults_of(**values, redis_prot=1)}


def test_a_secret_that_cannot_be_had_is_a_fault_beside_the_others():
    def refuse(name: str, _: object) -> SecretStr:
        raise SecretError("is missing")

    faults = check({"redis_port": 0}, refuse)
    assert {fault.setting for fault in faults} >= {"redis_port", *SECRET_SETTINGS}


@pytest.mark.parametrize("text", ["two\nlines", "nul\0byte", "carriage\rreturn", ""])
def test_a_refused_secret_is_not_in_the_message(text: str):
    faults = check({}, lambda *_: SecretStr(text and f"zq-hidden-{text}"))
    refused = [fault for fault in faults if fault.setting in SECRET_SETTINGS]
    assert len(refused) == len(SECRET_SETTINGS) and {fault.found for fault in refused} == {None}
    assert "zq-hidden" not in repr(faults)


@pytest.mark.parametrize("password", ["p@ss:/?#[]!$&'()*+,;=% \"\\", "mot de passe épicé", "日本語", " edges ", "'\"`"])
def test_an_awkward_password_is_no_fault(password: str, settings_of: ValidSettings):
    assert settings_of(redis_password=password).redis_password.get_secret_value() == password


def test_settings_show_no_secret_when_they_are_printed(settings_of: ValidSettings, secret_texts: dict[str, str]):
    shown = f"{settings_of()!r} {settings_of()} {settings_of().model_dump_json()}"
    assert not [text for text in secret_texts.values() if text in shown]


def test_settings_cannot_be_changed_later(settings_of: ValidSettings):
    with pytest.raises(ValueError, match="frozen"):
        settings_of().redis_port = 1


def test_a_wrong_app_name_is_one_fault_and_not_one_for_each_name_derived_from_it(faults_of: Faults):
    assert [fault.setting for fault in faults_of(app_name="../x")] == ["app_name"]


def test_a_refused_variable_of_the_app_is_not_shown(faults_of: Faults):
    assert "zq-hidden" not in repr(faults_of(app_env={"SMTP": "zq-hidden\n"}))


def test_rules_across_settings_are_told_beside_other_faults(faults_of: Faults):
    told = repr(
        faults_of(
            redis_port=70000,
            backup_weekly_retention_days=1,
            backup_daily_at="01:00",
            rate_limits_open_without_redis=["zz"],
        )
    )
    assert all(words in told for words in ("70000", "is shorter than", "would meet", "zz"))


def test_a_key_that_is_no_text_is_passed_over():
    assert isinstance(check({1: 2}, lambda *_: SecretStr("x")), Settings)


def test_the_app_cannot_be_the_user_that_owns_its_backups(faults_of: Faults):
    assert "could delete its backups" in repr(faults_of(backup_user="medaction"))


@pytest.mark.parametrize(
    "address",
    ["x.com/key", "https://x/key?y=1", "https://x/key/", "https://x/k ey", 'https://x/"', "ftp://x/key", ""],
)
def test_an_address_to_tell_of_runs_that_is_none_is_refused_and_not_shown(address: str):
    (fault,) = [
        fault
        for fault in check({"backup_ping_url": "env:X"}, lambda name, _: SecretStr(address if "ping" in name else "x"))
        if fault.setting == "backup_ping_url"
    ]
    assert fault.found is None and (not address or address not in fault.reason)


@pytest.mark.parametrize("addresses", ["ops@example.com", "json://h mail", "json://h json://", 'json://"\u00e9"'])
def test_whom_to_notify_is_checked_and_not_shown(addresses: str):
    found = check({"notify": "env:X"}, lambda name, _: SecretStr(addresses if name == "notify" else "x"))
    (fault,) = [fault for fault in found if fault.setting == "notify"]
    assert fault.found is None and addresses not in fault.reason


def test_a_secret_that_one_may_do_without_is_read_only_where_the_inventory_points_at_one():
    asked: list[str] = []

    def read(name: str, reference: object) -> SecretStr:
        asked.append(name)
        return SecretStr("https://x/key")

    assert check({}, read).backup_ping_url is None and "backup_ping_url" not in asked
    assert check({"backup_ping_url": "env:X"}, read).backup_ping_url.get_secret_value() == "https://x/key"


RCLONE = "[s3]\ntype = s3\nsecret_access_key = hidden-key\n"


def of_places(places: list[str], config: str | None) -> list[Fault]:
    data = {"backup_offsite": places} | ({} if config is None else {"backup_offsite_config": "env:X"})
    found = check(data, lambda name, _: SecretStr(str(config) if name == "backup_offsite_config" else "x"))
    return [] if isinstance(found, Settings) else found


@pytest.mark.parametrize("place", ["s3:bucket", "s3:bucket/path/", "s3:a b/c", "s3:"])
def test_a_place_is_a_section_of_rclones_configuration_and_a_path(place: str):
    assert of_places([place], RCLONE) == []


@pytest.mark.parametrize(
    "place", ["bucket", "/srv/x", ":s3,access_key_id=x:b", "s3:a/../b", "s3:a\nb", "s3:{{x}}", "-x:y", "s3:*"]
)
def test_what_rclone_would_read_as_something_else_is_no_place(place: str):
    (fault,) = of_places([place], RCLONE)
    assert fault.setting == "backup_offsite.0" and "must be a place as rclone names it" in fault.reason


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (None, "is missing"), ("", "has no section [s3]"), ("[other]\ntype = s3\n", "has no section [s3]"),
        ("hidden-key\n", "is no rclone.conf"), ("[s3]\nhidden-key", "is no rclone.conf"),
        ("[s3\n", "is no rclone.conf"),
    ],
)  # fmt: skip
def test_a_configuration_that_does_not_know_the_place_is_refused_and_not_shown(config: str | None, reason: str):
    (fault,) = of_places(["s3:bucket"], config)
    assert fault.setting == "backup_offsite_config" and reason in fault.reason
    assert "hidden-key" not in f"{fault.found}{fault.reason}"


@pytest.mark.parametrize("name", ["é" * 31 + "x", "日" * 21, "'" * 63, "a" * 63, "x\u0301" * 21])
def test_every_name_that_postgresql_takes_has_room_in_its_dumps_names(settings_of: ValidSettings, name: str):
    assert len(name.encode()) == 63
    assert settings_of(backup_databases=["medaction", name]).backup_databases == ["medaction", name]


def test_a_database_whose_dumps_names_would_be_too_long_is_refused(settings_of: ValidSettings, faults_of: Faults):
    long, own = "é" * 31, "clinic-of-saint-exupery"
    (fault,) = faults_of(app_name=own, postgres_database="clinic", backup_databases=["clinic", long])
    assert fault.setting == "backup_databases" and long in fault.reason and "begin with 210 bytes" in fault.reason
    # The app's own database lends its dumps no name of its own.
    assert settings_of(app_name=own, postgres_database=long, backup_databases=[long])
