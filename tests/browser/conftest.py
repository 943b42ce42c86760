"""Real Chromium against a live server. Whatever a page loads from elsewhere, or complains about, fails the test."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import which
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings as django_settings
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from teams.models import User

ARTIFACTS = Path(__file__).resolve().parents[2] / ".test-artifacts"
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
Open = Callable[..., "Tab"]


class Tab:
    """One page of one signed-in person."""

    def __init__(self, page: Page, base: str) -> None:
        self.page = page
        self.base = base
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(error.stack or str(error)))
        page.on("request", self._asked)

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _asked(self, request: Any) -> None:
        if request.url.startswith("http") and urlsplit(request.url).netloc != urlsplit(self.base).netloc:
            self.elsewhere.append(request.url)

    def go(self, path: str) -> Page:
        self.page.goto(self.base + path)
        return self.page

    def sees(self, text: str, *, within: float = 5) -> None:
        self.page.get_by_text(text).first.wait_for(timeout=within * 1000)

    def picture(self, name: str) -> None:
        ARTIFACTS.mkdir(exist_ok=True)
        # No waiting poll: the pages never come to rest.
        self.page.screenshot(path=ARTIFACTS / f"{name}.png", full_page=True)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Playwright keeps an event loop in this thread; Django would refuse to touch the database beside it."""
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    with sync_playwright() as playwright:
        path = which("chromium") or which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()
    if before is None:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def server(live_server: Any, settings: Any) -> str:
    """The address of a live server that knows its own address."""
    settings.BASE_URL = live_server.url
    return str(live_server.url)


@pytest.fixture
def open_tab(chromium: Browser, server: str, client_of: Callable[[User], Client]) -> Iterator[Open]:
    """`open_tab(person, width=390, scheme="dark")`: a browser in which that person is signed in."""
    contexts: list[BrowserContext] = []
    tabs: list[Tab] = []

    def opened(person: User, width: int = 1280, scheme: Any = "light") -> Tab:
        size: Any = {"width": width, "height": 844 if width < 600 else 800}
        context = chromium.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce")
        contexts.append(context)
        session = client_of(person).cookies[django_settings.SESSION_COOKIE_NAME].value
        context.add_cookies([{"name": django_settings.SESSION_COOKIE_NAME, "value": session, "url": server}])
        tabs.append(Tab(context.new_page(), server))
        return tabs[-1]

    yield opened
    for context in contexts:
        context.close()
    assert [complaint for tab in tabs for complaint in tab.complaints] == []
    assert [url for tab in tabs for url in tab.elsewhere] == []


def send_beat(server: str, key: str, **fields: Any) -> int:
    """A real heartbeat; answers the HTTP status."""
    body = json.dumps({"agent": "my-agent", "status": "ok", **fields}).encode()
    headers = {"X-API-Key": key, "Content-Type": "application/json"}
    request = urllib.request.Request(f"{server}/api/v1/heartbeat", body, headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return int(answer.status)
