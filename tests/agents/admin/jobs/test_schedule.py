"""A job's page."""

from __future__ import annotations

from django.test import Client
from django.urls import reverse

from agents.fleet import services
from agents.models import Agent
from teams.models import User
from tests.agents.admin.conftest import Browse
from tests.agents.conftest import World

FORM = {
    "slug": "backup",
    "schedule": "on_calendar",
    "period": "86400",
    "expression": "Mon..Fri 02:00",
    "time_zone": "Europe/Berlin",
    "grace": "600",
    "max_duration": "",
}


def page_of(agent: Agent) -> str:
    return reverse("admin:agents_agent_schedule", args=[agent.pk])


def add_job(world: World) -> Agent:
    with world.clock(0) as now:
        return services.add_agent(project=world.project, name="backup", kind="job", actor="x", now=now)


def test_member_sets_the_schedule(world: World, member: User, client_of: Browse) -> None:
    agent = add_job(world)
    answer = client_of(member).post(page_of(agent), FORM, follow=True)
    body = answer.content.decode()
    assert "Saved the schedule of backup." in body
    assert "Mon..Fri 02:00 (Europe/Berlin)" in body
    agent.job.refresh_from_db()
    assert (agent.job.expression, agent.job.grace, agent.job.max_duration) == ("Mon..Fri 02:00", 600, None)


def test_wrong_expression_is_explained(world: World, member: User, client_of: Browse) -> None:
    agent = add_job(world)
    body = client_of(member).post(page_of(agent), {**FORM, "expression": "whenever"}).content.decode()
    assert "Must be an OnCalendar expression, such as Mon..Fri 02:00." in body


def test_viewer_sees_runs_and_no_address(world: World, viewer: User, member: User, client_of: Browse) -> None:
    agent = add_job(world)
    Client().get(f"/ping/{agent.job.ping_id}/3")
    world.look(1)
    body = client_of(viewer).get(page_of(agent)).content.decode()
    assert "failed, exit status 3" in body
    assert str(agent.job.ping_id) not in body
    assert "Save schedule" not in body
    assert client_of(viewer).post(page_of(agent), FORM).status_code == 403
    assert str(agent.job.ping_id) in client_of(member).get(page_of(agent)).content.decode()
