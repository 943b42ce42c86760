"""The fleet, and the filters of the list of agents."""

from __future__ import annotations

import re
from datetime import UTC, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agents.fleet import maintenance
from agents.models import Agent, AgentMemory, AgentState, Incident, Signal
from teams import services
from teams.models import Project, User
from teams.times import exact
from tests.agents.admin.conftest import Browse, make_agent, make_incident
from tests.agents.admin.test_agents import names_in
from tests.agents.admin.test_fleet_tiles import tiles
from tests.agents.admin.test_truth import read

pytestmark = pytest.mark.django_db
LIST = "/admin/agents/agent/"
OPENED: dict[str, Any] = {"started_at": timezone.now(), "opened_at": timezone.now()}


def warn(project: Project, name: str, kind: str, severity: str = "critical") -> Agent:
    """An agent in warning for this."""
    agent = make_agent(project, name)
    incident = make_incident(agent, kind=kind, reason=f"{kind} it is")
    Signal.objects.filter(incident=incident).update(severity=severity)
    AgentState.objects.filter(agent=agent).update(status="warning")
    return agent


def warned(project: Project) -> None:
    warn(project, "looper", "loop")
    warn(project, "spender", "cost")
    warn(project, "nearly", "cost", "warning")
    warn(project, "grower", "memory")
    Signal.objects.filter(agent=warn(project, "looped", "loop")).update(cleared_at=timezone.now())


def found(browser: Client, query: str) -> list[str]:
    return names_in(browser.get(f"{LIST}?{query}").content.decode())


# Counts


def test_loops_and_budgets_are_counted_separately(project: Project, viewer: User, client_of: Browse) -> None:
    warned(project)
    body = client_of(viewer).get("/admin/").content.decode()
    assert {told: n for told, n in tiles(body).items() if n} == {"looping": 1, "over_budget": 1, "warning": 3}
    assert "5 of 5 agents need attention" in body
    assert "All agents OK" not in body


@pytest.mark.parametrize(
    ("told", "names"),
    [("looping", ["looper"]), ("over_budget", ["spender"]), ("warning", ["grower", "looped", "nearly"])],
)
def test_tile_links_to_the_agents_it_counts(
    told: str, names: list[str], project: Project, viewer: User, client_of: Browse
) -> None:
    warned(project)
    assert found(client_of(viewer), f"status={told}") == names


def test_stalled_agent_that_loops_counts_as_stalled(project: Project, viewer: User, client_of: Browse) -> None:
    AgentState.objects.filter(agent=warn(project, "bot", "loop")).update(status="stalled")
    assert found(client_of(viewer), "status=looping") == []
    assert found(client_of(viewer), "status=stalled") == ["bot"]


@pytest.mark.parametrize(("kind", "said"), [("loop", "looping"), ("cost", "over budget"), (None, "warning")])
def test_row_names_the_kind_of_warning(
    kind: str | None, said: str, project: Project, viewer: User, client_of: Browse
) -> None:
    make_agent(project, status="warning", warnings=[[f"7:{kind}:9", "It is"]] if kind else None)
    body = client_of(viewer).get("/admin/fleet/").content.decode()
    assert re.search(rf"<td><span class=\"w-badge.*</span>{said}</span></td>", body)


def test_row_says_that_maintenance_paused_it(project: Project, member: User, viewer: User, client_of: Browse) -> None:
    make_agent(project, "broken", status="paused")
    agent = make_agent(project, "planned", status="paused")
    now = timezone.now()
    times = {"starts_at": now, "ends_at": now + timedelta(hours=1), "now": now}
    [window] = maintenance.schedule_for(agents=[agent], reason="Upgrade", actor=member.email, **times)
    Agent.objects.filter(pk=agent.pk).update(maintenance=window)
    rows = client_of(viewer).get("/admin/").content.decode().split("<tr data-key=")
    [told] = [row for row in rows if "in maintenance" in row]
    assert ">planned</a>" in told


def test_healthy_fleet_says_so_and_lists_agents(project: Project, viewer: User, client_of: Browse) -> None:
    make_agent(project, "bot")
    body = client_of(viewer).get("/admin/").content.decode()
    assert "All agents OK" in body
    assert names_in(body) == ["bot"]
    assert "w-strip" in body


