"""Whatever stands in the place of an id or in a list's address, nobody gets a 500."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from teams.models import User

pytestmark = [pytest.mark.django_db, pytest.mark.slow]
NUMBERS = ["0", "-1", str(2**31), str(2**63), "9" * 40, "9" * 5000, "1.5", "NaN", "１２"]
TEXTS = ["x" * 5000, "\x00", "../../etc/passwd", "%s%n", "💥", "'><svg>", "_5F", "\n"]
IDS = [*NUMBERS, *TEXTS]
FEW = [str(2**63), "9" * 5000, "\x00", "１２", "💥"]
# Words that every list understands, besides its filters.
PARAMETERS = [
    "q",
    "p",
    "o",
    "all",
    "e",
    "_changelist_filters",
    "_popup",
    "_to_field",
    "part",
    "project",
    "span",
    "page",
]
CONVERTER = re.compile(r"<(?:\w+:)?\w+>")


def _routes(under: Any, prefix: str = "") -> Iterator[str]:
    for entry in under.url_patterns:
        path = prefix + str(getattr(entry.pattern, "_route", ""))
        if isinstance(entry, URLResolver):
            yield from _routes(entry, path)
        elif isinstance(entry, URLPattern) and "<" in path:
            yield path


ROUTES = sorted(set(_routes(get_resolver())))


@pytest.fixture
def browser(operator: User, full_key: str, client_of: Any) -> Client:
    """The operator, who sees everything, with a key that may do everything."""
    signed_in: Client = client_of(operator)
    signed_in.raise_request_exception = False
    signed_in.defaults["HTTP_X_API_KEY"] = full_key
    return signed_in


def test_routes_are_walked() -> None:
    assert len(ROUTES) > 60
    assert any(route.startswith("api/v1/") for route in ROUTES)


@pytest.mark.parametrize("route", ROUTES)
def test_no_id_breaks_a_page(route: str, browser: Client) -> None:
    broken = []
    for given in IDS:
        path = "/" + CONVERTER.sub(lambda _, given=given: quote(given, safe=""), route)  # type: ignore[misc]
        for answer in (browser.get(path), browser.post(path, {}, "application/json")):
            if answer.status_code >= 500:
                broken.append((answer.request["REQUEST_METHOD"], given[:20], answer.status_code))
    assert broken == []


@pytest.mark.parametrize("model", [model._meta.label_lower for model in admin.site._registry])
def test_no_parameter_breaks_a_list(model: str, browser: Client) -> None:
    page = next(page for registered, page in admin.site._registry.items() if registered._meta.label_lower == model)
    filters = [_parameter(each) for each in page.list_filter]
    broken = []
    for name in [*PARAMETERS, *filters, "id__exact", "team__id__exact"]:
        for given in FEW:
            answer = browser.get(f"/admin/{model.replace('.', '/')}/", {name: given})
            if answer.status_code >= 500:
                broken.append((name, given[:20], answer.status_code))
    assert broken == []


def _parameter(declared: Any) -> str:
    if isinstance(declared, str):
        return f"{declared}__exact"
    named: str = getattr(declared, "parameter_name", "") or f"{declared[0]}__id__exact"
    return named


LISTS = ["status", "agents", "incidents", "commands", "deliveries", "channels", "keys", "maintenance", "usage", "rules"]
NAMES = ["limit", "offset", "agent", "state", "kind", "name", "before", "after", "since", "until", "channel", "format"]


@pytest.mark.parametrize("name", LISTS)
def test_no_parameter_breaks_the_api(name: str, browser: Client) -> None:
    broken = []
    for parameter in NAMES:
        for given in IDS:
            answer = browser.get(f"/api/v1/{name}", {parameter: given})
            if answer.status_code >= 500:
                broken.append((parameter, given[:20], answer.status_code))
    assert broken == []
