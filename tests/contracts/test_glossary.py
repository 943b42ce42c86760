"""Pages and mails use the glossary's terms: every page that a person can reach by links is read, and every mail."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
from django.core import mail
from django.test import Client
from django.utils import timezone

from agents.models import IncidentEvent, Maintenance
from agents.models.incident import SignalKind
from alerts import message
from alerts.channels import email
from alerts.models import Channel, Delivery
from billing import refusals
from teams import services
from teams.models import Project, User
from tests.agents.admin.conftest import make_agent, make_beat, make_command, make_incident, make_runner

pytestmark = [pytest.mark.django_db, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]
GLOSSARY = (ROOT / "docs/glossary.md").read_text()
# A few pages are enough: a list has one text in all its orders, an agent's page another one per kind of incident.
MAX_PAGES_PER_KIND = 3
MAX_PAGES_PER_PATH = 12
SPOKEN_ATTRIBUTES = {"aria-label", "title", "placeholder", "alt", "value"}
SILENT_TAGS = {"script", "style", "code", "pre", "template"}
# URLs that sign the person out, or that are files and data.
SKIPPED = re.compile(r"/logout|/static/|/media/|\.(?:json|svg|csv|whl|png)$|/api/|/export/")
DOCUMENTATION = "/docs/"  # read by a test of its own


def replaced_words() -> list[str]:
    """The words that the glossary replaces: its third column."""
    rows = [line.split("|") for line in GLOSSARY.splitlines() if line.startswith("| ")]
    return [word.strip().lower() for row in rows[2:] for word in row[3].split(",") if word.strip()]


WORDS: Final = re.compile(rf"\b({'|'.join(map(re.escape, replaced_words()))})\b")


class Page(HTMLParser):
    """A page's visible and spoken text, and its links."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.said: list[str] = []
        self.links: list[str] = []
        self._silent = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent += tag in SILENT_TAGS
        for name, value in attrs:
            if name == "href" and tag == "a" and value:
                self.links.append(value)
            elif name in SPOKEN_ATTRIBUTES and value:
                self.said.append(value)

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in SILENT_TAGS

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.said.append(data)


def old_words(text: str) -> list[str]:
    return sorted({found.group(0) for found in WORDS.finditer(" ".join(text.split()).lower())})


def path_of(address: str) -> str:
    """The path without row ids: the pages of a thousand agents have one."""
    return re.sub(r"[0-9]+", "#", address.partition("?")[0])


def kind_of(address: str) -> str:
    """The path and the names of its parameters, without their values."""
    query = parse_qs(address.partition("?")[2], keep_blank_values=True)
    return f"{path_of(address)}?{'&'.join(sorted(query))}"


def pages(browser: Client, starts: list[str]) -> Iterator[tuple[str, str]]:
    """Follow links from the start pages; yields the URL and text of each page, a few per kind."""
    waiting, seen = list(starts), set(starts)
    visits: Counter[str] = Counter()
    while waiting:
        address = waiting.pop(0)
        if visits[kind_of(address)] >= MAX_PAGES_PER_KIND or visits[path_of(address)] >= MAX_PAGES_PER_PATH:
            continue
        visits.update((kind_of(address), path_of(address)))
        answer = browser.get(address, follow=True)
        if not answer.headers.get("Content-Type", "").startswith("text/html"):
            continue
        page = Page(answer.content.decode())
        yield address, " \n".join(page.said)
        for link in page.links:
            target = urlsplit(urljoin(address, unescape(link)))
            path = target.path + (f"?{target.query}" if target.query else "")
            is_ours = not target.netloc or target.netloc == "testserver"
            elsewhere = path.startswith(DOCUMENTATION) and not address.startswith(DOCUMENTATION)
            if is_ours and path not in seen and not elsewhere and not SKIPPED.search(path):
                seen.add(path)
                waiting.append(path)


