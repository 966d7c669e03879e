"""What a Redis runs with, as it tells it, beside what it should run with, as the files say it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from provision.redis import layout as redis_layout
from provision.redis.facts import Redis, question
from provision.redis.running import Live, config_differences, directives, quoted, user_differences, users
from provision.settings import Settings

ValidSettings = Callable[..., Settings]


def test_a_configuration_is_its_directives_without_comments():
    text = '# a note\nport 6379\n\n  Bind 127.0.0.1 -::1\nsave ""\nrequirepass "a b"\n'
    assert directives(text) == {"port": "6379", "bind": "127.0.0.1 -::1", "save": "", "requirepass": "a b"}


def test_the_rendered_configuration_is_read_whole(settings_of: ValidSettings):
    config = directives(redis_layout.config(settings_of(redis_port=6400, redis_max_memory_mb=64)).content)
    assert (config["port"], config["maxmemory"], config["bind"], config["save"]) == (
        "6400", str(64 << 20), "127.0.0.1 -::1", "",
    )  # fmt: skip


# As Redis 7.0.15 and 8.0 list the users of our own file, after ACL LOAD.
LISTED = """\
user default off sanitize-payload resetchannels -@all
user app on sanitize-payload #aa ~app:* resetchannels -@all +eval +get
user operator on sanitize-payload #bb ~* &* +@all
"""
WRITTEN = """\
# a comment

user default off
user app on #aa resetchannels resetkeys ~app:* -@all +eval +get
user operator on #bb allkeys allchannels allcommands
"""


def test_users_are_the_same_however_redis_words_them():
    assert users(WRITTEN) == users(LISTED)


def test_the_order_of_rights_does_not_matter():
    assert users("user a on +get +set ~x:*") == users("user a on ~x:* +set +get")


@pytest.mark.parametrize(
    "line",
    [
        "user app off #aa ~app:* +eval +get",
        "user app on #cc ~app:* +eval +get",
        "user app on #aa #cc ~app:* +eval +get",
        "user app on nopass ~app:* +eval +get",
        "user app on #aa ~* +eval +get",
        "user app on #aa ~app:* +eval",
        "user app on #aa ~app:* +eval +get +keys",
        "user app on #aa ~app:* &* +eval +get",
        "user app on #aa ~app:* +@all",
    ],
)
def test_another_right_or_password_is_a_difference(line: str):
    live = Live(users=users(LISTED) | users(line))
    assert user_differences(users(WRITTEN), live) == ["app"]


def test_a_user_who_should_not_be_there_is_a_difference():
    assert user_differences(users(WRITTEN), Live(users=users(LISTED + "user guest on nopass ~* +@all"))) == ["guest"]


def test_a_user_who_is_missing_is_a_difference():
    live = {name: rights for name, rights in users(LISTED).items() if name != "operator"}
    assert user_differences(users(WRITTEN), Live(users=live)) == ["operator"]


def test_only_the_directives_that_are_wanted_are_compared():
    live = Live(config={"port": "6379", "maxmemory": "0", "hz": "10"})
    wanted = {"port": "6379", "maxmemory": "5", "new-one": "yes"}
    assert list(config_differences(wanted, live)) == [("maxmemory", "0", "5"), ("new-one", "unset", "yes")]


def _as_redis_reads(argument: str) -> str:
    """sdssplitargs (sds.c) for one argument in double quotes that holds nothing but \\xHH."""
    assert argument[0] == argument[-1] == '"'
    return bytes.fromhex(argument[1:-1].replace("\\x", "")).decode()


@pytest.mark.parametrize("word", ["p@ss:/?#[]!$&'()*+,;=% \"\\", "日本語", " ", "\\x41"])
def test_a_quoted_word_is_read_back_by_redis(word: str):
    assert _as_redis_reads(quoted(word)) == word


# --- What redis-cli answers to the question ------------------------------------------------------------

MARK = "--8<--"


def answer(*lines: str) -> Live:
    return Redis().process(list(lines))


def test_an_answer_is_read_into_configuration_and_users():
    live = answer("OK", MARK, "port", "6379", "save", "", "maxmemory", "0", MARK, *LISTED.splitlines())
    assert (live.answers, live.operator_let_in) == (True, True)
    assert live.config == {"port": "6379", "save": "", "maxmemory": "0"} and live.users == users(LISTED)


def test_an_empty_value_does_not_shift_the_others():
    live = answer("OK", MARK, "masteruser", "", "save", "", "port", "6379", MARK)
    assert live.config == {"masteruser": "", "save": "", "port": "6379"}


def test_a_redis_that_refuses_the_operator_answers_but_tells_nothing():
    live = answer(
        "WRONGPASS invalid username-password pair or user is disabled.", "", "NOAUTH Authentication required."
    )
    assert (live.answers, live.operator_let_in, live.config) == (True, False, {})


def test_a_redis_that_is_not_there_answers_nothing():
    assert answer("") == Live()


def test_the_question_is_one_command_a_line_whatever_the_password():
    assert len(question("p@ss\" ' \\n épicé").splitlines()) == 7


def test_an_empty_directive_at_the_end_of_what_redis_answers_is_read():
    assert Redis().process(["OK", "--8<--", "port", "1", "save", "", "--8<--"]).config["save"] == ""
