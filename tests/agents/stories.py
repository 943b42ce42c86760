"""Random stories: what agents send, what people and runners do, and what the detector concludes, with a given clock."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from hypothesis import strategies as some

from agents.commands import dispatch
from agents.fleet import pauses, services
from agents.incidents import actions
from agents.models import Agent, Incident
from agents.storage.rollups import roll_up
from teams.errors import ApiError
from teams.models import Project
from tests.agents.conftest import World

PERSON = "ann@example.com"
HERE = "1/10.0.0.1"
NAMES = ("bot", "bot-2", "bot-3")
RUNNER = {"restart_type": "systemd", "restart_target": "bot.service"}
CALL = {"name": "search", "args": '{"q": "watchdog"}', "args_hash": "a", "result_hash": "r", "ok": True}
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
# Also what several agents share: a host, and their project's money.
MORE_BEATS: list[dict[str, Any]] = [
    *BEATS,
    {"interval": 30, "progress": True, "cost_usd": 1.5, "message": "Reading"},
    {"cost_usd": 6.0},
    {"tool_call_log": [CALL] * 12, "progress": True},
    {"usage": [{"model": "unheard-of", "input_tokens": 900, "output_tokens": 100}]},
]
Deed = Callable[[World, float], None]
Story = list[tuple[float, Deed]]


def beat(fields: dict[str, Any], name: str = "bot") -> Deed:
    return lambda world, at: world.offer(at, name, **fields) and None


def by_person(work: Callable[[Agent, datetime], Any], name: str = "bot") -> Deed:
    def do(world: World, at: float) -> None:
        agent = Agent.objects.filter(names__name=name).first()
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


def arm(agent: Agent, now: datetime) -> None:
    """Let the watchdog restart it."""
    Agent.objects.filter(pk=agent.pk).update(restart_policy="auto")


def budget_the_month(agent: Agent, now: datetime) -> None:
    Project.objects.filter(pk=agent.project_id).update(monthly_budget_usd=12)


def run(status: str) -> Deed:
    """The runner polls, and does what it is told."""

    def do(world: World, at: float) -> None:
        with world.clock(at) as now:
            for command in dispatch.hand_out(caller=world.caller, runner=HERE, now=now):
                result: dict[str, Any] = {
                    "command_id": command.pk,
                    "caller": world.caller,
                    "runner": HERE,
                    "message": "",
                }
                dispatch.report(**result, status=status, now=now)

    return do


def look(world: World, at: float) -> None:
    with world.clock(at) as now:
        pauses.end_due(now)
        dispatch.expire(now)
        roll_up(now)
    world.look(at)


PEOPLE = some.sampled_from(
    [
        on_its_incident(actions.acknowledge),
        on_its_incident(actions.resolve),
        pause(1),
        pause(None),
        by_person(lambda agent, now: services.resume(agent=agent, actor=PERSON, now=now)),
        by_person(restart),
    ]
)
SETTINGS = some.sampled_from([by_person(arm), by_person(budget_the_month), run("completed"), run("failed")])


def stories(deeds: some.SearchStrategy[Deed], longest: int) -> some.SearchStrategy[Story]:
    return some.lists(some.tuples(some.sampled_from([1, 5, 61, 200, 4_000]), deeds), min_size=1, max_size=longest)


STORIES = stories(some.one_of(some.sampled_from(BEATS).map(beat), some.just(look), PEOPLE), 12)
FLEET_STORIES = stories(
    some.one_of(
        some.builds(beat, some.sampled_from(MORE_BEATS), some.sampled_from(NAMES)), some.just(look), PEOPLE, SETTINGS
    ),
    16,
)
