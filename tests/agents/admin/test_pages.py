"""The fleet at the front, and the first steps."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from html import unescape
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.core import serializers
from django.test import Client
from django.utils import timezone

from agents.models import Agent, AgentState
from teams import services
from teams.auth import authenticate_key
from teams.models import ApiKey, AuditEntry, Project, User
from tests.agents.admin.conftest import Browse, make_agent, make_incident

pytestmark = pytest.mark.django_db
STEPS = "/admin/first-steps/"


def tiles(body: str) -> dict[str, int]:
    return {status: int(n) for status, n in re.findall(r'\?status=(\w+)"><strong>(\d+)<', body)}


# The fleet


def test_an_empty_fleet_leads_to_the_first_steps(project: Project, viewer: User, client_of: Browse) -> None:
    body = client_of(viewer).get("/admin/").content.decode()
    assert "No agent reports yet" in body
    assert STEPS in body


def test_the_fleet_counts_and_names_the_worst(project: Project, viewer: User, client_of: Browse) -> None:
    for n in range(3):
        make_agent(project, f"good-{n}")
    make_agent(project, "tardy", beat=80)
    incident = make_incident(make_agent(project, "stuck"))
    body = client_of(viewer).get("/admin/").content.decode()
    assert {status: n for status, n in tiles(body).items() if n} == {"stalled": 1, "late": 1, "ok": 3}
    assert re.findall(r'<th scope="row"><a [^>]*>([^<]+)</a>', body) == ["stuck", "tardy", "good-0", "good-1", "good-2"]
    assert f"/admin/agents/incident/{incident.pk}/change/" in body


# The first steps


def make_key(browser: Client, project: Project, **data: Any) -> Any:
    return browser.post(f"{STEPS}key/", {"project": project.pk, **data}, headers={"HX-Request": "true"})


def key_in(body: str) -> str:
    [found] = re.findall(r'<code id="new-key">(cv_\w+)</code>', body)
    return str(found)


def test_a_new_project_gets_its_key_by_itself(project: Project, owner: User, client_of: Browse) -> None:
    page = client_of(owner).get(STEPS).content.decode()
    assert 'hx-trigger="load, submit"' in page
    assert "Research" in page
    assert "Production" in page
    key = key_in(make_key(client_of(owner), project, first="1").content.decode())
    assert authenticate_key(key).project_id == project.pk
    assert AuditEntry.objects.get(action="key.created").actor == owner.email


def test_the_key_is_in_everything_that_is_to_be_copied(
    project: Project, owner: User, client_of: Browse, settings: Any
) -> None:
    settings.BASE_URL = "https://watch.example.com"
    body = make_key(client_of(owner), project).content.decode()
    key = key_in(body)
    assert body.count(key) == 7
    assert f"clevagent.init(api_key=&quot;{key}&quot;, agent=&quot;my-agent&quot;, endpoint=&quot;https://watch" in body
    assert "&quot;status&quot;: &quot;ok&quot;" in body


@pytest.mark.django_db(transaction=True)
def test_the_lines_of_python_make_the_page_turn_green(
    project: Project, owner: User, client_of: Browse, settings: Any, live_server: Any
) -> None:
    settings.BASE_URL = live_server.url
    body = unescape(make_key(client_of(owner), project).content.decode())
    lines = body[body.index("import clevagent") :]
    source = {**os.environ, "PYTHONPATH": str(settings.BASE_DIR / "client_sdk")}
    subprocess.run([sys.executable, "-c", lines[: lines.index("</")]], env=source, check=True, timeout=20)
    assert "my-agent" in client_of(owner).get(STEPS).content.decode()
    assert Agent.objects.get(project=project).name == "my-agent"


@pytest.mark.parametrize(
    ("server", "trusted"),
    [
        ("https://watch.example.com", ""),
        ("http://127.0.0.1:8000", ""),
        ("http://localhost:8000", ""),
        ("http://[::1]:8000", ""),
        ("http://10.0.0.5:8000", "--trusted-host 10.0.0.5 "),
        ("http://watch.example.com", "--trusted-host watch.example.com "),
    ],
)
def test_the_line_that_installs_names_the_host_where_pip_asks_for_it(
    project: Project, owner: User, client_of: Browse, settings: Any, server: str, trusted: str
) -> None:
    settings.BASE_URL = server
    line = f"pip install --index-url {server}/simple/ {trusted}clevagent"
    assert f">{line}</code>" in client_of(owner).get(STEPS).content.decode()


def test_the_key_is_kept_nowhere(
    project: Project, owner: User, client_of: Browse, caplog: pytest.LogCaptureFixture
) -> None:
    browser = client_of(owner)
    with caplog.at_level(logging.DEBUG):
        answer = make_key(browser, project)
    key = key_in(answer.content.decode())
    assert "no-store" in answer.headers["Cache-Control"]
    assert key not in caplog.text
    assert key not in browser.get(STEPS).content.decode()
    sessions = [session.get_decoded() for session in Session.objects.all()]
    assert key not in str(sessions)
    stored = [*ApiKey.objects.all(), *AuditEntry.objects.all(), *Project.objects.all()]
    assert key not in serializers.serialize("json", stored)


def test_a_second_look_makes_no_second_key(project: Project, owner: User, client_of: Browse) -> None:
    make_key(client_of(owner), project, first="1")
    again = make_key(client_of(owner), project, first="1").content.decode()
    assert "new-key" not in again
    assert "1 key already" in again
    assert ApiKey.objects.count() == 1


def test_another_key_is_made_on_request(project: Project, api_key: str, owner: User, client_of: Browse) -> None:
    page = client_of(owner).get(STEPS).content.decode()
    assert "Make another key" in page
    assert "load, submit" not in page
    assert key_in(make_key(client_of(owner), project).content.decode()) != api_key


def test_it_works_without_javascript(project: Project, owner: User, client_of: Browse) -> None:
    body = client_of(owner).post(f"{STEPS}key/", {"project": project.pk, "first": "1"}).content.decode()
    assert "<html" in body
    assert key_in(body)


@pytest.mark.parametrize("who", ["viewer", "member"])
def test_who_may_not_make_keys_is_told_who_can(
    who: str, project: Project, client_of: Browse, request: pytest.FixtureRequest
) -> None:
    browser = client_of(request.getfixturevalue(who))
    body = browser.get(STEPS).content.decode()
    assert "Ask an owner or an admin of Research" in body
    assert "first-steps/key" not in body
    assert make_key(browser, project).status_code == 403
    assert not ApiKey.objects.exists()


def test_another_teams_project_is_not_there(project: Project, stranger: User, client_of: Browse) -> None:
    browser = client_of(stranger)
    assert browser.get(f"{STEPS}?project={project.pk}").status_code == 404
    assert browser.get(f"{STEPS}beat/?project={project.pk}").status_code == 404
    assert make_key(browser, project).status_code == 404
    for nonsense in ("", "x", "-1", "9" * 30, "²"):
        assert browser.get(STEPS, {"project": nonsense}).status_code == 404
    assert "Theirs" in browser.get(STEPS).content.decode()


def test_the_newest_project_is_the_default(project: Project, owner: User, client_of: Browse) -> None:
    services.create_project(team=project.team, name="Second", actor="test")
    body = client_of(owner).get(STEPS).content.decode()
    assert "project <strong>Second</strong>" in body
    assert f"?project={project.pk}" in body


def test_waiting_turns_green_with_the_first_heartbeat(
    project: Project, api_key: str, viewer: User, client_of: Browse
) -> None:
    browser = client_of(viewer)
    waiting = browser.get(f"{STEPS}beat/?project={project.pk}")
    assert waiting.status_code == 200
    assert "Waiting for the first heartbeat" in waiting.content.decode()
    beat = {"agent": "my-agent", "status": "ok"}
    Client().post("/api/v1/heartbeat", beat, content_type="application/json", headers={"X-API-Key": api_key})
    green = browser.get(f"{STEPS}beat/?project={project.pk}")
    assert green.status_code == 286
    assert "my-agent reports" in green.content.decode()
    assert f"/admin/agents/agent/{Agent.objects.get().pk}/change/" in green.content.decode()


def test_an_agent_made_by_hand_is_no_heartbeat(project: Project, viewer: User, client_of: Browse) -> None:
    make_agent(project, beat=None)
    assert "Waiting" in client_of(viewer).get(f"{STEPS}beat/?project={project.pk}").content.decode()
    AgentState.objects.update(last_beat_at=timezone.now())
    assert "bot reports" in client_of(viewer).get(f"{STEPS}beat/?project={project.pk}").content.decode()
