"""The page in a real browser, against the fake API."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from browser import Page, open_browser
from fake_api import RunningFake, running

CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="session")
def server() -> Iterator[RunningFake]:
    with running() as fake:
        yield fake


@pytest.fixture
def fake(server: RunningFake) -> RunningFake:
    server.platform.reset()
    return server


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    if not CHROMIUM.exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{CHROMIUM} is missing, and CI must test the page")
        pytest.skip(f"{CHROMIUM} is missing")
    with open_browser(CHROMIUM) as opened:
        yield opened


@pytest.fixture
def page(browser: object, fake: RunningFake) -> Iterator[Page]:
    """A fresh tab. What the browser complains about fails the test at its end."""
    page = Page(browser, fake.url)
    yield page
    page.close()
    assert page.complaints == []
