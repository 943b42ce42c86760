"""Backtests of rules, and applying the tested thresholds."""

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
    """An hour of heartbeats, with ten minutes of identical calls that ended half an hour ago."""
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


def test_agent_page_links_to_backtest(bot: Agent, viewer: User, client_of: Browse) -> None:
    assert try_page(bot) in client_of(viewer).get(page_of(bot)).content.decode()


def test_form_shows_current_settings(looped: Agent, member: User, client_of: Browse) -> None:
    Agent.objects.update(rules={"loop": {"repeats": 7, "budget:ls": 9}})
    body = client_of(member).get(try_page(looped)).content.decode()
    assert 'value="7"' in body
    assert "ls = 9" in body
    assert "ould not have fired" not in body
    for rule in rules.every().values():
        assert (f'href="?rule={rule.KIND}"' in body) is (rule.KIND != "restart_failed")


def test_backtest_shows_when_it_would_have_fired(looped: Agent, viewer: User, client_of: Browse) -> None:
    make_incident(looped, reason="No progress for ages")
    body = client_of(viewer).get(try_page(looped, "?rule=loop&hours=24")).content.decode()
    assert "Would have fired once" in body
    assert "`search_docs(release notes)` called" in body
    assert 'class="w-fired w-' in body
    assert 'class="w-real w-critical"' in body
    assert "No progress for ages" in body
    assert "no older heartbeat is stored" in body
    assert "Use these thresholds" not in body
    assert "<script>" not in body.partition('class="w w-try"')[2]


def test_backtest_uses_only_the_entered_thresholds(looped: Agent, member: User, client_of: Browse) -> None:
    Agent.objects.update(rules={"loop": {"poller:search_docs": True}}, progress_timeout=60)
    browser = client_of(member)
    assert "Would have fired once" in browser.get(try_page(looped, "?hours=24&poller=")).content.decode()
    query = "?hours=24&poller=search_docs+%3D+yes"
    assert "Would not have fired" in browser.get(try_page(looped, query)).content.decode()
    assert "Would not have fired" in browser.get(try_page(looped, "?hours=24&repeats=50")).content.decode()


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("?hours=24&repeats=1", "greater than or equal to 2"),
        ("?hours=24&budget=ls", "write a tool name, =, and a whole number"),
        ("?hours=24&budget=ls+%3D+1", "must be a whole number from 2 to 10,000"),
        ("?hours=25", "Select a valid choice"),
    ],
)
def test_backtest_errors_are_shown_at_their_field(
    query: str, says: str, looped: Agent, member: User, client_of: Browse
) -> None:
    body = client_of(member).get(try_page(looped, query)).content.decode()
    assert says in body
    assert "have fired" not in body


@pytest.mark.parametrize("kind", ["lop", "restart_failed"])
def test_unknown_rule_is_not_found(kind: str, bot: Agent, member: User, client_of: Browse) -> None:
    assert client_of(member).get(try_page(bot, f"?rule={kind}")).status_code == 404


def test_too_little_history_is_reported(bot: Agent, member: User, client_of: Browse) -> None:
    body = client_of(member).get(try_page(bot, "?hours=1")).content.decode()
    assert "No heartbeats are stored for this time" in body


@pytest.mark.parametrize("kind", [rule.KIND for rule in backtests.testable_rules()])
def test_every_rule_can_be_tested(kind: str, looped: Agent, member: User, client_of: Browse) -> None:
    body = client_of(member).get(try_page(looped, f"?rule={kind}&hours=6")).content.decode()
    for one in rules.every()[kind].THRESHOLDS:
        assert f'name="{one.name.partition(":")[0]}"' in body
    assert "ould not have fired" in body or "ould have fired" in body


