"""Selecting agents on the fleet or in the list, and bulk actions."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.utils import timezone
from pytest_django import Settings

from agents.models import Agent, AgentName, AgentState, Maintenance
from teams import services
from teams.models import AuditEntry, Membership, Project, Team, User
from tests.agents.admin.conftest import Browse, make_agent

pytestmark = pytest.mark.django_db
LIST = "/admin/agents/agent/"
PLAN = "/admin/agents/maintenance/plan/"


def boxes(body: str) -> list[int]:
    return [int(pk) for pk in re.findall(r'name="_selected_action" value="(\d+)"', body)]


def paused() -> set[str]:
    return set(Agent.objects.filter(paused_at__isnull=False).values_list("name", flat=True))


def send(browser: Any, action: str, *agents: Agent, **more: str) -> Any:
    return browser.post(f"{LIST}{more.pop('query', '')}", {"action": action, "index": "0", "_selected_action": [
        agent.pk for agent in agents], **more}, follow=True)  # fmt: skip


@pytest.fixture
def theirs(project: Project, stranger: User, member: User) -> Agent:
    """An agent of a team in which the member may only look."""
    team = Team.objects.get(name="Elsewhere")
    Membership.objects.create(team=team, user=member, role="viewer")
    return make_agent(Project.objects.get(name="Theirs"), "theirs")


@pytest.mark.parametrize("page", ["/admin/", LIST])
def test_only_operable_agents_can_be_selected(
    page: str, project: Project, theirs: Agent, member: User, viewer: User, client_of: Browse
) -> None:
    mine = make_agent(project, "mine")
    body = client_of(member).get(page).content.decode()
    assert "theirs</a>" in body
    assert boxes(body) == [mine.pk]
    assert 'id="selection"' in body
    body = client_of(viewer).get(page).content.decode()
    assert boxes(body) == []
    assert 'id="selection"' not in body


def test_bulk_action_skips_agents_of_other_roles(
    project: Project, theirs: Agent, member: User, client_of: Browse
) -> None:
    mine = make_agent(project, "mine")
    answer = send(client_of(member), "pause_selected", mine, theirs, choice="1h")
    assert paused() == {"mine"}
    assert "Monitoring paused for 1 agent." in answer.content.decode()


def test_individual_selection_ignores_the_filter(project: Project, member: User, client_of: Browse) -> None:
    recovered = make_agent(project, "recovered")
    make_agent(project, "down", status="down")
    send(client_of(member), "pause_selected", recovered, choice="1h", query="?status=down")
    assert paused() == {"recovered"}


def test_select_all_goes_beyond_the_page(project: Project, member: User, client_of: Browse) -> None:
    make_agent(project, "good")
    downs = [make_agent(project, f"down-{n}", status="down") for n in range(60)]
    answer = send(client_of(member), "pause_selected", downs[0], choice="1h", query="?status=down", select_across="1")
    assert len(paused()) == 60
    assert "Monitoring paused for 60 agents." in answer.content.decode()


def many(project: Project, count: int) -> list[Agent]:
    agents = Agent.objects.bulk_create(Agent(project=project, name=f"agent-{n:04}") for n in range(count))
    AgentState.objects.bulk_create(AgentState(agent=agent) for agent in agents)
    AgentName.objects.bulk_create(AgentName(project=project, agent=agent, name=agent.name) for agent in agents)
    return agents


@pytest.fixture
def few_fields(settings: Settings) -> None:
    """As a thousand are to some thousand agents."""
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = 20


@pytest.mark.usefixtures("few_fields")
def test_many_ids_fit_into_one_field(project: Project, member: User, client_of: Browse) -> None:
    agents = many(project, 60)
    ids = ",".join(str(agent.pk) for agent in agents[1:])
    data = {"action": "pause_selected", "choice": "1h", "index": "0", "_selected_action": ids}
    assert "Monitoring paused for 59 agents." in client_of(member).post(LIST, data, follow=True).content.decode()
    assert "agent-0000" not in paused()


@pytest.mark.usefixtures("few_fields")
def test_too_many_fields_are_refused(project: Project, member: User, client_of: Browse) -> None:
    answer = send(client_of(member), "pause_selected", *many(project, 60))
    assert answer.status_code == 400
    assert "select fewer" in answer.content.decode()
    assert not paused()


def fields_of(page: str) -> dict[str, list[str]]:
    """What its form would send."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.partition("w-narrow")[2]):
        found.setdefault(name, []).append(value)
    return found


@pytest.mark.usefixtures("few_fields")
def test_bulk_deletion_of_any_number(project: Project, member: User, client_of: Browse) -> None:
    doomed = many(project, 60)
    kept = make_agent(project, "kept")
    browser = client_of(member)
    asked = send(browser, "delete_selected", doomed[0], query="?q=agent-", select_across="1").content.decode()
    assert "Delete 60 agents?" in asked
    late = make_agent(project, "agent-late")  # nobody was asked about this one
    answer = browser.post(f"{LIST}?q=agent-", fields_of(asked), follow=True)
    assert answer.status_code == 200
    assert "Successfully deleted 60 agents" in answer.content.decode()
    assert list(project.agents.order_by("pk")) == [kept, late]


