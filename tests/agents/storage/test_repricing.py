"""After a price change all stored costs and sums match the new prices to the micro-dollar."""

from __future__ import annotations

import json
import random
import threading
from dataclasses import replace
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from agents.domain.price_list import rates
from agents.domain.wire.decoding import decode
from agents.ingest.committer import submit
from agents.ingest.write import Received
from agents.models import Heartbeat, Rollup
from agents.storage import repricing, rollups
from teams import prices
from teams.models import AuditEntry, Project
from tests.agents.conftest import T0, World, in_threads

HOUSE = {"model": "house", "input_tokens": 10_000, "output_tokens": 1_000}
LISTED = {"model": "gpt-4o", "provider": "openai", "input_tokens": 10_000, "output_tokens": 1_000}
LIST_PRICE = 35_000
OWN = [{"model": "house", "input": 1, "output": 10}, {"model": "gpt-4o", "input": 2, "output": 20}]
OWN_PRICES = (20_000, 40_000)


def at(seconds: float) -> str:
    return (T0 + timedelta(seconds=seconds)).isoformat()


def reprice(world: World, seconds: float, *args: str, own: Any = None) -> str:
    """Run the command at that time, after setting custom prices."""
    if own is not None:
        Project.objects.filter(pk=world.project.pk).update(prices=own)
    said = StringIO()
    with world.clock(seconds):
        call_command("reprice", *args, stdout=said)
    return said.getvalue()


def money(world: World, pattern: str) -> tuple[int, ...]:
    return tuple(getattr(world.state(), pattern.format(name), 0) for name in ("cost", "priced", "unpriced"))


def test_new_price_prices_unpriced_tokens(world: World) -> None:
    world.beat(0, usage=[HOUSE, LISTED], cost_usd=0.5, tokens_used=7)
    rollups.roll_up(T0 + timedelta(seconds=30))
    said = reprice(world, 60, own=OWN)
    beat, state = Heartbeat.objects.get(), world.state()
    assert (beat.cost, beat.priced, beat.unpriced, beat.tokens) == (560_000, 60_000, 0, 22_007)
    assert beat.content["prices"] == list(OWN_PRICES)
    assert money(world, "{}_month") == money(world, "{}_total") == money(world, "run_{}") == (560_000, 60_000, 0)
    assert (state.cost_today, state.priced_today, state.unpriced, state.tokens_today) == (560_000, 60_000, None, 22_007)
    assert {(row.span, row.cost, row.priced, row.unpriced, row.tokens) for row in Rollup.objects.all()} == {
        (span, 560_000, 60_000, 0, 22_007) for span in "mhd"
    }
    assert "bot: 1 of 1 heartbeats, $0.54 → $0.56, tokens without a price 11,000 → 0" in said


def test_removed_price_leaves_tokens_unpriced(world: World) -> None:
    world.beat(0, usage=[HOUSE])
    reprice(world, 60, own=OWN)
    assert money(world, "{}_total") == (20_000, 20_000, 0)
    reprice(world, 61, own=[])
    assert (money(world, "{}_total"), world.state().unpriced) == ((0, 0, 11_000), {"house": 11_000})


def test_second_run_changes_nothing(world: World) -> None:
    world.beat(0, usage=[HOUSE, LISTED])
    reprice(world, 60, own=OWN)
    before = money(world, "{}_total")
    assert reprice(world, 61) == f"{world.project}: no changes\n"
    assert money(world, "{}_total") == before


def test_dry_run_writes_nothing(world: World) -> None:
    world.beat(0, usage=[HOUSE])
    world.look(1)
    said = reprice(world, 60, "--dry-run", own=OWN)
    assert "$0.00 → $0.02" in said
    assert "nothing written" in said
    assert (money(world, "{}_total"), Heartbeat.objects.get().cost) == ((0, 0, 11_000), 0)
    assert not AuditEntry.objects.filter(action="project.repriced").exists()


def test_earlier_days_do_not_change(world: World) -> None:
    """T0 is noon on 4 May."""
    world.beat(0, usage=[HOUSE], sent_at=at(-86_400))
    world.beat(1, usage=[HOUSE], sent_at=at(0))
    reprice(world, 60, "--since", "2026-05-04", own=OWN)
    assert list(Heartbeat.objects.order_by("id").values_list("cost", flat=True)) == [0, 20_000]
    assert (world.state().cost_today, money(world, "{}_month")) == (20_000, (20_000, 20_000, 11_000))


