"""A page in Chromium that records warnings, requests to other hosts, and server errors."""

from __future__ import annotations

from pathlib import Path
from shutil import which
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Page, Playwright, expect

from tests.flows.installation import PATIENCE, wait_until

ARTIFACTS = Path(__file__).resolve().parents[2] / ".test-artifacts"
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
SHORT, TALL = 800, 844
# Each width and each scheme once: the other two pairs take as long again and show the same.
SIZES = [(1280, "light"), (390, "dark")]


def launch(playwright: Playwright) -> Browser:
    expect.set_options(timeout=PATIENCE * 1000)
    path = which("chromium") or which("chromium-browser")
    return playwright.chromium.launch(executable_path=path, args=FLAGS)


class Tab:
    """One page of one person."""

    def __init__(self, page: Page, base: str) -> None:
        self.page = page
        page.set_default_timeout(PATIENCE * 1000)
        self.base = base
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(error.stack or str(error)))
        page.on("request", self._asked)
        page.on("response", self._answered)

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _asked(self, request: Any) -> None:
        if request.url.startswith("http") and urlsplit(request.url).netloc != urlsplit(self.base).netloc:
            self.elsewhere.append(request.url)

    def _answered(self, response: Any) -> None:
        if response.status >= 500:
            self.complaints.append(f"{response.status} {response.url}")

    def go(self, path: str) -> Page:
        self.page.goto(self.base + path)
        return self.page

    def sees(self, text: str) -> None:
        self.page.get_by_text(text).first.wait_for()

    def until(self, expression: str, arg: Any = None) -> None:
        """Wait until it is true. Playwright's own way evaluates texts, which the page's policy refuses."""
        wait_until(lambda: self.page.evaluate(expression, arg), expression)

    def barriers(self) -> list[str]:
        """Serious and critical accessibility violations, according to axe."""
        found = Axe().run(self.page).response["violations"]
        return [
            f"{one['id']}: {node['html'][:200]} {node['failureSummary']}"
            for one in found
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"]
        ]

    def picture(self, name: str, *, full_page: bool = True) -> None:
        path = ARTIFACTS / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        # The pages poll, so there is no idle state to wait for.
        self.page.screenshot(path=path, full_page=full_page)
