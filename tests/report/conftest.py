"""The report's page in a real browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.limiter.node import install_packages
from tests.report.browser import Browser
from tests.sandbox import packages


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    packages.install("chromium", "fonts-dejavu-core")
    install_packages()
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.end()
