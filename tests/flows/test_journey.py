"""A newcomer's journey through a real installation: from `bin/run` in a clean copy to the recovery mail.

A second newcomer uses a phone: the same up to the test alert, then a second factor, with axe on every page.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.authenticator import code_of
from tests.browser.tab import SHORT, TALL, Tab, launch
from tests.flows import agent
from tests.flows.installation import PATIENCE, Installation, clean_copy, slowdown
from tests.flows.mailbox import Mailbox, text_of

pytestmark = [pytest.mark.live, pytest.mark.browser, pytest.mark.sqlite, pytest.mark.xdist_group("journey")]
DUE = 6.0  # seconds without a heartbeat until an agent with an interval of 1 s is down
AGENT = "research-agent"
PASSWORD = "a long walk by the sea"
A_MINUTE = 60.0
SIGNED_IN = re.compile(r"/admin/first-steps/")
TEN_WORDS = re.compile(r"^\s*(\S+\s+){9}\S+\s*$")


@pytest.fixture(scope="module")
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as mailbox:
        yield mailbox


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory, mailbox: Mailbox) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("journey")
    copy = clean_copy(folder / "copy")
    installation = Installation(folder / "data", root=copy, EMAIL_URL=mailbox.url)
    try:
        yield installation.start()
    finally:
        installation.stop()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@dataclass
class Running:
    """An agent in a separate process."""

    server: str
    process: subprocess.Popen[bytes] | None = None

    def start(self, key: str) -> None:
        """Start it and give it the key."""
        argv = [sys.executable, str(agent.__file__), self.server, AGENT]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE)
        assert self.process.stdin
        with self.process.stdin as configuration:
            configuration.write(f"{key}\n".encode())

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def running(installation: Installation) -> Iterator[Running]:
    running = Running(installation.url)
    yield running
    running.kill()


@dataclass
class Newcomer:
    """A person with a browser, who takes screenshots on the way."""

    browser: Browser
    installation: Installation
    mailbox: Mailbox
    address: str = "newcomer@example.com"
    width: int = 1280
    looks_for_barriers: bool = False
    tabs: list[Tab] = field(default_factory=list)
    pictures: int = 0

    def __post_init__(self) -> None:
        self.context = self.window(self.width)
        self.tab = self.open("/")
        self.began = time.monotonic()

    def window(self, width: int = 1280, scheme: Any = "light", state: Any = None) -> BrowserContext:
        size: Any = {"width": width, "height": TALL if width < 600 else SHORT}
        context = self.browser.new_context(viewport=size, color_scheme=scheme, storage_state=state)
        context.set_default_timeout(PATIENCE * 1000)
        return context

    def open(self, path: str, context: BrowserContext | None = None) -> Tab:
        self.tabs.append(Tab((context or self.context).new_page(), self.installation.url))
        self.tabs[-1].go(path)
        return self.tabs[-1]

    @property
    def page(self) -> Page:
        return self.tab.page

    def picture(self, name: str, tab: Tab | None = None) -> None:
        began = time.monotonic()
        self.pictures += 1
        (tab or self.tab).picture(f"journey/{self.width}-{self.pictures:02}-{name}")
        if self.looks_for_barriers:
            assert (tab or self.tab).barriers() == [], name
            assert self.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        self.began += time.monotonic() - began  # a newcomer only glances

    def sees(self, text: str, tab: Tab | None = None) -> None:
        (tab or self.tab).sees(text)

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def follow(self, name: str) -> None:
        self.page.get_by_role("link").filter(has_text=re.compile(rf"\b{name}\s*$")).first.click()

    def fill(self, **fields: str) -> None:
        for label, text in fields.items():
            self.page.get_by_label(label.replace("_", " ").replace("E mail", "E-mail"), exact=True).fill(text)

    def sign_up(self) -> None:
        self.picture("landing")
        self.follow("Sign up")
        self.fill(E_mail=self.address, Password=PASSWORD, Team_name="Research")
        self.picture("sign-up")
        self.press("Sign up")
        mail = text_of(self.mailbox.wait_for("Confirm", to=self.address))
        code = re.search(r"^[A-Z0-9]{3,5}-?[A-Z0-9]{3,5}$", mail, re.MULTILINE)
        assert code, mail
        self.fill(Code=code.group())
        self.picture("code")
        self.press("Confirm")
        self.page.wait_for_url(SIGNED_IN)

    def read_key(self) -> str:
        """The key, which the page shows only once."""
        key = self.page.locator("#new-key").inner_text()
        assert self.page.get_by_text("My team").count() == 0, "sees another person's team"
        self.sees("Waiting for the first heartbeat…")
        self.picture("first-steps")
        return key

    def turn_green(self) -> None:
        self.sees(f"{AGENT} is reporting")
        self.took("green")
        self.picture("green")

    def send_test_alert(self) -> None:
        """On the same page, to the newcomer's address, which is filled in."""
        assert self.page.get_by_label("E-mail addresses").input_value().strip() == self.address
        self.press("Send test alert")
        self.sees("Test sent to E-mail")
        assert self.mailbox.wait_for("Test alert for E-mail", to=self.address)["To"] == self.address
        self.took("the test alert")
        self.picture("test-alert")

    def took(self, what: str) -> None:
        seconds = time.monotonic() - self.began
        print(f"\nAt {self.width} px, from the landing page to {what}: {seconds:.1f} s")
        assert seconds < A_MINUTE * slowdown(), what

    def second_factor(self) -> None:
        """Switch it on with a code of the app, then sign in with a code."""
        self.tab.go("/accounts/2fa/totp/activate/")
        self.fill(Password=PASSWORD)
        self.picture("is-it-you")
        self.press("Confirm")
        secret = self.page.locator("#secret").inner_text()
        assert self.page.locator("img.qr").evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
        self.picture("second-factor-scan")
        self.fill(Code_from_your_app=code_of(secret))
        self.press("Turn on")
        expect(self.page.locator("#codes")).to_have_text(TEN_WORDS)
        self.picture("recovery-codes")
        self.context.clear_cookies()
        self.tab.go("/accounts/login/")
        self.fill(E_mail=self.address, Password=PASSWORD)
        self.picture("sign-in")
        self.press("Sign in")
        self.fill(Code=code_of(secret))
        self.picture("second-factor")
        self.press("Sign in")
        self.page.wait_for_url(re.compile(r"/admin/$"))
        self.sees(AGENT)

    def watch(self) -> list[Tab]:
        """Open the pages on which an incident must appear automatically."""
        tabs = [self.open(path) for path in ("/admin/", "/admin/agents/agent/", "/admin/agents/incident/")]
        for tab, text in zip(tabs, ("All agents OK", AGENT, "No incidents yet"), strict=True):
            self.sees(text, tab)
            self.picture("calm", tab)
        return tabs

    def open_incident(self, mail: EmailMessage) -> None:
        """Follow the link in the mail."""
        link = re.search(rf"{re.escape(self.installation.url)}(/admin/agents/incident/\d+/change/)", text_of(mail))
        assert link, text_of(mail)
        self.tab = self.open(link.group(1))
        self.sees(f"{AGENT}")
        self.picture("incident")

    def acknowledge(self) -> None:
        self.press("Acknowledge")
        self.sees(f"Acknowledged by {self.address}")
        self.picture("acknowledged")
        for width in (1280, 390):
            for scheme in ("light", "dark"):
                window = self.window(width, scheme, self.context.storage_state())
                tab = self.open(urlsplit(self.page.url).path, window)
                assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
                self.picture(f"incident-{width}-{scheme}", tab)
                window.close()


