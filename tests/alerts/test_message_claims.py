"""Whatever a message claims is so: its sentences are read and checked against the rows, over random incidents."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.domain import signal_kinds
from agents.models import Agent, AgentState, Heartbeat, Incident, IncidentEvent, Signal
from alerts import message, outbox
from alerts.channels.base import Message
from alerts.models import Channel, Delivery
from teams.models import Project
from tests.alerts.conftest import NOW
from tests.examples import examples

KINDS = sorted(signal_kinds.TRAITS)
BUDGETS = ["day", "tokens", "run", "month", "pace"]
EVENTS = ["opened", "reopened", "updated", "acknowledged", "resolved"]


@dataclass(frozen=True)
class Story:
    """One incident: who is affected, by what, and what has just happened."""

    kind: str
    signals: list[tuple[int, str, str, str, bool]]  # agent, kind, severity, budget, cleared
    event: str
    names_signal: bool
    together: bool
    is_critical: bool
    cost: int
    unpriced: int
    is_acknowledged: bool
    minutes: int
    words: str
    call: str


stories = st.builds(
    Story,
    kind=st.sampled_from(KINDS),
    signals=st.lists(
        st.tuples(
            st.integers(0, 2),
            st.sampled_from(KINDS),
            st.sampled_from(["warning", "critical"]),
            st.sampled_from(BUDGETS),
            st.booleans(),
        ),
        max_size=4,
    ),
    event=st.sampled_from(EVENTS),
    names_signal=st.booleans(),
    together=st.booleans(),
    is_critical=st.booleans(),
    cost=st.sampled_from([0, 40, 1_234_567]),
    unpriced=st.sampled_from([0, 1200]),
    is_acknowledged=st.booleans(),
    minutes=st.integers(0, 90),
    words=st.sampled_from(["", "Reading page 7", "two\nlines"]),
    call=st.sampled_from(["", "search"]),
)


@pytest.fixture
def agents(project: Project) -> list[Agent]:
    agents = [Agent.objects.create(project=project, name=f"bot-{number}") for number in range(3)]
    AgentState.objects.bulk_create(AgentState(agent=agent) for agent in agents)
    return agents


def severity(kind: str, found: str) -> str:
    """Only some kinds have both severities, and a shared month is critical."""
    return found if signal_kinds.traits(kind).is_budget else "critical"


def told(story: Story, agents: list[Agent]) -> tuple[Message, Incident]:
    """Write the story's rows; returns the message, and the incident."""
    at = NOW + timedelta(minutes=story.minutes)
    incident = Incident.objects.create(
        project=agents[0].project, agent=agents[0], kind=story.kind, reason="the reason", together=story.together,
        severity="critical" if story.is_critical else "warning", started_at=NOW, opened_at=NOW, cost=story.cost,
        unpriced=story.unpriced, resolved_at=at if story.event == "resolved" else None,
        acknowledged_at=at if story.is_acknowledged else None,
        acknowledged_by="ada@example.com" if story.is_acknowledged else "",
    )  # fmt: skip
    for number, kind, how_bad, budget, is_cleared in {row[:2]: row for row in story.signals}.values():
        Signal.objects.create(
            incident=incident, agent=agents[number], kind=kind, severity=severity(kind, how_bad), reason=f"{kind} why",
            evidence={"budget": budget} if signal_kinds.traits(kind).is_budget else {}, started_at=NOW,
            opened_at=NOW, cleared_at=at if is_cleared or story.event == "resolved" else None,
        )  # fmt: skip
    Heartbeat.objects.create(
        agent=agents[0], day=NOW.date(), received_at=NOW, status="ok",
        content={"message": story.words, "calls": [{"name": story.call, "args": "q=1"}] if story.call else []},
    )  # fmt: skip
    texts = {"acknowledged": "Acknowledged by ada@example.com", "resolved": "Recovered after 5 min"}
    event = IncidentEvent.objects.create(
        incident=incident,
        kind=story.event,
        at=at,
        text=texts.get(story.event, "the reason"),
        data={"signal": story.signals[-1][1]} if story.names_signal and story.signals else {},
    )
    delivery = Delivery(event=event, channel=Channel(project=agents[0].project), message_id="msg_1", created_at=at)
    return message.of_delivery(delivery, message.incidents_of([delivery])), incident


Claim = Callable[[Message, Incident, Story], bool]


def signals_of(incident: Incident, **conditions: Any) -> int:
    return incident.signals.filter(**conditions).count()


def spends_month(sent: Message, incident: Incident, story: Story) -> bool:
    is_month = signals_of(incident, kind="cost", evidence__budget="month") > 0
    return is_month or (incident.kind == "cost" and incident.together)


def budget_severity(incident: Incident) -> str:
    """Of its newest budget signal; without one, its own."""
    newest = incident.signals.filter(kind="cost").last()
    return newest.severity if newest else incident.severity


