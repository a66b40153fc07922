"""The page against the real system: a stranger's PDF in, a cited answer out, in a browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browser import Page

from tests.system.documents import write_pdf

CHOOSE = "input[type=file]:not([webkitdirectory])"
SLOW_MS = 60_000


@pytest.fixture
def real_page(browser: object, system) -> Iterator[Page]:
    page = Page(browser, system.url)
    page.do(lambda tab: sign_in(tab, system.api_key))
    yield page
    page.close()
    assert page.complaints == []


def sign_in(tab, key: str) -> None:
    # There may be no collection yet, and then nothing can be asked.
    tab.get_by_label("API key").fill(key)
    tab.get_by_role("button", name="Sign in").click()
    tab.get_by_role("link", name="Documents", exact=True).wait_for(timeout=SLOW_MS)


def test_a_strangers_pdf_is_dropped_in_and_answers_with_its_citation(real_page, tmp_path) -> None:
    pdf = write_pdf(tmp_path / "lighthouse.pdf")

    def make_collection(tab):
        tab.get_by_role("link", name="Documents", exact=True).click()
        tab.get_by_role("button", name="New collection").click()
        tab.get_by_label("Name").fill("browser")
        tab.get_by_role("button", name="Create").click()
        tab.get_by_role("heading", name="browser").wait_for()

    def drop_in(tab):
        tab.set_input_files(CHOOSE, str(pdf))
        tab.locator(".badge.good").last.wait_for(timeout=SLOW_MS)
        tab.locator(".holding-title:text-is('Lighthouse manual')").wait_for()

    def ask(tab):
        tab.get_by_role("link", name="Ask", exact=True).click()
        tab.get_by_label("Question", exact=True).fill("When was the lighthouse built?")
        tab.keyboard.press("Enter")
        tab.locator(".cite").first.wait_for(timeout=SLOW_MS)
        tab.locator(".cite").first.click()

    real_page.do(make_collection)
    real_page.do(drop_in)
    real_page.do(ask)
    assert "1874" in real_page.text(".answer")
    assert "1874" in real_page.text("mark")
