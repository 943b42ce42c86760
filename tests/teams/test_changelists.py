"""Every list: sorted by each of its columns, exported with its filters, with saved views, and in compact rows."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from agents.models import Agent
from alerts.models import Channel, Delivery
from teams.changelists import TableMixin
from teams.models import Project, SavedView, User
from tests.agents.admin.conftest import make_agent, make_incident

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("frozen_clock")]
Browse = Callable[[User], Client]
LISTS: list[Any] = [page for page in admin.site._registry.values() if isinstance(page, TableMixin)]

EXPORTED = [page for page in LISTS if page.export_columns]


def url_of(page: Any, what: str = "changelist") -> str:
    return reverse(f"admin:{page.opts.app_label}_{page.opts.model_name}_{what}")


def names(client: Client, order: str, path: str = "/admin/agents/agent/") -> list[str]:
    page = client.get(f"{path}?o={order}").content.decode()
    return re.findall(r'aria-label="Select ([\w-]+)"', page)


def rows(client: Client, path: str) -> list[dict[str, str]]:
    answer: Any = client.get(path)
    assert answer.status_code == 200
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    content = b"".join(answer.streaming_content).decode()
    return list(csv.DictReader(StringIO(content, newline="")))


@pytest.fixture
def delivery(project: Project) -> Delivery:
    incident = make_incident(make_agent(project, "=cmd()"))
    channel = Channel.objects.create(project=project, kind="email", name="Ops", config={"to": ["ops@example.com"]})
    return Delivery.objects.create(channel=channel, event=incident.events.get())


@pytest.mark.parametrize("page", LISTS, ids=lambda page: page.opts.model_name)
def test_sorts_by_each_column(page: Any, operator: User, owner: User, delivery: Delivery, client_of: Browse) -> None:
    client = client_of(operator)
    for sort in page.sorts:
        answer = client.get(url_of(page), {"o": f"-{sort.name}"})
        assert answer.status_code == 200
        shown = answer.content.decode()
        if page.get_queryset(answer.wsgi_request).exists():
            assert '<th scope="col" aria-sort="descending"><a class="w-sort"' in shown, sort
            assert f'<option value="-{sort.name}" selected>' in shown


def test_agents_sort_by_todays_spend(project: Project, owner: User, client_of: Browse) -> None:
    today = timezone.now().date()
    make_agent(project, "dear", cost_today=9_000_000, day=today)
    make_agent(project, "cheap", cost_today=1_000_000, day=today)
    make_agent(project, "dear-last-month", cost_today=99_000_000, day=today.replace(year=today.year - 1))
    client = client_of(owner)
    for path in ("/admin/agents/agent/", "/admin/"):
        assert names(client, "-spend", path) == ["dear", "cheap", "dear-last-month"]
        assert names(client, "spend", path) == ["dear-last-month", "cheap", "dear"]


def test_agents_that_never_reported_come_last(project: Project, owner: User, client_of: Browse) -> None:
    make_agent(project, "new", beat=None)
    make_agent(project, "old", beat=90)
    make_agent(project, "fresh", beat=2)
    client = client_of(owner)
    assert names(client, "-heartbeat") == ["fresh", "old", "new"]
    assert names(client, "heartbeat") == ["old", "fresh", "new"]


def test_order_survives_filter_and_poll(project: Project, owner: User, client_of: Browse) -> None:
    make_agent(project, "bot")
    page = client_of(owner).get("/admin/agents/agent/?o=-name&q=b").content.decode()
    assert 'hx-get="/admin/agents/agent/?o=-name&amp;q=b"' in page
    assert '<option value="-name" selected>' in page
    assert "Filtered by" not in client_of(owner).get("/admin/?o=name").content.decode()


@pytest.mark.parametrize("page", EXPORTED, ids=lambda page: page.opts.model_name)
def test_stranger_exports_nothing(page: Any, delivery: Delivery, stranger: User, client_of: Browse) -> None:
    assert rows(client_of(stranger), url_of(page, "export")) == []


@pytest.mark.parametrize("page", EXPORTED, ids=lambda page: page.opts.model_name)
def test_export_defuses_formulas(page: Any, delivery: Delivery, viewer: User, client_of: Browse) -> None:
    (row,) = rows(client_of(viewer), url_of(page, "export"))
    assert row["Agent"] == "'=cmd()"
    assert row["Project"] == "Production"


def test_export_has_the_filters_of_the_page(project: Project, owner: User, client_of: Browse) -> None:
    for name in ("web-1", "web-2", "cron"):
        make_agent(project, name)
    client = client_of(owner)
    page = client.get("/admin/agents/agent/?q=web&o=-name").content.decode()
    assert 'href="/admin/agents/agent/export/?q=web&amp;o=-name"' in page
    found = rows(client, "/admin/agents/agent/export/?q=web&o=-name")
    assert [row["Agent"] for row in found] == ["web-2", "web-1"]
    # The overview has the same filters, so it leads to the same table.
    assert 'href="/admin/agents/agent/export/?q=web"' in client.get("/admin/?q=web").content.decode()


def test_export_reads_in_a_constant_number_of_queries(
    project: Project, owner: User, client_of: Browse, django_assert_max_num_queries: Any
) -> None:
    for n in range(12):
        make_incident(make_agent(project, f"bot-{n}"))
    client = client_of(owner)
    for path in ("agent", "incident"):
        with django_assert_max_num_queries(14):
            assert len(rows(client, f"/admin/agents/{path}/export/")) == 12


@pytest.mark.parametrize("query", ["owner__startswith=a", "project__name__regex=x", "status=nonsense"])
def test_export_accepts_only_declared_filters(query: str, project: Project, owner: User, client_of: Browse) -> None:
    make_agent(project)
    answer: Any = client_of(owner).get(f"/admin/agents/agent/export/?{query}")
    assert answer.status_code in (302, 400) or b"".join(answer.streaming_content).count(b"\n") == 1


def test_usage_is_exported_by_team_and_day(project: Project, owner: User, stranger: User, client_of: Browse) -> None:
    found = rows(client_of(owner), "/admin/billing/subscription/export/")
    assert {row["Team"] for row in found} == {"Research"}
    assert len(found) == 30
    assert rows(client_of(owner), f"/admin/billing/subscription/export/?team={stranger.teams.get().pk}") == []


def test_view_is_saved_and_offered(project: Project, owner: User, member: User, client_of: Browse) -> None:
    make_agent(project)
    client = client_of(owner)
    form = {"page": "agents.agent", "query": "status=down&p=3&o=name", "name": "<Down>", "team": project.team_id}
    answer = client.post("/admin/views/save/", {**form, "back": "/admin/agents/agent/"})
    assert answer.headers["Location"] == "/admin/agents/agent/"
    page = client_of(member).get("/admin/agents/agent/?status=down&o=name").content.decode()
    assert (
        '<a class="w-link" href="/admin/agents/agent/?status=down&amp;o=name" aria-current="page">&lt;Down&gt;</a>'
        in page
    )
    answer = client_of(member).post(f"/admin/views/{SavedView.objects.get().pk}/delete/", {"back": "//evil.example"})
    assert answer.headers["Location"] == "/admin/"
    assert not SavedView.objects.exists()


def test_nobody_deletes_views_of_others(project: Project, owner: User, stranger: User, client_of: Browse) -> None:
    own = SavedView.objects.create(user=owner, page="fleet", name="Mine")
    shared = SavedView.objects.create(team=project.team, page="fleet", name="Ours")
    for view in (own, shared):
        assert client_of(stranger).post(f"/admin/views/{view.pk}/delete/").status_code == 404
    assert SavedView.objects.count() == 2


@pytest.mark.parametrize("page", ["teams.user", "nonsense", "agents.heartbeat", ""])
def test_view_needs_a_list_the_person_can_open(page: str, project: Project, owner: User, client_of: Browse) -> None:
    client_of(owner).post("/admin/views/save/", {"page": page, "name": "x"})
    assert not SavedView.objects.exists()


def test_compact_rows_are_kept(project: Project, viewer: User, client_of: Browse) -> None:
    make_agent(project)
    client = client_of(viewer)
    client.post("/admin/rows/", {"compact": "on", "back": "/admin/agents/agent/"})
    for path in ("agents/agent/", "teams/project/", ""):
        page = client.get(f"/admin/{path}").content.decode()
        assert re.search(r'<main id="content"[^>]* w-compact"', page), path
    client.post("/admin/rows/", {"compact": "off"})
    assert " w-compact" not in client.get("/admin/agents/agent/").content.decode()


def test_alarms_are_those_nobody_acknowledged(project: Project, owner: User, stranger: User, client_of: Browse) -> None:
    make_incident(make_agent(project))
    assert client_of(owner).get("/admin/alarms/").json() == {"alarms": 1}
    assert client_of(stranger).get("/admin/alarms/").json() == {"alarms": 0}
    Agent.objects.get().incidents.update(acknowledged_at="2026-11-30T00:00:00Z")
    assert client_of(owner).get("/admin/alarms/").json() == {"alarms": 0}
