"""At 2 AM, on a phone: from the mail's link to the restart pressed and handed to its runner, in three clicks."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.core.mail import EmailMultiAlternatives
from django.utils import timezone
from playwright.sync_api import Locator, Page

from agents.models import Agent, AgentState, Incident
from agents.review import review
from alerts import sending
from alerts.models import Channel, Delivery
from teams.models import Project, User
from tests.browser.conftest import Open, send_beat
from tests.browser.tab import SIZES, Tab
from tests.flows.installation import PATIENCE

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
SERVICE = {"restart_type": "systemd", "restart_target": "night-shift.service"}
MAX_CLICKS = 3


@dataclass
class Hand:
    """Counts what is clicked, and says how long each step took."""

    page: Page
    clicks: int = 0
    began: float = field(default_factory=time.monotonic)

    def click(self, what: Locator, then: str) -> None:
        """Click what is there without scrolling, and wait until the page says so."""
        box = what.bounding_box()
        assert box is not None
        assert 0 <= box["y"] <= 844 - box["height"], "it takes scrolling"
        assert box["height"] >= 44, "too small for a thumb"
        with self.timed(f"click {self.clicks + 1}, until “{then}”"):
            what.click()
            self.page.get_by_text(then).first.wait_for()
        self.clicks += 1

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        print(f"{step}: {time.monotonic() - began:.2f} s")


def ask(server: str, key: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """What a runner says to the API."""
    headers = {"X-API-Key": key, "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{server}/api/v1/{path}", data, headers)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.loads(answer.read())


def fall_silent(server: str, key: str) -> None:
    """An agent with a runner, which asks for commands, has not reported for an hour."""
    ask(server, key, "commands")
    assert send_beat(server, key, agent="night-shift", progress=True) == 200
    assert send_beat(server, key, agent="night-shift", **SERVICE) == 200
    long_ago = timezone.now() - timedelta(hours=1)
    AgentState.objects.update(last_beat_at=long_ago, last_progress_at=long_ago, check_at=timezone.now())
    review.sweep(timezone.now())


@pytest.fixture
def letter(server: str, project: Project, api_key: str) -> EmailMultiAlternatives:
    """The mail about an agent that fell silent."""
    Channel.objects.create(project=project, kind="email", name="On call", config={"to": ["on-call@example.com"]})
    fall_silent(server, api_key)
    mail.outbox.clear()  # there was one about the new API key
    sending.deliver(Delivery.objects.get().channel_id, timezone.now())
    (letter,) = mail.outbox
    assert isinstance(letter, EmailMultiAlternatives)
    assert letter.subject == "night-shift is down"
    return letter


def read(tab: Tab, letter: EmailMultiAlternatives) -> Locator:
    """The mail, open as its HTML part; its one prominent link."""
    (html, _), *others = letter.alternatives
    assert not others
    tab.page.set_content(str(html))
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 390
    return tab.page.get_by_role("link", name="View incident")


@pytest.mark.parametrize("signed_in", [True, False], ids=["signed-in", "signed-out"])
def test_from_mail_to_restart_in_three_clicks(
    open_tab: Open, server: str, api_key: str, member: User, letter: EmailMultiAlternatives, signed_in: bool
) -> None:
    tab = open_tab(member, 390, "dark")
    page, hand = tab.page, Hand(tab.page)
    if not signed_in:
        page.context.clear_cookies()
    link = read(tab, letter)
    tab.picture("two-am-1-mail")
    hand.click(link, "No heartbeat for" if signed_in else "Sign in")
    if not signed_in:
        with hand.timed("signing in"):
            page.get_by_label("E-mail").fill(member.email)
            page.get_by_label("Password").fill("correct horse battery")
            page.keyboard.press("Enter")
            tab.sees("No heartbeat for")
    incident = Incident.objects.get()
    assert page.url == f"{server}/admin/agents/incident/{incident.pk}/change/", "straight to the incident"
    tab.picture("two-am-2-incident", full_page=False)
    hand.click(page.get_by_role("link", name="Restart…"), "The runner will restart systemd:night-shift.service")
    assert tab.barriers() == []
    tab.picture("two-am-3-ask", full_page=False)
    hand.click(page.get_by_role("button", name="Restart night-shift"), "requested: waiting for the runner")
    assert hand.clicks <= MAX_CLICKS
    tab.picture("two-am-4-asked", full_page=False)

    with hand.timed("from the runner's question to the page that says so"):
        (command,) = ask(server, api_key, "commands")
        tab.sees("in progress: the runner has it")
    ask(server, api_key, f"commands/{command['id']}/result", {"status": "completed", "message": "active again"})
    tab.sees("active again")
    tab.sees("Restarted once: no progress since.")
    tab.picture("two-am-5-done")
    print(f"From the mail to the result: {time.monotonic() - hand.began:.1f} s, {hand.clicks} clicks")
    assert tab.barriers() == []


@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_refused_restarts_are_predicted(
    open_tab: Open, member: User, project: Project, letter: EmailMultiAlternatives, width: int, scheme: str
) -> None:
    incident, tab = Incident.objects.get(), open_tab(member, width, scheme)
    Agent.objects.update(restart_policy="off")
    page = tab.go(f"/admin/agents/incident/{incident.pk}/change/")
    tab.sees("Restarts are off for this agent")
    tab.picture(f"refused-incident-{width}-{scheme}", full_page=False)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert tab.barriers() == []
    page.get_by_role("link", name="Restart…").click()
    tab.sees("Can’t restart night-shift now")
    tab.picture(f"refused-ask-{width}-{scheme}")
    assert tab.barriers() == []
    assert page.get_by_role("button", name="Restart night-shift").is_disabled()
    Agent.objects.update(restart_policy="manual", unsafe_to_repeat=True)
    page.get_by_role("link", name="Check again").click()
    tab.sees("Its work is marked as not idempotent")
    tab.picture(f"caution-ask-{width}-{scheme}")
    assert tab.barriers() == []
    page.get_by_role("button", name="Restart night-shift").click()
    tab.sees("requested: waiting for the runner")
    tab.sees(f"Restart unavailable: Restart already requested by {member.email}")
    assert "w-not-now" not in str(page.get_by_role("link", name="Stop…").get_attribute("class"))
    tab.picture(f"live-incident-{width}-{scheme}", full_page=False)
    tab.go(f"/admin/agents/agent/{incident.agent_id}/change/")
    tab.sees(f"Restart unavailable: Restart already requested by {member.email}")
    tab.picture(f"live-agent-{width}-{scheme}", full_page=False)
    assert tab.barriers() == []


def test_incident_cancel_copy_and_print(
    open_tab: Open, member: User, project: Project, letter: EmailMultiAlternatives
) -> None:
    incident = Incident.objects.get()
    tab = open_tab(member, 390)
    page = tab.go(f"/admin/agents/incident/{incident.pk}/press/restart/")
    page.get_by_role("link", name="Cancel").click()
    tab.sees("No heartbeat for")
    page.locator(".w-exactly input").check()
    exact = page.locator(".w-timeline time").first.evaluate("time => getComputedStyle(time, '::after').content")
    assert str(timezone.now().year) in exact
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy as text").click()
    tab.sees("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("night-shift: No heartbeat for")
    assert page.url in copied
    page.emulate_media(media="print")
    assert not page.locator("#nav-sidebar").is_visible()
    assert not page.get_by_role("link", name="Restart…").is_visible()
