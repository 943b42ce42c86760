"""Budgets end to end, from the first cent to the hold and back: day, tokens, run and project month."""

from __future__ import annotations

import json
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from agents.domain.hot_row import Answer
from agents.domain.wire.decoding import decode
from agents.fleet import services
from agents.incidents import actions
from agents.ingest import committer
from agents.ingest.write import Received
from agents.models import MonthSpend, Signal, Status
from teams.models import Project
from tests.agents.conftest import T0, World

HOUR, DAY = 3600, 86_400


def set_for_agent(world: World, at: float = 0, agent: str = "bot", **changes: Any) -> None:
    now = T0 + timedelta(seconds=at)
    services.change_agent(agent=world.agent(agent), changes=changes, actor="owner@example.com", now=now)


def set_monthly(world: World, usd: int | None) -> None:
    Project.objects.filter(pk=world.project.pk).update(monthly_budget_usd=usd)
    world.caller = type(world.caller)(**{**_fields(world.caller), "monthly": usd is not None})


def _fields(caller: Any) -> dict[str, Any]:
    return {name: getattr(caller, name) for name in caller.__slots__}


def held(world: World, *agents: str) -> list[bool]:
    return [world.state(agent).hold for agent in agents or ("bot",)]


def reasons(world: World) -> list[str]:
    return list(Signal.objects.filter(cleared_at__isnull=True).order_by("id").values_list("reason", flat=True))


def test_heartbeat_that_exceeds_a_budget_is_held(world: World) -> None:
    assert world.beat(0, cost_limit_usd=1, cost_usd=0.99).hold is False
    assert world.beat(0.1, cost_usd=0.01).hold is True
    assert world.beat(0.2).hold is True
    assert world.incidents() == []


def test_hold_ends_at_the_projects_midnight(world: World) -> None:
    world.beat(0, cost_limit_usd=1, cost_usd=2, interval=HOUR)
    world.look(1)
    assert (held(world), world.kinds()) == ([True], ["cost"])
    world.look(12 * HOUR - 1)
    assert held(world) == [True]
    world.look(12 * HOUR + 1)
    assert (held(world), "cost" in world.kinds()) == ([False], False)
    assert world.beat(12 * HOUR + 2, cost_usd=0.5).hold is False


def test_new_day_is_no_recovery(world: World) -> None:
    world.beat(0, cost_limit_usd=1, cost_usd=2, interval=HOUR)
    world.look(1)
    for second in range(HOUR, 12 * HOUR, HOUR):
        world.beat(second, interval=HOUR)
    world.look(12 * HOUR + 1)
    (incident,) = world.incidents()
    assert (incident.outcome, incident.ending) == ("within_budget", "within the budget again")
    assert incident.events.get(kind="resolved").text == "Within the budget again after 12 hours"


def stopping(world: World, start: int, end: int) -> None:
    """An agent that obeys the hold: it sends a heartbeat every minute but no longer works."""
    for second in range(start, end, 60):
        world.beat(second, interval=60, progress_timeout=300)
        world.look(second + 1)


def test_held_agent_does_not_count_as_stalled(world: World) -> None:
    world.beat(0, cost_limit_usd=1, cost_usd=2, interval=60, progress_timeout=300)
    world.look(1)
    stopping(world, 60, HOUR)
    assert (world.kinds(), held(world)) == (["cost"], [True])
    actions.resolve(incident=world.incidents()[0], actor="x", now=T0 + timedelta(seconds=HOUR))
    stopping(world, HOUR + 1, HOUR + 240)
    assert world.kinds() == []
    stopping(world, HOUR + 240, HOUR + 600)
    assert world.kinds() == ["stalled"]


def test_agent_stalled_before_its_hold_stays_stalled(world: World) -> None:
    world.beat(0, cost_usd=0.5, interval=60, progress_timeout=300)
    stopping(world, 60, 600)
    assert world.kinds() == ["stalled"]
    set_for_agent(world, 600, daily_budget_usd=Decimal("0.5"))
    stopping(world, 601, 900)
    assert (world.kinds(), held(world)) == (["cost", "stalled"], [True])


