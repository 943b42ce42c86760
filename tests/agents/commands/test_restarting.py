"""Restarts from finding to recovery: granted to runners, requested by the review, proven by progress, given up."""

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
    """A systemd unit and its runner, which reports, polls and restarts it. Times are seconds after T0."""

    def __init__(self, world: World, *, policy: str = "manual") -> None:
        self.world = world
        world.beat(0, **WATCHED)
        Agent.objects.update(restart_policy=policy)
        self.poll(0)

    def ask(self, at: float, cause: str = "down") -> Command:
        """The runner asks for permission to restart it."""
        target = ("systemd", "bot.service")
        with self.world.clock(at) as now:
            caller = self.world.caller
            return dispatch.grant(caller=caller, runner=HERE, name="bot", target=target, cause=cause, now=now)

    def refused(self, at: float, cause: str = "down") -> tuple[str, int | None]:
        with pytest.raises(ApiError) as refusal:
            self.ask(at, cause)
        return refusal.value.code, refusal.value.retry_after

    def order(self, at: float, action: str = "restart") -> Command:
        """A person requests it."""
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
        """Down at `at`, restarted within a second."""
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


# A runner asks for permission


def test_a_granted_restart_counts_as_sent(unit: Unit) -> None:
    unit.world.beat(30, **DOWN)
    unit.world.look(31)
    command = unit.ask(32, "systemd says failed")
    assert (command.state, command.runner, command.origin) == ("leased", HERE, "runner")
    assert (command.reason, command.incident) == ("runner: systemd says failed", the_incident())
    assert unit.poll(33) == []
    unit.done(35, command)
    assert steps() == ["Restart of bot.service by its runner", "Restart of bot.service completed"]
    assert the_incident().restarts == 1


def test_an_early_restart_joins_the_incident(unit: Unit) -> None:
    unit.world.beat(30, **DOWN)
    unit.ask(30.2)
    unit.world.look(31)
    assert (the_incident().restarts, Command.objects.get().incident) == (1, the_incident())
    assert steps() == ["Restart of bot.service by its runner"]


def test_runners_share_the_restart_budget(unit: Unit) -> None:
    unit.restart(30)
    assert unit.refused(40) == ("restart_delay", 51)
    with pytest.raises(ApiError, match="no agent with that name"):
        dispatch.grant(
            caller=unit.world.caller, runner=HERE, name="nobody", target=("systemd", "x"), cause="down", now=T0
        )


@pytest.mark.django_db(transaction=True)
def test_concurrent_runner_restarts_are_granted_once(unit: Unit) -> None:
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


def test_a_runners_second_restart_must_wait(unit: Unit) -> None:
    unit.ask(30)
    assert unit.refused(100) == ("command_live", 230)


@pytest.mark.parametrize("cause", ["loop", "cost"])
def test_loops_and_budgets_need_a_person(unit: Unit, cause: str) -> None:
    assert unit.refused(30, cause) == ("needs_a_person", None)
    assert not Command.objects.exists()


def test_policy_off_refuses_the_runner(unit: Unit) -> None:
    Agent.objects.update(restart_policy="off")
    assert unit.refused(30) == ("restart_off", None)


def test_unsafe_agents_are_restarted_by_people_only(armed: Unit) -> None:
    Agent.objects.update(unsafe_to_repeat=True)
    armed.world.beat(30, **DOWN)
    armed.world.look(31)
    assert armed.refused(32) == ("unsafe_to_repeat", None)
    assert "is marked as not idempotent" in IncidentEvent.objects.get(text__startswith="Not restarted").text
    assert not Command.objects.exists()
    assert armed.order(33).origin == "person"


def test_a_paused_agent_is_not_restarted(unit: Unit) -> None:
    services.pause(agent=unit.world.agent(), actor="x", now=T0)
    assert unit.refused(30) == ("paused", None)


# A person's stop


def stop(unit: Unit) -> None:
    command = unit.order(10, "stop")
    unit.poll(11)
    unit.done(12, command)


def test_a_persons_stop_blocks_runner_restarts(unit: Unit) -> None:
    stop(unit)
    unit.world.beat(30, **DOWN)
    unit.world.look(31)
    assert unit.refused(40) == ("held", None)


def test_other_runners_do_not_lift_a_stop(unit: Unit) -> None:
    stop(unit)
    unit.world.beat(30, **WATCHED)
    unit.world.beat(31, status="error", message="bot.service is not responding")
    assert unit.refused(40) == ("held", None)


def test_our_runners_ok_lifts_a_stop(unit: Unit) -> None:
    stop(unit)
    unit.world.beat(30, **WATCHED, sdk="clevagent-python/1.0.0 runner")
    assert not AgentState.objects.get().held