@pytest.mark.parametrize(
    ("others", "said"),
    [
        (["paused", "stopped"], "No problems No agent is down, stalled, late or in warning; 1 stopped, 1 paused."),
        (["waiting"], "No problems No agent is down, stalled, late or in warning; 1 waiting."),
    ],
)
def test_what_is_not_monitored_is_not_ok(
    others: list[str], said: str, project: Project, viewer: User, client_of: Browse
) -> None:
    for status in others:
        make_agent(project, status, status=status)
    browser = client_of(viewer)
    assert "No problems" not in read(browser, "/admin/fleet/"), "no agent is OK"
    make_agent(project, "bot")
    text = read(browser, "/admin/fleet/")
    assert said in text
    assert "All agents OK" not in text


def test_row_shows_holds_snoozes_and_mutes(project: Project, viewer: User, client_of: Browse) -> None:
    make_agent(project, "held", hold=True, hold_reason="ann@example.com")
    incident = make_incident(make_agent(project, "quiet"))
    browser = client_of(viewer)
    assert "snoozed" not in read(browser, "/admin/fleet/")
    now = timezone.now()
    Incident.objects.filter(pk=incident.pk).update(snoozed_until=now + timedelta(hours=1), muted_at=now)
    text = read(browser, "/admin/fleet/")
    assert "ok on hold held" in text
    assert f"snoozed until {exact(now + timedelta(hours=1), UTC)} muted" in text


def test_fleet_shows_who_acknowledged(project: Project, viewer: User, client_of: Browse) -> None:
    incident = make_incident(make_agent(project))
    browser = client_of(viewer)
    assert "acknowledged by" not in browser.get("/admin/fleet/").content.decode()
    Incident.objects.filter(pk=incident.pk).update(acknowledged_at=timezone.now(), acknowledged_by="ann@example.com")
    assert browser.get("/admin/fleet/").content.decode().count("acknowledged by ann@example.com") == 2


# Groups


def test_projects_are_grouped_worst_first(project: Project, owner: User, viewer: User, client_of: Browse) -> None:
    other = services.create_project(team=project.team, name="Staging", actor=owner.email)
    make_agent(project, "good"), make_agent(project, "late", beat=80)
    make_incident(make_agent(other, "stuck"))
    body = client_of(viewer).get("/admin/fleet/").content.decode()
    heads = re.findall(r'scope="rowgroup"><a [^>]*id__exact=(\d+)">([^<]+)</a> <span class="w-soft">([^<]*)<', body)
    assert heads == [(str(other.pk), "Staging", "1 stalled"), (str(project.pk), "Production", "1 late, 1 ok")]
    assert names_in(body) == ["stuck", "late", "good"]


def test_projects_without_shown_agents_are_listed(
    project: Project, owner: User, viewer: User, client_of: Browse
) -> None:
    other = services.create_project(team=project.team, name="Staging", actor=owner.email)
    make_agent(other, "good")
    for n in range(30):
        make_agent(project, f"down-{n:02}", status="down")
    body = client_of(viewer).get("/admin/fleet/").content.decode()
    heads = re.findall(r'scope="rowgroup"><a [^>]*>([^<]+)</a> <span class="w-soft">([^<]*)<', body)
    assert heads == [("Production", "30 down · 5 more not shown"), ("Staging", "1 ok · not shown")]
    assert "Showing 25 of 31 agents." in body
    assert "Show all 31" in body


def test_single_project_has_no_group_heading(project: Project, viewer: User, client_of: Browse) -> None:
    make_agent(project)
    assert "rowgroup" not in client_of(viewer).get("/admin/fleet/").content.decode()


# Labels, hosts


def test_list_filters_by_label(project: Project, viewer: User, client_of: Browse) -> None:
    labels: list[dict[str, Any]] = [{"env": "prod", "1": "a=b"}, {"env": "test"}, {}]
    for n, has in enumerate(labels):
        Agent.objects.filter(pk=make_agent(project, f"bot-{n}").pk).update(labels=has)
    browser = client_of(viewer)
    assert found(browser, "label=env%3Dprod") == ["bot-0"]
    assert found(browser, "label=1%3Da%3Db") == ["bot-0"]
    assert found(browser, "label=env") == ["bot-0", "bot-1"]
    assert found(browser, "label=en") == []
    assert '<option value="env=test"></option>' in browser.get(f"{LIST}?clear", follow=True).content.decode()


