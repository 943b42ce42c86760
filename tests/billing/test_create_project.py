from __future__ import annotations

import io
import json
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.core.management import CommandError, call_command
from django.test import Client

from billing import limits
from teams import auth
from teams.models import ApiKey, Membership, Project, Team, User

pytestmark = pytest.mark.django_db


def create(**more: Any) -> dict[str, Any]:
    out = io.StringIO()
    options = {"team": "T", "project": "P", "owner": "Owner@Example.com", "json": True, **more}
    call_command("create_project", stdout=out, **options)
    made: dict[str, Any] = json.loads(out.getvalue())
    return made


def test_json_output_has_a_working_key() -> None:
    made = create()
    assert set(made) == {"team", "project", "project_id", "api_key", "ping_key", "sign_in_url"}
    caller = auth.authenticate_key(made["api_key"])
    assert (caller.project_id, caller.scope) == (made["project_id"], "agent")


def test_repeating_it_adds_only_a_new_key() -> None:
    first, second = create(), create()
    assert first["project_id"] == second["project_id"]
    assert first["api_key"] != second["api_key"]
    counts = [model.objects.count() for model in (Team, Project, User, EmailAddress, Membership, ApiKey)]
    assert counts == [1, 1, 1, 1, 1, 2]


def test_owner_signs_in_by_link_without_a_password() -> None:
    path = create()["sign_in_url"].removeprefix("http://127.0.0.1:8000")
    person = User.objects.get()
    assert (person.email, person.has_usable_password(), person.is_superuser) == ("owner@example.com", False, False)
    assert EmailAddress.objects.get().verified
    browser = Client()
    assert browser.post(path).headers["Location"] == "/admin/first-steps/"
    assert browser.get("/admin/teams/project/").status_code == 200


def test_owner_without_password_can_set_up_mfa() -> None:
    browser = Client()
    browser.post(create()["sign_in_url"].removeprefix("http://127.0.0.1:8000"))
    assert browser.get("/accounts/2fa/totp/activate/").status_code == 200


def test_team_names_are_per_owner() -> None:
    first, second = create(), create(owner="other@example.com")
    assert first["project_id"] != second["project_id"]
    assert Team.objects.count() == 2


def test_plan_scope_and_operator_options() -> None:
    made = create(plan="pro", scope="full", operator=True)
    caller = auth.authenticate_key(made["api_key"])
    assert (caller.scope, limits.plan_of(caller.team_id).agents) == ("full", 100)
    assert User.objects.get().is_superuser
    create()
    assert limits.plan_of(caller.team_id).agents == 100


def test_operators_first_team_is_unlimited() -> None:
    own = auth.authenticate_key(create(operator=True)["api_key"])
    second = auth.authenticate_key(create(operator=True, team="Another")["api_key"])
    other = auth.authenticate_key(create(owner="other@example.com")["api_key"])
    assert [limits.plan_of(caller.team_id).agents for caller in (own, second, other)] == [None, 3, 3]


def test_first_team_of_an_installation_is_unlimited() -> None:
    """With Compose nobody is an operator: whoever creates the first team runs the installation."""
    own, other = (auth.authenticate_key(create(owner=f"{name}@example.com")["api_key"]) for name in ("own", "other"))
    assert [limits.plan_of(caller.team_id).agents for caller in (own, other)] == [None, 3]


def test_chosen_plan_of_the_operator_stays() -> None:
    made = auth.authenticate_key(create(operator=True, plan="free")["api_key"])
    create(operator=True)
    assert limits.plan_of(made.team_id).agents == 3


def test_invalid_address_creates_nothing() -> None:
    with pytest.raises(CommandError, match="not an e-mail"):
        create(owner="nobody")
    assert not Team.objects.exists()


def test_plain_output_is_readable() -> None:
    out = io.StringIO()
    call_command("create_project", team="T", project="P", owner="o@example.com", stdout=out)
    assert "API key (you won't see it again): cv_" in out.getvalue()
