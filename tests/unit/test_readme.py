"""The README's own promises that can be checked without a host."""

from __future__ import annotations

import re

from provision.commands.settings import table
from provision.engine.inventory import PROJECT

README = (PROJECT / "README.md").read_text(encoding="utf-8")


def test_its_table_of_settings_is_the_schemas():
    """After a change: paste what `make settings` prints between the two marks."""
    shown = README.split("<!-- settings: begin -->\n")[1].split("<!-- settings: end -->")[0]
    assert shown == table() + "\n"


def test_every_make_target_it_names_exists():
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:^    |`)make ([a-z-]+)", README, re.MULTILINE))
    assert named and named <= targets


def test_every_file_it_links_to_exists():
    for path in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (PROJECT / path).exists(), path
