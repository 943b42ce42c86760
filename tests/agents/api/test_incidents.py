"""Incidents over the API."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from agents.ingest.registration import create_agent
from agents.models import Agent, Incident, Signal
from teams.models import Project
from tests.agents.api.conftest import Call

pytestmark = pytest.mark.django_db


def test_incident_has_signals_and_timeline(as_reader: Call, agent: Agent, incident: Incident) -> None:
    shown = as_reader("GET", f"incidents/{incident.pk}").json()
    assert (shown["id"], shown["kind"], shown["kinds"], shown["state"]) == (incident.pk, "stalled", ["stalled"], "open")
    assert shown["agent"]["name"] == "research-agent"
    assert shown["evidence"] == shown["signals"][0]["evidence"] == {"timeout": 300}
    assert as_reader("GET", "incidents").json()["results"] == [shown]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("state=open", True),
        ("state=acknowledged", False),
        ("state=resolved", False),
        ("kind=stalled", True),
        ("kind=loop", True),
        ("kind=cost", False),
        ("agent=0", False),
        ("agent=99999999999999999999999", False),
        ("agent=research-agent", True),
        ("agent=other-agent", False),
        ("agent=-1", False),
        ("agent=%C2%B2", False),
        ("agent=&kind=&state=", True),
    ],
)
def test_incidents_are_filtered(as_reader: Call, agent: Agent, incident: Incident, query: str, found: bool) -> None:
    now = timezone.now()
    Signal.objects.create(
        incident=incident, agent=agent, kind="loop", severity="warning", reason="x", started_at=now, opened_at=now
    )
    assert as_reader("GET", f"incidents?{query}").json()["count"] == int(found)


def test_incidents_of_one_agent(as_reader: Call, agent: Agent, incident: Incident) -> None:
    assert as_reader("GET", f"incidents?agent={agent.pk}&state=open").json()["count"] == 1


def test_shared_incidents_count_for_each_agent(as_reader: Call, agent: Agent, incident: Incident) -> None:
    other = create_agent(project=agent.project, name="other", now=timezone.now())
    assert as_reader("GET", f"incidents?agent={other.pk}").json()["count"] == 0
    facts = {"kind": "missed_heartbeat", "severity": "critical", "reason": "x"}
    now = timezone.now()
    Signal.objects.create(incident=incident, agent=other, started_at=now, opened_at=now, **facts)
    assert as_reader("GET", f"incidents?agent={other.pk}").json()["count"] == 1


@pytest.mark.parametrize("query", ["state=closed", "kind=boredom"])
def test_unknown_filter_value_is_refused(as_reader: Call, query: str) -> None:
    answer = as_reader("GET", f"incidents?{query}")
    assert answer.status_code == 422
    assert list(answer.json()["error"]["fields"]) == [query.partition("=")[0]]


def test_acknowledging_records_the_actor(as_full: Call, incident: Incident) -> None:
    shown = as_full("POST", f"incidents/{incident.pk}/acknowledge").json()
    assert shown["state"] == "acknowledged"
    assert shown["acknowledged_at"]
    assert shown["timeline"][-1]["actor"].startswith("key:cv_")
    assert as_full("GET", "incidents?state=acknowledged").json()["count"] == 1


def test_manual_resolution(as_full: Call, incident: Incident) -> None:
    shown = as_full("POST", f"incidents/{incident.pk}/resolve").json()
    assert shown["state"] == "resolved"
    assert as_full("POST", f"incidents/{incident.pk}/resolve").json() == shown


def test_query_count_does_not_grow_with_incidents(
    as_reader: Call, project: Project, django_assert_max_num_queries: Any
) -> None:
    now = timezone.now()
    facts = {"kind": "stalled", "severity": "critical", "reason": "x", "started_at": now, "opened_at": now}
    for number in range(30):
        agent = create_agent(project=project, name=f"agent-{number}", now=now)
        incident = Incident.objects.create(project=project, agent=agent, **facts)
        Signal.objects.create(incident=incident, agent=agent, **facts)
    as_reader("GET", "agents")
    with django_assert_max_num_queries(5):
        assert as_reader("GET", "incidents").json()["count"] == 30
