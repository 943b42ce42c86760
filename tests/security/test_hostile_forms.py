"""Whatever somebody sends to a form, nobody gets a 500, and the database stays whole."""

from __future__ import annotations

import re
from html import unescape
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib import admin
from django.core.cache import cache
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from agents.models import Incident
from alerts import links
from alerts.models import Channel
from teams import services, sign_in_links
from teams.models import Project, User
from teams.sso import services as single_sign_on
from teams.sso.models import SingleSignOn
from tests.agents.conftest import World
from tests.examples import examples
from tests.security.test_every_route import KEY, address_of, routes

pytestmark = [pytest.mark.django_db, pytest.mark.slow]
# What forms send whose fields no page shows without a script.
COMMON = [
    *("action", "do", "row", "name", "length", "until", "hours", "minutes", "reason", "text", "next", "page", "query"),
    *("_selected_action", "select_across", "index", "confirm", "q", "plan", "domain", "SAMLResponse", "RelayState"),
]
# Pages of the operator, where the owner of a team would only be refused.
OPERATORS = ("admin/teams/user/", "admin/teams/failedsignin/", "admin/billing/", "admin/installation")
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
    values = {
        "name": "Acme",
        "protocol": "saml",
        "saml": {"entity_id": "x", "sso_url": "https://idp.example", "certificates": []},
    }
    single_sign_on.create(team=project.team, values=values, by=owner, now=timezone.now())
    return world


def _pages() -> list[str]:
    """Every route of the server that a browser may post to: a new one is tried without being listed here."""
    forms = [route for route, row in routes() if row.who != KEY and not route.startswith(("ping/", "admin/jsi18n"))]
    return sorted({route for route in forms if not re.search(r"logout|\(\?P<url>", route)})


def _address(route: str, rows: World, owner: User) -> str:
    """Where the route leads to something that there is."""
    tokens = {
        "alerts/act/<str:token>/": lambda: links.act_url(owner.pk, _first(Incident)),
        "alerts/leave/<str:token>/": lambda: links.leave_url(_first(Channel), "ops@example.com"),
        "accounts/sign-in/<str:token>/": lambda: sign_in_links.sign_in_url(owner),
    }
    if route in tokens:
        return urlsplit(tokens[route]()).path
    if "sso/<" in route:
        return address_of(route).replace("some-slug", SingleSignOn.objects.get().slug)
    model = next((one for one in admin.site._registry if route.startswith(f"admin/{_path(one)}/")), None)
    row = str(_first(model)) if model else "1"
    names = [button.name for button in getattr(admin.site._registry.get(model), "buttons", ())] if model else []
    filled = re.sub(r"<(path:object_id|int:pk|int:id)>", row, route)
    return address_of(filled.replace("<str:name>", names[0]) if names else filled)


def _path(model: Any) -> str:
    return str(model._meta.label_lower).replace(".", "/")


def _first(model: Any) -> Any:
    return model._default_manager.order_by("pk").values_list("pk", flat=True).first() or 1


def test_every_form_is_walked() -> None:
    """Those of pages and of links, with and without an account."""
    walked = set(_pages())
    assert len(walked) > 150
    wanted = (
        "accounts/login/",
        "admin/policy/",
        "alerts/quiet-hours/",
        "alerts/act/",
        "accounts/sso/",
        "accounts/2fa/",
    )
    assert [start for start in wanted if not any(route.startswith(start) for route in walked)] == []


@pytest.mark.parametrize("path", list(_pages()))
def test_no_form_breaks(path: str, rows: World, owner: User, operator: User, client_of: Any) -> None:
    person = operator if path.startswith(OPERATORS) else owner
    browser: Client = Client() if path in ("accounts/login/", "accounts/signup/") else client_of(person)
    browser.raise_request_exception = False
    where = _address(path, rows, owner)
    page = browser.get(where, follow=True).content.decode(errors="replace")
    names = sorted({unescape(name) for name in FIELD.findall(page)} - {"csrfmiddlewaretoken"}) or COMMON
    choices = sorted({unescape(value) for value in OPTION.findall(page)})[:50]
    value = st.one_of(ANYTHING, st.sampled_from(choices)) if choices else ANYTHING
    fields = st.dictionaries(st.sampled_from(names), value, max_size=len(names) + 1)

    @settings(
        max_examples=examples(6),
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
