"""Deliveries as they come: proved, stored once, shown on the timelines of the right agents, refused with a reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.test import Client

from agents.doors import webhook_views
from agents.doors.webhooks import storing
from agents.models import Agent, Heartbeat, IncomingWebhook, OutsideEvent
from agents.reporting import history
from agents.storage import retention
from teams import rate_limits
from teams.models import Project, User
from tests.agents.admin.conftest import make_agent, make_incident
from tests.agents.doors.webhooks.payloads import NOW, SECRET, headers_of, payload
from tests.security.test_at_rest import dump

pytestmark = pytest.mark.django_db
Deliver = Callable[..., Any]
DELIVERIES = [
    ("github", "deployment_status"),
    ("github", "release"),
    ("github", "workflow_run"),
    ("gitlab", "deployment"),
    ("gitlab", "release"),
    ("alertmanager", ""),
    ("sentry", "event_alert"),
    ("sentry", "issue"),
    ("sentry", "metric_alert"),
]


@pytest.fixture(autouse=True)
def _at_the_time_of_the_payloads() -> Any:
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def agent(project: Project) -> Agent:
    return make_agent(project)


def webhook_of(project: Project, kind: str, **values: Any) -> IncomingWebhook:
    return IncomingWebhook.objects.create(project=project, kind=kind, name="acme/bot", secret=SECRET, **values)


def send(webhook: IncomingWebhook, event: str, body: Any, **headers: str) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    signed = {**headers_of(webhook.kind, event, raw), **headers}
    client = Client(headers=signed, raise_request_exception=False)
    return client.post(f"/hooks/{webhook.kind}/{webhook.address}", raw, content_type="application/json")


def sample(kind: str, event: str) -> Any:
    return payload(f"{kind}.{event}" if event else kind)


def shown_to(agent: Agent) -> list[str]:
    found = history.entries(agent, NOW - timedelta(days=40), NOW)
    return [entry.text for entry in found if entry.lane in ("deploys", "alerts")]


@pytest.mark.parametrize(("kind", "event"), DELIVERIES)
def test_delivery_is_on_the_timeline_once(kind: str, event: str, project: Project, agent: Agent) -> None:
    webhook = webhook_of(project, kind)
    answers = [send(webhook, event, sample(kind, event)) for _ in range(3)]
    count = 2 if kind == "alertmanager" else 1
    assert [(answer.status_code, answer.json()) for answer in answers] == [(200, {"stored": count})] * 3
    assert len(shown_to(agent)) == OutsideEvent.objects.count() == count
    webhook.refresh_from_db()
    assert (webhook.is_working, webhook.outcome) == (True, "")
    assert not Heartbeat.objects.exists(), "another system's news is no sign that an agent works"


def test_later_news_replaces_earlier_news(project: Project, agent: Agent) -> None:
    webhook = webhook_of(project, "github")
    running, done = sample("github", "deployment_status"), sample("github", "deployment_status")
    running["deployment_status"] |= {"state": "in_progress", "updated_at": "2026-11-30T10:02:00Z"}
    for body in (running, done, running):
        send(webhook, "deployment_status", body)
    assert shown_to(agent) == ["Deployed acme/bot main (f95f852) to production"]


def test_alert_is_of_the_agent_that_it_names(project: Project, agent: Agent) -> None:
    other, chosen = make_agent(project, "other"), make_agent(project, "chosen")
    send(webhook_of(project, "alertmanager", agent=chosen), "", sample("alertmanager", ""))
    assert [text[:8] for text in shown_to(agent)] == ["HighErro"]
    assert [text[:8] for text in shown_to(chosen)] == ["DiskFull"], "what names no agent is of the webhook's"
    assert shown_to(other) == []


def test_other_projects_see_nothing(project: Project, stranger: User, agent: Agent) -> None:
    theirs = make_agent(Project.objects.exclude(pk=project.pk).get())
    webhook = webhook_of(project, "alertmanager", agent=theirs)
    send(webhook, "", sample("alertmanager", ""))
    assert shown_to(theirs) == []
    assert len(shown_to(agent)) == 2


@pytest.mark.parametrize(("kind", "event"), DELIVERIES)
def test_wrong_secret_is_refused_and_explained(kind: str, event: str, project: Project) -> None:
    webhook = webhook_of(project, kind)
    IncomingWebhook.objects.update(secret="another secret")
    answer = send(webhook, event, sample(kind, event))
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_signature")
    webhook.refresh_from_db()
    assert (webhook.is_working, webhook.outcome) == (False, answer.json()["error"]["message"])
    assert "fit the secret" in webhook.outcome
    assert SECRET not in webhook.outcome
    assert not OutsideEvent.objects.exists()


def test_refusals_are_noted_now_and_then(project: Project) -> None:
    webhook = webhook_of(project, "sentry")
    storing.note_refusal(webhook, "first", NOW)
    storing.note_refusal(webhook, "second", NOW + timedelta(seconds=1))
    webhook.refresh_from_db()
    assert webhook.outcome == "first"


def test_other_events_are_accepted_and_ignored(project: Project) -> None:
    webhook = webhook_of(project, "github")
    answer = send(webhook, "ping", {"zen": "Design for failure.", "hook_id": 1})
    assert answer.status_code == 200
    assert "deployment_status" in answer.json()["reason"]
    webhook.refresh_from_db()
    assert webhook.is_working


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 400), (b"", 400), (b"\xff\x00", 400), (b"[" * 5000, 400), (b"[]", 422), (b"null", 422), (b"{}", 200)],
)
def test_bad_bodies(body: bytes, status: int, project: Project) -> None:
    assert send(webhook_of(project, "github"), "deployment_status", body).status_code == status


def test_large_body_is_refused(project: Project) -> None:
    body = b'{"x": "' + b"x" * webhook_views.MAX_BODY + b'"}'
    assert send(webhook_of(project, "github"), "push", body).status_code == 413


def test_flood_is_refused(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "WEBHOOKS", rate_limits.WEBHOOKS._replace(most=2))
    webhook = webhook_of(project, "gitlab")
    IncomingWebhook.objects.update(secret="another secret")
    assert [send(webhook, "", {}).status_code for _ in range(4)] == [401] * 4
    IncomingWebhook.objects.update(secret=SECRET)
    answers = [send(webhook, "", {}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429], "strangers do not use the limit up"
    assert int(answers[2].headers["Retry-After"]) <= 61


def test_unknown_addresses(project: Project) -> None:
    webhook = webhook_of(project, "github")
    assert Client().post("/hooks/github/nowhere").status_code == 404
    assert Client().post(f"/hooks/gitlab/{webhook.address}").status_code == 404
    assert Client().get(f"/hooks/github/{webhook.address}").status_code == 405


def test_secret_is_encrypted_at_rest(project: Project) -> None:
    webhook = webhook_of(project, "github")
    assert webhook.address in dump()
    assert SECRET not in dump()


def test_incident_shows_the_deploy_before_it(
    project: Project, agent: Agent, owner: User, client_of: Callable[[User], Client]
) -> None:
    incident = make_incident(agent)
    send(webhook_of(project, "github"), "deployment_status", sample("github", "deployment_status"))
    page = client_of(owner).get(f"/admin/agents/incident/{incident.pk}/change/").content.decode()
    assert "Deployed acme/bot main (f95f852) to production" in page


def test_api_timeline_has_them(project: Project, agent: Agent, full_key: str) -> None:
    send(webhook_of(project, "github"), "release", sample("github", "release"))
    answer = Client(headers={"X-API-Key": full_key}).get(f"/api/v1/agents/{agent.pk}/timeline").json()
    told = [(one["kind"], one["text"], one["actor"]) for one in answer["results"]]
    assert told == [("deploy", "Released acme/bot v1.4.0", "GitHub")]


def test_old_events_are_forgotten(project: Project) -> None:
    send(webhook_of(project, "github"), "release", sample("github", "release"))
    retention.forget_old(NOW)
    assert OutsideEvent.objects.count() == 1
    retention.forget_old(NOW + timedelta(days=800))
    assert not OutsideEvent.objects.exists()
