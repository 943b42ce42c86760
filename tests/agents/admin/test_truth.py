"""Whatever agents send and people do: the sentences on pages agree with the rows that they stand on."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from html import unescape
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as some

from agents.commands import dispatch
from agents.fleet import pauses, services
from agents.incidents import actions
from agents.models import Agent, Incident, Signal, Status
from agents.storage.rollups import roll_up
from teams.errors import ApiError
from teams.models import User
from tests.agents.conftest import World

pytestmark = [pytest.mark.django_db, pytest.mark.slow]
PERSON = "ann@example.com"
RUNNER = {"restart_type": "systemd", "restart_target": "bot.service"}
BEATS: list[dict[str, Any]] = [
    {"progress": True, "interval": 30},
    {"instance": "2", "progress": True},
    {"cost_limit_usd": 10, "cost_usd": 8.5},
    {"cost_limit_usd": 10, "cost_usd": 4.0},
    {"status": "error", "message": "no quota"},
    {"status": "error", "message": "CRASH: KeyError: 'title'"},
    {"status": "shutdown"},
    {**RUNNER, "status": "error", "message": "bot.service is not responding: inactive (dead)"},
    {**RUNNER, "status": "ok"},
]
Deed = Callable[[World, float], None]


def beat(fields: dict[str, Any]) -> Deed:
    return lambda world, at: world.offer(at, **fields) and None


def by_person(work: Callable[[Agent, datetime], Any]) -> Deed:
    def do(world: World, at: float) -> None:
        agent = Agent.objects.filter(names__name="bot").first()
        if agent is not None:
            with world.clock(at) as now, suppress(ApiError), transaction.atomic():
                work(agent, now)

    return do


def on_its_incident(work: Callable[..., Any]) -> Deed:
    def do(agent: Agent, now: datetime) -> None:
        incident = Incident.objects.open().filter(agent=agent).first()
        if incident is not None:
            work(incident=incident, actor=PERSON, now=now)

    return by_person(do)


def pause(hours: float | None) -> Deed:
    def do(agent: Agent, now: datetime) -> None:
        until = None if hours is None else now + timedelta(hours=hours)
        services.pause(agent=agent, actor=PERSON, now=now, until=until)

    return by_person(do)


def restart(agent: Agent, now: datetime) -> None:
    dispatch.request(agent=agent, incident=None, reason="", now=now, action="restart", actor=PERSON, origin="person")


def look(world: World, at: float) -> None:
    with world.clock(at) as now:
        pauses.end_due(now)
        roll_up(now)
    world.look(at)


DEEDS = some.one_of(
    some.sampled_from(BEATS).map(beat),
    some.just(look),
    some.sampled_from(
        [
            on_its_incident(actions.acknowledge),
            on_its_incident(actions.resolve),
            pause(1),
            pause(None),
            by_person(lambda agent, now: services.resume(agent=agent, actor=PERSON, now=now)),
            by_person(restart),
        ]
    ),
)
STORIES = some.lists(some.tuples(some.sampled_from([1, 5, 61, 200, 4_000]), DEEDS), min_size=1, max_size=12)
CRASH_NEAR_BUDGET = [(1, beat(BEATS[2])), (1, look), (5, beat(BEATS[5])), (1, look)]
PAUSED_IN_TROUBLE = [(1, beat(BEATS[0])), (200, look), (1, pause(1)), (1, look)]
DEAD_BY_ITS_RUNNER = [(1, beat(BEATS[0])), (5, beat(BEATS[7])), (1, look)]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(CRASH_NEAR_BUDGET)
@example(PAUSED_IN_TROUBLE)
@example(DEAD_BY_ITS_RUNNER)
@given(STORIES)
def test_pages_say_what_rows_say(
    world: World, viewer: User, client_of: Callable[[User], Client], story: list[tuple[float, Deed]]
) -> None:
    with transaction.atomic():
        at = 0.0
        for waited, deed in story:
            at += waited
            deed(world, at)
        look(world, at + 1)
        agent = Agent.objects.select_related("state__incident").filter(names__name="bot").first()
        if agent is not None:
            browser = client_of(viewer)
            with world.clock(at + 2) as now:
                for claims in (check_row, check_page, check_incidents):
                    claims(browser, agent, now)
        transaction.set_rollback(True)


def read(browser: Client, path: str) -> str:
    """What a person reads on a page, with single spaces."""
    body = browser.get(path).content.decode()
    visible = re.sub(r"<(script|style|svg)\b.*?</\1>|<span class=\"w-icon[^>]*>.*?</span>", " ", body, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", visible)).split())


def kinds_of(agent: Agent, severity: str = "") -> Counter[str]:
    signals = Signal.objects.filter(agent=agent, cleared_at=None)
    return Counter((signals.filter(severity=severity) if severity else signals).values_list("kind", flat=True))


def is_dead(agent: Agent) -> bool:
    return agent.state.status == Status.DOWN and (agent.state.crashed or agent.state.runner_down)


def check_row(browser: Client, agent: Agent, now: datetime) -> None:
    """The fleet's row, and its tiles."""
    text = read(browser, "/admin/fleet/")
    row = text[text.index("Spend today Incident") :].partition("All agents")[0]
    state = agent.state
    assert ("not running" in row.partition("Incident")[2]) >= is_dead(agent)
    if state.status in (Status.DOWN, Status.PAUSED, Status.STOPPED):
        assert "due in" not in row, "nothing is due from an agent that does not run"
    if "over budget" in row or "budget exceeded" in row:
        assert kinds_of(agent, "critical")["cost"]
    incident = state.incident if state.incident and not state.incident.resolved_at else None
    assert ("acknowledged by" in row) is bool(incident and incident.acknowledged_at)


def check_page(browser: Client, agent: Agent, now: datetime) -> None:
    text = read(browser, f"/admin/agents/agent/{agent.pk}/change/")
    assert ("The process is not running" in text) is is_dead(agent)
    assert ("Monitoring paused by" in text) is (agent.paused_at is not None)
    if agent.paused_at:
        assert ("then it resumes automatically" in text) is (agent.paused_until is not None)
    last = agent.state.last_beat_at
    if "No heartbeats in this time range" in text:
        assert last is None or last < now - timedelta(days=1)
    if "No data yet" in text:
        assert last is None
    assert ("Stalled since" in text) <= bool(kinds_of(agent)["stalled"] or agent.state.status != Status.STALLED)
    assert ("On hold" in text) is agent.state.hold


def check_incidents(browser: Client, agent: Agent, now: datetime) -> None:
    for incident in Incident.objects.all():
        text = read(browser, f"/admin/agents/incident/{incident.pk}/change/")
        facts = text.partition("Evidence")[0]
        recovered = incident.outcome == Incident.Outcome.RECOVERED
        assert (re.search(r"\brecovered\b", facts) is not None) is recovered
        assert ("monitoring paused" in facts) is (incident.outcome == Incident.Outcome.PAUSED)
        if "in a loop or over budget" in text or "It is over budget" in text:
            assert kinds_of(agent, "critical")["cost"]
        if "went silent at the same time" in text:
            assert incident.together
            assert incident.kind != "cost"
        own = list(incident.signals.filter(agent=incident.agent, kind="cost").values_list("severity", flat=True))
        assert ("Budget exceeded" in text) is ("critical" in own)
