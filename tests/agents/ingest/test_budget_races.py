"""Many concurrent heartbeats against one budget: sums are exact, one warning, immediate hold."""

from __future__ import annotations

import json
import random
import threading
from datetime import timedelta
from decimal import Decimal
from typing import Any
from urllib.request import Request, urlopen

import pytest
from django.utils import timezone

from agents.domain.hot_row import Answer
from agents.domain.wire.decoding import decode
from agents.fleet import services
from agents.ingest.committer import Committer
from agents.ingest.write import Received
from agents.models import AgentState, Heartbeat, Incident, IncidentEvent, MonthSpend, Rollup, Signal
from agents.review import review
from agents.storage.rollups import roll_up
from teams.models import Project
from tests.agents.conftest import T0, World, in_threads

pytestmark = pytest.mark.slow

CENT = 10_000
SENDERS, EACH = 4, 30
# Seconds between two sweeps, which hold SQLite's only writer: there is one a second otherwise.
PAUSE = 0.01


def told(process: Committer, world: World, agent: str = "bot", **fields: Any) -> Answer:
    """The answer of one of several web processes, each with its own committer."""
    body = json.dumps({"agent": agent, **fields}).encode()
    outcome = process.submit([Received(world.caller, decode(body), T0, "1/10.0.0.1")])[0]
    assert isinstance(outcome, Answer), outcome.message
    return outcome


def send_while_two_review(world: World, agents: list[str], **fields: Any) -> list[Answer]:
    """All senders send heartbeats of one cent in sequence, while two workers sweep."""
    answers: list[Answer] = []
    done = threading.Event()

    def work(number: int) -> None:
        if number >= SENDERS:
            while not done.wait(PAUSE):
                review.sweep(T0 + timedelta(seconds=1))
            return
        process = world.process()
        try:
            for _ in range(EACH):
                answers.append(told(process, world, agents[number % len(agents)], cost_usd=0.01, **fields))
        except AssertionError:
            done.set()
            raise
        if len(answers) == SENDERS * EACH:
            done.set()

    with world.clock(0):
        in_threads(SENDERS + 2, work)
    return answers


def test_concurrent_daily_budget_is_exact(live_world: World) -> None:
    live_world.beat(0, cost_limit_usd=1)
    answers = send_while_two_review(live_world, ["bot"])
    assert live_world.state().cost_today == SENDERS * EACH * CENT
    assert [answer.hold for answer in answers].count(False) == 99
    live_world.look(2)
    answers.append(live_world.beat(3))
    assert (Incident.objects.count(), Signal.objects.count()) == (1, 1)
    assert IncidentEvent.objects.filter(kind="opened").count() == 1
    assert [answer.warning for answer in answers if answer.warning] == ["cost_exceeded"]
    assert live_world.state().hold is True


def test_concurrent_monthly_budget_is_exact(live_world: World) -> None:
    names = ["one", "two"]
    Project.objects.filter(pk=live_world.project.pk).update(monthly_budget_usd=1)
    object.__setattr__(live_world.caller, "monthly", True)
    for name in [*names, "idle"]:
        live_world.beat(0, name)
    answers = send_while_two_review(live_world, names)
    # Two agents that report at the same moment may both continue once; none gets a second chance.
    assert [answer.hold for answer in answers].count(False) in (99, 100)
    live_world.look(2)
    live_world.look(3)
    assert sum(AgentState.objects.values_list("cost_month", flat=True)) == SENDERS * EACH * CENT
    assert list(AgentState.objects.values_list("hold", flat=True)) == [True] * 3
    assert (Incident.objects.count(), IncidentEvent.objects.filter(kind="opened").count()) == (1, 1)
    assert MonthSpend.objects.get().level == "exceeded 1000000"
    warned = [live_world.beat(4, name).warning for name in [*names, "idle"]]
    assert warned.count("cost_exceeded") >= 1
    assert [live_world.beat(5, name).warning for name in names] == [None] * 2