def test_other_teams_labels_are_not_offered(project: Project, stranger: User, client_of: Browse) -> None:
    Agent.objects.filter(pk=make_agent(project).pk).update(labels={"secret": "plan"})
    make_agent(Project.objects.get(name="Theirs"), "own")
    for page in ("/admin/", LIST):
        body = client_of(stranger).get(page).content.decode()
        assert "own" in names_in(body)
        assert "secret=plan" not in body
        assert "Production" not in body


@pytest.mark.parametrize(
    ("source", "labels", "host"),
    [
        ("7/10.0.0.5", {}, "10.0.0.5"),
        ("7/10.0.0.5/web-1", {}, "web-1"),
        ("7/10.0.0.5/web-1", {"host": "mac-mini"}, "mac-mini"),
        ("", {}, None),
    ],
)
def test_row_names_the_host(
    source: str, labels: dict[str, str], host: str | None, project: Project, viewer: User, client_of: Browse
) -> None:
    Agent.objects.filter(pk=make_agent(project, source=source).pk).update(labels=labels)
    body = client_of(viewer).get(LIST).content.decode()
    assert f'<span class="w-soft">Production{f" · {host}" if host else ""}</span>' in body


def test_search_finds_hosts_but_no_keys(project: Project, viewer: User, client_of: Browse) -> None:
    make_agent(project, "here", source="77/10.0.0.5/web-1"), make_agent(project, "there", source="5/10.0.0.6")
    browser = client_of(viewer)
    assert found(browser, "q=web-1") == ["here"]
    assert found(browser, "q=10.0.0") == ["here", "there"]
    assert found(browser, "q=77") == []


# Money


@pytest.mark.parametrize(
    ("cost", "limit", "tone", "width"),
    [(1_000_000, 10_000_000, "good", 10), (8_000_000, 10_000_000, "late", 80), (25_000_000, 10_000_000, "bad", 100)],
)
def test_spend_is_a_bar_against_the_budget(
    cost: int, limit: int, tone: str, width: int, project: Project, viewer: User, client_of: Browse
) -> None:
    make_agent(project, day=timezone.now().date(), cost_today=cost, cost_total=cost, cost_limit=limit)
    body = client_of(viewer).get(LIST).content.decode()
    assert f'aria-label="{100 * cost // limit} % of today’s budget"' in body
    assert re.search(rf'w-bar w-tone-{tone}".*?w-fill" width="{width}"', body)


def test_tokens_without_a_price_are_marked(project: Project, viewer: User, client_of: Browse) -> None:
    today: Any = {"day": timezone.now().date(), "tokens_today": 900, "unpriced": {"own-model": 300}}
    make_agent(project, tokens_total=900, unpriced_total=300, **today)
    body = client_of(viewer).get(LIST).content.decode()
    assert "300 tokens without a price" in body
    assert "own-model" in body


@pytest.mark.parametrize(
    ("totals", "said"),
    [
        ({}, ["–"]),
        ({"cost_limit": 2_000_000}, ["none reported", "of $2.00"]),
        ({"tokens_total": 900, "unpriced_total": 900}, ["no known price", "0 tokens"]),
        ({"cost_total": 5}, ["$0.00"]),
        ({"tokens_total": 900}, ["$0.00", "0 tokens"]),
    ],
)
def test_missing_data_is_not_shown_as_zero(
    totals: dict[str, Any], said: list[str], project: Project, viewer: User, client_of: Browse
) -> None:
    agent = make_agent(project, **totals)
    browser = client_of(viewer)
    [cell] = re.findall(
        r'data-label="Spend today" class="w-number">(.*?)</td>', browser.get(LIST).content.decode(), re.DOTALL
    )
    for text in ("–", "none reported", "of $2.00", "no known price", "$0.00", "0 tokens"):
        assert (text in re.sub(r"<[^>]+>", "", cell)) is (text in said), text
    page = browser.get(f"{LIST}{agent.pk}/change/").content.decode()
    assert ("None reported" in page) is (not any(name.endswith("total") for name in totals))
    assert ("the budget can’t be checked" in page) is ("cost_limit" in totals)


