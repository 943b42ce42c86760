from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from billing import limits, plans
from billing.models import Subscription
from billing.services import set_plan
from teams import services
from teams.errors import ApiError
from teams.models import AuditEntry, Project, Team, User


def test_team_without_subscription_uses_default_plan(team: Team, settings: Settings) -> None:
    assert limits.plan_of(team.pk).agents == 3
    settings.DEFAULT_PLAN = "pro"
    assert limits.plan_of(team.pk).agents == 100


def test_enterprise_is_unlimited(team: Team) -> None:
    set_plan(team=team, plan="enterprise", actor="test")
    assert limits.plan_of(team.pk).agents is None
    assert limits.refusal(team.pk, "agents") is None


def test_plan_change_is_audited_once(team: Team) -> None:
    for _ in range(2):
        set_plan(team=team, plan="pro", actor="test")
    assert Subscription.objects.get(team=team).plan == "pro"
    assert AuditEntry.objects.get(action="plan.changed").data == {"from": None, "to": "pro"}


@pytest.mark.parametrize(("what", "code"), [("agents", "agent"), ("projects", "project"), ("channels", "channel")])
def test_every_limit_is_refused_in_the_same_words(
    project: Project, monkeypatch: pytest.MonkeyPatch, what: str, code: str
) -> None:
    assert limits.refusal(project.team_id, what) is None
    none: Any = {what: 0}
    full = replace(plans.BY_KEY["free"], **none)
    monkeypatch.setitem(plans.BY_KEY, "free", full)
    refused = limits.refusal(project.team_id, what)
    assert refused is not None
    assert (refused.http_status, refused.code) == (403, f"{code}_limit_reached")
    assert refused.message.startswith(f"The Free plan allows 0 {what}, and all are in use. Delete one or change the")
    assert refused.message.endswith("plan: http://127.0.0.1:8000/admin/billing/subscription/")


def test_since_changes_only_with_the_plan(team: Team) -> None:
    first = set_plan(team=team, plan="pro", actor="test").since
    assert set_plan(team=team, plan="pro", actor="test").since == first
    assert set_plan(team=team, plan="free", actor="test").since > first


@pytest.mark.parametrize("plan", plans.ALL, ids=lambda plan: str(plan.key))
def test_larger_plans_allow_more(plan: plans.Plan) -> None:
    following = plans.ALL[plans.ALL.index(plan) + 1 :]
    assert all(larger.requests_per_minute > plan.requests_per_minute for larger in following)
    assert all(larger.history_days > plan.history_days for larger in following)
    assert all(larger.shortest_interval <= plan.shortest_interval for larger in following)


def test_expired_invitations_do_not_count(team: Team, owner: User) -> None:
    now = timezone.now()
    for name in ("a", "b"):
        services.invite(team=team, email=f"{name}@example.com", role="viewer", invited_by=owner, now=now)
    with pytest.raises(ApiError) as refused:
        limits.require_room(team_id=team.pk, what="invitations")
    assert (refused.value.http_status, refused.value.code) == (403, "member_limit_reached")
    limits.require_room(team_id=team.pk, what="members")
    team.invitations.update(expires_at=now)
    limits.require_room(team_id=team.pk, what="invitations")


def test_usage_api(project: Project, full_key: str, stranger: User) -> None:
    answer: Any = Client().get("/api/v1/usage", headers={"X-API-Key": full_key})
    assert answer.json() == {
        "plan": "free",
        "agents": {"used": 0, "limit": 3},
        "members": {"used": 1, "limit": 3},
        "projects": {"used": 1, "limit": 3},
        "channels": {"used": 0, "limit": 3},
        "requests_per_minute": 200,
        "history_days": 7,
        "shortest_interval": 1,
    }


def test_agent_key_cannot_read_usage(api_key: str) -> None:
    assert Client().get("/api/v1/usage", headers={"X-API-Key": api_key}).status_code == 403


def test_plan_page_shows_own_teams_only(team: Team, member: User, stranger: User, client_of: Any) -> None:
    page = client_of(member).get("/admin/billing/subscription/").content.decode()
    assert "Research: Free" in page
    assert "Elsewhere" not in page
    assert "Change plan" not in page


def test_only_operators_change_plans(team: Team, owner: User, operator: User, client_of: Any) -> None:
    set_plan(team=team, plan="starter", actor="test")
    page = f"/admin/billing/subscription/{team.pk}/change/"
    assert client_of(owner).get(page).status_code == 200
    assert client_of(owner).post(page, {"plan": "enterprise"}).status_code == 403
    assert client_of(operator).post(page, {"plan": "pro"}).status_code == 302
    assert Subscription.objects.get(team=team).plan == "pro"


def test_operator_sets_the_first_plan(team: Team, operator: User, client_of: Any) -> None:
    gone = Team.objects.create(name="Gone", ended_at=timezone.now())
    data = {"team": team.pk, "plan": "pro"}
    assert "Gone" not in client_of(operator).get("/admin/billing/subscription/add/").content.decode()
    assert client_of(operator).post("/admin/billing/subscription/add/", {**data, "team": gone.pk}).status_code == 200
    assert client_of(operator).post("/admin/billing/subscription/add/", data).status_code == 302
    assert limits.plan_of(team.pk).key == "pro"