def test_raised_budget_ends_hold_until_exceeded_again(world: World) -> None:
    world.beat(0)
    set_for_agent(world, daily_budget_usd=Decimal(1))
    world.beat(1, cost_usd=1)
    world.look(2)
    assert (world.beat(3).warning, world.beat(4).warning) == ("cost_exceeded", None)
    set_for_agent(world, 5, daily_budget_usd=Decimal("1.2"))
    world.look(6)
    assert (held(world), world.kinds(), world.beat(7).hold) == ([False], ["cost"], False)
    world.beat(8, cost_usd=0.2)
    world.look(9)
    told = world.beat(10)
    assert (told.warning, told.hold, len(world.incidents())) == ("cost_exceeded", True, 1)
    assert world.events() == ["opened", "updated"]


def test_resolving_waives_the_budget_for_the_day(world: World) -> None:
    world.beat(0, cost_limit_usd=1, cost_usd=2, interval=HOUR)
    world.look(1)
    actions.resolve(incident=world.incidents()[0], actor="x", now=T0 + timedelta(seconds=2))
    world.look(3)
    assert [world.beat(4).hold, world.beat(5, cost_usd=7).hold, held(world)] == [False, False, [False]]
    world.beat(DAY, cost_usd=2, interval=HOUR)
    world.look(DAY + 1)
    assert held(world) == [True]


def test_daily_token_limit_counts_unpriced_tokens(world: World) -> None:
    world.beat(0)
    set_for_agent(world, daily_token_limit=1000)
    world.beat(1, usage=[{"model": "house", "input_tokens": 800, "output_tokens": 100}])
    world.look(2)
    assert (held(world), world.kinds()) == ([False], ["cost"])
    assert world.beat(3, tokens_used=100).hold is True
    world.look(4)
    assert reasons(world) == ["Used 1,000 of 1,000 tokens today"]
    (signal,) = Signal.objects.all()
    assert (signal.evidence["spent_usd"], signal.evidence["unpriced_tokens"]) == (0.0, 1000)


def test_run_budget_resets_with_the_next_run(world: World) -> None:
    world.beat(0, instance="a", seq=1)
    set_for_agent(world, run_budget_usd=Decimal(2))
    assert world.beat(1, instance="a", seq=2, cost_usd=2).hold is True
    world.look(2)
    assert reasons(world) == ["Spent $2.00 of $2.00 in this run (since 12:00)"]
    world.beat(60, instance="b", seq=1, cost_usd=1)
    world.look(61)
    assert (held(world), world.kinds(), world.state().run_cost) == ([False], [], 1_000_000)


def test_no_hold_when_the_rule_is_off(world: World) -> None:
    world.beat(0, cost_limit_usd=1, cost_usd=2)
    set_for_agent(world, rules={"cost": {"off": True}})
    world.look(1)
    assert (world.beat(2, cost_usd=3).hold, world.incidents()) == (False, [])


def test_new_agent_is_not_held_when_rule_is_off(world: World) -> None:
    set_monthly(world, 10)
    Project.objects.filter(pk=world.project.pk).update(rules={"cost": {"off": True}})
    assert world.beat(0, "one", cost_limit_usd=1, cost_usd=20).hold is False
    assert world.beat(1, "two").hold is False


def test_paused_agent_is_not_held(world: World) -> None:
    world.beat(0, cost_limit_usd=1)
    services.pause(agent=world.agent(), actor="x", now=T0)
    assert world.beat(1, cost_usd=2).hold is False


# The month


def test_exceeded_month_holds_all_agents(world: World) -> None:
    set_monthly(world, 10)
    world.beat(0, "idle", interval=HOUR)
    world.beat(0, "one", cost_usd=6)
    world.look(1)
    assert world.incidents() == []
    world.beat(2, "two", cost_usd=4)
    world.look(3)
    assert held(world, "idle", "one", "two") == [True, True, True]
    (incident,) = world.incidents()
    assert (incident.reason, world.events()) == (
        "All agents are on hold: the project has spent $10.00 of its $10.00 monthly budget",
        ["opened"],
    )
    told = world.beat(4, "idle")
    assert (told.warning, told.hold, told.incident and told.incident["id"]) == ("cost_exceeded", True, incident.pk)
    assert told.reason == "The project has spent $10.00 of $10.00 this month, $0.00 of it by this agent"
    assert world.beat(5, "idle").warning is None


