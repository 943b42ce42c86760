"""Restarts and stops are requested, sent once, answered or expired, with any number of web processes and runners."""

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
    """An agent with an open incident, reported by the runner MINE, which polled a moment ago."""
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


def test_the_reporting_runner_gets_the_command(agent: Agent, caller: Caller) -> None:
    command = ask(agent)
    assert (command.type, command.target) == ("systemd", "research-agent.service")
    assert handed(caller, OTHER) == []
    assert handed(caller) == [command.pk]
    command.refresh_from_db()
    assert (command.state, command.runner, command.leased_at) == ("leased", MINE, NOW)


def test_a_command_is_sent_once(agent: Agent, caller: Caller) -> None:
    ask(agent)
    handed(caller)
    assert handed(caller, after=10) == []
    assert handed(caller, OTHER, after=100) == []


def test_two_processes_lease_a_command_once(agent: Agent, caller: Caller) -> None:
    command = ask(agent)
    both = [Command.objects.select_related("agent__project__team").get(pk=command.pk) for _ in range(2)]
    assert [dispatch._lease(seen, MINE, NOW) for seen in both] == [True, False]
    assert AuditEntry.objects.filter(action="command.handed_out").count() == 1


@pytest.mark.django_db(transaction=True)
def test_concurrent_polls_get_a_command_once(agent: Agent, caller: Caller) -> None:
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


def test_configured_target_overrides_reported_target(agent: Agent) -> None:
    agent.restart_type, agent.restart_target = "docker", "research"
    assert preflight.target_of(agent) == ("docker", "research")


def test_requests_need_a_target(agent: Agent) -> None:
    AgentState.objects.update(restart_type="", restart_target="")
    assert refusal(agent) == "no_target"


def test_requests_need_a_runner(agent: Agent) -> None:
    AgentState.objects.update(runner="")
    assert refusal(agent) == "no_runner"


def test_requests_need_a_polling_runner(agent: Agent) -> None:
    assert refusal(agent, now=NOW + timedelta(minutes=2)) == "runner_silent"


def test_a_live_command_blocks_another(agent: Agent, caller: Caller) -> None:
    command = ask(agent)
    assert refusal(agent, "restart", NOW + timedelta(seconds=1)) == "command_live"
    handed(caller)
    assert refusal(agent, "stop", NOW + timedelta(seconds=1)) == "command_live"
    report(caller, command, "completed")
    assert ask(agent, "stop", NOW + timedelta(seconds=9)).action == "stop"


@pytest.mark.django_db(transaction=True)
def test_concurrent_requests_create_one_command(agent: Agent) -> None:
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


def test_a_stop_replaces_a_restart_but_not_vice_versa(agent: Agent) -> None:
    first = ask(agent)
    stop = ask(agent, "stop", NOW + timedelta(seconds=1))
    first.refresh_from_db()
    assert (first.state, first.result) == ("expired", f"replaced by a stop that {stop.requested_by} requested")
    assert refusal(agent, "restart", NOW + timedelta(seconds=2)) == "command_live"


def test_policy_off_refuses_restarts_but_not_stops(agent: Agent) -> None:
    agent.restart_policy = "off"
    assert refusal(agent) == "restart_off"
    assert ask(agent, "stop").action == "stop"


def test_any_runner_may_take_it_after_the_head_start(agent: Agent, caller: Caller) -> None:
    command = ask(agent)
    assert handed(caller, OTHER, after=29) == []
    assert handed(caller, OTHER, after=30) == [command.pk]


def test_not_registered_passes_it_to_another_runner(agent: Agent, caller: Caller) -> None:
    command = ask(agent)
    handed(caller)
    answer = report(caller, command, "rejected", "systemd:research-agent.service not registered")
    assert (answer.state, answer.refused_by) == ("pending", [MINE])
    assert handed(caller, OTHER, after=6) == [command.pk]
    assert handed(caller, after=40) == []


