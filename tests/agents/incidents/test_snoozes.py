"""Snoozing: for how long, and what happens at its end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agents.incidents import actions, snoozes
from agents.ingest.registration import create_agent
from agents.models import Incident, IncidentEvent
from teams.errors import ApiError
from teams.models import AuditEntry, Project

NOW = datetime(2026, 11, 23, 22, 25, 57, tzinfo=UTC)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.fixture
def incident(project: Project) -> Incident:
    agent = create_agent(project=project, name="bot", now=NOW)
    facts = {"kind": "stalled", "severity": "warning", "reason": "r", "started_at": NOW, "opened_at": NOW}
    return Incident.objects.create(project=project, agent=agent, **facts)


def notes(kind: str = "note") -> list[str]:
    return list(IncidentEvent.objects.filter(kind=kind).values_list("text", flat=True))


@pytest.mark.parametrize(
    ("now", "zone", "end"),
    [
        ("2026-11-23 22:25", "UTC", "2026-11-24 08:00"),
        ("2026-11-23 22:25", "Asia/Tokyo", "2026-11-24 23:00"),  # at 7:25 there, 8:00 is too near
        ("2026-11-23 05:00", "UTC", "2026-11-23 08:00"),
        ("2026-11-23 07:30", "UTC", "2026-11-24 08:00"),
        ("2026-03-28 22:00", "Europe/Berlin", "2026-03-29 06:00"),  # the clock goes forward at 2:00
        ("2026-10-24 22:00", "Europe/Berlin", "2026-10-25 07:00"),
        ("2026-11-23 22:25", "Mars/Base", "2026-11-24 08:00"),
    ],
)
def test_morning_is_eight_by_the_local_clock(now: str, zone: str, end: str) -> None:
    assert snoozes.end_of("morning", at(now), zone) == at(end)


def test_lengths_and_their_labels() -> None:
    assert snoozes.end_of("30m", NOW, "UTC") == NOW + timedelta(minutes=30)
    assert snoozes.end_of("2h", NOW, "UTC") == NOW + timedelta(hours=2)
    assert snoozes.labels(NOW, "Europe/Berlin") == {
        "30m": "For 30 minutes, until 23:55",
        "2h": "For 2 hours, until 01:25",
        "morning": "Until Tuesday, 08:00",
    }


@pytest.mark.parametrize("choice", ["", "forever", "2H"])
def test_other_lengths_are_refused(choice: str) -> None:
    with pytest.raises(ApiError, check=lambda error: error.http_status == 422):
        snoozes.end_of(choice, NOW, "UTC")


@pytest.mark.django_db
@pytest.mark.parametrize("hours", [-1, 0, 24 * 7 + 1])
def test_time_must_be_within_a_week(incident: Incident, hours: int) -> None:
    with pytest.raises(ApiError, check=lambda error: error.http_status == 422):
        snoozes.snooze(incident=incident, until=NOW + timedelta(hours=hours), actor="a@b.c", now=NOW)
    assert notes() == []


@pytest.mark.django_db
def test_snooze_is_on_the_timeline_and_in_the_log(incident: Incident) -> None:
    snoozes.snooze(incident=incident, until=NOW + timedelta(hours=2), actor="ann@example.com", now=NOW)
    snoozes.end(incident=incident, actor="ben@example.com", now=NOW)
    snoozes.end(incident=incident, actor="ben@example.com", now=NOW)
    assert notes() == [
        "Snoozed until 24 Nov 2026, 00:25:57 UTC by ann@example.com",
        "Snooze ended by ben@example.com",
    ]
    snoozed = AuditEntry.objects.filter(action__startswith="incident.").order_by("pk").values_list("actor", "action")
    assert list(snoozed) == [("ann@example.com", "incident.snooze"), ("ben@example.com", "incident.unsnooze")]


@pytest.mark.django_db
def test_reminder_comes_once_at_the_end(incident: Incident) -> None:
    snoozes.snooze(incident=incident, until=NOW + timedelta(hours=2), actor="a@b.c", now=NOW)
    for minutes in (119, 120, 121, 300):
        snoozes.end_due(NOW + timedelta(minutes=minutes))
    [reminder] = IncidentEvent.objects.filter(kind="reminder")
    assert reminder.at == NOW + timedelta(hours=2)
    incident.refresh_from_db()
    assert incident.snoozed_until is None


@pytest.mark.django_db
@pytest.mark.parametrize("action", [actions.acknowledge, actions.mute])
def test_no_reminder_of_what_is_taken(incident: Incident, action: Any) -> None:
    snoozes.snooze(incident=incident, until=NOW + timedelta(hours=2), actor="a@b.c", now=NOW)
    action(incident=incident, actor="a@b.c", now=NOW)
    snoozes.end_due(NOW + timedelta(hours=3))
    assert notes("reminder") == []


@pytest.mark.django_db
def test_resolved_incident_cannot_be_snoozed(incident: Incident) -> None:
    Incident.objects.update(resolved_at=NOW)
    with pytest.raises(ApiError, check=lambda error: error.code == "incident_resolved"):
        snoozes.snooze(incident=incident, until=NOW + timedelta(hours=2), actor="a@b.c", now=NOW)
    Incident.objects.update(snoozed_until=NOW)
    snoozes.end_due(NOW)
    assert notes("reminder") == []
