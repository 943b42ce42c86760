"""Every URL answers in the product's own look: title, heading, breadcrumbs, landmarks, help; no page is Django's."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html import unescape
from typing import Any

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from teams import services
from teams.models import User
from tests.contracts.test_admin_permissions import Address, seed, visits

pytestmark = [pytest.mark.django_db, pytest.mark.slow]
Browse = Callable[[User], Client]
OUR_STYLES = re.compile(r'href="[^"]*/(?:teams/pages|agents/watch|agents/status|watchdog_project/\w+)\.css"')
# Words of Django's own templates.
DJANGO = re.compile(r"Select \w+ to (?:change|view)|Django(?!\W+\d)|Site administration|CSRF", re.IGNORECASE)
BARE_INDEX = re.compile(r'href="/admin/(?:agents|alerts|billing|teams|auth|axes)/"')
# Answers that are no pages of ours: files, data, and API responses.
NO_PAGES = re.compile(r"^(?:api/|mcp|static/|simple/|admin/jsi18n|healthz|readyz|metrics|robots|favicon|\.well-known)")


def is_page(answer: Any) -> bool:
    return answer.get("Content-Type", "").startswith("text/html") and answer.status_code not in (301, 302, 405)


def text_of(html: str) -> str:
    return " ".join(unescape(re.sub(r"<script.*?</script>|<style.*?</style>|<[^>]*>", " ", html, flags=re.S)).split())


def between(body: str, start: str, end: str) -> str:
    return body.partition(start)[2].partition(end)[0]


def faults(body: str) -> Iterator[str]:
    """What is wrong with a page of the admin."""
    title = between(body, "<title>", "</title>").strip()
    if not re.fullmatch(r"\S.* \| ClevAgent Watchdog", title, re.S) or DJANGO.search(title):
        yield f"title {title!r}"
    if body.count("<h1") != 1 or not text_of(between(body, "<h1", "</h1>").partition(">")[2]):
        yield "no heading, or several"
    if body.count("<main") != 1 or 'class="w-skip" href="#content"' not in body:
        yield "no main part, or no link to it"
    if BARE_INDEX.search(body):
        yield "a link to Django's bare index"
    if not re.search(r'class="w-help" href="/docs/pages/', body):
        yield "no link to its documentation"
    for bar in re.findall(r'<form class="w w-filter".*?</form>', body, re.S):
        if not re.search(r"<(?:input|select)", bar):
            yield "an empty filter bar"
    if DJANGO.search(text_of(body)):
        yield f"Django's words: {DJANGO.search(text_of(body))}"


@pytest.mark.parametrize("who", ["operator", "owner"])
def test_every_admin_url(who: str, client_of: Browse) -> None:
    owner = User.objects.create_user("owner@mine.example.com", name="Ann")
    operator = User.objects.create_superuser("operator@example.com")
    rows = seed(services.create_team(owner=owner, name="Mine"), "mine")
    client, found, seen = client_of(operator if who == "operator" else owner), {}, 0
    for address, url, _ in visits(rows):
        answer: Any = client.get(url)
        if not is_page(answer) or answer.status_code != 200 or is_part(address):
            continue
        seen += 1
        if wrong := list(faults(answer.content.decode())):
            found[url] = wrong
    assert found == {}
    assert seen > 40


def is_part(address: Address) -> bool:
    """Fragments that a page fetches."""
    return "/live/" in address.path or address.name in ("fleet", "jsi18n", "search") or "heartbeat" in address.name


def test_empty_lists_have_no_filter_bar(client_of: Browse) -> None:
    owner = User.objects.create_user("owner@mine.example.com")
    services.create_team(owner=owner, name="Mine")
    for model in admin.site._registry:
        path = f"/admin/{model._meta.label_lower.replace('.', '/')}/"
        answer: Any = client_of(owner).get(path)
        if answer.status_code == 200:
            assert [wrong for wrong in faults(answer.content.decode()) if "filter" in wrong] == [], path


def plain_urls(patterns: Any, prefix: str = "") -> Iterator[str]:
    """Every URL outside the admin, its parameters filled with something."""
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from () if route.startswith("admin/") else plain_urls(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern) and not NO_PAGES.match(route):
            filled = re.sub(r"<(?!int:)[^>]*>", "x", re.sub(r"<int:\w+>", "1", route))
            yield f"/{filled.strip('^$')}"


@pytest.mark.parametrize("who", ["nobody", "owner"])
def test_every_other_url(who: str, client: Client, owner: User, client_of: Browse) -> None:
    browser = client if who == "nobody" else client_of(owner)
    urls = [url for url in plain_urls(get_resolver().url_patterns) if "(" not in url]
    assert len(urls) > 20
    for url in urls:
        answer: Any = browser.get(url)
        if not is_page(answer):
            continue
        body = answer.content.decode()
        assert OUR_STYLES.search(body), (url, answer.status_code)
        assert re.search(r"<title>\s*[^<·|]+ [·|] ClevAgent Watchdog", body), url
        assert not DJANGO.search(text_of(body)), url


@pytest.mark.parametrize("path", ["nothing-here", "admin/nothing/here/", "docs/nothing/", "accounts/nothing/"])
def test_missing_page(path: str, project: Any, owner: User, client_of: Browse) -> None:
    answer = client_of(owner).get(f"/{path}")
    assert answer.status_code == 404
    assert OUR_STYLES.search(answer.content.decode())


def test_refused_and_failed_pages(owner: User, project: Any, client_of: Browse, monkeypatch: Any) -> None:
    client = client_of(owner)
    client.raise_request_exception = False
    answers = [client.get("/admin/agents/agent/?secret__regex=x"), client.get("/admin/teams/user/")]
    monkeypatch.setattr("teams.views.render", lambda *_: 1 / 0)
    answers.append(client.get("/"))
    assert [answer.status_code for answer in answers] == [400, 403, 500]
    for answer in answers:
        body = answer.content.decode()
        assert OUR_STYLES.search(body)
        assert not DJANGO.search(text_of(body))


@pytest.mark.parametrize("path", ["login/", "logout/", "password_change/", "password_change/done/"])
@pytest.mark.parametrize("who", ["nobody", "owner"])
def test_account_pages_of_the_admin_are_ours(
    path: str, who: str, client: Client, project: Any, owner: User, client_of: Browse
) -> None:
    browser = client if who == "nobody" else client_of(owner)
    answer = browser.get(f"/admin/{path}", follow=True)
    assert answer.status_code == 200
    assert answer.redirect_chain
    assert OUR_STYLES.search(answer.content.decode())
    assert "Django" not in answer.content.decode()