def test_each_sum_changes_by_its_part(world: World) -> None:
    """Heartbeats of last month, yesterday, an earlier run and today."""
    world.beat(0, usage=[HOUSE], sent_at=at(-4.5 * 86_400), instance="a", seq=1)
    world.beat(1, usage=[HOUSE], sent_at=at(-86_400), instance="a", seq=2)
    world.beat(2, usage=[HOUSE], sent_at=at(1), instance="a", seq=3)
    world.beat(3, usage=[HOUSE], sent_at=at(3), instance="b", seq=1)
    reprice(world, 60, own=OWN)
    state = world.state()
    sums = (state.cost_total, state.cost_month, state.cost_today, state.run_cost)
    assert sums == (80_000, 60_000, 40_000, 20_000)
    assert (state.unpriced, state.unpriced_total, state.unpriced_month, state.run_unpriced) == (None, 0, 0, 0)


def test_other_projects_do_not_change(world: World) -> None:
    world.beat(0, usage=[HOUSE])
    assert reprice(world, 60, "--project", str(world.project.pk), own=OWN)
    with pytest.raises(CommandError, match="Project 999 not found"):
        reprice(world, 60, "--project", "999")
    other = Project.objects.create(team=world.project.team, name="Other", prices=[])
    assert list(repricing.reprice(other, T0 - timedelta(days=1), T0)) == []
    assert world.state().cost_total == 20_000


def test_resent_copy_still_counts_nothing(world: World) -> None:
    world.offer(0, usage=[HOUSE], waited=6)
    world.offer(5, usage=[HOUSE], waited=1)
    reprice(world, 60, own=OWN)
    assert (world.state().cost_total, Heartbeat.objects.count()) == (20_000, 2)


def test_spend_before_an_incident_is_not_its_cost(world: World) -> None:
    world.beat(0, usage=[HOUSE])
    world.beat(1, status="error", message="quota")
    world.look(2)
    world.beat(3, status="error", message="quota", usage=[HOUSE])
    world.look(4)
    (incident,) = world.incidents()
    assert (incident.spent, incident.spent_unpriced) == (0, 11_000)
    reprice(world, 60, own=OWN)
    (incident,) = world.incidents()
    assert (incident.spent, incident.spent_priced, incident.spent_unpriced) == (20_000, 20_000, 0)


def test_repricing_triggers_a_budget_review(world: World) -> None:
    world.beat(0, usage=[HOUSE], cost_limit_usd=0.02)
    world.look(1)
    assert world.kinds() == []
    reprice(world, 60, own=OWN)
    world.look(61)
    assert (world.kinds(), world.state().hold) == (["cost"], True)


def test_repricing_works_in_steps(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repricing, "CHUNK", 3)
    for second in range(10):
        world.beat(second, usage=[HOUSE], beat_id=f"b{second}")
    assert "10 of 10 heartbeats" in reprice(world, 60, own=OWN)
    assert world.state().cost_total == sum(Heartbeat.objects.values_list("cost", flat=True)) == 200_000


def test_many_unknown_models_lose_no_tokens(world: World) -> None:
    uses = [{**HOUSE, "model": f"m{number}"} for number in range(12)]
    world.beat(0, usage=uses)
    world.beat(1, usage=uses[::-1])
    own = [{"model": f"m{number}", "input": 1, "output": 10} for number in (0, 11)]
    reprice(world, 60, own=own)
    state = world.state()
    assert sum((state.unpriced or {}).values()) == state.unpriced_total == 20 * 11_000


