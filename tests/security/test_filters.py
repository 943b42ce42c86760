"""Filters as oracles: a list's URL must not answer questions about columns that it does not show.

Before, `?config__secret__regex=^whsec_K` read a channel's secret letter by letter, and `?name__regex=^(a+)+$` stopped
the whole server on SQLite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin import ModelAdmin
from django.contrib.admin.utils import get_fields_from_path
from django.db.models import JSONField, Model
from django.db.models.constants import LOOKUP_SEP
from django.test import Client, RequestFactory

from alerts.models import Channel
from teams.models import Project, User
from tests.contracts.test_api_permissions import OPERATIONS

Browser = Callable[[User], Client]
PAGES: list[ModelAdmin[Any]] = list(admin.site._registry.values())
every_page = pytest.mark.parametrize("page", PAGES, ids=[page.opts.label_lower for page in PAGES])
# Columns that would give an account, an agent or a channel away.
SECRETS = {"config", "hash", "token_hash", "password", "data", "session_key", "session_data", "status_address", "key"}
CATASTROPHIC = "^(a+)+$"


def url_of(page: ModelAdmin[Any]) -> str:
    return f"/admin/{page.opts.label_lower.replace('.', '/')}/"


def paths(model: type[Model], depth: int = 3, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every column reachable from a model, also over reverse relations, as Django spells them."""
    for field in model._meta.get_fields():
        path = prefix + field.name
        yield path, field
        if field.is_relation and field.related_model and depth > 1:
            yield from paths(field.related_model, depth - 1, path + LOOKUP_SEP)


def lookups(model: type[Model]) -> Iterator[str]:
    """Every column with every lookup, and keys of JSON columns with them too."""
    for path, field in paths(model):
        yield path
        inner = f"{path}__secret" if isinstance(field, JSONField) else path
        for lookup in getattr(field, "get_lookups", dict)():
            yield f"{inner}__{lookup}"
    yield from ("nothing", "nothing__regex", "pk", "pk__in", "pk__gt")


def declared(page: Any, request: Any) -> set[str]:
    """What the filters say of themselves: each with one exact value."""
    names: set[str] = set()
    for item in page.get_list_filter(request):
        if isinstance(item, type):
            names.add(item.parameter_name)  # type: ignore[attr-defined]
            continue
        path, kind = (item, admin.FieldListFilter.create) if isinstance(item, str) else item
        offered: Any = kind(get_fields_from_path(page.model, path)[-1], request, {}, page.model, page, path)
        names.add(offered.lookup_kwarg)
    return names


@pytest.mark.django_db
@every_page
def test_only_declared_lookups_are_allowed(page: Any, operator: User) -> None:
    request = RequestFactory().get("/")
    request.user = operator
    allowed = declared(page, request)
    assert all(LOOKUP_SEP not in name or name.endswith("__exact") for name in allowed)
    tried = [*lookups(page.model), *allowed]
    assert len(tried) > 100
    assert {name for name in tried if page.lookup_allowed(name, "1", request)} == allowed


@every_page
def test_shown_and_searched_columns_are_no_secrets(page: Any) -> None:
    """Searches, `?o=` and autocompletion reach no column that a list must not show."""
    for path in (*page.search_fields, *page.list_display, *(page.ordering or ())):
        assert not SECRETS & set(str(path).lstrip("-^=@").split(LOOKUP_SEP)), path


@pytest.mark.django_db
@every_page
def test_attacks_are_refused(page: Any, operator: User, client_of: Browser) -> None:
    """Over HTTP, as the person who sees most."""
    browser, url = client_of(operator), url_of(page)
    columns = [field.name for field in page.opts.concrete_fields]
    attacks = [f"{name}__{lookup}" for name in columns for lookup in ("regex", "startswith")]
    attacks += [f"{name}__secret__regex" for name in columns] + ["team__members__password__startswith"]
    for attack in attacks:
        answer = browser.get(url, {attack: CATASTROPHIC}, follow=True)
        has_list = "cl" in (getattr(answer, "context_data", None) or {})
        assert answer.status_code == 400 or not has_list, attack
    for harmless in ({"_facets": "1"}, {"o": "-1.2.3"}, {"o": "99.x"}, {"q": CATASTROPHIC}, {"_to_field": "config"}):
        assert browser.get(url, harmless, follow=True).status_code in (200, 400), harmless


@pytest.mark.django_db
def test_viewer_cannot_read_a_secret_by_letters(project: Project, viewer: User, client_of: Browser) -> None:
    config = {"url": "https://example.com/hook", "secret": "whsec_KJ2k"}
    Channel.objects.create(project=project, kind="webhook", name="pager", config=config)
    browser = client_of(viewer)
    columns = ("config__secret", "project__channels__config__secret", "config")
    for attack in (f"{column}__{lookup}" for column in columns for lookup in ("regex", "startswith", "contains")):
        answers = {browser.get("/admin/alerts/channel/", {attack: guess}).status_code for guess in ("^whsec_K", "Z")}
        assert answers == {400}, attack


@pytest.mark.django_db
@every_page
def test_absurd_values_are_no_server_error(page: Any, operator: User, client_of: Browser) -> None:
    request = RequestFactory().get("/")
    request.user = operator
    browser = client_of(operator)
    for name in declared(page, request):
        for value in ("9" * 40, "x", "\0", "\u0661", "a" * 5000):
            answer = browser.get(url_of(page), {name: value}, follow=True)
            assert answer.status_code in (200, 400), (name, value)


@pytest.mark.django_db
@pytest.mark.parametrize("path", sorted({path for method, path in OPERATIONS if method == "GET" and "{" not in path}))
def test_api_knows_no_lookups(path: str, project: Project, full_key: str) -> None:
    """A parameter that is not documented changes nothing."""
    client = Client(headers={"X-API-Key": full_key})
    Channel.objects.create(project=project, kind="webhook", name="pager", config={"secret": "whsec_KJ2k"})
    plain = client.get(f"/api/v1/{path}")
    for attack in ("name__regex", "config__secret__startswith", "hash__startswith", "project__team__name__regex", "o"):
        answer = client.get(f"/api/v1/{path}", {attack: CATASTROPHIC})
        assert (answer.status_code, answer.content) == (plain.status_code, plain.content), attack
