"""A person's stop or restart replaces the watchdog's own restart, unless a runner has taken that already."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest

from agents.commands import dispatch
from agents.models import AgentState, Command, IncidentEvent
from teams.errors import ApiError
from teams.models import AuditEntry
from tests.agents.commands.test_restarting import DOWN, HERE, Unit
from tests.agents.conftest import T0, World, in_threads

ROUNDS = 12


def waiting(world: World) -> Unit:
    """The watchdog's restart is pending from 31 s on."""
    unit = Unit(world, policy="auto")
    world.beat(30, **DOWN)
    world.look(31)
    assert Command.objects.get().origin == "watchdog"
    return unit


@pytest.fixture
def unit(world: World) -> Unit:
    return waiting(world)


def outcomes() -> list[tuple[str, str, str]]:
    return list(Command.objects.order_by("pk").values_list("origin", "action", "state"))


def refusal(unit: Unit, at: float, action: str) -> ApiError:
    with pytest.raises(ApiError) as refused:
        unit.order(at, action)
    assert (refused.value.http_status, refused.value.code) == (409, "command_live")
    return refused.value


@pytest.mark.parametrize("action", ["stop", "restart"])
def test_a_person_replaces_the_watchdogs_restart(unit: Unit, action: str) -> None:
    command = unit.order(33, action)
    assert outcomes() == [("watchdog", "restart", "expired"), ("person", action, "pending")]
    first = Command.objects.earliest("pk")
    assert first.result == f"replaced by a {action} that owner@example.com requested"
    assert (first.finished_at, first.leased_at) == (T0 + timedelta(seconds=33), None)
    assert unit.poll(34) == [command]
    said = [event.text for event in IncidentEvent.objects.filter(kind="command").order_by("pk")]
    assert said[1:3] == [
        f"Restart of bot.service replaced by a {action} that owner@example.com requested",
        f"{action.capitalize()} of bot.service requested",
    ]
    entry = AuditEntry.objects.get(action="command.superseded")
    assert (entry.actor, entry.target) == ("owner@example.com", "bot")


def test_a_stop_in_its_place_holds_the_agent(unit: Unit) -> None:
    stop = unit.order(33, "stop")
    unit.poll(34)
    unit.done(35, stop)
    unit.world.watch(36, 400)
    assert AgentState.objects.get().held
    assert len(outcomes()) == 2


def test_a_pending_stop_blocks_automatic_restarts(unit: Unit) -> None:
    unit.order(33, "stop")
    assert unit.refused(34)[0] == "command_live"
    unit.world.watch(35, 200)
    assert len(outcomes()) == 2


def test_a_persons_restart_ignores_watchdog_checks(unit: Unit) -> None:
    """If it reused the watchdog's command, the hold that it lifts would cancel it."""
    AgentState.objects.update(held=True)
    command = unit.order(33)
    assert unit.poll(34) == [command]
    assert not AgentState.objects.get().held


def test_a_replaced_restart_uses_no_budget(unit: Unit) -> None:
    unit.order(33)
    unit.poll(34)
    assert Command.objects.filter(leased_at__isnull=False).count() == 1


def test_a_sent_restart_cannot_be_replaced(unit: Unit) -> None:
    [taken] = unit.poll(32)
    refused = refusal(unit, 33, "stop")
    sent = "Restart requested by the watchdog was already sent to the runner and cannot be cancelled."
    assert refused.message.startswith(sent)
    assert refused.retry_after == 298
    assert outcomes() == [("watchdog", "restart", "leased")]
    unit.done(35, taken)
    assert unit.order(36, "stop").state == "pending"


def test_a_returned_restart_can_be_replaced(unit: Unit) -> None:
    [taken] = unit.poll(32)
    with unit.world.clock(33) as now:
        facts: dict[str, Any] = {"caller": unit.world.caller, "runner": HERE, "message": "not registered"}
        dispatch.report(command_id=taken.pk, status="rejected", now=now, **facts)
    unit.order(34, "stop")
    assert outcomes() == [("watchdog", "restart", "expired"), ("person", "stop", "pending")]