@pytest.mark.parametrize("own", [{}, {"status": "error", "message": "disk full"}])
def test_the_agents_own_heartbeat_lifts_a_stop(unit: Unit, own: dict[str, Any]) -> None:
    stop(unit)
    unit.world.beat(30, **own)
    assert unit.ask(40)


def test_a_shutdown_does_not_lift_a_stop(unit: Unit) -> None:
    stop(unit)
    unit.world.beat(13, status="shutdown")
    assert AgentState.objects.get().held


def test_a_persons_restart_lifts_a_stop_when_sent(unit: Unit) -> None:
    stop(unit)
    unit.order(20)
    assert AgentState.objects.get().held
    unit.poll(21)
    assert not AgentState.objects.get().held


# Recovery


def test_recovery_after_a_restart_needs_progress(unit: Unit) -> None:
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
    assert IncidentEvent.objects.get(kind="resolved").text == "Recovered after 3 minutes, 3 minutes after the restart"
    assert AuditEntry.objects.get(action="restart.proven").data["seconds"] == pytest.approx(169.8)


def test_without_progress_data_a_heartbeat_is_proof(unit: Unit) -> None:
    unit.restart(30)
    unit.world.beat(40, **WATCHED)
    unit.world.look(41)
    assert the_incident().recovered_in == pytest.approx(9.8)


def test_a_failed_restart_needs_no_proof(unit: Unit) -> None:
    unit.world.beat(1, progress=True, progress_timeout=3600)
    unit.world.beat(30, **DOWN)
    unit.world.look(31)
    unit.done(35, unit.ask(32), "failed")
    unit.world.beat(40)
    unit.world.look(41)
    assert (the_incident().state, the_incident().recovered_in, the_incident().restarts) == ("resolved", None, 1)


def test_a_shutdown_ends_the_incident_without_proof(unit: Unit) -> None:
    unit.world.beat(1, progress=True, progress_timeout=3600)
    unit.restart(30)
    unit.world.beat(40, status="shutdown")
    unit.world.look(41)
    assert (the_incident().state, the_incident().recovered_in) == ("resolved", None)


def stalled_and_restarted(unit: Unit) -> Command:
    """It stalls, a person requests a restart, and its process says goodbye when the runner ends it."""
    unit.world.beat(1, progress=True, progress_timeout=60)
    unit.world.beat(50, progress=False)
    unit.world.look(62)
    command = unit.order(63)
    unit.poll(64)
    unit.world.beat(65, status="shutdown")
    unit.world.look(66)
    return command


def test_goodbye_within_a_restart_ends_nothing(unit: Unit) -> None:
    command, world = stalled_and_restarted(unit), unit.world
    assert (world.kinds(), world.state().status) == (["stalled"], "stalled")
    unit.done(67, command)
    world.beat(68, instance="2")
    world.look(69)
    assert (the_incident().state, world.state().status) == ("open", "stalled")
    world.beat(72, instance="2", progress=True)
    world.look(73)
    assert (the_incident().outcome, the_incident().recovered_in) == ("recovered", 8)


@pytest.mark.parametrize("result", ["completed", "failed"])
def test_process_that_does_not_come_back_is_down(unit: Unit, result: str) -> None:
    command, world = stalled_and_restarted(unit), unit.world
    unit.done(67, command, result)
    world.watch(68, 140)
    assert (the_incident().state, world.state().status) == ("open", "down")
    with world.clock(141) as now:
        actions.resolve(incident=the_incident(), actor="ann@example.com", now=now)
    world.watch(142, 160)
    assert (world.kinds(), world.state().status) == ([], "stopped"), "a person's word is the last"


@pytest.mark.parametrize("result", ["completed", "failed"])
def test_healthy_agent_does_not_come_back(unit: Unit, result: str) -> None:
    """A person restarts it, and its old process says goodbye. Nothing was wrong with it before."""
    world = unit.world
    world.beat(50)
    world.look(51)
    command = unit.order(52)
    unit.poll(53)
    world.beat(54, status="shutdown")
    world.look(55)
    assert (world.kinds(), world.state().status) == ([], "ok")
    unit.done(56, command, result)
    world.watch(57, 140)
    assert (world.kinds(), the_incident().state) == (["missed_heartbeat"], "open")
    with world.clock(141) as now:
        actions.resolve(incident=the_incident(), actor="ann@example.com", now=now)
    world.watch(142, 160)
    assert (world.kinds(), world.state().status) == ([], "stopped"), "a person's word is the last"


# Cancelled


