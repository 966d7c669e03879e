"""How a value stands in `.env`, and who is named that takes it for another.

The readers themselves: tests/limiter/test_env_readers.py, tests/e2e/test_env_readers.py.
"""

from __future__ import annotations

import pytest

from provision.app.readers import READERS, misread, quoted, told


@pytest.mark.parametrize("value", ["redis://u:p%40@h:1", "6379", "a,b", "[::1]", "C:\\backups\\"])
def test_a_value_without_need_of_quotes_is_bare(value: str) -> None:
    assert quoted(value) == value


@pytest.mark.parametrize(
    "value", ["two words", "a#b", "it's", 'say "hi"', "C:\\temp", "a`id`b", "!x", "~", "é漢🔑", "a$"]
)
def test_most_values_are_read_alike_by_everybody(value: str) -> None:
    assert (misread(value), told("A", value)) == ({}, "")


def test_a_value_with_all_three_quotes_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="all three"):
        quoted("'\"`")


@pytest.mark.parametrize(
    ("value", "ways"),
    [
        ("zq$HOME", "@next/env: puts something in for $ and what follows it"),
        ("zq\\", "bash's source, systemd: goes on into the next line"),
        (
            'it\'s "zq"',
            "bash's source: runs it as a command;"
            " python-dotenv, docker compose, systemd: keeps the backticks around it",
        ),
        ("zq\\\\x", "python-dotenv: takes a backslash for an escape"),
    ],
)
def test_who_reads_another_value_is_told_in_one_sentence_without_it(value: str, ways: str) -> None:
    assert told("LOGDIR", value) == f"LOGDIR is not what the settings say to all who may read it ({ways})"


def test_the_apps_own_readers_come_first() -> None:
    # Double quotes would be right to more of all, and wrong to dotenv, which makes a line break of \n there.
    assert quoted("it's C:\\new") == "`it's C:\\new`"
    assert not misread("it's C:\\new").keys() & set(READERS[:3])
