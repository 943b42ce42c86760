"""Whatever somebody sends to a form, nobody gets a 500, and the database stays whole."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest
from django.contrib import admin
from django.core.cache import cache
from django.db import connection, transaction
from django.test import Client
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from alerts.models import Channel
from teams import services
from teams.models import Project, User
from tests.agents.conftest import World
from tests.examples import examples

pytestmark = [pytest.mark.django_db, pytest.mark.slow]
ACCOUNT = ["login", "signup", "password/change", "password/reset", "email", "profile", "teams", "2fa/totp/activate"]
FIELD = re.compile(r"<(?:input|select|textarea|button)\b[^>]*?\bname=\"([^\"]+)\"")
OPTION = re.compile(r"<option\b[^>]*?\bvalue=\"([^\"]+)\"")
HOSTILE = st.sampled_from(
    [
        "",
        "\x00",
        "9" * 400,
        "-1",
        "1e999",
        "NaN",
        "x" * 3000,
        "<b>",
        "{}",
        "[1]",
        "null",
        "on",
        "é\u2028",
        "a=b\nc",
        "0",
    ]
)
ANYTHING = st.one_of(HOSTILE, st.text(max_size=40), st.integers().map(str), st.floats().map(str))


@pytest.fixture
def rows(world: World, project: Project, owner: User) -> World:
    """A row for each page that changes one."""
    world.beat(0, status="error", message="boom")
    world.look(1)
    Channel.objects.create(project=project, kind="webhook", name="pager", config={"url": "https://a.example"})
    services.issue_key(project=project, name="ci", actor=owner.email)
    return world


def _pages() -> Iterator[str]:
    yield from (f"/accounts/{name}/" for name in ACCOUNT)
    for model in admin.site._registry:
        where = f"/admin/{model._meta.app_label}/{model._meta.model_name}"
        yield f"{where}/add/"
        yield f"{where}/ROW/change/"
    yield from ("/admin/first-steps/", "/admin/alerts/channel/routes/")


def _row(path: str) -> str:
    _, _, app, name, *_ = path.split("/")
    model = next(model for model in admin.site._registry if model._meta.label_lower == f"{app}.{name}")
    first = model._default_manager.order_by("pk").first()
    return path.replace("ROW", str(first.pk if first else 1))


@pytest.mark.parametrize("path", list(_pages()))
def test_no_form_breaks(path: str, rows: World, owner: User, operator: User, client_of: Any) -> None:
    person = operator if "/teams/user/" in path else owner
    browser: Client = Client() if path in ("/accounts/login/", "/accounts/signup/") else client_of(person)
    browser.raise_request_exception = False
    where = _row(path) if "ROW" in path else path
    page = browser.get(where, follow=True).content.decode()
    names = sorted({unescape(name) for name in FIELD.findall(page)} - {"csrfmiddlewaretoken"})
    choices = sorted({unescape(value) for value in OPTION.findall(page)})[:50]
    value = st.one_of(ANYTHING, st.sampled_from(choices)) if choices else ANYTHING
    fields = st.dictionaries(st.sampled_from(names or ["name"]), value, max_size=len(names) + 1)

    @settings(
        max_examples=examples(8),
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(data=fields)
    def attempt(data: dict[str, str]) -> None:
        cache.clear()
        with transaction.atomic():
            answer = browser.post(where, data)
            assert answer.status_code < 500, (answer.status_code, data)
            connection.check_constraints()
            transaction.set_rollback(True)

    attempt()
