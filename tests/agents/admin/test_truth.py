"""Whatever agents send and people do: the sentences on pages agree with the rows that they stand on."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from html import unescape

import pytest
from django.db import transaction
from django.test import Client
from hypothesis import HealthCheck, example, given, settings

from agents.models import Agent, Incident, Signal, Status
from teams.models import User
from tests.agents.conftest import T0, World
from tests.agents.stories import BEATS, STORIES, Story, beat, look, pause
from tests.examples import examples

pytestmark = [pytest.mark.django_db, pytest.mark.slow]
CRASH_NEAR_BUDGET = [(1, beat(BEATS[2])), (1, look), (5, beat(BEATS[5])), (1, look)]
PAUSED_IN_TROUBLE = [(1, beat(BEATS[0])), (200, look), (1, pause(1)), (1, look)]
DEAD_BY_ITS_RUNNER = [(1, beat(BEATS[0])), (5, beat(BEATS[7])), (1, look)]


@settings(max_examples=examples(10), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(CRASH_NEAR_BUDGET)
@example(PAUSED_IN_TROUBLE)
@example(DEAD_BY_ITS_RUNNER)
@given(STORIES)
def test_pages_say_what_rows_say(world: World, viewer: User, client_of: Callable[[User], Client], story: Story) -> None:
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


def test_restarted_agent_is_not_called_silent(world: World, viewer: User, client_of: Callable[[User], Client]) -> None:
    """Its incident stays open until there is progress, but it is not silent any more."""
    world.beat(0, progress=True, interval=30)
    world.look(100)
    Incident.objects.update(restarted_at=T0 + timedelta(seconds=105))
    world.beat(110, instance="2")
    world.look(111)
    with world.clock(112):
        text = read(client_of(viewer), f"/admin/agents/agent/{world.agent().pk}/change/")
    assert "Reports again after its restart, but no progress yet" in text
    assert world.kinds() == ["missed_heartbeat"]


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
    clocks = text.partition("Spend today")[0]
    assert ("Stalled since" in clocks) <= bool(kinds_of(agent)["stalled"])
    assert ("Down since" in clocks) <= (agent.state.status == Status.DOWN)
    if since := re.search(r"The process is not running since (\d+ \w+ \d+, [\d:]+)", clocks):
        began = [signal.started_at for signal in Signal.objects.filter(agent=agent, cleared_at=None)]
        assert since[1] in {f"{at.day} {at:%b %Y, %H:%M:%S}" for at in began}
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
        if "no progress since" in text:
            progress, restarted_at = agent.state.last_progress_at, incident.restarted_at
            assert progress is None or restarted_at is None or progress <= restarted_at
        own = list(incident.signals.filter(agent=incident.agent, kind="cost").values_list("severity", flat=True))
        assert ("Budget exceeded" in text) is ("critical" in own)
