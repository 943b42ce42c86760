"""The page of the notification policy, for each role."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from agents.models import Agent
from alerts import on_call
from alerts.models import Channel
from alerts.policy_changes import rules_of
from teams.models import Project, User

Browser = Callable[[User], Client]
PAGE = "/admin/policy/"
RULES = [{"name": "Nights", "steps": [{"channels": ["mail"]}, {"people": ["ops@example.com"], "after": 15}]}]


def post(browser: Client, do: str, rules: Any = RULES) -> str:
    text = rules if isinstance(rules, str) else json.dumps(rules)
    return browser.post(PAGE, {"do": do, "rules": text}, follow=True).content.decode()


def test_policy_is_checked_then_saved(member: User, project: Project, email: Channel, client_of: Browser) -> None:
    browser = client_of(member)
    assert "No policy:" in browser.get(PAGE).content.decode()
    body = post(browser, "check")
    assert "They are not saved yet." in body
    assert "If nobody has acknowledged it after 15 min, notify ops@example.com." in body
    assert rules_of(project) == ()
    assert "Incidents that are open keep the rule they have." in post(browser, "save")
    assert [rule.name for rule in rules_of(project)] == ["Nights"]
    routing = browser.get("/admin/alerts/channel/routes/").content.decode()
    assert "A notification policy decides first." in routing


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ("[", "This is not valid JSON"),
        ("[" * 100_000, "This is not valid JSON"),
        ([{"name": "<b>", "steps": []}], "length &gt;= 1"),
        ([{"name": "R", "steps": [{"channels": ["<b>"]}]}], "no channel named “&lt;b&gt;”"),
    ],
)
def test_mistakes_are_explained_and_kept(
    member: User, project: Project, email: Channel, client_of: Browser, rules: Any, said: str
) -> None:
    for do in ("check", "save"):
        assert said in post(client_of(member), do, rules)
    assert rules_of(project) == ()


def test_page_says_who_would_be_notified(agent: Agent, member: User, email: Channel, client_of: Browser) -> None:
    browser = client_of(member)
    post(browser, "save")
    body = browser.get(f"{PAGE}?agent=bot-1&kind=stalled&severity=critical").content.decode()
    assert "Step 2 of “Nights”" in body
    assert "has no agent named “nobody”" in browser.get(f"{PAGE}?agent=nobody").content.decode()
    assert browser.get(f"{PAGE}?agent=%00&project=99999999999999999999999").status_code == 404


def test_page_says_who_is_on_call(
    project: Project, member: User, viewer: User, email: Channel, client_of: Browser
) -> None:
    layers = [{"people": ["ops@example.com"], "first": "2020-01-06"}]
    on_call.save(project=project, name="Primary", data={"zone": "UTC", "layers": layers}, actor="test")
    body = client_of(member).get(PAGE).content.decode()
    assert "<strong>Primary</strong>: ops@example.com" in body
    assert ".ics" in body
    assert ".ics" not in client_of(viewer).get(PAGE).content.decode()


def test_viewers_read_and_strangers_see_nothing(
    viewer: User, stranger: User, project: Project, member: User, email: Channel, client_of: Browser
) -> None:
    post(client_of(member), "save")
    body = client_of(viewer).get(PAGE).content.decode()
    assert "Nights" in body
    assert "<textarea" not in body
    assert client_of(viewer).post(PAGE, {"do": "save", "rules": "[]"}).status_code == 403
    assert client_of(stranger).get(f"{PAGE}?project={project.pk}").status_code == 404
    assert "Nights" not in client_of(stranger).get(PAGE).content.decode()
    assert len(rules_of(project)) == 1
