"""What the rules are, what a project sets of them, and trying one on history, over the API."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from agents import rules
from agents.models import Agent, AgentState, Heartbeat, Incident
from agents.review import backtest
from teams.models import AuditEntry, Project
from tests.agents.api.conftest import Call

pytestmark = pytest.mark.django_db


@pytest.fixture
def history(agent: Agent) -> Agent:
    """An hour in which it called the same again and again for ten minutes, until half an hour ago."""
    now = timezone.now()
    AgentState.objects.update(last_beat_at=now, beats=60)
    same = [{"name": "search_docs", "args": "release notes"}]
    for minute in range(60, 0, -1):
        at, loops = now - timedelta(minutes=minute), 30 <= minute < 40
        found = {"calls": same if loops else [{"name": "read", "args": f"page {minute}"}]}
        facts = {"progress": True, "tool_calls": 1, "tokens": 10_000, "content": found}
        Heartbeat.objects.create(agent=agent, day=at.date(), received_at=at, spent_at=at, status="ok", **facts)
    return agent


def trying(call: Call, **body: Any) -> Any:
    answer = call("POST", "rules/try", {"rule": "loop", **body})
    assert answer.status_code == 200, answer.content
    return answer.json()


def test_backtest_shows_when_it_would_have_fired(as_reader: Call, history: Agent, incident: Incident) -> None:
    tried = trying(as_reader, agent=history.pk)
    (one,) = tried["agents"]
    assert (tried["rule"], tried["left_out"], one["agent"]["name"]) == ("loop", 0, history.name)
    assert (one["heartbeats"], one["learned_from"], one["note"]) == (60, 0, None)
    assert one["why"] == "no older heartbeat is stored"
    (found,) = one["findings"]
    assert found["reason"].startswith("`search_docs(release notes)` called ")
    assert (found["kind"], found["evidence"]["tools"]) == ("loop", ["search_docs"])
    assert 60 <= found["seconds"] < 1200
    assert found["started_at"] < found["fired_at"] < found["over_at"]
    assert [other["incident"] for other in one["incidents"]] == [incident.pk]


def test_backtest_by_name_with_other_thresholds(as_reader: Call, history: Agent) -> None:
    (one,) = trying(as_reader, agent=history.name, thresholds={"repeats": 20}, hours=2)["agents"]
    assert (one["thresholds"], one["findings"]) == ({"repeats": 20}, [])


def test_backtest_without_agent_tests_the_project(as_reader: Call, history: Agent) -> None:
    assert [len(one["findings"]) for one in trying(as_reader)["agents"]] == [1]


def test_backtest_since_a_time(as_reader: Call, history: Agent) -> None:
    since = timezone.now() - timedelta(minutes=20.5)
    (one,) = trying(as_reader, agent=history.pk, since=since.isoformat())["agents"]
    assert (one["heartbeats"], one["learned_from"]) == (20, 40)
    assert trying(as_reader, since="1900-01-01T00:00:00Z")["agents"][0]["heartbeats"] == 60


def test_backtest_reports_too_little_history(as_reader: Call, agent: Agent) -> None:
    (one,) = trying(as_reader, agent=agent.pk)["agents"]
    assert one["note"] == "No heartbeats are stored for this time, so there is nothing to test the rule on."


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"rule": "lop"}, "rule"),
        ({"rule": "restart_failed"}, "rule"),
        ({"thresholds": {"laps": 2}}, "thresholds.laps"),
        ({"thresholds": {"repeats": 1}}, "thresholds.repeats"),
        ({"thresholds": 5}, "thresholds"),
        ({"hours": 0}, "hours"),
        ({"hours": 10, "since": "2026-01-01T00:00:00Z"}, "since"),
        ({"since": "2999-01-01T00:00:00Z"}, "since"),
        ({"agent": True}, "agent"),
    ],
)
def test_invalid_backtest_names_its_field(as_reader: Call, agent: Agent, body: dict[str, Any], field: str) -> None:
    answer = as_reader("POST", "rules/try", {"rule": "loop", **body})
    assert answer.status_code == 422
    assert list(answer.json()["error"]["fields"]) == [field]


@pytest.mark.parametrize("given", [0, -1, 2**80, "nobody", "nul\0", "x" * 500])
def test_unknown_agent_is_404(as_reader: Call, agent: Agent, given: Any) -> None:
    assert as_reader("POST", "rules/try", {"rule": "loop", "agent": given}).status_code == 404


def test_other_projects_agent_is_404(as_stranger: Call, history: Agent) -> None:
    for given in (history.pk, history.name):
        assert as_stranger("POST", "rules/try", {"rule": "loop", "agent": given}).status_code == 404
    assert trying(as_stranger)["agents"] == []


def test_agent_key_may_not_backtest(as_agent: Call, history: Agent) -> None:
    assert as_agent("POST", "rules/try", {"rule": "loop"}).status_code == 403


def test_rules_are_listed_with_thresholds(as_reader: Call, project: Project) -> None:
    shown = as_reader("GET", "rules").json()
    assert shown["rules"] == {}
    assert [one["rule"] for one in shown["known"]] == list(rules.every())
    (calls,) = next(one for one in shown["known"] if one["rule"] == "call_rate")["thresholds"]
    assert (calls["name"], calls["type"], calls["default"], calls["minimum"]) == ("calls", "integer", 10, 1)


def test_project_rules_are_replaced_as_a_whole(as_full: Call, agent: Agent, project: Project) -> None:
    given = {"call_rate": {"on": True, "calls": 30}}
    shown = as_full("PATCH", "rules", {"rules": given}).json()
    assert shown["rules"] == given
    assert next(one for one in shown["known"] if one["rule"] == "call_rate")["on"] is True
    assert AuditEntry.objects.get(action="project.changed").data == {"rules": {"from": {}, "to": given}}
    assert as_full("PATCH", "rules", {"rules": {"loop": {}}}).json()["rules"] == {}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "rules: This field is required."),
        ({"rules": {"lop": {"off": True}}}, "rules: lop is not a rule; rules are crash,"),
        ({"rules": {"loop": {"repeats": 1}}}, "rules: loop.repeats must be a whole number from 2 to 1,000"),
    ],
)
def test_unknown_rule_is_refused(as_full: Call, project: Project, body: dict[str, Any], says: str) -> None:
    answer = as_full("PATCH", "rules", body)
    assert answer.status_code == 422
    assert answer.json()["error"]["message"].startswith(says)
    project.refresh_from_db()
    assert project.rules == {}


def test_concurrent_backtests_are_limited(as_reader: Call, history: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = threading.BoundedSemaphore(1)
    monkeypatch.setattr(backtest, "_running", turns)
    with turns:
        answer = as_reader("POST", "rules/try", {"rule": "loop", "agent": history.pk})
        assert (answer.status_code, answer["Retry-After"]) == (503, "5")
        assert as_reader("POST", "rules/try", {"rule": "loop"}).status_code == 503
    assert trying(as_reader)["agents"][0]["heartbeats"] == 60
    assert turns.acquire(blocking=False)