@pytest.fixture
def busy_project(project: Project, owner: User) -> Project:
    """An incident of every kind, and a row of every model that has a page."""
    now = timezone.now()
    for kind in SignalKind.values:
        agent = make_agent(project, f"agent-{kind}")
        make_beat(agent)
        make_incident(agent, kind=kind, reason="Something is wrong")
    make_runner(agent)
    make_command(agent)
    refusals.record(team_id=project.team_id, project_id=project.pk, name="one-too-many", now=now)
    channel = Channel.objects.create(project=project, kind="email", name="On call", config={"to": ["on@example.com"]})
    for event in IncidentEvent.objects.all():
        Delivery.objects.create(event=event, channel=channel, message_id=f"m{event.pk}")
    Maintenance.objects.create(project=project, reason="Upgrade", starts_at=now, ends_at=now + timedelta(hours=1))
    services.invite(team=project.team, email="new@example.com", role="viewer", invited_by=owner, now=now)
    services.issue_key(project=project, name="a key", actor=owner.email)
    return project


def test_the_glossary_has_about_25_terms() -> None:
    terms = re.findall(r"^\| (?!term|---)([A-Z][^|]+) \|", GLOSSARY, re.MULTILINE)
    assert 20 <= len(terms) <= 30
    assert len(replaced_words()) >= 20


@pytest.mark.parametrize("who", ["owner", "viewer", "operator"])
def test_pages_use_the_glossary(
    busy_project: Project, who: str, client_of: Callable[[User], Client], request: pytest.FixtureRequest
) -> None:
    person = request.getfixturevalue(who)
    read = list(pages(client_of(person), ["/admin/", "/accounts/profile/", "/accounts/teams/"]))
    assert len(read) > 30
    assert {address: words for address, text in read if (words := old_words(text))} == {}


def test_documentation_uses_the_glossary(client: Client) -> None:
    paths = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md") if path.name != "glossary.md"]
    addresses = [f"/docs/{path.with_suffix('')}/" for path in paths if path.name != "README.md"]
    read = list(pages(client, ["/docs/", *addresses]))
    assert len(read) >= len(paths) - 1  # the decisions' own list is a page by another name
    assert {address: words for address, text in read if (words := old_words(text))} == {}


def test_public_pages_use_the_glossary(busy_project: Project) -> None:
    read = list(
        pages(Client(), ["/", "/accounts/login/", "/accounts/signup/", "/accounts/password/reset/", "/nothing/"])
    )
    assert len(read) >= 5
    assert {address: words for address, text in read if (words := old_words(text))} == {}


def test_empty_pages_use_the_glossary(project: Project, owner: User, client_of: Callable[[User], Client]) -> None:
    read = list(pages(client_of(owner), ["/admin/"]))
    assert {address: words for address, text in read if (words := old_words(text))} == {}


@pytest.mark.parametrize("kind", ["opened", "updated", "acknowledged", "reopened", "resolved"])
def test_messages_use_the_glossary(busy_project: Project, kind: str) -> None:
    deliveries = list(Delivery.objects.select_related("event", "channel"))
    incidents = message.incidents_of(deliveries)
    for delivery in deliveries:
        assert delivery.event is not None
        delivery.event.kind = kind
        composed: Any = email.compose("on@example.com", message.of_delivery(delivery, incidents))
        text = f"{composed.subject}\n{composed.body}\n{composed.alternatives[0][0]}"
        assert old_words(text) == [], composed.subject


def test_other_mails_use_the_glossary(busy_project: Project, owner: User, client: Client) -> None:
    refusals.mail_owners(timezone.now())
    client.post("/accounts/password/reset/", {"email": owner.email})
    client.post("/accounts/password/reset/", {"email": "unknown@example.com"})
    client.post("/accounts/signup/", {"email": "fresh@example.com", "password1": "correct horse battery"})
    assert len(mail.outbox) >= 3
    assert {sent.subject: words for sent in mail.outbox if (words := old_words(f"{sent.subject}\n{sent.body}"))} == {}


@pytest.mark.parametrize("path", sorted((ROOT / "templates").rglob("*.*")), ids=lambda path: path.name)
def test_templates_use_the_glossary(path: Path) -> None:
    """The text of each template, because some states are too rare to be rendered here."""
    text = re.sub(r"\{[%#].*?[%#]\}|\{\{.*?\}\}", " ", path.read_text(), flags=re.DOTALL)
    assert old_words(" \n".join(Page(text).said)) == []