def test_only_a_stop_replaces_a_persons_restart(unit: Unit) -> None:
    unit.order(33)
    assert "Restart already requested by owner@example.com; waiting" in refusal(unit, 34, "restart").message
    unit.order(35, "stop")
    assert "Stop already requested by owner@example.com; waiting" in refusal(unit, 36, "restart").message
    assert [state for _, _, state in outcomes()] == ["expired", "expired", "pending"]


def test_a_refused_request_replaces_nothing(unit: Unit) -> None:
    with pytest.raises(ApiError, match="has not been heard from"):
        unit.order(200, "stop")
    assert outcomes() == [("watchdog", "restart", "pending")]


# The runner polls at the same moment


def stop(unit: Unit) -> str:
    try:
        unit.order(33, "stop")
    except ApiError as refused:
        return refused.code
    return "asked"


@pytest.mark.postgres
def test_a_stop_wins_against_a_concurrent_lease(live_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner has read the restart as pending when the stop, not yet committed, replaces it."""
    unit = waiting(live_world)
    replaced, polls, lease, supersede = threading.Event(), threading.Event(), dispatch._lease, dispatch._supersede
    got: list[Command] = []

    def superseding(*facts: Any) -> None:
        supersede(*facts)
        replaced.set()
        assert polls.wait(60)
        runner.join(0.3)
        assert runner.is_alive()  # it waits for the lock

    def leasing(*facts: Any) -> bool:
        polls.set()
        assert replaced.wait(60)
        return lease(*facts)

    monkeypatch.setattr(dispatch, "_supersede", superseding)
    monkeypatch.setattr(dispatch, "_lease", leasing)
    runner = threading.Thread(target=lambda: got.extend(in_threads(1, lambda _: unit.poll(33))[0]))
    runner.start()
    assert polls.wait(60)
    assert stop(unit) == "asked"
    runner.join(60)
    assert got == []
    assert outcomes() == [("watchdog", "restart", "expired"), ("person", "stop", "pending")]
    assert [command.action for command in unit.poll(34)] == ["stop"]


@pytest.mark.postgres
def test_a_stop_loses_against_an_earlier_lease(live_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner's lease is not yet committed when the stop is requested."""
    unit = waiting(live_world)
    tell, said = dispatch._record, []
    person = threading.Thread(target=lambda: said.extend(in_threads(1, lambda _: stop(unit))))

    def telling(command: Command, step: str, *facts: Any, **data: Any) -> None:
        tell(command, step, *facts, **data)
        if step == "handed_out":
            person.start()
            person.join(0.3)
            assert person.is_alive()  # it waits for the lock

    monkeypatch.setattr(dispatch, "_record", telling)
    [taken] = unit.poll(33)
    person.join(60)
    assert said == ["command_live"]
    assert taken.origin == "watchdog"
    assert outcomes() == [("watchdog", "restart", "leased")]


def test_a_race_leaves_one_command_for_the_runner(live_world: World) -> None:
    unit = waiting(live_world)
    for number in range(ROUNDS):
        Command.objects.all().delete()
        Command.objects.create(
            agent=live_world.agent(), action="restart", type="systemd", target="bot.service", runner=HERE,
            origin="watchdog", created_at=T0, expires_at=T0 + timedelta(seconds=300),
        )  # fmt: skip
        barrier = threading.Barrier(2)

        def work(which: int, barrier: threading.Barrier = barrier) -> Any:
            barrier.wait(60)
            return stop(unit) if which else [command.action for command in unit.poll(33)]

        polled, said = in_threads(2, work)
        ended = (polled, said, outcomes())
        assert ended in (
            (["restart"], "command_live", [("watchdog", "restart", "leased")]),
            ([], "asked", [("watchdog", "restart", "expired"), ("person", "stop", "pending")]),
            # The runner polled after the stop was committed.
            (["stop"], "asked", [("watchdog", "restart", "expired"), ("person", "stop", "leased")]),
        ), number
