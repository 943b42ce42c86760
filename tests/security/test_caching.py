"""Nothing private is kept by browsers and proxies, and nobody makes the server build its schema again and again."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.test import Client
from drf_spectacular.generators import SchemaGenerator

from teams.models import User
from watchdog_project import openapi_views

pytestmark = pytest.mark.django_db
PAGES = [
    "/accounts/login/",
    "/accounts/signup/",
    "/accounts/sessions/",
    "/accounts/profile/",
    "/accounts/2fa/",
    "/accounts/email/",
    "/admin/",
    "/admin/installation/",
    "/api/v1/agents",
    "/api/v1/status",
    "/api/v1/nothing",
]


@pytest.mark.parametrize("path", PAGES)
def test_private_pages_are_not_stored(path: str, owner: User, full_key: str, client_of: Any) -> None:
    browser: Client = client_of(owner)
    for answer in (browser.get(path, headers={"X-API-Key": full_key}), Client().get(path)):
        assert "no-store" in answer.headers["Cache-Control"], path


def test_no_page_of_the_admin_is_stored(operator: User, client_of: Any) -> None:
    browser: Client = client_of(operator)
    for model in admin.site._registry:
        path = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        assert "no-store" in browser.get(path).headers["Cache-Control"], path


def test_schema_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    openapi_views._schema.cache_clear()
    openapi_views._rendered.cache_clear()
    plain: Any = SchemaGenerator.get_schema

    def counted(*given: Any, **named: Any) -> Any:
        made.append(1)
        return plain(*given, **named)

    monkeypatch.setattr(SchemaGenerator, "get_schema", counted)
    answers = [
        Client().get(path, headers={"Accept": accept})
        for path in ("/api/schema", "/api/schema?version=2", "/api/schema?lang=de", "/api/schema?format=json")
        for accept in ("*/*", "application/json", "application/vnd.oai.openapi")
    ]
    assert made == [1]
    assert {answer.status_code for answer in answers} <= {200, 406}
    assert b"openapi: 3.1.0" in answers[0].content
    assert answers[-3].json()["openapi"] == "3.1.0"
