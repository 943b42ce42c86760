"""Restart and stop: asked for, handed out once, answered, expired; safe with several web processes and runners."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from agents.commands import dispatch, preflight
from agents.ingest.registration import create_agent
from agents.models import Agent, AgentState, Command, Incident, IncidentEvent, Runner
from teams import services
from teams.auth import Caller, authenticate_key
from teams.errors import ApiError
from teams.models import AuditEntry, Project, User

pytestmark = pytest.mark.django_db
MINE, OTHER = "1/10.0.0.1", "1/10.0.0.2"
NOW = datetime(2026, 11, 23, 20, 0, tzinfo=timezone.get_default_timezone())


@pytest.fixture
def caller(api_key: str) -> Caller:
    return authenticate_key(api_key)


@pytest.fixture
def agent(project: Project) -> Agent:
    """Reported by the runner MINE, which asked for commands a moment ago; with an open incident."""
    made = create_agent(project=project, name="research-agent", now=NOW)
    incident = Incident.objects.create(
        project=project, agent=made, kind="stalled", severity="critical", reason="x", started_at=NOW, opened_at=NOW
    )
    target = {"runner": MINE, "restart_type": "systemd", "restart_target": "research-agent.service"}
    AgentState.objects.filter(agent=made).update(incident=incident, **target)
    Runner.objects.create(project=project, source=MINE, polled_at=NOW)
    return Agent.objects.get(pk=made.pk)


def ask(agent: Agent, action: str = "restart", now: datetime = NOW) -> Command:
    return dispatch.request(agent=agent, action=action, actor="owner@example.com", reason="stuck", now=now)


def refusal(agent: Agent, action: str = "restart", now: datetime = NOW) -> str:
    with pytest.raises(ApiError) as refused:
        ask(agent, action, now)
    assert refused.value.http_status == 409
    assert not Command.objects.filter(created_at=now).exists()
    return refused.value.code


def handed(caller: Caller, runner: str = MINE, after: int = 0) -> list[int]:
    return [c.pk for c in dispatch.hand_out(caller=caller, runner=runner, now=NOW + timedelta(seconds=after))]


def report(
    caller: Caller, command: Command, status: str, message: str = "", runner: str = MINE, after: int = 5
) -> Command:
    now = NOW + timedelta(seconds=after)
    return dispatch.report(command_id=command.pk, caller=caller, runner=runner, status=status, message=message, now=now)


def told() -> list[str]:
    """The steps on the incident's timeline."""
    return list(IncidentEvent.objects.filter(kind="command").order_by("id").values_list("text", flat=True))


def test_a_command_goes_to_the_runner_that_reported_the_target(agent: Agent, caller: Caller) -> None:
    command = ask(agent)
    assert (command.type, command.target) == ("systemd", "research-agent.service")
    assert handed(caller, OTHER) == []
    assert handed(caller) == [command.pk]
    command.refresh_from_db()
    assert (command.state, command.runner, command.leased_at) == ("leased", MINE, NOW)


def test_a_command_is_handed_out_once(agent: Agent, caller: Caller) -> None:
    ask(agent)
    handed(caller)
    assert handed(caller, after=10) == []
    assert handed(caller, OTHER, after=100) == []