def test_progress_cancels_a_pending_restart(unit: Unit) -> None:
    world = unit.world
    world.beat(1, progress=True, progress_timeout=60)
    world.beat(62, progress=False)
    world.look(63)
    command = unit.order(64)
    assert command.evidence_at == T0 + timedelta(seconds=64)
    world.beat(65, progress=True)
    assert unit.poll(66) == []
    command.refresh_from_db()
    assert (command.state, command.result) == ("expired", "bot has recovered since the request")
    assert the_incident().restarts == 0


def test_heartbeats_do_not_cancel_a_stalls_restart(unit: Unit) -> None:
    unit.world.beat(1, progress=True, progress_timeout=60)
    unit.world.beat(62, progress=False)
    unit.world.look(63)
    command = unit.order(64)
    unit.world.beat(65, progress=False)
    assert unit.poll(66) == [command]


def test_a_healthy_agents_restart_is_not_cancelled(unit: Unit) -> None:
    command = unit.order(10)
    unit.world.beat(11, progress=True)
    assert (command.evidence_at, unit.poll(12)) == (None, [command])


def test_a_heartbeat_cancels_a_silent_agents_restart(unit: Unit) -> None:
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
def test_a_policy_change_cancels_a_pending_restart(armed: Unit, meanwhile: Any, said: str) -> None:
    armed.world.beat(30, **DOWN)
    armed.world.look(31)
    command = Command.objects.get()
    meanwhile(armed)
    assert armed.poll(34) == []
    command.refresh_from_db()
    assert command.result.startswith(said)
    assert the_incident().restarts == 0


# Given up


def test_three_restarts_in_vain_are_critical(unit: Unit) -> None:
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


def test_giving_up_lasts_until_recovery(unit: Unit) -> None:
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


def test_a_person_may_restart_after_giving_up(unit: Unit) -> None:
    for at in (30, 100, 500):
        unit.restart(at)
    for at in range(1400, 3900, 60):
        unit.world.beat(at, **DOWN)
        unit.world.look(at + 1)
    unit.poll(3900)
    assert unit.order(3901)


# Automatic


def test_policy_auto_restarts_automatically(armed: Unit) -> None:
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
def test_other_policies_do_not_restart_automatically(world: World, policy: str) -> None:
    Unit(world, policy=policy)
    world.beat(30, **DOWN)
    world.watch(31, 300)
    assert not Command.objects.exists()


def test_automatic_restarts_back_off_and_give_up(armed: Unit) -> None:
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


def test_a_stalled_agent_gets_time_after_its_restart(armed: Unit) -> None:
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
def test_automatic_restarts_respect_the_policy(armed: Unit, what: str) -> None:
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


def test_late_peers_on_a_host_delay_the_restart(armed: Unit) -> None:
    world = armed.world
    world.beat(8, agent="second", source=HERE, interval=30)
    armed.poll(59)
    world.look(61)
    assert (world.kinds(), world.kinds("second")) == (["missed_heartbeat"], [])
    assert not Command.objects.exists()
    [note] = IncidentEvent.objects.filter(kind="note")
    assert note.text == "Not restarted: Other agents on its host are late, too: check the host or the network."


def test_a_healthy_peer_allows_the_restart(armed: Unit) -> None:
    world = armed.world
    world.beat(8, agent="second", source=HERE, interval=30)
    world.look(61)
    world.beat(63, agent="second", source=HERE, interval=30)
    armed.poll(119)
    world.look(122)
    assert Command.objects.get().agent == world.agent()


def test_late_agents_elsewhere_do_not_delay_it(armed: Unit) -> None:
    armed.world.beat(8, agent="second", source="1/10.0.0.7", interval=30)
    armed.poll(59)
    armed.world.look(61)
    assert Command.objects.exists()


def test_no_restarts_right_after_a_watchdog_outage(armed: Unit) -> None:
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


def test_a_missing_runner_delays_the_restart(armed: Unit) -> None:
    Runner.objects.all().delete()
    armed.world.beat(30, **DOWN)
    armed.world.watch(31, 80)
    assert not Command.objects.exists()
    [note] = IncidentEvent.objects.filter(kind="note")
    assert note.text.startswith("Not restarted: The runner of this agent has not been heard from")
    armed.poll(85)
    armed.world.watch(86, 96)
    assert Command.objects.count() == 1


def test_resolving_ends_automatic_restarts(armed: Unit) -> None:
    armed.world.beat(30, **DOWN)
    armed.world.look(31)
    actions.resolve(incident=the_incident(), actor="x", now=T0 + timedelta(seconds=32))
    armed.world.watch(33, 120)
    assert Command.objects.count() == 1
