"""Real Chromium with a live server. A page that loads from another host or logs a warning fails the test."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from teams.models import User
from tests.browser.tab import SHORT, TALL, Tab, launch
from tests.flows.installation import PATIENCE

Open = Callable[..., "Tab"]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Playwright runs an event loop in this thread, next to which Django refuses to use the database."""
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()
    if before is None:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def server(live_server: Any, settings: Any) -> str:
    """The URL of a live server whose BASE_URL is set."""
    settings.BASE_URL = live_server.url
    return str(live_server.url)


@pytest.fixture
def open_tab(chromium: Browser, server: str, client_of: Callable[[User], Client]) -> Iterator[Open]:
    """`open_tab(person, width=390, scheme="dark")`: a browser in which that person is signed in."""
    contexts: list[BrowserContext] = []
    tabs: list[Tab] = []

    def opened(person: User, width: int = 1280, scheme: Any = "light") -> Tab:
        size: Any = {"width": width, "height": TALL if width < 600 else SHORT}
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
    """Send a real heartbeat; the HTTP status."""
    body = json.dumps({"agent": "my-agent", "status": "ok", **fields}).encode()
    headers = {"X-API-Key": key, "Content-Type": "application/json"}
    request = urllib.request.Request(f"{server}/api/v1/heartbeat", body, headers)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return int(answer.status)
