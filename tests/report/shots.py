"""docs/report.png and docs/status.png anew: python -m tests.report.shots"""

from __future__ import annotations

import contextlib
import html
import io
import os
import subprocess
import tempfile
from pathlib import Path

from provision.commands import report, status
from provision.settings.project import PROJECT
from tests.report import trouble
from tests.report.browser import Browser
from tests.sandbox import packages

TERMINAL = """<!DOCTYPE html><meta charset="utf-8"><style>body {{ margin: 0; background: #12161b; color: #e6e8eb }}
pre {{ margin: 0; padding: 12px; font: 13px/1.4 "DejaVu Sans Mono", monospace; white-space: pre-wrap }}</style>
<pre>$ make status ENV=production
{said}</pre>"""


def said_by_status() -> str:
    """What `make status` prints in a terminal of 100 columns."""
    os.environ["COLUMNS"] = "100"
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        status.show(trouble.fleet())
    return said.getvalue()


def _small(png: bytes) -> bytes:
    """The same in few colours."""
    return subprocess.run(["pngquant", "32", "-"], input=png, capture_output=True, check=True).stdout


def main() -> None:
    packages.install("chromium", "fonts-dejavu-core", "pngquant")
    with tempfile.TemporaryDirectory() as directory:
        browser = Browser(Path(directory, "profile"))
        page = Path(directory, "page.html")
        page.write_text(report.page("production", trouble.fleet(), None))
        browser.open(page, 1000)
        (PROJECT / "docs/report.png").write_bytes(_small(browser.picture(2700)))
        page.write_text(TERMINAL.format(said=html.escape(said_by_status())))
        browser.open(page, 830)
        (PROJECT / "docs/status.png").write_bytes(_small(browser.picture()))
        browser.end()


if __name__ == "__main__":
    main()