def test_raising_a_budget_concurrently_loses_nothing(live_world: World) -> None:
    live_world.beat(0, cost_limit_usd=1)
    stop = threading.Event()

    def work(number: int) -> None:
        if number:
            for usd in (2, 3, 4, 5):
                changes = {"daily_budget_usd": Decimal(usd)}
                services.change_agent(agent=live_world.agent(), changes=changes, actor="x", now=T0)
            return
        send_while_two_review(live_world, ["bot"])
        stop.set()

    in_threads(2, work)
    live_world.look(2)
    assert stop.is_set()
    assert (live_world.state().cost_today, live_world.state().hold) == (SENDERS * EACH * CENT, False)
    assert live_world.beat(3, cost_usd=5).hold is True


def test_spool_sent_three_times_counts_once(live_world: World) -> None:
    """Two hours of spend arrive an hour late, in any order, each heartbeat several times at once."""
    spool = [
        {"beat_id": f"b-{number}", "sent_at": (T0 + timedelta(minutes=number)).isoformat(), "cost_usd": 0.01}
        for number in range(120)
    ]

    def work(number: int) -> None:
        process, order = live_world.process(), list(spool)
        random.Random(number).shuffle(order)
        for fields in order:
            body = json.dumps({"agent": "bot", **fields}).encode()
            received = Received(live_world.caller, decode(body), T0 + timedelta(hours=3), "1/10.0.0.1")
            assert isinstance(process.submit([received])[0], Answer)

    with live_world.clock(3 * 3600):
        live_world.beat(3 * 3600)
        in_threads(4, work)
    roll_up(T0 + timedelta(hours=3, minutes=1))
    state = live_world.state()
    assert (state.cost_today, state.cost_month, state.cost_total) == (120 * CENT,) * 3
    assert Heartbeat.objects.filter(beat_id__isnull=False).count() == 120
    hours = Rollup.objects.filter(span="h", cost__gt=0).order_by("start")
    assert [((row.start - T0).total_seconds(), row.cost) for row in hours] == [(0, 60 * CENT), (3600, 60 * CENT)]


def test_resent_body_exceeds_no_budget(live_world: World) -> None:
    """The client gave up after five seconds in a jam and sent the same body again."""
    live_world.beat(0, cost_limit_usd=1)
    live_world.offer(10, cost_usd=0.6, waited=6)
    live_world.offer(15, cost_usd=0.6, waited=1)
    live_world.look(17)
    assert (live_world.state().cost_today, live_world.state().hold) == (600_000, False)


@pytest.mark.postgres
def test_budget_is_exact_over_http(live_world: World, live_server: Any, api_key: str) -> None:
    """Batches of five over separate connections, while two workers sweep by the real clock."""

    def post(path: str, body: Any) -> Any:
        headers = {"X-API-Key": api_key, "Content-Type": "application/json"}
        asked = Request(f"{live_server.url}/api/v1/{path}", json.dumps(body).encode(), headers)
        with urlopen(asked, timeout=30) as answer:
            return json.load(answer)

    post("heartbeat", {"agent": "bot", "cost_limit_usd": 1})
    held: list[bool] = []
    done = threading.Event()

    def work(number: int) -> None:
        while number >= SENDERS and not done.is_set():
            review.sweep(timezone.now())
        for _ in range(6 if number < SENDERS else 0):
            answer = post("heartbeat/batch", {"heartbeats": [{"agent": "bot", "cost_usd": 0.01}] * 5})
            held.extend(one["hold"] for one in answer["results"])
        if len(held) == SENDERS * EACH:
            done.set()

    in_threads(SENDERS + 2, work)
    assert (live_world.state().cost_today, held.count(False)) == (SENDERS * EACH * CENT, 99)
    assert (Incident.objects.count(), IncidentEvent.objects.filter(kind="opened").count()) == (1, 1)
