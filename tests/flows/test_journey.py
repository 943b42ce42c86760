"""The newcomer's journey on the real thing: from `bin/run` in a clean copy to the mail that says it works again."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.browser.tab import SHORT, TALL, Tab, launch
from tests.flows import agent
from tests.flows.installation import Installation, clean_copy
from tests.flows.mailbox import Mailbox, text_of

pytestmark = [pytest.mark.live, pytest.mark.browser, pytest.mark.sqlite]
WITHIN = 20.0  # seconds: generous, for the machine may be busy
DUE = 6.0  # seconds after its last beat that a silent agent with an interval of 1 s is down
AGENT = "research-agent"
PERSON, PASSWORD = "newcomer@example.com", "a long walk by the sea"
SIGNED_IN = re.compile(r"/admin/first-steps/")


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as mailbox:
        yield mailbox


@pytest.fixture
def installation(tmp_path: Path, mailbox: Mailbox) -> Iterator[Installation]:
    copy = clean_copy(tmp_path / "copy")
    installation = Installation(tmp_path / "data", root=copy, EMAIL_URL=mailbox.url)
    try:
        yield installation.start(90)
    finally:
        installation.stop()


@pytest.fixture
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@dataclass
class Running:
    """A process that works as an agent."""

    server: str
    process: subprocess.Popen[bytes] | None = None

    def start(self, key: str) -> None:
        """Start it, and put the key into it."""
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
    """A person with a browser, who takes pictures on the way."""

    browser: Browser
    installation: Installation
    mailbox: Mailbox
    tabs: list[Tab] = field(default_factory=list)
    pictures: int = 0

    def __post_init__(self) -> None:
        self.context = self.window()
        self.tab = self.open("/")

    def window(self, width: int = 1280, scheme: Any = "light", state: Any = None) -> BrowserContext:
        size: Any = {"width": width, "height": TALL if width < 600 else SHORT}
        context = self.browser.new_context(viewport=size, color_scheme=scheme, storage_state=state)
        context.set_default_timeout(WITHIN * 1000)
        return context

    def open(self, path: str, context: BrowserContext | None = None) -> Tab:
        self.tabs.append(Tab((context or self.context).new_page(), self.installation.url))
        self.tabs[-1].go(path)
        return self.tabs[-1]

    @property
    def page(self) -> Page:
        return self.tab.page

    def picture(self, name: str, tab: Tab | None = None) -> None:
        self.pictures += 1
        (tab or self.tab).picture(f"journey/{self.pictures:02}-{name}")

    def sees(self, text: str, tab: Tab | None = None) -> None:
        (tab or self.tab).sees(text, within=WITHIN)

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name).click()

    def follow(self, name: str) -> None:
        self.page.get_by_role("link").filter(has_text=re.compile(rf"\b{name}\s*$")).first.click()

    def sign_up(self) -> None:
        self.picture("landing")
        self.follow("Sign up")
        self.page.get_by_label("Email").fill(PERSON)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_label("Team name").fill("Research")
        self.picture("sign-up")
        self.press("Sign Up")
        mail = text_of(self.mailbox.wait_for("Confirm", WITHIN))
        assert "Hello from ClevAgent Watchdog!" in mail
        code = re.search(r"^[A-Z0-9]{3,5}-?[A-Z0-9]{3,5}$", mail, re.MULTILINE)
        assert code, mail
        self.page.get_by_label("Code").fill(code.group())
        self.picture("code")
        self.press("Confirm")
        self.page.wait_for_url(SIGNED_IN)

    def read_key(self) -> str:
        """The key, which the page shows only now."""
        key = self.page.locator("#new-key").inner_text()
        assert self.page.get_by_text("My team").count() == 0, "sees the team of another person"
        self.sees("Waiting for the first heartbeat…")
        self.picture("first-steps")
        return key

    def make_channel(self) -> None:
        self.follow("Channels")
        self.picture("no-channel")
        self.page.get_by_role("link", name="Add channel").first.click()
        self.page.get_by_label("Kind").select_option("email")
        self.page.get_by_label("Name").fill("On call")
        self.page.get_by_label("E-mail addresses").fill("on-call@example.com")
        self.picture("new-channel")
        self.page.get_by_role("button", name="Save", exact=True).click()
        self.sees("On call is made.")
        self.picture("channel")

    def send_test(self) -> None:
        self.follow("Send a test")
        self.picture("send-a-test")
        self.press("Send a test")
        self.sees("The test to On call was sent.")
        self.picture("tested")
        assert self.mailbox.wait_for("Test of On call", WITHIN)["To"] == "on-call@example.com"

    def watch(self) -> list[Tab]:
        """The pages on which an incident must appear by itself."""
        tabs = [self.open(path) for path in ("/admin/", "/admin/agents/agent/", "/admin/agents/incident/")]
        for tab, text in zip(tabs, ("All is well", AGENT, "No incident yet."), strict=True):
            self.sees(text, tab)
            self.picture("calm", tab)
        return tabs

    def open_incident(self, mail: EmailMessage) -> None:
        """Follow the mail's link."""
        link = re.search(rf"{re.escape(self.installation.url)}(/admin/agents/incident/\d+/change/)", text_of(mail))
        assert link, text_of(mail)
        self.tab = self.open(link.group(1))
        self.sees(f"{AGENT}")
        self.picture("incident")

    def acknowledge(self) -> None:
        self.press("Acknowledge")
        self.sees(f"Acknowledged by {PERSON}")
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
    assert [complaint for tab in newcomer.tabs for complaint in tab.complaints] == []
    assert [url for tab in newcomer.tabs for url in tab.elsewhere] == []


def test_from_sign_up_to_the_mail_that_it_works_again(newcomer: Newcomer, running: Running, mailbox: Mailbox) -> None:
    began = time.monotonic()
    newcomer.sign_up()
    key = newcomer.read_key()
    running.start(key)
    newcomer.sees(f"{AGENT} reports")
    print(f"\nFrom the landing page to green: {time.monotonic() - began:.1f} s")
    newcomer.picture("green")
    newcomer.make_channel()
    newcomer.send_test()

    tabs = newcomer.watch()
    running.kill()
    began = time.monotonic()
    down = mailbox.wait_for(f"{AGENT} is down", DUE + WITHIN)
    print(f"From kill -9 to the mail: {time.monotonic() - began:.1f} s, of which {DUE:.0f} s are the agent's own")
    for tab, text in zip(tabs, ("No heartbeat for", "missed heartbeat", "No heartbeat for"), strict=True):
        newcomer.sees(text, tab)
        newcomer.picture("down", tab)

    newcomer.open_incident(down)
    newcomer.acknowledge()
    running.start(key)
    newcomer.sees("by itself")
    newcomer.picture("resolved")
    mailbox.wait_for(f"{AGENT}: recovered", WITHIN)
