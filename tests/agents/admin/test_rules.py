"""Rules in the admin: one section per rule, with inherited values beside the fields."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.utils import timezone

from agents import rules
from agents.models import Agent, AgentState
from teams.models import AuditEntry, Project, User
from tests.agents.admin.conftest import Browse
from tests.agents.admin.test_agents import FORM, page_of

ONCE = {"rule__call_rate__switch": "on", "rule__call_rate__calls": "20", "rule__loop__budget": "get_job = 30\nls=5"}
SET = {"call_rate": {"on": True, "calls": 20}, "loop": {"budget:get_job": 30, "budget:ls": 5}}


def project_page(project: Project) -> str:
    return f"/admin/teams/project/{project.pk}/change/"


def project_form(project: Project, **given: str) -> dict[str, str]:
    return {
        "name": project.name,
        "time_zone": "UTC",
        "default_grace": "",
        "status_page": "off",
        "bind_names": "on",
        **given,
    }


def field_of(body: str, name: str) -> str:
    """The tag of a field."""
    found = re.search(rf"<(input|select|textarea)[^>]*name=\"{name}\"[^>]*>", body)
    assert found is not None, name
    return found.group(0)


def line_of(body: str, kind: str) -> str:
    """What the line of a rule's section says, closed."""
    [found] = re.findall(rf'<details id="rule-{kind}">\s*<summary>(.*?)</summary>', body, re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", found).split())


def test_every_rule_has_a_section(bot: Agent, member: User, client_of: Browse) -> None:
    body = client_of(member).get(page_of(bot)).content.decode()
    for kind, rule in rules.every().items():
        assert line_of(body, kind).startswith(f"Rule {rule.LABEL} {'on' if rule in rules.ALL else 'off'} ")
        assert (f'/try/?rule={kind}"' in body) is (kind != "restart_failed")
        field_of(body, f"rule__{kind}__switch")
        for one in rule.THRESHOLDS:
            assert one.column or one.why.replace("`", "").partition(";")[0].partition("'")[0] in body
    assert "Default: 10 calls per minute." in body
    assert "inherited: off" in body
    assert 'name="rules"' not in body


def test_agent_rules_are_saved_and_audited(bot: Agent, member: User, client_of: Browse) -> None:
    assert client_of(member).post(page_of(bot), {**FORM, **ONCE}).status_code == 302
    bot.refresh_from_db()
    assert bot.rules == SET
    entry = AuditEntry.objects.get(action="agent.changed")
    assert entry.data == {"rules": {"from": {}, "to": SET}}
    body = client_of(member).get(page_of(bot)).content.decode()
    assert 'value="20"' in field_of(body, "rule__call_rate__calls")
    assert "get_job = 30\nls = 5" in body
    assert re.match(r"Rule Call rate on .* Set here\.$", line_of(body, "call_rate"))


def test_empty_fields_inherit_again(bot: Agent, member: User, client_of: Browse) -> None:
    Agent.objects.update(rules=SET)
    client_of(member).post(page_of(bot), FORM)
    bot.refresh_from_db()
    assert bot.rules == {}


def test_agent_page_shows_project_settings(bot: Agent, member: User, client_of: Browse) -> None:
    Project.objects.update(rules={"call_rate": {"on": True, "calls": 33}, "loop": {"off": True, "budget:ls": 5}})
    body = client_of(member).get(page_of(bot)).content.decode()
    assert "Set for the project: 33 calls per minute." in body
    assert "Inherited: ls = 5." in body
    assert line_of(body, "loop").startswith("Rule Loop off")
    assert 'value="33"' not in body


def test_saving_project_rules_reviews_its_agents(bot: Agent, owner: User, client_of: Browse) -> None:
    AgentState.objects.update(check_at=None)
    project = bot.project
    answer = client_of(owner).post(project_page(project), project_form(project, **ONCE))
    assert answer.status_code == 302, answer.content.decode()
    project.refresh_from_db()
    assert project.rules == SET
    assert AgentState.objects.get().check_at is not None
    entry = AuditEntry.objects.get(action="project.changed")
    assert (entry.actor, entry.data) == (owner.email, {"rules": {"from": {}, "to": SET}})


def test_saving_project_without_changes_writes_nothing(bot: Agent, owner: User, client_of: Browse) -> None:
    Project.objects.update(rules=SET)
    AgentState.objects.update(check_at=None)
    client_of(owner).post(project_page(bot.project), project_form(bot.project, **ONCE))
    assert not AuditEntry.objects.filter(action="project.changed").exists()
    assert AgentState.objects.get().check_at is None


@pytest.mark.parametrize("who", ["viewer", "member"])
def test_read_only_project_page_shows_active_rules(
    who: str, bot: Agent, client_of: Browse, request: pytest.FixtureRequest
) -> None:
    Project.objects.update(rules=SET)
    browser = client_of(request.getfixturevalue(who))
    body = browser.get(project_page(bot.project)).content.decode()
    assert "Call rate on (calls 20)" in body
    assert "rule__" not in body
    assert browser.post(project_page(bot.project), project_form(bot.project)).status_code == 403
    bot.project.refresh_from_db()
    assert bot.project.rules == SET


def test_viewer_sees_an_agents_active_rules(bot: Agent, viewer: User, client_of: Browse) -> None:
    body = client_of(viewer).get(page_of(bot)).content.decode()
    assert "Call rate off" in body
    assert "rule__" not in body


def test_new_project_is_created_without_rules(project: Project, owner: User, client_of: Browse) -> None:
    given: dict[str, Any] = {"team": project.team_id, "name": "second", "time_zone": "UTC"}
    answer = client_of(owner).post("/admin/teams/project/add/", given)
    assert answer.status_code == 302
    assert Project.objects.get(name="second").rules == {}
    assert Project.objects.get(name="second").created_at <= timezone.now()