def test_changed_price_list_is_applied(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.beat(0, usage=[LISTED])
    assert world.state().cost_total == LIST_PRICE
    listed: Any = rates.list_price
    monkeypatch.setattr("agents.domain.pricing.list_price", lambda use, at: 2 * listed(use, at))
    reprice(world, 60)
    assert world.state().cost_total == 2 * LIST_PRICE


def test_heartbeats_without_detail_are_repriced(world: World) -> None:
    body = b'{"agent": "bot", "usage": [{"model": "house", "input_tokens": 10000, "output_tokens": 1000}]}'
    with world.clock(0):
        submit([Received(world.caller, decode(body), T0, "1/x", detail=False)])
    reprice(world, 60, own=OWN)
    assert world.state().cost_total == 20_000


SUMS = [
    *(f"{name}_{of}" for of in ("today", "month", "total") for name in ("tokens", "cost", "priced")),
    *("unpriced_month", "unpriced_total", "run_cost", "run_priced", "run_unpriced", "unpriced"),
]


def history(seed: int) -> list[dict[str, Any]]:
    """Two weeks of an agent: known and unknown models, reported costs, tokens without model, starts, spools."""
    chance = random.Random(seed)
    found: list[dict[str, Any]] = []
    for seconds in sorted(chance.randrange(14 * 86_400) for _ in range(30)):
        use = {**chance.choice([HOUSE, LISTED, {**HOUSE, "model": "nobody's"}])}
        use |= chance.choice([{}, {"cost_usd": 0.125}, {"input_tokens": chance.randrange(10**6)}])
        beat: dict[str, Any] = {"at": seconds, "usage": [use] * chance.randrange(3)}
        beat |= chance.choice([{}, {"cost_usd": 0.01}, {"tokens_used": 77}])
        beat |= chance.choice([{}, {}, {"instance": f"i{seconds}", "seq": 1}])
        late = chance.choice([0, 0, 0, 7200, 200_000])
        found.append({**beat, "sent_at": at(max(0, seconds - late)), "beat_id": f"b{seconds}"})
    return found


@pytest.mark.parametrize("seed", range(4))
def test_repricing_equals_pricing_at_once(world: World, seed: int) -> None:
    known = replace(world.caller, prices=prices.overrides(OWN))
    for beat in history(seed):
        for name, caller in (("before", world.caller), ("after", known)):
            body = json.dumps({"agent": name, **{key: value for key, value in beat.items() if key != "at"}}).encode()
            with world.clock(beat["at"]) as now:
                submit([Received(caller, decode(body), now, "1/x")])
    rollups.roll_up(T0 + timedelta(days=14))
    reprice(world, 14 * 86_400, own=OWN)
    left, right = world.state("before"), world.state("after")
    assert {name: getattr(left, name) for name in SUMS} == {name: getattr(right, name) for name in SUMS}
    assert kept(world, "before") == kept(world, "after")


def kept(world: World, agent: str) -> tuple[list[Any], list[Any]]:
    """The cost of every heartbeat, hour and day."""
    money = ("cost", "priced", "unpriced", "tokens")
    beats = Heartbeat.objects.filter(agent=world.agent(agent)).order_by("id")
    sums = Rollup.objects.filter(agent=world.agent(agent)).exclude(span="m").order_by("span", "start")
    return list(beats.values_list(*money)), list(sums.values_list("span", "start", *money))


def test_concurrent_repricing_loses_no_cent(live_world: World) -> None:
    """Two clients send while prices change back and forth: hot row and hours match the stored heartbeats."""
    live_world.beat(0, usage=[HOUSE])
    sent = threading.Event()

    def work(number: int) -> None:
        process = live_world.process()
        for turn in range(20 if number else 0):
            body = json.dumps({"agent": "bot", "usage": [HOUSE, LISTED], "beat_id": f"{number}-{turn}"}).encode()
            process.submit([Received(live_world.caller, decode(body), T0, "1/x")])
        while not number and not sent.is_set():
            for own in (OWN, []):
                live_world.project.prices = own
                list(repricing.reprice(live_world.project, T0 - timedelta(days=1), T0))
        if number == 1:
            sent.set()

    with live_world.clock(60):
        in_threads(3, work)
    live_world.project.prices = OWN
    list(repricing.reprice(live_world.project, T0 - timedelta(days=1), T0))
    rollups.roll_up(T0 + timedelta(seconds=120))
    state, beats = live_world.state(), Heartbeat.objects.all()
    assert beats.count() == 41
    assert state.cost_total == state.cost_today == sum(beat.cost for beat in beats) == 41 * 20_000 + 40 * 40_000
    assert (state.unpriced_total, state.unpriced) == (0, None)
    assert Rollup.objects.get(span="h").cost == state.cost_total
