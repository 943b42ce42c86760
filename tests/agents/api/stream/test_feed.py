"""What the event stream tells, to whom, and from where on; over the view, which sends what there is and ends."""

from __future__ import annotations

import json
from threading import Event, Thread
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from agents.commands import dispatch
from agents.fleet import services as fleet
from agents.incidents import actions
from agents.models import Agent, AgentState, Incident, Runner, StreamEvent
from agents.review.review import review
from agents.storage import event_stream, retention
from teams import services
from teams.models import Project, User

pytestmark = pytest.mark.django_db
PATH = "/api/v1/events"


def read(key: str, query: str = "", last: int | str | None = None) -> Any:
    headers = {"X-API-Key": key, **({} if last is None else {"Last-Event-ID": str(last)})}
    return Client(headers=headers).get(PATH + query, headers={"accept": "text/event-stream"})


def parsed(response: Any) -> list[tuple[int, str, Any]]:
    assert response.status_code == 200, response.content
    events = []
    for block in response.content.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "event" in fields:
            events.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
    return events


@pytest.fixture
def read_key(project: Project) -> str:
    return services.issue_key(project=project, name="read", scope="read", actor="test")[1]


@pytest.fixture
def seen(read_key: str, incident: Incident) -> int:
    """The number after which the test's own events come."""
    event_stream.write([event_stream.event(incident.agent, "agent.status", {}, timezone.now())])
    event_stream.number()
    return event_stream.newest()


def test_incident_is_streamed(read_key: str, seen: int, incident: Incident) -> None:
    now = timezone.now()
    actions.acknowledge(incident=incident, actor="ann@example.com", now=now)
    actions.note(incident=incident, actor="ann@example.com", text="on it", now=now)
    actions.resolve(incident=incident, actor="ann@example.com", now=now)
    events = parsed(read(read_key, last=seen))
    assert [kind for _, kind, _ in events] == ["incident.acknowledged", "incident.resolved"]
    number, _, data = events[0]
    assert number > seen
    assert (data["incident"]["id"], data["incident"]["state"]) == (incident.pk, "acknowledged")
    assert (data["agent"]["name"], data["actor"]) == ("research-agent", "ann@example.com")
    assert data["incident"]["url"].endswith(f"/{incident.pk}/change/")


def test_status_changes_are_streamed(read_key: str, seen: int, agent: Agent) -> None:
    fleet.pause(agent=agent, actor="ann@example.com", now=timezone.now())
    review([agent.pk], timezone.now())
    changes = [data for _, kind, data in parsed(read(read_key, last=seen)) if kind == "agent.status"]
    assert [data["status"] for data in changes] == ["paused"]
    review([agent.pk], timezone.now())
    assert StreamEvent.objects.filter(type="agent.status", data__status="paused").count() == 1


def test_commands_are_streamed(read_key: str, seen: int, agent: Agent) -> None:
    now, target = timezone.now(), {"restart_type": "systemd", "restart_target": "x.service"}
    AgentState.objects.filter(agent=agent).update(runner="1/10.0.0.1", runner_at=now, **target)
    Runner.objects.create(project=agent.project, source="1/10.0.0.1", polled_at=now)
    agent = Agent.objects.get(pk=agent.pk)
    command = dispatch.request(agent=agent, action="stop", actor="ann@example.com", reason="", now=now)
    dispatch.expire(command.expires_at)
    kinds = [(kind, data["command"]) for _, kind, data in parsed(read(read_key, last=seen))]
    assert kinds == [("command.requested", command.pk), ("command.expired", command.pk)]


def test_without_an_id_only_new_events_come(read_key: str, seen: int, incident: Incident) -> None:
    actions.acknowledge(incident=incident, actor="ann@example.com", now=timezone.now())
    assert parsed(read(read_key)) == []


def test_resumes_without_loss_or_repetition(read_key: str, seen: int, agent: Agent) -> None:
    for step in range(5):
        event_stream.write([event_stream.event(agent, "agent.status", {"step": step}, timezone.now())])
    events = parsed(read(read_key, last=seen))
    assert [data["step"] for *_, data in events] == list(range(5))
    assert [data["step"] for *_, data in parsed(read(read_key, last=events[2][0]))] == [3, 4]
    assert parsed(read(read_key, last=events[4][0])) == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has a single writer")
def test_events_that_commit_late_are_not_lost(read_key: str, seen: int, agent: Agent) -> None:
    """It took its ID first, and is committed after a later one was read."""
    inserted, may_commit = Event(), Event()

    def commit_late() -> None:
        with transaction.atomic():
            event_stream.write([event_stream.event(agent, "agent.status", {"n": "late"}, timezone.now())])
            inserted.set()
            may_commit.wait(60)
        connection.close()

    thread = Thread(target=commit_late)
    thread.start()
    assert inserted.wait(60)
    event_stream.write([event_stream.event(agent, "agent.status", {"n": "early"}, timezone.now())])
    ((number, _, early),) = parsed(read(read_key, last=seen))
    assert early["n"] == "early"
    may_commit.set()
    thread.join()
    ((_, _, late),) = parsed(read(read_key, last=number))
    assert late["n"] == "late"
    assert [data["n"] for *_, data in parsed(read(read_key, last=seen))] == ["early", "late"]


def test_missed_events_are_told(read_key: str, seen: int, agent: Agent) -> None:
    old = timezone.now() - 2 * event_stream.KEPT
    StreamEvent.objects.update(at=old)
    event_stream.write([event_stream.event(agent, "agent.status", {}, timezone.now())])
    event_stream.number()
    retention.forget_old(timezone.now())
    newest = event_stream.newest()
    for last in (seen, newest + 1_000):
        ((number, kind, _),) = parsed(read(read_key, last=last))
        assert (number, kind) == (newest, "stream.reset")
    assert parsed(read(read_key, last=newest)) == []


@pytest.mark.parametrize("name", ["a b", "a/b", "a.b", "突", "a&b=c"])
def test_one_agent_is_chosen_by_name(full_key: str, seen: int, agent: Agent, project: Project, name: str) -> None:
    other = fleet.add_agent(project=project, name=name, kind="agent", actor="test", now=timezone.now())
    for each in (agent, other):
        event_stream.write([event_stream.event(each, "agent.status", {}, timezone.now())])
    for chosen in (name, str(other.pk)):
        response = Client(headers={"X-API-Key": full_key}).get(
            PATH, {"agent": chosen}, headers={"last-event-id": str(seen)}
        )
        assert [data["agent"]["name"] for *_, data in parsed(response)] == [name]


def test_strangers_get_nothing(stranger: User, seen: int, incident: Incident) -> None:
    theirs = Project.objects.get(team__members=stranger)
    key = services.issue_key(project=theirs, name="k", scope="full", actor="test")[1]
    actions.acknowledge(incident=incident, actor="ann@example.com", now=timezone.now())
    assert parsed(read(key, last=seen)) == []
    assert read(key, "?agent=research-agent").status_code == 404


def test_refusals(api_key: str, read_key: str, seen: int) -> None:
    assert read(api_key).status_code == 403
    assert Client().get(PATH).status_code == 401
    assert read(read_key, "?agent=nobody").status_code == 404
    for wrong in ("x", "-1", "1" * 30, "1.5"):
        assert read(read_key, last=wrong).status_code == 422, wrong
    assert Client(headers={"X-API-Key": read_key}).post(PATH).status_code in (403, 405)
