"""A person's `.env` after ours was merged into it: their bytes as they were, our values as dotenv reads them."""

from __future__ import annotations

import os
import random
import re
import subprocess
from pathlib import Path

import pytest

from provision.app import operations
from provision.app.dotenv import differing, merge, values

MANAGED = {"REDIS_URL": '"redis://app:p%40ss@10.0.0.5:6379"', "POSTGRES_USER": "'medaction'"}
BLOCK = "".join(f"{name}={value}\n" for name, value in MANAGED.items())
HEADER = "# Managed by the deploy: these values are put back when they are changed here.\n"

# dotenv 17's own grammar (LINE in lib/main.js), as its parse() uses it.
_LINE = re.compile(
    r"""^\s*(?:export\s+)?([\w.-]+)(?:\s*=\s*?|:\s+?)"""
    r"""(\s*'(?:\\'|[^'])*'|\s*"(?:\\"|[^"])*"|\s*`(?:\\`|[^`])*`|[^#\r\n]+)?\s*(?:\#.*)?(?:$|$)""",
    re.MULTILINE | re.ASCII,
)


def read_as_dotenv_does(text: str) -> dict[str, str]:
    values = {}
    for match in _LINE.finditer(re.sub(r"\r\n?", "\n", text.removeprefix("\ufeff"))):
        value = (match[2] or "").strip()
        values[match[1]] = re.sub(r"""^(['"`])([\s\S]*)\1$""", r"\2", value)
    return values


def assert_ours_are_read(text: str) -> None:
    values = read_as_dotenv_does(text)
    assert {name: values.get(name) for name in MANAGED} == {name: value[1:-1] for name, value in MANAGED.items()}, text


def test_an_empty_file_gets_our_block_under_a_header():
    assert merge("", MANAGED) == HEADER + BLOCK


def test_a_persons_lines_come_first_and_stay():
    theirs = "# my notes\n\nexport SMTP_HOST=mail  # ours\nPORT = 3000\n"
    assert merge(theirs, MANAGED) == f"{theirs}\n{HEADER}{BLOCK}"


def test_a_last_line_without_a_line_break_does_not_swallow_ours():
    assert merge("PORT=3000", MANAGED) == f"PORT=3000\n\n{HEADER}{BLOCK}"


def test_a_value_that_is_set_already_is_replaced_in_its_place():
    assert merge("A=1\nREDIS_URL=old\nB=2\n", {"REDIS_URL": "'new'"}) == "A=1\nREDIS_URL='new'\nB=2\n"


@pytest.mark.parametrize(
    "line",
    [
        "REDIS_URL=redis://old",
        "REDIS_URL = redis://old",
        "  REDIS_URL=redis://old",
        "export REDIS_URL=redis://old",
        "export\tREDIS_URL='redis://old'",
        "REDIS_URL: redis://old",
        "REDIS_URL=",
        "REDIS_URL='it''s",
        'REDIS_URL="begun\nand = ended\n"',
        "REDIS_URL=`begun\nREDIS_URL=inside`",
        'REDIS_URL=\n"on the next line"',
        'REDIS_URL="with \\" in it"',
    ],
)
def test_an_assignment_is_recognised_however_it_is_written(line: str):
    assert merge(f"A=1\n{line}\nB=2\n", {"REDIS_URL": "'new'"}) == "A=1\nREDIS_URL='new'\nB=2\n"


@pytest.mark.parametrize(
    ("line", "after"),
    [
        ("REDIS_URL= # none yet", "# none yet\nREDIS_URL='new'"),
        ('REDIS_URL="redis://old" # ask Paul: "why?"', "# ask Paul: \"why?\"\nREDIS_URL='new'"),
        ("REDIS_URL=old#er", "#er\nREDIS_URL='new'"),
        ("REDIS_URL='new' # as it was", "# as it was\nREDIS_URL='new'"),
        ("A=1\r\nREDIS_URL=old # why", "A=1\r\n# why\r\nREDIS_URL='new'"),
    ],
)
def test_a_comment_behind_a_value_of_ours_goes_above_it(line: str, after: str):
    assert differing(f"{line}\n", {"REDIS_URL": "'new'"}) == ["REDIS_URL"]
    merged = merge(f"{line}\n", {"REDIS_URL": "'new'"})
    assert merged == f"{after}\n" and values(merged)["REDIS_URL"] == "new"
    assert differing(merged, {"REDIS_URL": "'new'"}) == []
    assert merge(merged, {"REDIS_URL": "'new'"}) == merged


@pytest.mark.parametrize(
    "line",
    [
        "# REDIS_URL=commented",
        "MY_REDIS_URL=1",
        "REDIS_URL_OLD=1",
        "REDIS_URL",
        'NOTE="first\nREDIS_URL=inside\nlast"',
        "NOTE='first\n# REDIS_URL=inside'",
        "NOTE=`\nREDIS_URL=inside\n`",
        'NOTE=\n"REDIS_URL=x\nREDIS_URL=y"',
    ],
)
def test_what_only_looks_like_ours_stays(line: str):
    assert merge(f"{line}\n", MANAGED) == f"{line}\n\n{HEADER}{BLOCK}"


def test_a_second_setting_that_dotenv_would_let_win_is_commented_out():
    assert merge("REDIS_URL=a\nX=1\nREDIS_URL=b\n", {"REDIS_URL": "'c'"}) == "REDIS_URL='c'\nX=1\n# REDIS_URL=b\n"