@pytest.fixture
def newcomer(chromium: Browser, installation: Installation, mailbox: Mailbox) -> Iterator[Newcomer]:
    newcomer = Newcomer(chromium, installation, mailbox)
    yield newcomer
    newcomer.context.close()
    assert [complaint for tab in newcomer.tabs for complaint in tab.complaints] == []
    assert [url for tab in newcomer.tabs for url in tab.elsewhere] == []


def test_from_sign_up_to_recovery_mail(newcomer: Newcomer, running: Running, mailbox: Mailbox) -> None:
    newcomer.sign_up()
    key = newcomer.read_key()
    running.start(key)
    newcomer.turn_green()
    newcomer.send_test_alert()

    tabs = newcomer.watch()
    running.kill()
    began = time.monotonic()
    down = mailbox.wait_for(f"{AGENT} is down")
    print(f"From kill -9 to the mail: {time.monotonic() - began:.1f} s, of which {DUE:.0f} s are the agent's own")
    for tab, text in zip(tabs, ("No heartbeat for", "missed heartbeat", "No heartbeat for"), strict=True):
        newcomer.sees(text, tab)
        newcomer.picture("down", tab)

    newcomer.open_incident(down)
    newcomer.acknowledge()
    running.start(key)
    newcomer.sees("recovered")
    newcomer.picture("resolved")
    mailbox.wait_for(f"{AGENT}: recovered")


def test_sign_up_by_phone_with_second_factor(
    chromium: Browser, installation: Installation, mailbox: Mailbox, running: Running
) -> None:
    newcomer = Newcomer(chromium, installation, mailbox, "by-phone@example.com", 390, looks_for_barriers=True)
    newcomer.sign_up()
    running.start(newcomer.read_key())
    newcomer.turn_green()
    newcomer.send_test_alert()
    newcomer.second_factor()
    assert [complaint for tab in newcomer.tabs for complaint in tab.complaints] == []