def test_deletion_stops_at_the_time_limit(
    project: Project, member: User, client_of: Browse, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter(range(0, 1000, 10))
    monkeypatch.setattr("agents.admin.agents.monotonic", lambda: next(times))
    answer = send(client_of(member), "delete_selected", *many(project, 5), post="yes").content.decode()
    assert "Deleted 2 of 5 agents in the time available. Select the rest and delete again." in answer
    assert "Successfully" not in answer
    assert project.agents.count() == 3


@pytest.mark.parametrize(
    ("back", "leads"),
    [("/admin/", "/admin/"), ("https://evil.example/", LIST), ("//evil.example/", LIST), ("javascript:x", LIST)],
)
def test_bulk_action_returns_to_the_page(
    back: str, leads: str, project: Project, member: User, client_of: Browse
) -> None:
    answer = send(client_of(member), "pause_selected", make_agent(project), choice="1h", back=back)
    assert answer.redirect_chain == [(leads, 302)]


def test_refused_agents_are_skipped_and_reported(project: Project, member: User, client_of: Browse) -> None:
    agents = [make_agent(project, name) for name in ("one", "two")]
    Agent.objects.update(paused_at=timezone.now())
    Agent.objects.filter(name="one").update(over_plan_at=timezone.now())
    body = send(client_of(member), "resume_selected", *agents).content.decode()
    assert paused() == {"one"}
    assert "Monitoring resumed for 1 agent." in body
    assert "Skipped 1 agent: " in body


# Maintenance


def planned(browser: Any, *agents: Agent, **given: str) -> Any:
    ids = ",".join(str(agent.pk) for agent in agents)
    return browser.post(PLAN, {"agents": ids, "lasts": "1h", "reason": "new disks", **given}, follow=True)


def test_maintenance_page_groups_by_project(project: Project, member: User, client_of: Browse) -> None:
    other = services.create_project(team=project.team, name="Staging", actor="test")
    chosen = [make_agent(project, "bot"), make_agent(other, "crawler")]
    make_agent(project, "apart")
    body = send(client_of(member), "maintenance_selected", *chosen, back="/admin/").content.decode()
    assert re.findall(r"<li>([\w-]+)</li>", body) == ["bot", "crawler"]
    assert "Schedule maintenance for 2 agents" in body
    assert 'name="back" value="/admin/"' in body
    answer = planned(client_of(member), *chosen, back="/admin/")
    assert answer.redirect_chain == [("/admin/", 302)]
    assert "2 agents are in maintenance until" in answer.content.decode()
    assert {one.project.name: one.agent_names for one in Maintenance.objects.all()} == {
        "Production": ["bot"],
        "Staging": ["crawler"],
    }
    assert set(AuditEntry.objects.filter(action="maintenance.planned").values_list("actor", flat=True)) == {
        member.email
    }
    assert "1 agent</span>" in client_of(member).get("/admin/agents/maintenance/").content.decode()


@pytest.mark.parametrize(
    ("lasts", "ends"),
    [
        ("30m", "2026-11-23T20:30:00+00:00"),
        ("4h", "2026-11-24T00:00:00+00:00"),
        ("tomorrow", "2026-11-25T00:00:00+00:00"),
    ],
)
def test_duration_is_in_the_persons_time_zone(
    lasts: str, ends: str, project: Project, member: User, client_of: Browse
) -> None:
    """At 20:00 UTC it is the 24th in Tokyo, where 9:00 of the 25th is midnight UTC."""
    User.objects.filter(pk=member.pk).update(time_zone="Asia/Tokyo")
    with time_machine.travel(datetime(2026, 11, 23, 20, tzinfo=UTC), tick=False):
        planned(client_of(member), make_agent(project), lasts=lasts)
    assert Maintenance.objects.get().ends_at == datetime.fromisoformat(ends)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"reason": ""}, "This field is required"),
        ({"lasts": "forever"}, "Select a valid choice"),
        ({"lasts": "own"}, "Enter both times."),
        ({"lasts": "own", "starts_at": "2030-01-01T10:00", "ends_at": "2030-01-01T09:00"}, "Must be after the start."),
        ({"lasts": "own", "starts_at": "soon", "ends_at": "2030-01-01T09:00"}, "Enter a valid date/time"),
    ],
)
def test_maintenance_errors_are_shown_at_their_field(
    given: dict[str, str], says: str, project: Project, member: User, client_of: Browse
) -> None:
    answer = planned(client_of(member), make_agent(project), **given)
    assert (answer.status_code, answer.redirect_chain) == (200, [])
    assert says in answer.content.decode()
    assert not Maintenance.objects.exists()


def test_custom_times_are_used(project: Project, member: User, client_of: Browse) -> None:
    start = (timezone.now() + timedelta(days=1)).replace(second=0, microsecond=0)
    own = {"starts_at": f"{start:%Y-%m-%dT%H:%M}", "ends_at": f"{start + timedelta(hours=2):%Y-%m-%dT%H:%M}"}
    planned(client_of(member), make_agent(project), lasts="own", **own)
    assert Maintenance.objects.get().starts_at == start


def test_other_teams_agents_are_not_found(
    project: Project, theirs: Agent, member: User, viewer: User, stranger: User, client_of: Browse
) -> None:
    mine = make_agent(project, "mine")
    for person, asked in ((member, theirs), (stranger, mine)):
        assert planned(client_of(person), asked).status_code == 404
        assert client_of(person).get(f"{PLAN}?agents={asked.pk}").status_code == 404
    assert planned(client_of(viewer), mine).status_code == 403
    assert send(client_of(member), "maintenance_selected", theirs).status_code == 404
    assert not Maintenance.objects.exists()
    planned(client_of(member), mine, theirs)
    assert Maintenance.objects.get().agent_names == ["mine"]


@pytest.mark.parametrize("ids", ["x", "9" * 30, "²", "-1"])
def test_invalid_ids_are_not_found(ids: str, project: Project, member: User, client_of: Browse) -> None:
    assert client_of(member).get(PLAN, {"agents": ids}).status_code == 404


def test_maintenance_for_a_thousand_agents(project: Project, member: User, client_of: Browse) -> None:
    agents = many(project, 1_200)
    assert "1,200 agents are in maintenance" in planned(client_of(member), *agents).content.decode()
    assert len(Maintenance.objects.get().agent_names) == 1_200