def test_month_holds_others_at_their_next_heartbeat(world: World) -> None:
    """Even before the detector runs, however fast they send."""
    set_monthly(world, 10)
    assert [world.beat(0, "one", cost_usd=usd).hold for usd in (6, 3.99)] == [False, False]
    assert world.beat(0, "two", cost_usd=0.01).hold is True
    assert [world.beat(0, name).hold for name in ("one", "new")] == [True, True]


def test_month_is_exact_within_one_batch(world: World) -> None:
    set_monthly(world, 1)
    world.beat(0, "one"), world.beat(0, "two")  # new agents would be stored after the others
    bodies = [{"agent": name, "cost_usd": 0.3} for name in ("one", "two", "one", "two", "one")]
    with world.clock(1) as now:
        beats = [Received(world.caller, decode(json.dumps(body).encode()), now, "1/10.0.0.1") for body in bodies]
        held = [isinstance(one, Answer) and one.hold for one in committer.submit(beats)]
    assert held == [False, False, False, True, True]


def test_waived_month_holds_no_heartbeat(world: World) -> None:
    set_monthly(world, 10)
    world.beat(0, cost_usd=10)
    world.look(1)
    actions.resolve(incident=world.incidents()[0], actor="owner@example.com", now=T0 + timedelta(seconds=2))
    world.look(3)
    assert [world.beat(4, name, cost_usd=1).hold for name in ("bot", "new")] == [False, False]


def test_last_months_spend_holds_no_agent(world: World) -> None:
    set_monthly(world, 10)
    world.beat(0, "one", cost_usd=9.99)
    assert world.beat(40 * DAY, "two", cost_usd=0.5).hold is False


def test_monthly_budget_costs_one_more_statement(world: World) -> None:
    world.beat(0)
    counts = []
    for budget in (None, 10):
        set_monthly(world, budget)
        with CaptureQueriesContext(connection) as asked:
            world.beat(1, cost_usd=0.1)
        # Django's log has no text of prepared statements.
        texts = [one["sql"] or "prepared" for one in asked]
        counts.append(sum(not text.startswith(("SAVEPOINT", "RELEASE", "BEGIN")) for text in texts))
    assert counts[1] == counts[0] + 1


def test_biggest_spender_warns_for_the_project(world: World) -> None:
    set_monthly(world, 10)
    world.beat(0, "one", cost_usd=3)
    world.beat(0, "two", cost_usd=5)
    world.look(1)
    world.beat(2, "one", cost_usd=1)
    world.look(3)
    assert (world.kinds("one"), world.kinds("two"), held(world, "one", "two")) == ([], ["cost"], [False, False])
    assert MonthSpend.objects.get().level == f"near 10000000 {world.agent('two').pk}"
    world.beat(4, "one", cost_usd=1)
    world.look(5)
    assert (held(world, "one", "two"), len(world.incidents()), world.events()) == (
        [True, True],
        1,
        ["opened", "updated"],
    )


def test_another_agent_warns_after_deletion(world: World) -> None:
    set_monthly(world, 10)
    world.beat(0, "one", cost_usd=8)
    world.look(1)
    services.delete_agent(agent=world.agent("one"), actor="x", now=T0)
    world.beat(2, "two", cost_usd=0.5)
    world.look(3)
    assert (world.kinds("two"), held(world, "two")) == (["cost"], [False])


def test_raised_monthly_budget_ends_all_holds(world: World) -> None:
    set_monthly(world, 10)
    world.beat(0, "one", cost_usd=10)
    world.beat(0, "two")
    world.look(1)
    assert held(world, "one", "two") == [True, True]
    set_monthly(world, 100)
    world.beat(2, "one")
    world.look(3)
    assert (held(world, "one", "two"), world.kinds("one"), world.kinds("two")) == ([False, False], [], [])
    assert world.events() == ["opened", "resolved"]


def test_month_does_not_join_unrelated_incidents(world: World) -> None:
    set_monthly(world, 10)
    world.beat(0, "two")
    world.beat(0, "one", cost_usd=10, status="error", message="disk full")
    world.look(1)
    kinds = {incident.agent.name: (incident.kind, incident.together) for incident in world.incidents()}
    assert kinds == {"one": ("error", False), "two": ("cost", True)}
    assert (held(world, "one", "two"), world.kinds("one")) == ([True, True], ["cost", "error"])


