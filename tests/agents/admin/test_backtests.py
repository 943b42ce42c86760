"""Trying a rule on an agent's history, and taking the thresholds that were tried."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from agents import rules
from agents.admin import backtests
from agents.models import Agent, Heartbeat, Incident
from agents.review import backtest
from teams.models import AuditEntry, Project, User
from tests.agents.admin.conftest import Browse, make_agent, make_incident
from tests.agents.admin.test_agents import page_of

SAME = [{"name": "search_docs", "args": "release notes"}]


def make_loop(agent: Agent, *, minutes: int = 60) -> None:
    """An hour's heartbeats; for ten minutes, until half an hour ago, it called the same again and again."""
    now = timezone.now()
    for minute in range(minutes, 0, -1):
        at = now - timedelta(minutes=minute)
        calls = SAME if 30 <= minute < 40 else [{"name": "read", "args": f"page {minute}"}]
        facts: dict[str, Any] = {"progress": True, "tool_calls": 1, "tokens": 10_000, "content": {"calls": calls}}
        Heartbeat.objects.create(agent=agent, day=at.date(), received_at=at, spent_at=at, status="ok", **facts)


@pytest.fixture
def looped(bot: Agent) -> Agent:
    make_loop(bot)
    return bot


def try_page(agent: Agent, query: str = "") -> str:
    return page_of(agent).replace("change/", f"try/{query}")


def test_the_agents_page_leads_to_it(bot: Agent, viewer: User, client_of: Browse) -> None:
    assert try_page(bot) in client_of(viewer).get(page_of(bot)).content.decode()


def test_the_form_shows_what_is_set_and_tries_nothing_yet(looped: Agent, member: User, client_of: Browse) -> None:
    Agent.objects.update(rules={"loop": {"repeats": 7, "budget:ls": 9}})
    body = client_of(member).get(try_page(looped)).content.decode()
    assert 'value="7"' in body
    assert "ls = 9" in body
    assert "ould not have fired" not in body
    for rule in rules.every().values():
        assert (f'href="?rule={rule.KIND}"' in body) is (rule.KIND != "restart_failed")


def test_it_says_when_it_would_have_fired(looped: Agent, viewer: User, client_of: Browse) -> None:
    make_incident(looped, reason="No progress for ages")
    body = client_of(viewer).get(try_page(looped, "?rule=loop&hours=24")).content.decode()
    assert "It would have fired once" in body
    assert "`search_docs(release notes)` called" in body
    assert 'class="w-fired w-' in body
    assert 'class="w-real w-critical"' in body
    assert "No progress for ages" in body
    assert "no older heartbeat is stored" in body
    assert "Use these thresholds" not in body
    assert "<script>" not in body.partition('class="w w-try"')[2]


def test_other_thresholds_are_tried_alone(looped: Agent, member: User, client_of: Browse) -> None:
    Agent.objects.update(rules={"loop": {"poller:search_docs": True}}, progress_timeout=60)
    browser = client_of(member)
    assert "It would have fired once" in browser.get(try_page(looped, "?hours=24&poller=")).content.decode()
    query = "?hours=24&poller=search_docs+%3D+yes"
    assert "It would not have fired" in browser.get(try_page(looped, query)).content.decode()
    assert "It would not have fired" in browser.get(try_page(looped, "?hours=24&repeats=50")).content.decode()


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("?hours=24&repeats=1", "greater than or equal to 2"),
        ("?hours=24&budget=ls", "write a tool, =, and a whole number"),
        ("?hours=24&budget=ls+%3D+1", "must be a whole number from 2 to 10,000"),
        ("?hours=25", "Select a valid choice"),
    ],
)
def test_what_cannot_be_tried_is_said_beside_its_field(
    query: str, says: str, looped: Agent, member: User, client_of: Browse
) -> None:
    body = client_of(member).get(try_page(looped, query)).content.decode()
    assert says in body
    assert "have fired" not in body


