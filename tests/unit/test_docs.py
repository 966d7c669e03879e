"""The promises of the README and docs/ that can be checked without a host."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from provision.commands.settings import page
from provision.settings import Settings, check
from provision.settings.project import PROJECT

PAGES = sorted([*PROJECT.glob("*.md"), *(PROJECT / "docs").glob("*.md")])
EXAMPLES = [(name, each) for name, field in Settings.model_fields.items() for each in field.examples or []]


def anchors(text: str) -> set[str]:
    """The names by which a page's headings are linked to: lower case, blanks as hyphens, other marks dropped."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_the_settings_page_is_the_schemas():
    """After a change: make settings >docs/settings.md"""
    assert (PROJECT / "docs/settings.md").read_text(encoding="utf-8") == page()


@pytest.mark.parametrize(("name", "example"), EXAMPLES, ids=[name for name, _ in EXAMPLES])
def test_an_example_of_a_setting_is_valid(name: str, example: object):
    assert isinstance(check({name: example}, lambda *_: SecretStr("x")), Settings)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_make_target_a_page_names_exists(path: Path):
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:^    |`)make ([a-z-]+)", path.read_text(encoding="utf-8"), re.MULTILINE))
    assert named <= targets


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_everything_a_page_links_to_exists(path: Path):
    for file, anchor in re.findall(r"\]\(([^)#:]*)#?([^):]*)\)", path.read_text(encoding="utf-8")):
        target = path.parent / file if file else path
        assert target.exists(), file
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), f"{file}#{anchor}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_file_of_the_project_that_a_page_names_exists(path: Path):
    named = re.findall(r"`((?:provision|tests|templates|files|bench|inventories)/[\w./-]+)`", path.read_text())
    assert [each for each in named if not (PROJECT / each).exists()] == []


def test_the_front_door_is_at_most_150_lines():
    assert len((PROJECT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_every_row_of_who_may_what_names_tests_that_exist():
    text = (PROJECT / "docs/security.md").read_text(encoding="utf-8")
    table = text.partition("## Who may what")[2].partition("\n## ")[0]
    rows = [row for row in table.splitlines() if row.startswith("| ")][1:]
    assert len(rows) > 15
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert named, f"no test shows: {row}"
        for file, test in named:
            assert re.search(rf"^def {test}\(", (PROJECT / file).read_text(encoding="utf-8"), re.MULTILINE), (
                f"{file}::{test}"
            )
