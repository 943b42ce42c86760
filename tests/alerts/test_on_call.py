"""On-call rotations: over the API, in policies, and as a calendar."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from icalendar import Calendar

from agents.incidents import events
from agents.models import Incident
from alerts import on_call, policy_changes, policy_preview, wakeup
from alerts.models import Channel, Delivery, OnCall
from teams.models import AuditEntry, Project
from teams.services import issue_key
from tests.alerts.conftest import NOW
from tests.alerts.test_api import caller

LAYER = {"people": ["ann@example.com", "Ben@example.com"], "first": "2026-11-02", "at": "09:00", "days": 7}
ROTATION = {"zone": "UTC", "layers": [LAYER]}


@pytest.fixture
def api(full_key: str, project: Project, monkeypatch: pytest.MonkeyPatch) -> Any:
    """It is Monday, 23 November 2026: Ben’s second week."""
    monkeypatch.setattr("alerts.on_call_api.timezone.now", lambda: NOW)
    monkeypatch.setattr(wakeup, "wake", lambda _: None)
    people = {"to": ["ann@example.com", "ben@example.com"]}
    Channel.objects.create(project=project, kind="email", name="People", config=people)
    return caller(full_key)


def test_rotation_is_put_read_and_deleted(api: Any) -> None:
    status, made = api("put", "on-call/Primary", ROTATION)
    assert status == 200
    assert (made["zone"], made["layers"]) == ("UTC", [{**LAYER, "hours": None}])
    assert (made["name"], made["on_call"], made["until"]) == ("Primary", "Ben@example.com", "2026-11-30T09:00:00Z")
    assert api("put", "on-call/Primary", ROTATION) == (200, made)
    assert api("get", "on-call/Primary") == (200, made)
    assert api("get", "on-call")[1]["results"] == [made]
    assert AuditEntry.objects.filter(action="rotation.changed").count() == 1
    assert api("delete", "on-call/Primary") == (204, None)
    assert api("get", "on-call/Primary")[0] == 404
    assert api("delete", "on-call/Primary")[0] == 404


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {**ROTATION, "zone": "Mars/Base"},
        {**ROTATION, "layers": [{"people": ["dora@example.com"], "first": "2026-11-02"}]},
    ],
)
def test_invalid_rotations_are_refused(api: Any, body: Any) -> None:
    assert api("put", "on-call/Primary", body)[0] == 422
    assert not OnCall.objects.exists()


def test_rotations_of_others_are_unknown(api: Any, stranger: Any) -> None:
    theirs = Project.objects.get(team__members=stranger)
    OnCall.objects.create(project=theirs, name="Primary", rotation=ROTATION)
    assert api("get", "on-call/Primary")[0] == 404
    assert api("delete", "on-call/Primary")[0] == 404
    assert api("get", "on-call")[1]["results"] == []


def test_policy_notifies_whoever_is_on_call(api: Any, project: Project, incident: Incident) -> None:
    rules = [{"name": "R", "steps": [{"on_call": ["primary"]}]}]
    assert "no on-call rotation" in str(api("put", "policy", {"rules": rules}))
    api("put", "on-call/Primary", ROTATION)
    assert api("put", "policy", {"rules": rules})[0] == 200
    shown = policy_preview.preview(policy_changes.rules_of(project), incident.agent, "stalled", "critical", NOW)
    assert [notice.targets for notice in shown] == [("Ben@example.com (on call)",)]
    events.record(incident=incident, kind="opened", text="x", now=NOW)
    assert Delivery.objects.get().recipient == "ben@example.com"


@pytest.mark.parametrize("scope", ["read", "act"])
def test_calendar_is_for_full_keys_only(api: Any, project: Project, scope: str) -> None:
    """Its address works for longer than a key that is revoked."""
    api("put", "on-call/Primary", ROTATION)
    ask = caller(issue_key(project=project, name="k", scope=scope, actor="test")[1])
    assert ask("get", "on-call/Primary")[1]["feed_url"] is None
    assert [row["feed_url"] for row in ask("get", "on-call")[1]["results"]] == [None]
    assert api("get", "on-call")[1]["results"][0]["feed_url"]


def test_calendar_needs_its_private_address(api: Any) -> None:
    address = "/" + api("put", "on-call/Primary", ROTATION)[1]["feed_url"].split("/", 3)[3]
    answer = Client().get(address)
    assert answer.headers["Content-Type"] == "text/calendar; charset=utf-8"
    shown = list(Calendar.from_ical(answer.content).walk("VEVENT"))
    assert str(shown[0]["summary"]) == "ann@example.com is on call (Primary)"
    assert [event["dtstart"].dt.isoformat() for event in shown[1:3]] == [
        "2026-11-23T09:00:00+00:00",
        "2026-11-30T09:00:00+00:00",
    ]
    assert Client().get("/alerts/on-call/x.ics").status_code == 404
    on_call.delete(row=OnCall.objects.get(), actor="test")
    assert Client().get(address).status_code == 404
