"""The page of incoming webhooks: a secret shown once, one block to paste, a light that turns green."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from django.test import Client

from agents.fleet import webhooks
from agents.models import IncomingWebhook
from teams.models import AuditEntry, Project, User
from tests.agents.admin.conftest import Browse, make_agent
from tests.agents.doors.webhooks.payloads import hexed

pytestmark = pytest.mark.django_db
LIST = "/admin/agents/incomingwebhook/"


def add(browser: Client, project: Project, **values: Any) -> str:
    data = {"project": project.pk, "kind": "github", "name": "acme/bot", "agent": "", "chosen_secret": "", **values}
    return unescape(browser.post(f"{LIST}add/", data).content.decode())


def test_secret_is_made_and_shown_once(member: User, project: Project, client_of: Browse) -> None:
    browser = client_of(member)
    page = add(browser, project)
    webhook = IncomingWebhook.objects.get()
    assert page.count(webhook.secret) == 2, "in the block, and by itself"
    assert f"/hooks/github/{webhook.address}" in page
    again = browser.get(f"{LIST}{webhook.pk}/change/").content.decode()
    assert webhook.secret not in again
    assert f"/hooks/github/{webhook.address}" in again
    assert AuditEntry.objects.get(action="webhook.created").target == "acme/bot"
    assert webhook.secret not in str(AuditEntry.objects.values())


@pytest.mark.parametrize("kind", ["github", "gitlab", "alertmanager"])
def test_block_has_all_that_the_sender_needs(kind: str, member: User, project: Project, client_of: Browse) -> None:
    page = add(client_of(member), project, kind=kind)
    block = re.search(r'id="webhook-setup">(.*?)</code>', page, re.S)
    webhook = IncomingWebhook.objects.get()
    assert block
    assert f"/hooks/{kind}/{webhook.address}" in block[1]
    assert webhook.secret in block[1]


def test_light_turns_green_with_the_first_request(member: User, project: Project, client_of: Browse) -> None:
    browser = client_of(member)
    add(browser, project)
    webhook = IncomingWebhook.objects.get()
    part = f"{LIST}{webhook.pk}/live/now/"
    assert "Waiting for the first request from GitHub" in browser.get(part).content.decode()
    address, body = f"/hooks/github/{webhook.address}", b'{"zen": "Keep it logically awesome."}'
    Client(headers={"X-Hub-Signature-256": "sha256=0"}).post(address, body, "application/json")
    assert "Refused" in browser.get(part).content.decode()
    signed = {"X-Hub-Signature-256": f"sha256={hexed(body, webhook.secret)}", "X-GitHub-Event": "ping"}
    Client(headers=signed).post(address, body, "application/json")
    assert "Working" in browser.get(LIST).content.decode()


def test_sentry_needs_its_own_secret(member: User, project: Project, client_of: Browse) -> None:
    browser = client_of(member)
    assert webhooks.ASK_SENTRY in add(browser, project, kind="sentry")
    assert "16 to 200 characters" in add(browser, project, kind="sentry", chosen_secret="short")
    page = add(browser, project, kind="sentry", chosen_secret="c" * 64)
    assert "c" * 64 not in page
    assert IncomingWebhook.objects.get().secret == "c" * 64


def test_secret_is_replaced(member: User, viewer: User, project: Project, client_of: Browse) -> None:
    browser = client_of(member)
    add(browser, project)
    webhook = IncomingWebhook.objects.get()
    page = f"{LIST}{webhook.pk}/new_secret/"
    assert "stops working immediately" in browser.get(page).content.decode()
    assert client_of(viewer).post(page).status_code in (302, 403)
    shown = unescape(browser.post(page).content.decode())
    new = IncomingWebhook.objects.get().secret
    assert new != webhook.secret
    assert new in shown
    assert AuditEntry.objects.filter(action="webhook.secret_replaced").count() == 1


def test_agent_must_be_of_the_project(
    member: User, owner: User, project: Project, stranger: User, client_of: Browse
) -> None:
    theirs = make_agent(Project.objects.exclude(pk=project.pk).get())
    assert "Select a valid choice" in add(client_of(member), project, agent=theirs.pk)
    assert not IncomingWebhook.objects.exists()


def test_changed_and_deleted(member: User, project: Project, client_of: Browse) -> None:
    browser, agent = client_of(member), make_agent(project)
    add(browser, project)
    webhook = IncomingWebhook.objects.get()
    browser.post(f"{LIST}{webhook.pk}/change/", {"name": "new name", "agent": agent.pk})
    changed = IncomingWebhook.objects.get()
    assert (changed.name, changed.agent, changed.secret) == ("new name", agent, webhook.secret)
    browser.post(f"{LIST}{webhook.pk}/delete/", {"post": "yes"})
    assert not IncomingWebhook.objects.exists()
    assert AuditEntry.objects.filter(action__startswith="webhook.").count() == 3


def test_webhooks_per_project(member: User, project: Project, client_of: Browse, monkeypatch: Any) -> None:
    monkeypatch.setattr(webhooks, "MAX_WEBHOOKS", 1)
    add(client_of(member), project)
    add(client_of(member), project)
    assert IncomingWebhook.objects.count() == 1
