"""What a person sees of the report, on a phone, on a desk and on paper, when every kind of trouble is there at once."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from provision.commands import report, status
from provision.settings.project import PROJECT
from tests.limiter.node import PACKAGES
from tests.report import trouble
from tests.report.browser import Browser

SEEN = [
    "production", "8 hosts: 2 NO ANSWER, 3 CRITICAL, 3 ok", "could not be asked: gave no sign of life for 45 s",
    "the restore test failed: relation public.visits has 12 rows less than its dump", "table visits has 0 rows",
    "the last good backup is 60 h old, allowed are 26", "44 MiB of 256 MiB (17 %)", "24 of 1000 (2 %)",
    "3 connections, 2 logins, 1 commands", "restore archive", "anna@laptop", "failed: Check redis.conf",
    "<script>alert(1)</script>\\x1b[2J\\u202e", "db2: was not in the last report",
]  # fmt: skip
# Of each picture of each database how many of a kind it has: dots, or upright lines of one path.
DRAWN = """[...document.querySelectorAll('article')].map(article => [...article.querySelectorAll('svg')].map(
    picture => ['.good', '.suspect'].map(kind => [...picture.querySelectorAll(kind)].map(
        each => each.tagName == 'path' ? each.getAttribute('d').split('M').length - 1 : 1
    ).reduce((a, b) => a + b, 0))))"""
INSIDE = """[...document.querySelectorAll('svg')].every(picture => { const box = picture.getBBox();
    return box.x >= 0 && box.y >= 0 && box.x + box.width <= 240 && box.y + box.height <= 64 })"""
WIDTHS = [(360, "light"), (360, "dark"), (1280, "light"), (1280, "dark")]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    healths = trouble.fleet()
    before = status.document("production", [each for each in healths if each.member.name != "db2"])
    path.write_text(report.page("production", healths, before))
    return path


@pytest.mark.parametrize(("width", "scheme"), WIDTHS)
def test_everything_is_seen_and_nothing_is_cut_off_or_asked_of_anybody(
    width: int, scheme: str, page: Path, browser: Browser
) -> None:
    browser.open(page, width, scheme)
    text = " ".join(browser.value("document.body.innerText").split())
    assert [each for each in SEEN if each not in text] == []
    # Also of what is hidden by its own box's edge.
    assert browser.value("document.documentElement.scrollWidth") <= width
    sticks_out = (
        "[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
    )
    assert browser.value(f"{sticks_out}.map(e => e.outerHTML.slice(0, 80))") == []
    assert browser.said == [] and browser.asked_for == [page.resolve().as_uri()]


@pytest.mark.parametrize(("width", "scheme"), WIDTHS)
def test_axe_finds_nothing_that_keeps_anybody_from_reading_it(
    width: int, scheme: str, page: Path, browser: Browser
) -> None:
    browser.open(page, width, scheme)
    browser.value((PACKAGES / "axe-core/axe.min.js").read_text() + "; 1")
    found = browser.value("axe.run().then(r => r.violations.map(v => [v.impact, v.id, v.nodes[0].html]))")
    passed = browser.value("axe.run().then(r => r.passes.map(p => p.id))")
    assert found == [] and {"color-contrast", "html-has-lang", "svg-img-alt"} <= set(passed)


def test_pictures_show_every_dump_and_mark_the_suspect_one(page: Path, browser: Browser) -> None:
    browser.open(page, 1280)
    drawn = browser.value(DRAWN)
    assert drawn == [[[30, 0]] * 3, [[3, 0]] * 3, [[11, 1]] * 3, [[60, 0]] * 3]
    assert browser.value(INSIDE)


def test_it_is_printed_on_a_few_sheets(page: Path, browser: Browser) -> None:
    browser.open(page, 1280)
    pdf = browser.printed()
    assert pdf.startswith(b"%PDF") and 1 < pdf.count(b"/Type /Page\n") < 10


@pytest.mark.parametrize("name", ["report", "status"])
def test_picture_in_the_docs_is_small(name: str) -> None:
    """Made anew by: .venv/bin/python -m tests.report.shots"""
    png = (PROJECT / f"docs/{name}.png").read_bytes()
    width, height = struct.unpack(">II", png[16:24])
    assert png.startswith(b"\x89PNG") and len(png) < 150_000 and width >= 600 and height >= 400