@pytest.mark.parametrize("kind", ["lop", "restart_failed"])
def test_what_is_no_rule_to_try_is_not_there(kind: str, bot: Agent, member: User, client_of: Browse) -> None:
    assert client_of(member).get(try_page(bot, f"?rule={kind}")).status_code == 404


def test_too_little_history_is_said(bot: Agent, member: User, client_of: Browse) -> None:
    body = client_of(member).get(try_page(bot, "?hours=1")).content.decode()
    assert "No heartbeats are stored for this time" in body


@pytest.mark.parametrize("kind", [rule.KIND for rule in backtests.can_be_tried()])
def test_each_rule_has_its_form_and_can_be_tried(kind: str, looped: Agent, member: User, client_of: Browse) -> None:
    body = client_of(member).get(try_page(looped, f"?rule={kind}&hours=6")).content.decode()
    for one in rules.every()[kind].THRESHOLDS:
        assert f'name="{one.name.partition(":")[0]}"' in body
    assert "ould not have fired" in body or "ould have fired" in body


def test_the_thresholds_are_taken(looped: Agent, member: User, client_of: Browse) -> None:
    Agent.objects.update(rules={"loop": {"off": True, "repeats": 9}, "call_rate": {"on": True}})
    given = {"rule": "loop", "hours": "24", "repeats": "12", "budget": "ls = 20"}
    answer = client_of(member).post(try_page(looped), given)
    assert (answer.status_code, answer["Location"]) == (302, page_of(looped))
    looped.refresh_from_db()
    assert looped.rules == {"loop": {"off": True, "repeats": 12, "budget:ls": 20}, "call_rate": {"on": True}}
    entry = AuditEntry.objects.get(action="agent.changed")
    assert (entry.actor, list(entry.data)) == (member.email, ["rules"])


def test_the_rule_is_switched_on_with_them(looped: Agent, member: User, client_of: Browse) -> None:
    body = client_of(member).get(try_page(looped, "?rule=call_rate&hours=24&calls=30")).content.decode()
    assert "Use them and switch the rule on" in body
    assert '<input type="hidden" name="calls" value="30">' in body
    given = {"rule": "call_rate", "hours": "24", "calls": "30", "switch_on": "yes"}
    client_of(member).post(try_page(looped), given)
    looped.refresh_from_db()
    assert looped.rules == {"call_rate": {"on": True, "calls": 30}}


def test_an_agents_own_setting_is_taken_as_such(looped: Agent, member: User, client_of: Browse) -> None:
    client_of(member).post(try_page(looped), {"rule": "stalled", "hours": "24", "progress_timeout": "900"})
    client_of(member).post(try_page(looped), {"rule": "cost", "hours": "24", "daily_budget_usd": "2.5"})
    looped.refresh_from_db()
    assert (looped.progress_timeout, str(looped.daily_budget_usd), looped.rules) == (900, "2.500000", {})
    client_of(member).post(try_page(looped), {"rule": "stalled", "hours": "24", "progress_timeout": ""})
    looped.refresh_from_db()
    assert looped.progress_timeout is None


def test_what_is_wrong_is_not_taken(looped: Agent, member: User, client_of: Browse) -> None:
    answer = client_of(member).post(try_page(looped), {"rule": "loop", "hours": "24", "repeats": "1"})
    assert answer.status_code == 200
    assert "greater than or equal to 2" in answer.content.decode()
    assert not AuditEntry.objects.filter(action="agent.changed").exists()


def test_a_viewer_may_try_and_not_take(looped: Agent, viewer: User, client_of: Browse) -> None:
    assert client_of(viewer).get(try_page(looped, "?hours=24")).status_code == 200
    assert client_of(viewer).post(try_page(looped), {"rule": "loop", "hours": "24"}).status_code == 403
    assert not AuditEntry.objects.filter(action="agent.changed").exists()


def test_another_teams_agent_is_not_there(looped: Agent, stranger: User, client_of: Browse) -> None:
    assert client_of(stranger).get(try_page(looped, "?hours=24")).status_code == 404
    assert client_of(stranger).post(try_page(looped), {"rule": "loop", "hours": "24"}).status_code == 404


