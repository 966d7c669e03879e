"""Reading a `.env` as the app does: for the verification, which asks Redis with what it finds there."""

from __future__ import annotations

import pytest

from provision.app.dotenv import values
from provision.app.readers import quoted


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=b", "b"),
        ('A="b c"', "b c"),
        ("A='b # c'", "b # c"),
        ("export A=b # comment", "b"),
        ('A="b\\nc"', "b\nc"),
        ("A=1\nA=2", "2"),
        ("A=", ""),
    ],
)
def test_a_value_is_read_as_dotenv_reads_it(line: str, value: str) -> None:
    assert values(line) == {"A": value}


def test_a_line_inside_a_quoted_value_sets_nothing() -> None:
    assert values("PEM='a\nREDIS_URL=not one\nb'\n") == {"PEM": "a\nREDIS_URL=not one\nb"}


@pytest.mark.parametrize("value", ["redis://u:p%40@h:1", "it's", 'say "hi"', "a\\b", "$HOME `id`"])
def test_what_is_written_quoted_is_read_back(value: str) -> None:
    assert values(f"A={quoted(value)}") == {"A": value}