def test_next_month_ends_the_hold(world: World) -> None:
    set_monthly(world, 10)
    world.beat(0, "one", cost_usd=10, interval=5 * DAY)
    world.beat(0, "two", interval=5 * DAY)
    world.look(1)
    for day in range(1, 28):
        world.look(day * DAY - 12 * HOUR + 1)
        if day % 4 == 0:
            world.beat(day * DAY, "one", interval=5 * DAY)
            world.beat(day * DAY, "two", interval=5 * DAY)
            world.look(day * DAY + 1)
    assert held(world, "one", "two") == [True, True]
    world.look(27 * DAY + 12 * HOUR + 1)
    assert held(world, "one", "two") == [False, False]


def test_resolving_the_month_ends_all_holds(world: World) -> None:
    set_monthly(world, 10)
    world.beat(0, "one", cost_usd=10)
    world.beat(0, "two")
    world.look(1)
    actions.resolve(incident=world.incidents()[0], actor="x", now=T0 + timedelta(seconds=2))
    world.look(3)
    world.beat(4, "two", cost_usd=1)
    world.look(5)
    assert (held(world, "one", "two"), world.kinds("one"), world.kinds("two")) == ([False, False], [], [])


def test_agents_created_after_the_waiver_are_not_held(world: World) -> None:
    set_monthly(world, 10)
    world.beat(0, "gone", status="shutdown")
    world.beat(0, "one", cost_usd=10)
    world.look(1)
    actions.resolve(incident=world.incidents()[0], actor="x", now=T0 + timedelta(seconds=2))
    world.beat(3, "gone", cost_usd=1)
    world.beat(3, "new", cost_usd=1)
    world.look(4)
    assert (held(world, "gone", "new"), len(world.incidents())) == ([False, False], 1)
    set_monthly(world, 11)
    world.beat(5, "new", cost_usd=1)
    world.look(6)
    assert held(world, "gone", "one", "new") == [True, True, True]


def test_returning_agent_is_held_one_heartbeat_later(world: World) -> None:
    set_monthly(world, 10)
    world.beat(0, "gone", status="shutdown")
    world.beat(0, "one", cost_usd=10)
    world.look(1)
    assert held(world, "gone", "one") == [False, True]
    world.beat(2, "gone")
    world.look(3)
    assert (held(world, "gone"), world.state("gone").status, len(world.incidents())) == ([True], Status.WARNING, 1)


def test_deleted_agents_spend_stays_in_the_month(world: World) -> None:
    set_monthly(world, 10)
    world.beat(0, "one", cost_usd=6)
    world.look(1)
    services.delete_agent(agent=world.agent("one"), actor="x", now=T0)
    row = MonthSpend.objects.get()
    assert (row.month, row.cost, row.tokens) == (date(2026, 5, 1), 6_000_000, 0)
    world.beat(2, "two", cost_usd=4)
    world.look(3)
    assert held(world, "two") == [True]


def test_projects_do_not_share_a_month(world: World, stranger: Any) -> None:
    Project.objects.exclude(pk=world.project.pk).update(monthly_budget_usd=1)
    world.beat(0, cost_usd=50)
    world.look(1)
    assert (world.incidents(), MonthSpend.objects.count()) == ([], 0)


def test_no_month_row_without_a_monthly_budget(world: World) -> None:
    world.beat(0, cost_usd=50)
    with CaptureQueriesContext(connection) as asked:
        world.look(1)
    assert asked.captured_queries
    assert [query for query in asked.captured_queries if "monthspend" in str(query["sql"])] == []


@pytest.mark.parametrize("limit", [100, 1_000])
def test_any_monthly_spend_triggers_a_review(world: World, limit: int) -> None:
    """Only the sum of all agents shows how much of the month is used."""
    set_monthly(world, limit)
    world.beat(0, "one", cost_usd=limit - 1)
    world.look(1)
    world.beat(2, "two", cost_usd=1)
    world.look(3)
    assert held(world, "one", "two") == [True, True]