def test_two_processes_that_saw_the_same_command_hand_it_out_once(agent: Agent, caller: Caller) -> None:
    command = ask(agent)
    both = [Command.objects.select_related("agent__project__team").get(pk=command.pk) for _ in range(2)]
    assert [dispatch._lease(seen, MINE, NOW) for seen in both] == [True, False]
    assert AuditEntry.objects.filter(action="command.handed_out").count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_many_processes_that_ask_at_once_one_gets_the_command(agent: Agent, caller: Caller) -> None:
    command = ask(agent)
    start, got = threading.Barrier(6), []

    def poll() -> None:
        start.wait()
        got.extend(handed(caller))
        connection.close()

    threads = [threading.Thread(target=poll) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [command.pk]


def test_what_a_person_set_goes_before_what_was_reported(agent: Agent) -> None:
    agent.restart_type, agent.restart_target = "docker", "research"
    assert preflight.target_of(agent) == ("docker", "research")


def test_without_a_target_nothing_can_be_asked_for(agent: Agent) -> None:
    AgentState.objects.update(restart_type="", restart_target="")
    assert refusal(agent) == "no_target"


def test_without_a_runner_nothing_can_be_asked_for(agent: Agent) -> None:
    AgentState.objects.update(runner="")
    assert refusal(agent) == "no_runner"


def test_a_runner_that_does_not_ask_is_not_waited_for(agent: Agent) -> None:
    assert refusal(agent, now=NOW + timedelta(minutes=2)) == "runner_silent"


def test_a_second_command_waits_for_the_first_one(agent: Agent, caller: Caller) -> None:
    command = ask(agent)
    assert refusal(agent, "restart", NOW + timedelta(seconds=1)) == "command_live"
    handed(caller)
    assert refusal(agent, "stop", NOW + timedelta(seconds=1)) == "command_live"
    report(caller, command, "completed")
    assert ask(agent, "stop", NOW + timedelta(seconds=9)).action == "stop"


@pytest.mark.django_db(transaction=True)
def test_of_several_that_ask_at_once_one_gets_a_command(agent: Agent) -> None:
    start, said = threading.Barrier(4), []

    def wanting() -> None:
        start.wait()
        try:
            said.append(ask(Agent.objects.get(pk=agent.pk), "stop").action)
        except ApiError as refused:
            said.append(refused.code)
        connection.close()

    threads = [threading.Thread(target=wanting) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == ["command_live"] * 3 + ["stop"]


def test_a_stop_takes_the_place_of_a_restart_that_no_runner_took_and_not_the_other_way(agent: Agent) -> None:
    first = ask(agent)
    stop = ask(agent, "stop", NOW + timedelta(seconds=1))
    first.refresh_from_db()
    assert (first.state, first.result) == ("expired", f"superseded: stop asked for by {stop.requested_by}")
    assert refusal(agent, "restart", NOW + timedelta(seconds=2)) == "command_live"


def test_a_policy_of_off_refuses_a_restart_and_not_a_stop(agent: Agent) -> None:
    agent.restart_policy = "off"
    assert refusal(agent) == "restart_off"
    assert ask(agent, "stop").action == "stop"


def test_after_its_head_start_another_runner_may_have_it(agent: Agent, caller: Caller) -> None:
    command = ask(agent)
    assert handed(caller, OTHER, after=29) == []
    assert handed(caller, OTHER, after=30) == [command.pk]


def test_not_registered_means_not_mine(agent: Agent, caller: Caller) -> None:
    command = ask(agent)
    handed(caller)
    answer = report(caller, command, "rejected", "systemd:research-agent.service not registered")
    assert (answer.state, answer.refused_by) == ("pending", [MINE])
    assert handed(caller, OTHER, after=6) == [command.pk]
    assert handed(caller, after=40) == []


def test_another_refusal_is_final(agent: Agent, caller: Caller) -> None:
    command = ask(agent)
    handed(caller)
    assert report(caller, command, "rejected", "permission denied").state == "rejected"
    assert handed(caller, OTHER, after=60) == []


def test_what_nobody_takes_expires(agent: Agent, caller: Caller) -> None:
    command = ask(agent)
    assert dispatch.expire(NOW + timedelta(minutes=4, seconds=59)) == 0
    assert handed(caller, after=300) == []
    assert dispatch.expire(NOW + timedelta(minutes=5)) == 1
    command.refresh_from_db()
    assert (command.state, command.result) == ("expired", "no runner asked for it")
    assert dispatch.expire(NOW + timedelta(minutes=6)) == 0


def test_a_command_that_cannot_be_told_of_does_not_keep_others_alive(
    agent: Agent, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned = ask(agent)
    other = create_agent(project=project, name="other", now=NOW)
    fine = Command.objects.create(agent=other, action="stop", type="docker", target="x", expires_at=NOW)
    tell = dispatch._record

    def fail(command: Command, *args: Any, **facts: Any) -> None:
        if command == poisoned:
            raise ValueError("poisoned")
        tell(command, *args, **facts)

    monkeypatch.setattr(dispatch, "_record", fail)
    assert dispatch.expire(NOW + timedelta(minutes=5)) == 1
    fine.refresh_from_db()
    poisoned.refresh_from_db()
    assert (fine.state, poisoned.state) == ("expired", "pending")


def test_runners_that_are_long_gone_are_forgotten(agent: Agent) -> None:
    dispatch.forget_runners(NOW + timedelta(minutes=59))
    assert Runner.objects.count() == 1
    dispatch.forget_runners(NOW + timedelta(hours=1))
    assert not Runner.objects.exists()


def test_what_every_runner_refused_expires_and_says_so(agent: Agent, caller: Caller) -> None:
    command = ask(agent)
    handed(caller)
    report(caller, command, "rejected", "not registered")
    dispatch.expire(NOW + timedelta(minutes=5))
    command.refresh_from_db()
    assert "not registered" in command.result


def test_a_lost_result_expires_and_nothing_is_sent_again(agent: Agent, caller: Caller) -> None:
    command = ask(agent)
    handed(caller)
    dispatch.expire(NOW + timedelta(minutes=5))
    assert handed(caller, after=301) == []
    assert report(caller, command, "completed", "at last", after=302).state == "completed"


def test_a_second_result_changes_nothing(agent: Agent, caller: Caller) -> None:
    command = ask(agent)
    handed(caller)
    report(caller, command, "completed", "done")
    again = report(caller, command, "failed", "no")
    assert (again.state, again.result) == ("completed", "done")
    assert AuditEntry.objects.filter(action__in=["command.completed", "command.failed"]).count() == 1


def test_a_result_for_what_was_never_handed_out_is_refused(agent: Agent, caller: Caller) -> None:
    with pytest.raises(ApiError) as refused:
        report(caller, ask(agent), "completed")
    assert refused.value.http_status == 409


def test_another_project_neither_gets_nor_answers_it(agent: Agent, stranger: User) -> None:
    theirs = Project.objects.get(team__members=stranger)
    other = authenticate_key(services.issue_key(project=theirs, name="x", actor="test")[1])
    command = ask(agent)
    assert handed(other, after=60) == []
    with pytest.raises(ApiError) as refused:
        report(other, command, "completed")
    assert refused.value.http_status == 404


def test_a_completed_stop_means_stopped(agent: Agent, caller: Caller) -> None:
    command = ask(agent, "stop")
    handed(caller)
    report(caller, command, "completed")
    state = AgentState.objects.get()
    assert (state.reported, state.check_at) == ("shutdown", NOW + timedelta(seconds=5))


@pytest.mark.parametrize("status", ["failed", "rejected"])
def test_a_stop_that_did_not_work_does_not_mean_stopped(agent: Agent, caller: Caller, status: str) -> None:
    command = ask(agent, "stop")
    handed(caller)
    report(caller, command, status, "denied")
    assert AgentState.objects.get().reported == ""


def test_every_step_is_on_the_timeline_and_in_the_audit_log(agent: Agent, caller: Caller) -> None:
    command = ask(agent)
    handed(caller)
    report(caller, command, "failed", "unit not found")
    steps = ["command.requested", "command.handed_out", "command.failed"]
    assert (
        list(AuditEntry.objects.filter(action__startswith="command").order_by("id").values_list("action", flat=True))
        == steps
    )
    assert told() == [
        "restart of research-agent.service requested",
        "restart of research-agent.service handed to the runner",
        "restart of research-agent.service failed: unit not found",
    ]


def test_without_an_incident_only_the_audit_log_tells(agent: Agent, caller: Caller) -> None:
    AgentState.objects.update(incident=None)
    ask(agent)
    assert told() == []
    assert AuditEntry.objects.filter(action="command.requested").exists()


def test_a_poll_with_nothing_waiting_takes_at_most_two_queries(
    agent: Agent, caller: Caller, django_assert_num_queries: object
) -> None:
    with django_assert_num_queries(1):  # type: ignore[operator]
        assert handed(caller, after=10) == []
    with django_assert_num_queries(2):  # type: ignore[operator]
        assert handed(caller, after=30) == []
    assert Runner.objects.get().polled_at == NOW + timedelta(seconds=30)
