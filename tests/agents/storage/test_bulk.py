"""Rows written in sets."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext

from agents.models import Incident, IncidentEvent, Severity, Signal
from agents.storage import bulk
from billing.models import Subscription
from tests.agents.conftest import T0, World

TEXT = 'It’s “down”: 100 % of {"a": [1]}\n'


def incidents(world: World, count: int) -> list[Incident]:
    """New ones, each of an agent of its own."""
    Subscription.objects.create(team=world.project.team, plan="enterprise")
    made = []
    for number in range(count):
        world.beat(0, f"bot-{number}")
        at = T0 + timedelta(microseconds=number)
        agent, what = world.agent(f"bot-{number}"), {"kind": "stalled", "severity": Severity.CRITICAL}
        made.append(Incident(project=world.project, agent=agent, reason=TEXT, started_at=at, opened_at=T0, **what))
    return made


def signal_of(incident: Incident, evidence: Any) -> Signal:
    what = {"kind": incident.kind, "severity": incident.severity, "reason": TEXT, "evidence": evidence}
    return Signal(incident=incident, agent=incident.agent, started_at=T0, opened_at=T0, **what)


def test_inserted_objects_know_their_keys(world: World) -> None:
    made = incidents(world, 12)
    bulk.insert(made)
    stored = list(Incident.objects.order_by("pk"))
    assert [(one.pk, one.agent_id, one.started_at) for one in stored] == [
        (one.pk, one.agent_id, one.started_at) for one in made
    ]
    assert (stored[0].reason, stored[0].severity, stored[0].resolved_at) == (TEXT, "critical", None)


def test_inserted_objects_refer_to_new_ones(world: World) -> None:
    made = incidents(world, 3)
    signals = [signal_of(one, {"deadline": None, "n": 1.5, "text": TEXT}) for one in made]
    events = [IncidentEvent(incident=one, kind="opened", text=TEXT, at=T0) for one in made]
    for rows in (made, signals, events):
        bulk.insert(rows)
    assert [signal.incident_id for signal in Signal.objects.order_by("pk")] == [one.pk for one in made]
    assert Signal.objects.filter(evidence__n=1.5).count() == 3
    with CaptureQueriesContext(connection) as queries:
        assert [event.incident.agent.name for event in events] == ["bot-0", "bot-1", "bot-2"]
    assert not queries


def test_updated_columns_keep_their_types(world: World) -> None:
    made = incidents(world, 2)
    bulk.insert(made)
    signals = [signal_of(one, {}) for one in made]
    bulk.insert(signals)
    for number, signal in enumerate(signals):
        signal.evidence, signal.cleared_at = {"n": number}, T0 + timedelta(seconds=number) if number else None
    bulk.update(signals, ("evidence", "cleared_at"))
    rows = Signal.objects.order_by("pk").values_list("evidence", "cleared_at")
    assert list(rows) == [({"n": 0}, None), ({"n": 1}, T0 + timedelta(seconds=1))]