def test_thresholds_are_applied(looped: Agent, member: User, client_of: Browse) -> None:
    Agent.objects.update(rules={"loop": {"off": True, "repeats": 9}, "call_rate": {"on": True}})
    given = {"rule": "loop", "hours": "24", "repeats": "12", "budget": "ls = 20"}
    answer = client_of(member).post(try_page(looped), given)
    assert (answer.status_code, answer["Location"]) == (302, page_of(looped))
    looped.refresh_from_db()
    assert looped.rules == {"loop": {"off": True, "repeats": 12, "budget:ls": 20}, "call_rate": {"on": True}}
    entry = AuditEntry.objects.get(action="agent.changed")
    assert (entry.actor, list(entry.data)) == (member.email, ["rules"])


def test_rule_is_turned_on_with_thresholds(looped: Agent, member: User, client_of: Browse) -> None:
    body = client_of(member).get(try_page(looped, "?rule=call_rate&hours=24&calls=30")).content.decode()
    assert "Use these thresholds and turn the rule on" in body
    assert '<input type="hidden" name="calls" value="30">' in body
    given = {"rule": "call_rate", "hours": "24", "calls": "30", "switch_on": "yes"}
    client_of(member).post(try_page(looped), given)
    looped.refresh_from_db()
    assert looped.rules == {"call_rate": {"on": True, "calls": 30}}


def test_agent_settings_are_applied(looped: Agent, member: User, client_of: Browse) -> None:
    client_of(member).post(try_page(looped), {"rule": "stalled", "hours": "24", "progress_timeout": "900"})
    client_of(member).post(try_page(looped), {"rule": "cost", "hours": "24", "daily_budget_usd": "2.5"})
    looped.refresh_from_db()
    assert (looped.progress_timeout, str(looped.daily_budget_usd), looped.rules) == (900, "2.500000", {})
    client_of(member).post(try_page(looped), {"rule": "stalled", "hours": "24", "progress_timeout": ""})
    looped.refresh_from_db()
    assert looped.progress_timeout is None


def test_invalid_thresholds_are_not_applied(looped: Agent, member: User, client_of: Browse) -> None:
    answer = client_of(member).post(try_page(looped), {"rule": "loop", "hours": "24", "repeats": "1"})
    assert answer.status_code == 200
    assert "greater than or equal to 2" in answer.content.decode()
    assert not AuditEntry.objects.filter(action="agent.changed").exists()


def test_viewer_may_test_but_not_apply(looped: Agent, viewer: User, client_of: Browse) -> None:
    assert client_of(viewer).get(try_page(looped, "?hours=24")).status_code == 200
    assert client_of(viewer).post(try_page(looped), {"rule": "loop", "hours": "24"}).status_code == 403
    assert not AuditEntry.objects.filter(action="agent.changed").exists()


def test_other_teams_agent_is_not_found(looped: Agent, stranger: User, client_of: Browse) -> None:
    assert client_of(stranger).get(try_page(looped, "?hours=24")).status_code == 404
    assert client_of(stranger).post(try_page(looped), {"rule": "loop", "hours": "24"}).status_code == 404


def test_backtest_opens_no_incident(looped: Agent, member: User, client_of: Browse) -> None:
    client_of(member).get(try_page(looped, "?hours=24"))
    assert not Incident.objects.exists()
    assert not AuditEntry.objects.filter(action="agent.changed").exists()


def test_busy_backtests_are_reported(
    looped: Agent, member: User, client_of: Browse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backtest, "_running", threading.Semaphore(0))
    body = client_of(member).get(try_page(looped, "?hours=24")).content.decode()
    assert "Other backtests are running" in body
    assert "ould have fired" not in body


def test_momentary_finding_is_drawn(looped: Agent) -> None:
    rule, now = rules.every()["loop"], timezone.now()
    agent = Agent.objects.select_related("project", "state").get()
    trial = backtest.of_agent(agent, rule, {}, now - timedelta(days=30), now)
    drawing = backtests.draw(trial)
    (bar,) = drawing.fired
    assert bar.width == backtests.MIN_BAR_WIDTH
    assert 0 < bar.x <= backtests.WIDTH - backtests.MIN_BAR_WIDTH
    assert (drawing.ticks[0], drawing.ticks[-1], len(drawing.ticks)) == (trial.since, trial.until, 5)
    assert 990 < drawing.covered < 1000


# A project


