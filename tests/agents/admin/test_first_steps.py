"""The page "Get started", from the names to the first heartbeat."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from html import unescape
from typing import Any

import pytest
from django.core import serializers
from django.test import Client
from django.utils import timezone

from agents.admin.first_steps import STOP_POLLING
from agents.admin.quickstart import tabs
from agents.models import Agent, AgentState
from billing.services import set_plan
from teams import services
from teams.auth import authenticate_key
from teams.models import ApiKey, AuditEntry, Project, Session, Team, User
from tests.agents.admin.conftest import Browse, make_agent
from tests.agents.conftest import World
from tests.agents.doors.captures import FIXTURES

pytestmark = pytest.mark.django_db
STEPS = "/admin/first-steps/"


def make_key(browser: Client, project: Project, **data: Any) -> Any:
    return browser.post(f"{STEPS}key/", {"project": project.pk, **data}, headers={"HX-Request": "true"})


def key_in(body: str) -> str:
    [found] = re.findall(r'<code id="new-key">(cv_\w+)</code>', body)
    return str(found)


def test_new_project_gets_a_key_automatically(project: Project, owner: User, client_of: Browse) -> None:
    page = client_of(owner).get(STEPS).content.decode()
    assert 'hx-trigger="load, submit"' in page
    assert "Research" in page
    assert "Production" in page
    key = key_in(make_key(client_of(owner), project, first="1").content.decode())
    assert authenticate_key(key).project_id == project.pk
    assert AuditEntry.objects.get(action="key.created").actor == owner.email


def test_first_visit_fills_a_key_in(project: Project, owner: User, client_of: Browse) -> None:
    """Also when a key exists that only a terminal showed."""
    services.issue_key(project=project, name="create_project", scope="agent", actor="test")
    browser = client_of(owner)
    assert 'hx-trigger="load, submit"' in browser.get(STEPS).content.decode()
    assert key_in(make_key(browser, project, first="1").content.decode()).startswith("cv_")
    assert 'hx-trigger="submit"' in browser.get(STEPS).content.decode(), "once"


def test_first_steps_are_those_of_an_unstarted_project(team: Team, owner: User, client_of: Browse) -> None:
    """`bin/run --demo` makes a second project, whose agents report before anybody signs in."""
    own = services.create_project(team=team, name="Own", actor="test")
    demo = services.create_project(team=team, name="Demo agents", actor="test")
    make_agent(demo)
    browser = client_of(owner)
    page = browser.get(STEPS).content.decode()
    assert f'<input type="hidden" name="project" value="{own.pk}">' in page
    assert 'hx-trigger="load, submit"' in page
    make_agent(own)
    assert f'<input type="hidden" name="project" value="{demo.pk}">' in browser.get(STEPS).content.decode()


def test_reporting_project_gets_no_key_unasked(project: Project, owner: User, client_of: Browse) -> None:
    make_agent(project)
    browser = client_of(owner)
    assert 'hx-trigger="submit"' in browser.get(STEPS).content.decode()
    make_key(browser, project, first="1")
    assert not project.api_keys.exists()


def test_key_is_in_every_snippet(project: Project, owner: User, client_of: Browse, settings: Any) -> None:
    settings.BASE_URL = "https://watch.example.com"
    body = make_key(client_of(owner), project).content.decode()
    key = key_in(body)
    shown = tabs(key, "https://watch.example.com", "my-agent")
    texts = [text for tab in shown for text in (tab.hint, *(block.text for block in tab.blocks))]
    assert body.count(key) == 1 + sum(text.count(key) for text in texts)
    assert f"clevagent.init(api_key=&quot;{key}&quot;, agent=&quot;my-agent&quot;, endpoint=&quot;https://watch" in body
    assert "&quot;status&quot;: &quot;ok&quot;" in body


@pytest.mark.django_db(transaction=True)
def test_python_snippet_sends_a_heartbeat(
    project: Project, owner: User, client_of: Browse, settings: Any, live_server: Any
) -> None:
    settings.BASE_URL = live_server.url
    body = unescape(make_key(client_of(owner), project).content.decode())
    lines = body[body.index("import clevagent") :]
    source = {**os.environ, "PYTHONPATH": str(settings.BASE_DIR / "client_sdk")}
    subprocess.run([sys.executable, "-c", lines[: lines.index("</")]], env=source, check=True, timeout=180)
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
def test_install_command_trusts_hosts_without_tls(
    project: Project, owner: User, client_of: Browse, settings: Any, server: str, trusted: str
) -> None:
    settings.BASE_URL = server
    line = f"pip install --index-url {server}/simple/ {trusted}clevagent"
    assert f">{line}</code>" in client_of(owner).get(STEPS).content.decode()


def test_key_is_not_stored(project: Project, owner: User, client_of: Browse, caplog: pytest.LogCaptureFixture) -> None:
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


def test_reload_creates_no_second_key(project: Project, owner: User, client_of: Browse) -> None:
    make_key(client_of(owner), project, first="1")
    again = make_key(client_of(owner), project, first="1").content.decode()
    assert "new-key" not in again
    assert "already has 1 key." in again
    assert ApiKey.objects.count() == 1


def test_another_key_on_request(project: Project, api_key: str, owner: User, client_of: Browse) -> None:
    make_agent(project)
    page = client_of(owner).get(STEPS).content.decode()
    assert "Create another key" in page
    assert "load, submit" not in page
    assert key_in(make_key(client_of(owner), project).content.decode()) != api_key


def test_page_works_without_javascript(project: Project, owner: User, client_of: Browse) -> None:
    body = client_of(owner).post(f"{STEPS}key/", {"project": project.pk, "first": "1"}).content.decode()
    assert "<html" in body
    assert key_in(body)


@pytest.mark.parametrize("who", ["viewer", "member"])
def test_roles_without_keys_are_told_whom_to_ask(
    who: str, project: Project, client_of: Browse, request: pytest.FixtureRequest
) -> None:
    browser = client_of(request.getfixturevalue(who))
    body = browser.get(STEPS).content.decode()
    assert "Ask an owner or admin of Research" in body
    assert "first-steps/key" not in body
    assert make_key(browser, project).status_code == 403
    assert not ApiKey.objects.exists()


def test_other_teams_project_is_not_found(project: Project, stranger: User, client_of: Browse) -> None:
    browser = client_of(stranger)
    assert browser.get(f"{STEPS}?project={project.pk}").status_code == 404
    assert browser.get(f"{STEPS}beat/?project={project.pk}").status_code == 404
    assert make_key(browser, project).status_code == 404
    for nonsense in ("", "x", "-1", "9" * 30, "²"):
        assert browser.get(STEPS, {"project": nonsense}).status_code == 404
    assert "Theirs" in browser.get(STEPS).content.decode()


def test_newest_project_is_the_default(project: Project, owner: User, client_of: Browse) -> None:
    services.create_project(team=project.team, name="Second", actor="test")
    body = client_of(owner).get(STEPS).content.decode()
    assert "project <strong>Second</strong>" in body
    assert f"?project={project.pk}" in body


def test_page_turns_green_with_the_first_heartbeat(
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
    assert "my-agent is reporting" in green.content.decode()
    assert f"/admin/agents/agent/{Agent.objects.get().pk}/change/" in green.content.decode()


def test_agent_beyond_the_plan_is_named(world: World, owner: User, client_of: Browse) -> None:
    set_plan(team=world.project.team, plan="free", actor="x")
    for name in ("a", "b", "c"):
        world.beat(0, agent=name)
    assert world.offer(1, agent="my-agent").http_status == 403
    beat = f"{STEPS}beat/?project={world.project.pk}&beyond={world.agent('c').pk}"
    with world.clock(2):
        assert "my-agent reported and was rejected" in client_of(owner).get(beat).content.decode()
    with world.clock(2 + 5 * 60):
        assert "rejected" not in client_of(owner).get(beat).content.decode()


def test_agent_created_manually_is_no_heartbeat(project: Project, viewer: User, client_of: Browse) -> None:
    make_agent(project, beat=None)
    assert "Waiting" in client_of(viewer).get(f"{STEPS}beat/?project={project.pk}").content.decode()
    AgentState.objects.update(last_beat_at=timezone.now())
    assert "bot is reporting" in client_of(viewer).get(f"{STEPS}beat/?project={project.pk}").content.decode()


def test_page_waits_for_another_agent(project: Project, api_key: str, owner: User, client_of: Browse) -> None:
    old = make_agent(project, "my-agent")
    browser = client_of(owner)
    page = browser.get(STEPS).content.decode()
    assert "1 agent in this project has reported." in page
    assert "Waiting for the first heartbeat of another agent" in page
    assert "agent=&quot;my-agent-2&quot;" in page
    beat = f"{STEPS}beat/?project={project.pk}&beyond={old.pk}"
    assert beat.replace("&", "&amp;") in page
    assert browser.get(beat).status_code == 200
    body = {"agent": "my-agent-2", "status": "ok"}
    Client().post("/api/v1/heartbeat", body, content_type="application/json", headers={"X-API-Key": api_key})
    assert "my-agent-2 is reporting" in browser.get(beat).content.decode()


def rename(browser: Client, project: Project, **names: str) -> Any:
    return browser.post(f"{STEPS}names/", {"project": project.pk, **names})


def test_team_and_project_are_renamed(project: Project, owner: User, client_of: Browse) -> None:
    answer = rename(client_of(owner), project, team_name="Night shift", project_name="Papers")
    assert answer.headers["Location"] == f"{STEPS}?project={project.pk}"
    project.refresh_from_db()
    assert (project.team.name, project.name) == ("Night shift", "Papers")
    assert set(AuditEntry.objects.values_list("action", "target")) >= {
        ("team.changed", "Night shift"), ("project.changed", "Papers")
    }  # fmt: skip


def test_taken_or_empty_name_is_refused(project: Project, owner: User, client_of: Browse) -> None:
    services.create_project(team=project.team, name="Papers", actor="test")
    for name, why in (("Papers", "already has a project named Papers"), ("", "This field is required")):
        page = rename(client_of(owner), project, team_name="X", project_name=name).content.decode()
        assert why in page[page.index('id="id_project_name_error"') :]
    assert Team.objects.get().name == "Research"


def test_admin_renames_project_but_not_team(project: Project, member: User, client_of: Browse) -> None:
    project.team.memberships.filter(user=member).update(role="admin")
    browser = client_of(member)
    assert "id_team_name" not in browser.get(STEPS).content.decode()
    rename(browser, project, team_name="Mine", project_name="Papers")
    project.refresh_from_db()
    assert (project.team.name, project.name) == ("Research", "Papers")


def test_member_cannot_rename(project: Project, member: User, client_of: Browse) -> None:
    assert "Rename" not in client_of(member).get(STEPS).content.decode()
    assert rename(client_of(member), project, project_name="Papers").status_code == 403


def test_tabs_link_to_sections_without_javascript(project: Project, owner: User, client_of: Browse) -> None:
    page = client_of(owner).get(STEPS).content.decode()
    links = re.findall(r'<a id="tab-([\w-]+)" href="#([\w-]+)"', page)
    own = "python typescript systemd docker job curl powershell langchain crewai"
    doors = "claude-code codex gemini-cli opencode opentelemetry langfuse litellm openclaw"
    assert [name for name, _ in links] == f"{own} {doors}".split()
    for name, target in links:
        assert name == target
        assert page.count(f'<section class="w-tab" id="{name}">') == 1


CAPTURED = [
    ("/hooks/claude-code?agent=my-agent", "doors/claude_code.hooks.jsonl"),
    ("/hooks/codex?agent=my-agent", "doors/codex_cli.hooks.jsonl"),
    ("/hooks/gemini?agent=my-agent", "doors/gemini_cli.hooks.jsonl"),
    ("/hooks/opencode?agent=my-agent", "doors/opencode_plugin.events.jsonl"),
    ("/hooks/litellm", "doors/litellm.generic_api.json"),
    ("/v1/traces", "doors/vercel_ai_7_httpjson.traces.json"),
    ("/api/public/otel/v1/traces", "doors/langfuse_5_otel.traces.bin"),
]


@pytest.mark.parametrize(("door", "capture"), CAPTURED)
def test_light_turns_green_for_each_door(
    project: Project, owner: User, client_of: Browse, door: str, capture: str
) -> None:
    """After the first captured body that tells anything, sent with the key that the page shows."""
    browser = client_of(owner)
    key = key_in(make_key(browser, project).content.decode())
    light = f"{STEPS}beat/?project={project.pk}&beyond=0"
    assert browser.get(light).status_code == 200
    body = (FIXTURES / capture).read_bytes()
    kind = "application/x-protobuf" if capture.endswith(".bin") else "application/json"
    for part in body.splitlines()[:12] if capture.endswith(".jsonl") else [body]:
        answer = Client(headers={"authorization": f"Bearer {key}"}).post(door, part, content_type=kind)
        assert answer.status_code == 200
    assert browser.get(light).status_code == STOP_POLLING
