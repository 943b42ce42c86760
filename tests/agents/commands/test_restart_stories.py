"""Invariants of every restart, whatever a runner sees and people request meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from agents.commands import dispatch
from agents.domain import restart_policy
from agents.fleet import services
from agents.models import AgentState, Command, Incident
from teams.errors import ApiError
from tests.agents.commands.test_restarting import DOWN, WATCHED, Unit
from tests.agents.conftest import World
from tests.examples import examples

pytestmark = pytest.mark.slow

PERSON = "owner@example.com"
OWN: dict[str, Any] = {"interval": 30}
BEATS: list[dict[str, Any]] = [
    WATCHED,
    DOWN,
    {**OWN, "progress": True},
    {**OWN, "progress_timeout": 60},
    {**OWN, "status": "error", "message": "CRASH: KeyError: 'title'"},
    {**OWN, "status": "shutdown"},
]
Deed = Callable[[Unit, float], object]


def beat(fields: dict[str, Any]) -> Deed:
    return lambda unit, at: unit.world.beat(at, **fields)


def change(**changes: Any) -> Deed:
    def do(unit: Unit, at: float) -> None:
        with unit.world.clock(at) as now:
            services.change_agent(agent=unit.world.agent(), changes=changes, actor=PERSON, now=now)

    return do


def by_person(work: Callable[..., Any]) -> Deed:
    def do(unit: Unit, at: float) -> None:
        with unit.world.clock(at) as now:
            work(agent=unit.world.agent(), actor=PERSON, now=now)

    return do


def answer(status: str, message: str) -> Deed:
    """The runner's result for the last command it was sent, possibly a second time."""

    def do(unit: Unit, at: float) -> None:
        command = Command.objects.exclude(leased_at=None).first()
        if command is not None:
            about: dict[str, Any] = {"caller": unit.world.caller, "runner": command.runner, "status": status}
            with unit.world.clock(at) as now:
                dispatch.report(command_id=command.pk, message=message, now=now, **about)

    return do


def ordered(action: str) -> Deed:
    """A person requests it, and the runner executes it."""

    def do(unit: Unit, at: float) -> None:
        unit.poll(at)
        command = unit.order(at, action)
        unit.poll(at + 0.5)
        unit.done(at + 1, command)

    return do


def by_itself(unit: Unit, at: float) -> None:
    """The runner sees it down; the watchdog may request a restart, and the runner executes it."""
    unit.poll(at)
    unit.world.beat(at, **DOWN)
    unit.world.look(at + 0.1)
    for command in unit.poll(at + 0.5):
        unit.done(at + 1, command)


def expire(unit: Unit, at: float) -> None:
    with unit.world.clock(at) as now:
        dispatch.expire(now)


ROUNDS: list[Deed] = [ordered("restart"), ordered("stop"), by_itself, Unit.restart]
PEOPLE: list[Deed] = [
    by_person(services.pause),
    by_person(services.resume),
    change(restart_policy="off"),
    change(restart_policy="manual"),
    change(restart_policy="auto"),
    change(unsafe_to_repeat=True),
    change(unsafe_to_repeat=False),
]
STEPS: list[Deed] = [
    lambda unit, at: unit.world.look(at),
    lambda unit, at: unit.order(at, "restart"),
    lambda unit, at: unit.order(at, "stop"),
    Unit.ask,
    Unit.poll,
    expire,
    answer("completed", "active again"),
    answer("failed", "exit code 1"),
    answer("rejected", dispatch.NOT_REGISTERED),
]
# Mostly restarts, so that budgets are used up.
DEEDS: list[Deed] = [*6 * ROUNDS, *PEOPLE, *STEPS, *map(beat, BEATS)]
STORIES = some.lists(
    some.tuples(some.sampled_from([2, 5, 31, 61, 320, 1_000]), some.sampled_from(DEEDS)), min_size=8, max_size=60
)


@settings(max_examples=examples(20), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STORIES)
def test_every_story_keeps_the_invariants(world: World, story: list[tuple[float, Deed]]) -> None:
    """Budgets and delays are kept, nothing forbidden happens, and every restart counts once."""
    with transaction.atomic():
        unit, at = Unit(world, policy="auto"), 1.0
        for pause, deed in story:
            at += pause
            before, known = AgentState.objects.select_related("agent").get(), handed_out()
            with suppress(ApiError), transaction.atomic():
                deed(unit, at)
            for made in [one for one in handed_out() if one not in known]:
                may_be_made(made, before)
            budgets_are_kept([one.leased_at for one in handed_out() if one.leased_at])
            incidents_count_theirs()
        delays_are_kept(handed_out())
        transaction.set_rollback(True)


def handed_out() -> list[Command]:
    return list(Command.objects.filter(action="restart", leased_at__isnull=False).order_by("leased_at", "pk"))


def may_be_made(made: Command, before: AgentState) -> None:
    agent = before.agent
    assert agent.restart_policy != "off"
    if made.origin != restart_policy.PERSON:
        assert (agent.paused_at, before.held, agent.unsafe_to_repeat) == (None, False, False)
    if made.origin == restart_policy.WATCHDOG:
        assert agent.restart_policy == "auto"


def budgets_are_kept(times: list[datetime]) -> None:
    for within, most in restart_policy.BUDGET:
        for n in range(len(times) - most):
            assert times[n + most] - times[n] >= within, times


def delays_are_kept(made: list[Command]) -> None:
    """An automatic restart comes no sooner after the last one than the first delay."""
    for earlier, later in pairwise(made):
        assert earlier.leased_at is not None
        assert later.leased_at is not None
        apart = (later.leased_at - earlier.leased_at).total_seconds()
        assert later.origin == restart_policy.PERSON or apart >= restart_policy.DELAYS[0]


def incidents_count_theirs() -> None:
    for incident in Incident.objects.all():
        assert incident.restarts == len([one for one in handed_out() if one.incident_id == incident.pk])


def test_a_story_can_end_in_a_restart(world: World) -> None:
    """Not all stories are refused."""
    unit = Unit(world, policy="auto")
    unit.world.beat(31, **DOWN)
    unit.world.look(32)
    [command] = unit.poll(33)
    assert command.origin == restart_policy.WATCHDOG
    assert handed_out() == [command]