def project_try(project: Project, query: str = "") -> str:
    return f"/admin/teams/project/{project.pk}/try/{query}"


def test_project_page_links_to_backtest(bot: Agent, viewer: User, client_of: Browse) -> None:
    body = client_of(viewer).get(f"/admin/teams/project/{bot.project_id}/change/").content.decode()
    assert project_try(bot.project) in body


def test_project_backtest_respects_agent_overrides(looped: Agent, owner: User, client_of: Browse) -> None:
    make_loop(make_agent(looped.project, "patient"))
    Agent.objects.filter(name="patient").update(rules={"loop": {"repeats": 50}})
    body = client_of(owner).get(project_try(looped.project, "?hours=24&repeats=5")).content.decode()
    assert "Would have fired once" in body
    assert body.count("Would have fired</h4>") == 2
    assert (
        "Would not have fired"
        in client_of(owner).get(project_try(looped.project, "?hours=24&repeats=60")).content.decode()
    )
    assert looped.project.rules == {}


def test_project_backtest_has_no_agent_settings(bot: Agent, owner: User, client_of: Browse) -> None:
    body = client_of(owner).get(project_try(bot.project, "?rule=stalled")).content.decode()
    assert "progress_timeout" not in body


def test_project_without_data_says_so(project: Project, owner: User, client_of: Browse) -> None:
    make_agent(project, beat=None)
    assert (
        "No agent in this project has reported yet"
        in client_of(owner).get(project_try(project, "?hours=1")).content.decode()
    )


def test_thresholds_are_applied_to_project(looped: Agent, owner: User, client_of: Browse) -> None:
    project = looped.project
    Project.objects.update(rules={"call_rate": {"on": True}})
    given = {"rule": "loop", "hours": "24", "repeats": "12"}
    assert client_of(owner).post(project_try(project), given).status_code == 302
    project.refresh_from_db()
    assert project.rules == {"call_rate": {"on": True}, "loop": {"repeats": 12}}
    assert AuditEntry.objects.get(action="project.changed").actor == owner.email


def test_member_may_test_but_not_change_project(looped: Agent, member: User, client_of: Browse) -> None:
    body = client_of(member).get(project_try(looped.project, "?hours=24")).content.decode()
    assert "Would have fired once" in body
    assert "Use these thresholds" not in body
    assert client_of(member).post(project_try(looped.project), {"rule": "loop", "hours": "24"}).status_code == 403


def test_other_teams_project_is_not_found(looped: Agent, stranger: User, client_of: Browse) -> None:
    assert client_of(stranger).get(project_try(looped.project, "?hours=24")).status_code == 404


def test_settings_say_how_often_a_hold_would_stop(looped: Agent, member: User, client_of: Browse) -> None:
    browser = client_of(member)
    brief = try_page(looped, "?rule=loop&brief")
    assert brief.replace("&", "&amp;") in browser.get(page_of(looped)).content.decode()
    assert "a hold would have stopped bot <strong>once</strong>" in browser.get(brief).content.decode()
    project = f"/admin/teams/project/{looped.project_id}/try/?rule=loop&brief"
    assert "a hold would have stopped agents <strong>once</strong>" in browser.get(project).content.decode()
    Agent.objects.update(agent_type="codex")
    told = browser.get(brief).content.decode()
    assert "and a nudge would have told it once" in told
    assert not Incident.objects.exists()
    assert not Agent.objects.get().state.hold


def test_nothing_stored_is_no_promise(bot: Agent, member: User, client_of: Browse) -> None:
    Heartbeat.objects.all().delete()
    text = client_of(member).get(try_page(bot, "?rule=cost&brief")).content.decode()
    assert "No heartbeats of the last 7 days are stored" in text


def test_backtest_shows_each_stop(looped: Agent, viewer: User, client_of: Browse) -> None:
    body = client_of(viewer).get(try_page(looped, "?rule=loop&hours=24")).content.decode()
    assert "A hold would have stopped bot <strong>once</strong>" in body
    assert "; stopped " in body
    assert "would have stopped" not in client_of(viewer).get(try_page(looped, "?rule=error&hours=24")).content.decode()
