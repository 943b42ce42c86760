"""`/api/v1/keys`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from teams import auth, services
from teams.errors import ApiError
from teams.models import ApiKey, AuditEntry, Project, User


def call(method: str, path: str, key: str, body: Any = None) -> Any:
    send = getattr(Client(), method)
    return send(f"/api/v1/{path}", body, content_type="application/json", headers={"X-API-Key": key})


@pytest.fixture
def theirs(stranger: User) -> ApiKey:
    return services.issue_key(project=Project.objects.get(name="Theirs"), name="theirs", actor="test")[0]


def test_list_keys_without_secrets(full_key: str, theirs: ApiKey) -> None:
    answer = call("get", "keys", full_key).json()
    assert answer["count"] == 1
    row = answer["results"][0]
    assert (row["prefix"], row["scope"]) == (full_key[:11], "full")
    assert full_key[11:] not in str(answer)
    assert "hash" not in row


def test_created_key_works_and_is_shown_once(full_key: str, project: Project) -> None:
    made = call("post", "keys", full_key, {"name": "worker", "scope": "read"})
    assert made.status_code == 201
    assert auth.authenticate_key(made.json()["api_key"]).scope == "read"
    assert "api_key" not in call("get", f"keys/{made.json()['id']}", full_key).json()
    assert AuditEntry.objects.get(action="key.created", target__startswith="worker").actor == f"key:{full_key[:11]}"


def test_default_scope_is_agent(full_key: str) -> None:
    assert call("post", "keys", full_key, {}).json()["scope"] == "agent"


@pytest.mark.parametrize("body", [{"scope": "root"}, {"name": "x" * 101}, {"name": ["x"]}])
def test_invalid_field_is_named(full_key: str, body: dict[str, Any]) -> None:
    answer = call("post", "keys", full_key, body)
    assert answer.status_code == 422
    assert set(answer.json()["error"]["fields"]) == set(body)


def test_revoked_key_is_kept_on_record(full_key: str, project: Project) -> None:
    key, raw = services.issue_key(project=project, name="worker", actor="test")
    assert call("delete", f"keys/{key.pk}", full_key).status_code == 204
    with pytest.raises(ApiError):
        auth.authenticate_key(raw)
    assert ApiKey.objects.filter(pk=key.pk).exists()


def test_rotation_overlap(full_key: str, project: Project) -> None:
    key, raw = services.issue_key(project=project, name="worker", actor="test")
    made = call("post", f"keys/{key.pk}/rotate", full_key, {"overlap": 3600})
    assert made.status_code == 201
    key.refresh_from_db()
    assert key.expires_at is not None
    assert abs(key.expires_at - timezone.now() - timedelta(hours=1)) < timedelta(minutes=1)
    assert auth.authenticate_key(raw).key_id != auth.authenticate_key(made.json()["api_key"]).key_id


def test_revoked_key_cannot_be_rotated(full_key: str, project: Project) -> None:
    key, _ = services.issue_key(project=project, name="worker", actor="test")
    services.revoke_key(key=key, actor="test", now=timezone.now())
    answer = call("post", f"keys/{key.pk}/rotate", full_key, {})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "key_ended")


@pytest.mark.parametrize(("method", "rest"), [("get", ""), ("delete", ""), ("post", "/rotate")])
def test_other_teams_key_is_not_found(method: str, rest: str, full_key: str, theirs: ApiKey) -> None:
    answer = call(method, f"keys/{theirs.pk}{rest}", full_key, {})
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"
    theirs.refresh_from_db()
    assert (theirs.revoked_at, theirs.expires_at) == (None, None)


@pytest.mark.parametrize(("scope", "allowed"), [("agent", set()), ("read", {"get"}), ("full", {"get", "post"})])
def test_key_permissions_by_scope(scope: str, allowed: set[str], project: Project) -> None:
    raw = services.issue_key(project=project, name="x", scope=scope, actor="test")[1]
    for method in ("get", "post"):
        answer = call(method, "keys", raw, {})
        assert (answer.status_code < 400) is (method in allowed)
        assert answer.status_code in (200, 201, 403)


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "cv_" + "a" * 40}, {"X-API-Key": "nonsense"}])
@pytest.mark.django_db
def test_invalid_key_is_rejected(headers: dict[str, str]) -> None:
    answer = Client().get("/api/v1/keys", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "ApiKey"
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["nothing", "agents/", "keys/x"])
def test_not_found_is_json(path: str, full_key: str) -> None:
    answer = Client(headers={"X-API-Key": full_key}).get(f"/api/v1/{path}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_server_error_is_json(full_key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("teams.api.Keys.get_queryset", lambda view: 1 / 0)
    answer = Client(headers={"X-API-Key": full_key}, raise_request_exception=False).get("/api/v1/keys")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "server_error")
    assert "division" not in answer.content.decode()


def test_session_does_not_authenticate(owner: User, project: Project, client_of: Any) -> None:
    assert client_of(owner).get("/api/v1/keys").status_code == 401
