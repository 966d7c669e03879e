"""Values for a `.env` that some reader or other may take for something else, each in a file as a host may have it."""

from __future__ import annotations

import random

from provision.app.readers import quoted

AWKWARD = [
    "plain", "two words", " at both ends ", "a#b", "a # b", "it's", 'say "hi"', 'it\'s "both"', "a`id`b",
    "it's a `tick`", "D:\\logs\\", "D:\\my logs\\", "D:\\new\\'s", "it's C:\\temp", "a\\\\b", "it's a\\\\b",
    "a\\\\", "\\", "it's \\$5", "$HOME", "${HOME}", "${HOME:-x}", "it's $HOME", "a$", "it's a$", "$5", "$(id)",
    "it's $(id)", "\\$HOME", "a;id", "a&b", "~", "a:~:b", "!x", "*", "é漢🔑", "a=b", "=", "{a,b}", "<x>", "%41",
    "it's \\d", '"\\n"', "\\n", "it's \\n",
]  # fmt: skip
_PIECES = [*"a#'\"`\\$}n:-()é= ", "B1", "\\\\", "${", "$HOME"]


def generated(count: int, seed: int = 7) -> list[str]:
    """Values of chance from the pieces that some reader takes for more than a letter."""
    dice = random.Random(seed)
    values = ("".join(dice.choices(_PIECES, k=dice.randrange(1, 9))) for _ in range(count))
    return [value for value in values if not all(mark in value for mark in "'\"`")]


def env_file(value: str) -> str:
    """A `.env` with this value, and a person's lines behind it, which end in quotes."""
    return f"VALUE={quoted(value)}\n# '\n# \"\n# `\n"
