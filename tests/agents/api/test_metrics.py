"""`/metrics` for Prometheus, and the dashboard that reads it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from agents.ingest.registration import NewAgent, create_agents
from agents.models import Agent, AgentState, Incident, SignalKind, Status
from teams import services
from teams.models import Project, User

DASHBOARD = Path(__file__).resolve().parents[3] / "deploy/grafana/dashboard.json"


@pytest.fixture
def key(project: Project) -> str:
    return services.issue_key(project=project, name="prometheus", scope="read", actor="test")[1]


def scrape(key: str) -> dict[str, dict[str, float]]:
    """Metric -> its samples by their label values."""
    answer = Client(headers={"Authorization": f"Bearer {key}"}).get("/metrics")
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith("text/plain; version=")
    samples: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(answer.content.decode()):
        for sample in family.samples:
            samples.setdefault(sample.name, {})[",".join(sample.labels.values())] = sample.value
    return samples


def test_metrics_count_the_project(key: str, agent: Agent, incident: Incident) -> None:
    AgentState.objects.update(day=timezone.now().date(), tokens_today=500, cost_today=1_250_000, hold=True)
    shown = scrape(key)
    assert shown["clevagent_agents"]["stalled"] == 1
    assert shown["clevagent_open_incidents"] == {"warning": 0, "critical": 1}
    assert shown["clevagent_open_signals"]["stalled"] == 1
    assert (shown["clevagent_tokens_today"][""], shown["clevagent_cost_today_dollars"][""]) == (500, 1.25)
    assert (shown["clevagent_heartbeats_total"][""], shown["clevagent_agents_on_hold"][""]) == (1, 1)


def test_yesterdays_spend_does_not_count(key: str, agent: Agent) -> None:
    AgentState.objects.update(day=timezone.now().date().replace(year=2000), tokens_today=500)
    assert scrape(key)["clevagent_tokens_today"][""] == 0


def test_series_do_not_grow_with_agents(key: str, project: Project, django_assert_max_num_queries: Any) -> None:
    before = sum(len(series) for series in scrape(key).values())
    create_agents([NewAgent(project, f"agent {number}") for number in range(300)], timezone.now())
    with django_assert_max_num_queries(8):
        after = scrape(key)
    assert sum(len(series) for series in after.values()) == before
    assert set(after["clevagent_agents"]) == set(Status.values)
    assert set(after["clevagent_open_signals"]) == set(SignalKind.values)
    assert after["clevagent_agents"]["new"] == 300


def test_metrics_are_guarded(api_key: str, agent: Agent, stranger: User) -> None:
    assert Client().get("/metrics").status_code == 401
    assert Client(headers={"X-API-Key": "cv_" + "a" * 40}).get("/metrics").status_code == 401
    assert Client(headers={"X-API-Key": api_key}).get("/metrics").status_code == 403
    theirs = Project.objects.get(team__members=stranger)
    their_key = services.issue_key(project=theirs, name="p", scope="read", actor="test")[1]
    assert scrape(their_key)["clevagent_agents"]["ok"] == 0


def test_dashboard_queries_existing_metrics(key: str) -> None:
    known = scrape(key)
    dashboard = json.loads(DASHBOARD.read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    named = {name for query in queries for name in re.findall(r"clevagent_\w+", query)}
    assert named == set(known)
    for query in queries:
        for metric, label, value in re.findall(r'(clevagent_\w+)\{(\w+)=~"([^"]+)"\}', query):
            assert label == "status"
            assert set(value.split("|")) <= set(known[metric])