def test_trying_opens_nothing(looped: Agent, member: User, client_of: Browse) -> None:
    client_of(member).get(try_page(looped, "?hours=24"))
    assert not Incident.objects.exists()
    assert not AuditEntry.objects.filter(action="agent.changed").exists()


def test_it_says_when_others_are_at_it(
    looped: Agent, member: User, client_of: Browse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backtest, "_running", threading.Semaphore(0))
    body = client_of(member).get(try_page(looped, "?hours=24")).content.decode()
    assert "Other backtests are running" in body
    assert "ould have fired" not in body


def test_what_lasted_a_moment_is_still_drawn(looped: Agent) -> None:
    rule, now = rules.every()["loop"], timezone.now()
    agent = Agent.objects.select_related("project", "state").get()
    trial = backtest.of_agent(agent, rule, {}, now - timedelta(days=30), now)
    drawing = backtests.drawn(trial)
    (bar,) = drawing.fired
    assert bar.width == backtests.NARROWEST
    assert 0 < bar.x <= backtests.WIDTH - backtests.NARROWEST
    assert (drawing.ticks[0], drawing.ticks[-1], len(drawing.ticks)) == (trial.since, trial.until, 5)
    assert 990 < drawing.covered < 1000


# A project


def project_try(project: Project, query: str = "") -> str:
    return f"/admin/teams/project/{project.pk}/try/{query}"


def test_the_projects_page_leads_to_its_own(bot: Agent, viewer: User, client_of: Browse) -> None:
    body = client_of(viewer).get(f"/admin/teams/project/{bot.project_id}/change/").content.decode()
    assert project_try(bot.project) in body


def test_a_project_is_tried_with_what_its_agents_set_over_it(looped: Agent, owner: User, client_of: Browse) -> None:
    make_loop(make_agent(looped.project, "patient"))
    Agent.objects.filter(name="patient").update(rules={"loop": {"repeats": 50}})
    body = client_of(owner).get(project_try(looped.project, "?hours=24&repeats=5")).content.decode()
    assert "It would have fired once" in body
    assert body.count("Would have fired</h4>") == 2
    assert (
        "It would not have fired"
        in client_of(owner).get(project_try(looped.project, "?hours=24&repeats=60")).content.decode()
    )
    assert looped.project.rules == {}


def test_a_project_has_no_settings_of_an_agent(bot: Agent, owner: User, client_of: Browse) -> None:
    body = client_of(owner).get(project_try(bot.project, "?rule=stalled")).content.decode()
    assert "progress_timeout" not in body


def test_a_project_without_reports_says_so(project: Project, owner: User, client_of: Browse) -> None:
    make_agent(project, beat=None)
    assert "No agent of it has reported yet" in client_of(owner).get(project_try(project, "?hours=1")).content.decode()


def test_a_project_takes_the_thresholds(looped: Agent, owner: User, client_of: Browse) -> None:
    project = looped.project
    Project.objects.update(rules={"call_rate": {"on": True}})
    given = {"rule": "loop", "hours": "24", "repeats": "12"}
    assert client_of(owner).post(project_try(project), given).status_code == 302
    project.refresh_from_db()
    assert project.rules == {"call_rate": {"on": True}, "loop": {"repeats": 12}}
    assert AuditEntry.objects.get(action="project.changed").actor == owner.email


def test_who_may_not_change_a_project_may_try(looped: Agent, member: User, client_of: Browse) -> None:
    body = client_of(member).get(project_try(looped.project, "?hours=24")).content.decode()
    assert "It would have fired once" in body
    assert "Use these thresholds" not in body
    assert client_of(member).post(project_try(looped.project), {"rule": "loop", "hours": "24"}).status_code == 403


def test_another_teams_project_is_not_there(looped: Agent, stranger: User, client_of: Browse) -> None:
    assert client_of(stranger).get(project_try(looped.project, "?hours=24")).status_code == 404