# What a title or line may say, and what must then be so.
CLAIMS: list[tuple[str, Claim]] = [
    (r"fell silent together", lambda sent, incident, story: incident.together and incident.kind == "missed_heartbeat"),
    (r"\bmonthly\b", spends_month),
    (r"80 %", lambda sent, incident, story: budget_severity(incident) == "warning"),
    (r"exceeded its", lambda sent, incident, story: budget_severity(incident) == "critical"),
    (r"budget exceeded \(also", lambda sent, incident, story: spends_month(sent, incident, story)),
    (r" again$", lambda sent, incident, story: story.event == "reopened"),
    (r"is down", lambda sent, incident, story: incident.kind == "missed_heartbeat"),
    (r"is stalled", lambda sent, incident, story: incident.kind == "stalled"),
    (r"crashed", lambda sent, incident, story: incident.kind == "crash"),
    (r"[Rr]ecovered", lambda sent, incident, story: incident.resolved_at is not None),
    (r"[Aa]cknowledged", lambda sent, incident, story: story.is_acknowledged or story.event == "acknowledged"),
    (r"automatically|by itself", lambda sent, incident, story: False),
    (r"Cost since start", lambda sent, incident, story: bool(story.cost or story.unpriced)),
    (r"lasted", lambda sent, incident, story: story.event == "resolved"),
]


@pytest.mark.django_db
@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(story=stories)
def test_what_a_message_claims_is_so(agents: list[Agent], story: Story) -> None:
    with transaction.atomic():
        sent, incident = told(story, agents)
        check(sent, incident, story)
        transaction.set_rollback(True)


def check(sent: Message, incident: Incident, story: Story) -> None:
    for text in (sent.title, *sent.lines):
        for pattern, is_so in CLAIMS:
            assert not re.search(pattern, text) or is_so(sent, incident, story), (text, story)
    check_counts(sent, incident)
    check_time(sent, story)
    check_last_words(sent, incident, story)


def check_counts(sent: Message, incident: Incident) -> None:
    if counted := re.search(r"(\d+) agents in", sent.title):
        affected = incident.signals.values("agent").distinct().count()
        assert int(counted[1]) == affected
    named = re.match(r"bot-\d", sent.title)
    is_of_one = bool(named) and signals_of(incident, agent__name=named[0] if named else "") > 0
    assert not named or not incident.together or signals_of(incident) == 0 or is_of_one


def check_time(sent: Message, story: Story) -> None:
    (line,) = [line for line in sent.lines if line.startswith(("Since ", "Started "))]
    assert "23 Nov 2026, 20:25:57" in line
    if minutes := re.search(r"(?:\(|lasted )(?:(\d+) h ?)?(?:(\d+) min)?", line):
        assert int(minutes[1] or 0) * 60 + int(minutes[2] or 0) == story.minutes


def check_last_words(sent: Message, incident: Incident, story: Story) -> None:
    facts = dict(sent.facts)
    stopped = signal_kinds.traits(incident.kind).stops_work and not incident.together and not incident.resolved_at
    assert ("Last message" in facts) == (stopped and bool(story.words))
    assert ("Last tool call" in facts) == (stopped and bool(story.call))
    if "Last message" in facts:
        assert facts["Last message"] == f"{' '.join(story.words.split())} (at 20:25:57)"


def test_secrets_in_last_words_are_hidden(agents: list[Agent], project: Project) -> None:
    secret = "sk-proj-" + "Ab1" * 14
    incident = Incident.objects.create(
        project=project, agent=agents[0], kind="stalled", severity="critical", reason="r", started_at=NOW, opened_at=NOW
    )
    Heartbeat.objects.create(
        agent=agents[0], day=NOW.date(), received_at=NOW, status="ok", content={"message": f"key {secret}"}
    )
    event = IncidentEvent.objects.create(incident=incident, kind="opened", at=NOW, text="r")
    known = message.incidents_of([Delivery(event=event)])
    sent = message.of_delivery(Delivery(event=event, message_id="msg_1"), known)
    assert "Last message" in dict(sent.facts)
    assert secret not in str(sent)


def test_messages_cost_queries_by_incident(
    agents: list[Agent], project: Project, django_assert_max_num_queries: Any
) -> None:
    incident = Incident.objects.create(
        project=project, agent=agents[0], kind="stalled", severity="critical", reason="r", started_at=NOW, opened_at=NOW
    )
    events = [IncidentEvent(incident=incident, kind="updated", at=NOW, text="r") for _ in range(20)]
    deliveries = [Delivery(event=event, message_id=outbox.new_message_id()) for event in events]
    with django_assert_max_num_queries(6):
        known = message.incidents_of(deliveries)
        assert len([message.of_delivery(delivery, known) for delivery in deliveries]) == 20