def test_a_second_setting_over_several_lines_is_commented_out_whole():
    text = "REDIS_URL=a\nREDIS_URL='b\nc'\nX=1\n"
    assert merge(text, {"REDIS_URL": "'c'"}) == "REDIS_URL='c'\n# REDIS_URL='b\n# c'\nX=1\n"


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_line_breaks_of_other_systems_stay(end: str):
    text = end.join(["A=1", "REDIS_URL=old", 'NOTE="x', 'y"', "REDIS_URL=older", "B=2", ""])
    merged = merge(text, {"REDIS_URL": "'new'"})
    assert merged.rstrip("\n") == end.join(
        ["A=1", "REDIS_URL='new'", 'NOTE="x', 'y"', "# REDIS_URL=older", "B=2", ""]
    ).rstrip("\n")


def test_a_byte_order_mark_hides_no_assignment():
    assert merge("\ufeffREDIS_URL=old\n", {"REDIS_URL": "'new'"}) == "\ufeffREDIS_URL='new'\n"


def test_a_name_that_dotenv_does_not_read_begins_no_value():
    text = 'clé="begun\nREDIS_URL=old\nended"\n'
    assert merge(text, {"REDIS_URL": "'new'"}) == "clé=\"begun\nREDIS_URL='new'\nended\"\n"


def test_a_name_that_is_missing_later_joins_the_block_without_a_second_header():
    first = merge("A=1\n", {"REDIS_URL": "'a'"})
    assert merge(first, {"REDIS_URL": "'a'", "NEW": "'b'"}) == f"{first}NEW='b'\n"


def test_nothing_differs_in_what_was_merged():
    assert differing(merge("A=1\n", MANAGED), MANAGED) == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ["REDIS_URL", "POSTGRES_USER"]),
        (BLOCK.replace("medaction", "other"), ["POSTGRES_USER"]),
        (BLOCK + "REDIS_URL=x\n", ["REDIS_URL"]),
        (BLOCK + BLOCK, ["REDIS_URL", "POSTGRES_USER"]),
        (BLOCK.replace("\n", "\r\n"), []),
        (f"# {BLOCK}", ["REDIS_URL"]),
    ],
)
def test_what_differs_is_named(text: str, names: list[str]):
    assert differing(text, MANAGED) == names


# --- Many generated files -----------------------------------------------------------------------------

_THEIRS = [
    "# a note", "", "   ", "PORT=3000", "export DEBUG=1", "EMPTY=", 'Q="a # b"', "S='l1\nREDIS_URL=no\nl3'",
    "B=`x\n\ny` # c", "URL=http://x/#frag", "not an assignment", "=", "x: y", 'D="a\\"b"', "été=oui", "W='  '",
    "# REDIS_URL=off", "A.B-C=1", "K = v ",
]  # fmt: skip
_OURS = [
    "REDIS_URL=old", "export REDIS_URL='old' # why", 'REDIS_URL="l1\nl2"', "POSTGRES_USER=", "POSTGRES_USER : x",
    "  POSTGRES_USER=`a`",
]  # fmt: skip


def test_every_byte_outside_our_assignments_stays():
    for seed in range(1000):
        text, kept = _generated(random.Random(seed))
        assert merge(text, MANAGED).startswith(kept), f"seed {seed}: {text!r}"


def _generated(dice: random.Random) -> tuple[str, str]:
    """A `.env` of lines that are known to be theirs or ours, and what it must begin with afterwards."""
    end = dice.choice(["\n", "\n", "\r\n", "\r"])
    pieces = [dice.choice(_OURS if dice.random() < 0.3 else _THEIRS) for _ in range(dice.randrange(12))]
    expected, seen = [], set()
    for piece in pieces:
        name = next((name for name in MANAGED if re.match(rf"\s*(export )?{name}\b", piece)), None)
        if name is None or piece == "POSTGRES_USER : x":  # dotenv knows no blank before a colon
            expected.append(piece)
        elif name in seen:
            expected.append("# " + piece.replace("\n", "\n# "))
        else:
            comment = "# why\n" if piece.endswith("# why") else ""
            expected.append(f"{comment}{name}={MANAGED[name]}")
            seen.add(name)
    text, kept = (end.join(p.replace("\n", end) for p in each) + end * bool(each) for each in (pieces, expected))
    return text, kept


_WORDS = [
    "REDIS_URL",
    "POSTGRES_USER",
    "A",
    "=",
    "=",
    ": ",
    "'",
    '"',
    "`",
    "\\",
    "#",
    " ",
    "\n",
    "\n",
    "\r\n",
    "export ",
    "é",
]


def _scrambled(seed: int) -> str:
    dice = random.Random(seed)
    return "".join(dice.choice(_WORDS) for _ in range(dice.randrange(60)))


def test_whatever_was_there_our_values_are_the_ones_that_are_read():
    for seed in range(2000):
        assert_ours_are_read(merge(_scrambled(seed), MANAGED))


def test_a_second_merge_changes_nothing():
    for seed in range(2000):
        once = merge(_scrambled(seed), MANAGED)
        assert (merge(once, MANAGED), differing(once, MANAGED)) == (once, []), f"seed {seed}"


def test_a_pipe_in_its_place_is_waited_at_by_nobody_and_a_link_is_followed_by_nobody(tmp_path: Path):
    pipe, link, file = (tmp_path / name for name in ("pipe", "link", "file"))
    os.mkfifo(pipe)
    file.write_text("A=1\n")
    link.symlink_to(file)
    said = {
        path: subprocess.run(
            ["sh", "-c", operations.reading(str(path)).get_raw_value()], capture_output=True, text=True, timeout=20
        ).stdout
        for path in (pipe, link, file)
    }
    assert said == {pipe: "==end-of-file==\n", link: "", file: "A=1\n==end-of-file==\n"}
