"""Chromium with the page in it, driven by Playwright on a thread of its own.

Playwright's synchronous interface refuses to run where an asyncio loop runs, and the suite's
loop does; hence one worker thread that all calls go through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fake_api import KEY
from playwright.sync_api import BrowserContext, ConsoleMessage, sync_playwright
from playwright.sync_api import Page as PlaywrightPage

ResultT = TypeVar("ResultT")

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TIMEOUT_MS = 10_000


@dataclass
class OpenBrowser:
    """A running browser and the thread it may be talked to from."""

    context: BrowserContext
    thread: ThreadPoolExecutor


@contextmanager
def open_browser(executable: Path) -> Iterator[OpenBrowser]:
    """The browser, until the end."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        playwright = thread.submit(lambda: sync_playwright().start()).result()
        browser = thread.submit(
            lambda: playwright.chromium.launch(executable_path=str(executable), args=ARGUMENTS)
        ).result()
        context = thread.submit(browser.new_context).result()
        context.set_default_timeout(TIMEOUT_MS)
        try:
            yield OpenBrowser(context, thread)
        finally:
            thread.submit(browser.close).result()
            thread.submit(playwright.stop).result()


class Page:
    """One tab. `do` runs a function with Playwright's page on the browser's thread."""

    def __init__(self, browser: Any, url: str) -> None:
        self._browser: OpenBrowser = browser
        self.url = url
        self.complaints: list[str] = []
        self._page = self._on_thread(self._open)

    def do(self, action: Callable[[PlaywrightPage], ResultT]) -> ResultT:
        return self._on_thread(lambda: action(self._page))

    def sign_in(self, key: str = KEY) -> None:
        def action(page: PlaywrightPage) -> None:
            page.get_by_label("API key").fill(key)
            page.get_by_role("button", name="Sign in").click()
            page.wait_for_selector("#question:not([disabled])")

        self.do(action)

    def ask(self, question: str) -> None:
        def action(page: PlaywrightPage) -> None:
            page.get_by_label("Question", exact=True).fill(question)
            page.keyboard.press("Enter")

        self.do(action)

    def text(self, selector: str) -> str:
        """The text of the last element that matches, once there is one."""
        return self.do(lambda page: page.locator(selector).last.inner_text())

    def wait(self, selector: str, *, state: Any = "visible") -> None:
        self.do(lambda page: page.locator(selector).last.wait_for(state=state))

    def close(self) -> None:
        def action() -> None:
            # A tab has its own session storage; the rest is shared with the tabs after it.
            self._page.evaluate("localStorage.clear()")
            self._page.close()

        self._on_thread(action)

    def _open(self) -> PlaywrightPage:
        page = self._browser.context.new_page()
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(self.url)
        return page

    def _heard(self, message: ConsoleMessage) -> None:
        # A refusal that a test provokes is logged by the browser itself; the rest is the page's.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)

    def _on_thread(self, action: Callable[[], ResultT]) -> ResultT:
        return self._browser.thread.submit(action).result()