# Remembered


def test_list_remembers_its_filter(project: Project, viewer: User, client_of: Browse) -> None:
    browser = client_of(viewer)
    browser.get(f"{LIST}?status=down&p=1&q=bot")
    answer = browser.get(LIST)
    assert (answer.status_code, answer["Location"]) == (302, f"{LIST}?status=down&q=bot")
    assert client_of(viewer).get(LIST).status_code == 200


def test_clearing_forgets_the_filter(project: Project, viewer: User, client_of: Browse) -> None:
    make_agent(project)
    browser = client_of(viewer)
    assert 'href="?clear"' in browser.get(f"{LIST}?status=down").content.decode()
    assert browser.get(f"{LIST}?clear")["Location"] == LIST
    assert browser.get(LIST).status_code == 200


def test_empty_fields_are_no_filter(project: Project, viewer: User, client_of: Browse) -> None:
    browser = client_of(viewer)
    assert browser.get(f"{LIST}?q=&status=down&label=")["Location"] == f"{LIST}?status=down"
    assert browser.get(f"{LIST}?q=&status=&label=")["Location"] == LIST
    assert browser.get(LIST).status_code == 200


def test_plain_link_on_the_list_shows_everything(project: Project, viewer: User, client_of: Browse) -> None:
    browser, from_it = client_of(viewer), {"Referer": f"http://testserver{LIST}?status=down"}
    browser.get(f"{LIST}?status=down")
    assert browser.get(LIST, headers=from_it).status_code == 200
    assert browser.get(LIST).status_code == 200


def test_poll_neither_stores_filters_nor_redirects(project: Project, viewer: User, client_of: Browse) -> None:
    browser, poll = client_of(viewer), {"HX-Request": "true"}
    browser.get(f"{LIST}?status=down", headers=poll)
    assert browser.get(LIST).status_code == 200
    browser.get(f"{LIST}?status=down")
    assert browser.get(LIST, headers=poll).status_code == 200


def test_each_list_remembers_its_own_filter(project: Project, viewer: User, client_of: Browse) -> None:
    browser = client_of(viewer)
    browser.get("/admin/agents/incident/?state=open"), browser.get(f"{LIST}?status=down")
    assert browser.get("/admin/agents/incident/")["Location"].endswith("/?state=open")


def test_invalid_filter_is_forgotten(project: Project, viewer: User, client_of: Browse) -> None:
    browser = client_of(viewer)
    assert browser.get(f"{LIST}?nonsense=1").status_code == 400
    assert browser.get(LIST).status_code == 200


# Many agents


def make_many(project: Project, count: int) -> None:
    agents = Agent.objects.bulk_create(
        Agent(project=project, name=f"agent-{n:04}", labels={"env": f"env-{n % 3}"}) for n in range(count)
    )
    AgentState.objects.bulk_create([AgentState(agent=agent, status="down", beats=3) for agent in agents])
    AgentMemory.objects.bulk_create([AgentMemory(agent=agent) for agent in agents])
    Incident.objects.bulk_create(
        Incident(agent=agent, project=project, kind="stalled", severity="critical", reason="Stuck", **OPENED)
        for agent in agents
    )


@pytest.mark.parametrize(("page", "most"), [("/admin/", 16), ("/admin/fleet/", 11), (LIST, 20), (f"{LIST}?q=t", 20)])
def test_query_count_does_not_grow_with_agents(
    page: str, most: int, project: Project, owner: User, viewer: User, client_of: Browse
) -> None:
    """The live part as its page asks for it: without what the form offers."""
    browser, counts = client_of(viewer), []
    polls = {"HX-Request": "true"} if "/fleet/" in page else {}
    make_incident(make_agent(project, "first")), browser.get(page)
    for count in (0, 300):
        for n in range(count // 100):
            make_many(services.create_project(team=project.team, name=f"P{n}", actor=owner.email), 100)
        with CaptureQueriesContext(connection) as seen:
            assert browser.get(page, headers=polls).status_code == 200
        counts.append(len(seen))
    assert counts[0] == counts[1] <= most
