"""The notification policy over the API."""

from __future__ import annotations

from typing import Any

import pytest

from agents.ingest.registration import create_agent
from alerts.models import Channel, Policy
from teams.models import AuditEntry, Project
from tests.alerts.conftest import NOW
from tests.alerts.test_api import caller

RULE = {
    "name": "Production",
    "match": {"severity": "critical", "labels": {"env": "prod"}},
    "steps": [{"channels": ["mail"]}, {"people": ["ops@example.com"], "after": 15, "repeat": 30, "times": 2}],
}


@pytest.fixture
def api(full_key: str, email: Channel) -> Any:
    return caller(full_key)


def test_policy_is_put_read_and_deleted(api: Any) -> None:
    assert api("get", "policy") == (200, {"rules": [], "problems": []})
    status, made = api("put", "policy", {"rules": [RULE]})
    assert status == 200
    assert made["rules"][0]["sentences"] == [
        "For critical alerts of agents with env=prod: notify mail at once.",
        "If nobody has acknowledged it after 15 min, notify ops@example.com, every 30 min, 2 times in all.",
    ]
    assert {name: made["rules"][0][name] for name in RULE} == RULE
    assert api("put", "policy", {"rules": [RULE]}) == (200, made)
    assert api("get", "policy") == (200, made)
    assert AuditEntry.objects.filter(action="policy.changed").count() == 1
    assert api("delete", "policy") == (204, None)
    assert api("delete", "policy") == (204, None)
    assert api("get", "policy")[1]["rules"] == []


def test_dry_run_saves_nothing(api: Any) -> None:
    status, shown = api("put", "policy?dry_run=true", {"rules": [RULE]})
    assert (status, shown["rules"][0]["name"]) == (200, "Production")
    assert api("put", "policy?dry_run=maybe", {"rules": [RULE]})[0] == 422
    assert not Policy.objects.exists()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ([], "must be one JSON object"),
        ({}, "required"),
        ({"rules": "all"}, "list"),
        ({"rules": [{**RULE, "steps": []}]}, "length >= 1"),
        ({"rules": [{**RULE, "steps": [{"channels": ["Nowhere"]}]}]}, "no channel named “Nowhere”"),
        ({"rules": [{**RULE, "name": "a\0"}]}, "NUL"),
        ({"rules": [{**RULE, "match": {"labels": {"env": 1}}}]}, "Expected `str`"),
    ],
)
def test_invalid_policies_are_refused(api: Any, body: Any, said: str) -> None:
    api("put", "policy", {"rules": [RULE]})
    status, answer = api("put", "policy", body)
    assert status == 422
    assert said in str(answer)
    assert api("get", "policy")[1]["rules"][0]["name"] == "Production"


def test_policy_belongs_to_its_project(api: Any, stranger: Any) -> None:
    theirs = Project.objects.get(team__members=stranger)
    Channel.objects.create(project=theirs, kind="email", name="theirs", config={"to": ["x@example.com"]})
    for step in ({"channels": ["theirs"]}, {"people": ["x@example.com"]}):
        assert api("put", "policy", {"rules": [{"name": "R", "steps": [step]}]})[0] == 422


def test_preview_says_who_and_when(api: Any, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alerts.policy_api.timezone.now", lambda: NOW)
    agent = create_agent(project=project, name="bot", now=NOW)
    api("put", "policy", {"rules": [RULE]})
    assert api("get", "policy/preview?agent=bot") == (200, {"notifications": []})
    agent.labels = {"env": "prod"}
    agent.save()
    assert api("get", "policy/preview?agent=bot")[1]["notifications"] == [
        {"at": "2026-11-23T20:25:57Z", "notify": ["mail"], "why": "Step 1 of “Production”"},
        {"at": "2026-11-23T20:40:57Z", "notify": ["ops@example.com"], "why": "Step 2 of “Production”"},
        {"at": "2026-11-23T21:10:57Z", "notify": ["ops@example.com"], "why": "Step 2 of “Production”, reminder 1"},
    ]
    assert api("get", "policy/preview?agent=bot&severity=warning")[1]["notifications"] == []
    assert api("get", "policy/preview?agent=nobody")[0] == 404
    assert api("get", "policy/preview")[0] == 422
