"""Restarts from finding to recovery: granted to runners, made by the review, proven by progress, given up."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from agents.commands import dispatch
from agents.fleet import services
from agents.incidents import actions
from agents.models import Agent, AgentState, Command, Incident, IncidentEvent, Runner
from teams.errors import ApiError
from teams.models import AuditEntry
from tests.agents.conftest import T0, World

HERE = "1/10.0.0.1"
WATCHED: dict[str, Any] = {"restart_type": "systemd", "restart_target": "bot.service", "interval": 30, "source": HERE}
DOWN: dict[str, Any] = {**WATCHED, "status": "error", "message": "Not responding: systemd says failed (exit-code)"}


class Unit:
    """A systemd unit as its runner sees it, and what the runner asks for and does. Times are seconds after T0."""

    def __init__(self, world: World, *, policy: str = "manual") -> None:
        self.world = world
        world.beat(0, **WATCHED)
        Agent.objects.update(restart_policy=policy)
        self.poll(0)

    def ask(self, at: float, cause: str = "down") -> Command:
        """The runner asks for a restart by itself."""
        target = ("systemd", "bot.service")
        with self.world.clock(at) as now:
            caller = self.world.caller
            return dispatch.grant(caller=caller, runner=HERE, name="bot", target=target, cause=cause, now=now)

    def refused(self, at: float, cause: str = "down") -> tuple[str, int | None]:
        with pytest.raises(ApiError) as refusal:
            self.ask(at, cause)
        return refusal.value.code, refusal.value.retry_after

    def order(self, at: float, action: str = "restart") -> Command:
        """A person asks."""
        agent = self.world.agent()
        with self.world.clock(at) as now:
            return dispatch.request(agent=agent, action=action, actor="owner@example.com", reason="", now=now)

    def poll(self, at: float) -> list[Command]:
        with self.world.clock(at) as now:
            return dispatch.hand_out(caller=self.world.caller, runner=HERE, now=now)

    def done(self, at: float, command: Command, status: str = "completed") -> None:
        facts: dict[str, Any] = {"caller": self.world.caller, "runner": HERE, "status": status, "message": ""}
        with self.world.clock(at) as now:
            dispatch.report(command_id=command.pk, now=now, **facts)

    def restart(self, at: float) -> None:
        """Down at `at`, granted and done within a second."""
        self.world.beat(at, **DOWN)
        self.world.look(at + 0.1)
        self.done(at + 1, self.ask(at + 0.2))


@pytest.fixture
def unit(world: World) -> Unit:
    return Unit(world)


@pytest.fixture
def armed(world: World) -> Unit:
    return Unit(world, policy="auto")


def the_incident() -> Incident:
    return Incident.objects.get()


def steps() -> list[str]:
    return list(IncidentEvent.objects.filter(kind="command").order_by("id").values_list("text", flat=True))


# A runner asks


def test_a_runner_is_granted_its_restart_which_is_its_own_at_once(unit: Unit) -> None:
    unit.world.beat(30, **DOWN)
    unit.world.look(31)
    command = unit.ask(32, "systemd says failed")
    assert (command.state, command.runner, command.origin) == ("leased", HERE, "runner")
    assert (command.reason, command.incident) == ("runner: systemd says failed", the_incident())
    assert unit.poll(33) == []
    unit.done(35, command)
    assert steps() == ["restart of bot.service by the runner itself", "restart of bot.service completed"]
    assert the_incident().restarts == 1


def test_one_granted_before_anybody_looked_belongs_to_the_incident_too(unit: Unit) -> None:
    unit.world.beat(30, **DOWN)
    unit.ask(30.2)
    unit.world.look(31)
    assert (the_incident().restarts, Command.objects.get().incident) == (1, the_incident())
    assert steps() == ["restart of bot.service by the runner itself"]


def test_it_shares_the_budget_and_is_told_when_to_ask_again(unit: Unit) -> None:
    unit.restart(30)
    assert unit.refused(40) == ("restart_delay", 51)
    with pytest.raises(ApiError, match="no agent"):
        dispatch.grant(
            caller=unit.world.caller, runner=HERE, name="nobody", target=("systemd", "x"), cause="down", now=T0
        )


@pytest.mark.django_db(transaction=True)
def test_of_runners_that_ask_at_once_one_is_granted(unit: Unit) -> None:
    start, said = threading.Barrier(4), []
    target = ("systemd", "bot.service")

    def ask() -> None:
        start.wait()
        try:
            dispatch.grant(caller=unit.world.caller, runner=HERE, name="bot", target=target, cause="down", now=T0)
            said.append("granted")
        except ApiError as refusal:
            said.append(refusal.code)
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == ["command_live"] * 3 + ["granted"]


def test_a_second_one_waits_for_the_first(unit: Unit) -> None:
    unit.ask(30)
    assert unit.refused(100) == ("command_live", 230)


@pytest.mark.parametrize("cause", ["loop", "cost"])
def test_a_loop_or_a_budget_is_no_cause(unit: Unit, cause: str) -> None:
    assert unit.refused(30, cause) == ("needs_a_person", None)
    assert not Command.objects.exists()


def test_a_policy_of_off_refuses_the_runner(unit: Unit) -> None:
    Agent.objects.update(restart_policy="off")
    assert unit.refused(30) == ("restart_off", None)


def test_only_a_person_restarts_what_is_unsafe_to_repeat(armed: Unit) -> None:
    Agent.objects.update(unsafe_to_repeat=True)
    armed.world.beat(30, **DOWN)
    armed.world.look(31)
    assert armed.refused(32) == ("unsafe_to_repeat", None)
    assert "is marked as not idempotent" in IncidentEvent.objects.get(text__startswith="Not restarted").text
    assert not Command.objects.exists()
    assert armed.order(33).origin == "person"


def test_a_paused_agent_is_left_alone(unit: Unit) -> None:
    services.pause(agent=unit.world.agent(), actor="x", now=T0)
    assert unit.refused(30) == ("paused", None)


# A stop holds


def stop(unit: Unit) -> None:
    command = unit.order(10, "stop")
    unit.poll(11)
    unit.done(12, command)


def test_a_stop_by_a_person_holds(unit: Unit) -> None:
    stop(unit)
    unit.world.beat(30, **DOWN)
    unit.world.look(31)
    assert unit.refused(40) == ("held", None)


def test_a_runner_that_sees_it_run_does_not_lift_the_hold(unit: Unit) -> None:
    stop(unit)
    unit.world.beat(30, **WATCHED)
    unit.world.beat(31, status="error", message="bot.service is not responding")
    assert unit.refused(40) == ("held", None)


def test_our_runner_says_ok_only_of_what_was_started_again(unit: Unit) -> None:
    stop(unit)
    unit.world.beat(30, **WATCHED, sdk="clevagent-python/1.0.0 runner")
    assert not AgentState.objects.get().held


@pytest.mark.parametrize("own", [{}, {"status": "error", "message": "disk full"}])
def test_its_own_word_lifts_the_hold(unit: Unit, own: dict[str, Any]) -> None:
    stop(unit)
    unit.world.beat(30, **own)
    assert unit.ask(40)


def test_its_goodbye_does_not(unit: Unit) -> None:
    stop(unit)
    unit.world.beat(13, status="shutdown")
    assert AgentState.objects.get().held


def test_a_persons_restart_lifts_the_hold_when_it_is_handed_out(unit: Unit) -> None:
    stop(unit)
    unit.order(20)
    assert AgentState.objects.get().held
    unit.poll(21)
    assert not AgentState.objects.get().held


# Recovery


def test_a_process_that_is_up_again_proves_nothing(unit: Unit) -> None:
    world = unit.world
    world.beat(1, progress=True, progress_timeout=3600)
    unit.restart(30)
    for at in range(40, 200, 20):
        world.beat(at, **WATCHED)
        world.beat(at, progress=False)
        world.look(at + 1)
    assert (world.kinds(), world.state().status) == (["error"], "warning")
    world.beat(200, progress=True)
    world.look(201)
    incident = the_incident()
    assert incident.recovered_in == pytest.approx(169.8)
    assert (incident.restarts, incident.time_to_recovery) == (1, 171)
    assert IncidentEvent.objects.get(kind="resolved").text == "Recovered after 3 minutes, 3 minutes after its restart"
    assert AuditEntry.objects.get(action="restart.proven").data["seconds"] == pytest.approx(169.8)


def test_without_a_progress_clock_a_beat_is_proof(unit: Unit) -> None:
    unit.restart(30)
    unit.world.beat(40, **WATCHED)
    unit.world.look(41)
    assert the_incident().recovered_in == pytest.approx(9.8)


def test_a_restart_that_failed_has_nothing_to_prove(unit: Unit) -> None:
    unit.world.beat(1, progress=True, progress_timeout=3600)
    unit.world.beat(30, **DOWN)
    unit.world.look(31)
    unit.done(35, unit.ask(32), "failed")
    unit.world.beat(40)
    unit.world.look(41)
    assert (the_incident().state, the_incident().recovered_in, the_incident().restarts) == ("resolved", None, 1)


def test_a_stop_during_it_ends_the_incident(unit: Unit) -> None:
    unit.world.beat(1, progress=True, progress_timeout=3600)
    unit.restart(30)
    unit.world.beat(40, status="shutdown")
    unit.world.look(41)
    assert (the_incident().state, the_incident().recovered_in) == ("resolved", None)


# Void


def test_a_restart_is_void_when_progress_came_in_since(unit: Unit) -> None:
    world = unit.world
    world.beat(1, progress=True, progress_timeout=60)
    world.beat(62, progress=False)
    world.look(63)
    command = unit.order(64)
    assert command.evidence_at == T0 + timedelta(seconds=64)
    world.beat(65, progress=True)
    assert unit.poll(66) == []
    command.refresh_from_db()
    assert (command.state, command.result) == ("expired", "void: bot works again since it was asked for")
    assert the_incident().restarts == 0


def test_beats_without_progress_do_not_make_it_void(unit: Unit) -> None:
    unit.world.beat(1, progress=True, progress_timeout=60)
    unit.world.beat(62, progress=False)
    unit.world.look(63)
    command = unit.order(64)
    unit.world.beat(65, progress=False)
    assert unit.poll(66) == [command]


def test_a_persons_restart_of_a_healthy_agent_is_never_void(unit: Unit) -> None:
    command = unit.order(10)
    unit.world.beat(11, progress=True)
    assert (command.evidence_at, unit.poll(12)) == (None, [command])


def test_a_silent_agent_that_speaks_again_needs_no_restart(unit: Unit) -> None:
    unit.world.watch(1, 130)
    unit.poll(130)
    unit.order(131)
    unit.world.beat(132)
    assert unit.poll(133) == []


@pytest.mark.parametrize(
    ("meanwhile", "said"),
    [
        (lambda unit: Agent.objects.update(restart_policy="off"), "Restarts are off"),
        (lambda unit: Agent.objects.update(unsafe_to_repeat=True), "Its work is marked as not idempotent"),
        (lambda unit: Agent.objects.update(paused_at=T0), "Monitoring is paused"),
        (lambda unit: Incident.objects.update(together=True), "Several agents fell silent"),
    ],
)
def test_a_restart_that_may_not_be_any_more_is_void(armed: Unit, meanwhile: Any, said: str) -> None:
    armed.world.beat(30, **DOWN)
    armed.world.look(31)
    command = Command.objects.get()
    meanwhile(armed)
    assert armed.poll(34) == []
    command.refresh_from_db()
    assert command.result.startswith(f"void: {said}")
    assert the_incident().restarts == 0


# Given up


def test_a_unit_that_dies_again_three_times_is_given_up_loudly(unit: Unit) -> None:
    world = unit.world
    for at in (30, 100, 500):
        unit.restart(at)
        world.beat(at + 5, **WATCHED)
        world.look(at + 6)
    world.beat(520, **DOWN)
    world.look(521)
    assert unit.refused(522) == ("restart_delay", 879)
    world.watch(522, 530)
    assert "restart_failed" not in world.kinds()
    world.beat(1410, **DOWN)
    world.look(1411)
    incident = Incident.objects.latest("id")
    assert "restart_failed" in world.kinds()
    assert (incident.severity, unit.refused(1412)) == ("critical", ("gave_up", None))
    event = IncidentEvent.objects.filter(incident=incident, kind="updated").latest("id")
    assert event.text == "Gave up: 3 restarts within 23 minutes did not help"


def test_what_was_given_up_stays_so_until_it_recovers(unit: Unit) -> None:
    world = unit.world
    for at in (30, 100, 500):
        unit.restart(at)
    for at in range(1400, 9000, 60):
        world.beat(at, **DOWN)
        world.look(at + 1)
    assert (world.kinds(), unit.refused(9000)) == (["error", "restart_failed"], ("gave_up", None))
    assert IncidentEvent.objects.filter(text__startswith="Gave up").count() == 1
    world.beat(9001, **WATCHED)
    world.look(9002)
    assert world.kinds() == []
    world.beat(9100, **DOWN)
    world.look(9101)
    assert unit.ask(9102)


def test_a_person_may_restart_what_was_given_up(unit: Unit) -> None:
    for at in (30, 100, 500):
        unit.restart(at)
    for at in range(1400, 3900, 60):
        unit.world.beat(at, **DOWN)
        unit.world.look(at + 1)
    unit.poll(3900)
    assert unit.order(3901)


# By itself


def test_an_armed_agent_is_restarted_by_itself(armed: Unit) -> None:
    armed.world.beat(30, **DOWN)
    armed.world.look(31)
    command = Command.objects.get()
    assert (command.origin, command.requested_by, command.incident) == ("watchdog", "watchdog", the_incident())
    assert command.reason == "Not responding: systemd says failed (exit-code)"
    assert armed.poll(32) == [command]
    armed.done(33, command)
    armed.world.beat(40, **WATCHED)
    armed.world.look(41)
    assert the_incident().recovered_in == 8


@pytest.mark.parametrize("policy", ["off", "manual"])
def test_one_that_is_not_armed_is_not(world: World, policy: str) -> None:
    Unit(world, policy=policy)
    world.beat(30, **DOWN)
    world.watch(31, 300)
    assert not Command.objects.exists()


def test_it_is_tried_again_in_its_time_and_given_up(armed: Unit) -> None:
    world, at = armed.world, 30.0
    asked = []
    while at < 1500:
        world.beat(at, **DOWN)
        world.look(at + 0.5)
        for command in armed.poll(at + 1):
            asked.append(at)
            armed.done(at + 2, command)
        at += 10
    # A minute after the first, five after the second; fifteen after the third it is over.
    assert asked == [30, 100, 410]
    assert world.kinds() == ["error", "restart_failed"]


def test_a_stalled_agent_is_restarted_and_gets_its_time(armed: Unit) -> None:
    world = armed.world
    world.beat(1, progress=True, progress_timeout=200)
    asked = []
    for at in range(10, 480, 10):
        world.beat(at, progress=False)
        world.look(at + 1)
        for command in armed.poll(at + 2):
            asked.append(at)
            armed.done(at + 3, command)
    assert asked == [200, 410]


@pytest.mark.parametrize("what", ["waiting", "loop", "held", "together"])
def test_what_speaks_against_it_keeps_it_from_being_restarted(armed: Unit, what: str) -> None:
    world = armed.world
    call = {"name": "search", "args": "x"}
    if what == "waiting":
        world.beat(1, waiting={"for": "approval", "until": (T0 + timedelta(hours=1)).isoformat()})
    elif what == "loop":
        world.beat(1, tool_calls=6, tool_call_log=[call] * 6)
    elif what == "held":
        AgentState.objects.update(held=True)
    else:
        world.beat(1, agent="second", source=HERE, interval=30)
    world.watch(2, 240)
    assert "missed_heartbeat" in world.kinds()
    assert not Command.objects.exists()


def test_while_others_of_its_host_are_late_it_is_not_restarted(armed: Unit) -> None:
    world = armed.world
    world.beat(8, agent="second", source=HERE, interval=30)
    armed.poll(59)
    world.look(61)
    assert (world.kinds(), world.kinds("second")) == (["missed_heartbeat"], [])
    assert not Command.objects.exists()
    [note] = IncidentEvent.objects.filter(kind="note")
    assert note.text == "Not restarted: Other agents on its host are late, too: check the host or the network."


def test_when_another_of_its_host_goes_on_it_is_restarted(armed: Unit) -> None:
    world = armed.world
    world.beat(8, agent="second", source=HERE, interval=30)
    world.look(61)
    world.beat(63, agent="second", source=HERE, interval=30)
    armed.poll(119)
    world.look(122)
    assert Command.objects.get().agent == world.agent()


def test_another_host_that_is_late_does_not_keep_it(armed: Unit) -> None:
    armed.world.beat(8, agent="second", source="1/10.0.0.7", interval=30)
    armed.poll(59)
    armed.world.look(61)
    assert Command.objects.exists()


def test_after_our_own_outage_nothing_is_restarted_before_agents_could_report(armed: Unit) -> None:
    world = armed.world
    world.look(1)
    world.beat(30, **DOWN)
    world.look(330, after_outage=True)
    Runner.objects.update(polled_at=T0 + timedelta(seconds=330))
    for at in range(331, 390, 5):
        world.beat(at, **DOWN)
        world.look(at)
    assert (world.kinds(), Command.objects.exists()) == (["error"], False)
    world.look(400)
    assert Command.objects.get().created_at == T0 + timedelta(seconds=400)


def test_without_its_runner_it_is_asked_for_again_later(armed: Unit) -> None:
    Runner.objects.all().delete()
    armed.world.beat(30, **DOWN)
    armed.world.watch(31, 80)
    assert not Command.objects.exists()
    [note] = IncidentEvent.objects.filter(kind="note")
    assert note.text.startswith("Not restarted: The runner that watches this agent has not asked")
    armed.poll(85)
    armed.world.watch(86, 96)
    assert Command.objects.count() == 1


def test_resolving_by_hand_ends_it(armed: Unit) -> None:
    armed.world.beat(30, **DOWN)
    armed.world.look(31)
    actions.resolve(incident=the_incident(), actor="x", now=T0 + timedelta(seconds=32))
    armed.world.watch(33, 120)
    assert Command.objects.count() == 1
