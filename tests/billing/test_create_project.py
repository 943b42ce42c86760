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


def test_it_prints_one_object_with_a_key_that_works() -> None:
    made = create()
    assert set(made) == {"team", "project", "project_id", "api_key", "sign_in_url"}
    caller = auth.authenticate_key(made["api_key"])
    assert (caller.project_id, caller.scope) == (made["project_id"], "agent")


def test_again_it_makes_only_a_new_key() -> None:
    first, second = create(), create()
    assert first["project_id"] == second["project_id"]
    assert first["api_key"] != second["api_key"]
    counts = [model.objects.count() for model in (Team, Project, User, EmailAddress, Membership, ApiKey)]
    assert counts == [1, 1, 1, 1, 1, 2]


def test_the_owner_has_a_verified_address_no_password_and_a_link_that_signs_in() -> None:
    path = create()["sign_in_url"].removeprefix("http://127.0.0.1:8000")
    person = User.objects.get()
    assert (person.email, person.has_usable_password(), person.is_superuser) == ("owner@example.com", False, False)
    assert EmailAddress.objects.get().verified
    browser = Client()
    assert browser.post(path).headers["Location"] == "/admin/"
    assert browser.get("/admin/teams/project/").status_code == 200


def test_the_owner_can_set_up_a_second_factor_without_a_password() -> None:
    browser = Client()
    browser.post(create()["sign_in_url"].removeprefix("http://127.0.0.1:8000"))
    assert browser.get("/accounts/2fa/totp/activate/").status_code == 200


def test_someone_elses_team_of_the_same_name_is_another_team() -> None:
    first, second = create(), create(owner="other@example.com")
    assert first["project_id"] != second["project_id"]
    assert Team.objects.count() == 2


def test_plan_scope_and_operator_are_as_asked() -> None:
    made = create(plan="pro", scope="full", operator=True)
    caller = auth.authenticate_key(made["api_key"])
    assert (caller.scope, limits.plan_of(caller.team_id).agents) == ("full", 100)
    assert User.objects.get().is_superuser
    create()
    assert limits.plan_of(caller.team_id).agents == 100


def test_a_wrong_address_makes_nothing() -> None:
    with pytest.raises(CommandError, match="not an e-mail"):
        create(owner="nobody")
    assert not Team.objects.exists()


def test_without_json_it_speaks_to_people() -> None:
    out = io.StringIO()
    call_command("create_project", team="T", project="P", owner="o@example.com", stdout=out)
    assert "API key, shown only now: cv_" in out.getvalue()