def test_any_other_rejection_is_final(agent: Agent, caller: Caller) -> None:
    command = ask(agent)
    handed(caller)
    assert report(caller, command, "rejected", "permission denied").state == "rejected"
    assert handed(caller, OTHER, after=60) == []


def test_an_unclaimed_command_expires(agent: Agent, caller: Caller) -> None:
    command = ask(agent)
    assert dispatch.expire(NOW + timedelta(minutes=4, seconds=59)) == 0
    assert handed(caller, after=300) == []
    assert dispatch.expire(NOW + timedelta(minutes=5)) == 1
    command.refresh_from_db()
    assert (command.state, command.result) == ("expired", "no runner picked it up")
    assert dispatch.expire(NOW + timedelta(minutes=6)) == 0


def test_one_failing_expiry_does_not_block_others(
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


def test_runners_are_forgotten_after_an_hour(agent: Agent) -> None:
    dispatch.forget_runners(NOW + timedelta(minutes=59))
    assert Runner.objects.count() == 1
    dispatch.forget_runners(NOW + timedelta(hours=1))
    assert not Runner.objects.exists()


def test_expiry_says_that_no_runner_has_the_target(agent: Agent, caller: Caller) -> None:
    command = ask(agent)
    handed(caller)
    report(caller, command, "rejected", "not registered")
    dispatch.expire(NOW + timedelta(minutes=5))
    command.refresh_from_db()
    assert command.result == "no active runner watches this target"


def test_a_lost_result_is_not_sent_again(agent: Agent, caller: Caller) -> None:
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


def test_results_need_a_sent_command(agent: Agent, caller: Caller) -> None:
    with pytest.raises(ApiError) as refused:
        report(caller, ask(agent), "completed")
    assert refused.value.http_status == 409


def test_other_projects_cannot_take_or_answer_it(agent: Agent, stranger: User) -> None:
    theirs = Project.objects.get(team__members=stranger)
    other = authenticate_key(services.issue_key(project=theirs, name="x", actor="test")[1])
    command = ask(agent)
    assert handed(other, after=60) == []
    with pytest.raises(ApiError) as refused:
        report(other, command, "completed")
    assert refused.value.http_status == 404


def test_a_completed_stop_counts_as_shutdown(agent: Agent, caller: Caller) -> None:
    command = ask(agent, "stop")
    handed(caller)
    report(caller, command, "completed")
    state = AgentState.objects.get()
    assert (state.reported, state.check_at) == ("shutdown", NOW + timedelta(seconds=5))


@pytest.mark.parametrize("status", ["failed", "rejected"])
def test_a_failed_stop_does_not_count_as_shutdown(agent: Agent, caller: Caller, status: str) -> None:
    command = ask(agent, "stop")
    handed(caller)
    report(caller, command, status, "denied")
    assert AgentState.objects.get().reported == ""


def test_steps_are_on_timeline_and_audit_log(agent: Agent, caller: Caller) -> None:
    command = ask(agent)
    handed(caller)
    report(caller, command, "failed", "unit not found")
    steps = ["command.requested", "command.handed_out", "command.failed"]
    assert (
        list(AuditEntry.objects.filter(action__startswith="command").order_by("id").values_list("action", flat=True))
        == steps
    )
    assert told() == [
        "Restart of research-agent.service requested",
        "Restart of research-agent.service sent to the runner",
        "Restart of research-agent.service failed: unit not found",
    ]


def test_without_incident_only_the_audit_log_has_steps(agent: Agent, caller: Caller) -> None:
    AgentState.objects.update(incident=None)
    ask(agent)
    assert told() == []
    assert AuditEntry.objects.filter(action="command.requested").exists()


def test_an_idle_poll_takes_at_most_two_queries(
    agent: Agent, caller: Caller, django_assert_num_queries: object
) -> None:
    with django_assert_num_queries(1):  # type: ignore[operator]
        assert handed(caller, after=10) == []
    with django_assert_num_queries(2):  # type: ignore[operator]
        assert handed(caller, after=30) == []
    assert Runner.objects.get().polled_at == NOW + timedelta(seconds=30)
