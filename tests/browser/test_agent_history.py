"""An agent's timeline and charts, as a person sees them: both schemes and sizes, by keyboard, without scripts."""

from __future__ import annotations

from datetime import datetime, timedelta
from math import sin
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, expect

from agents.models import Agent, AgentState, Heartbeat, Outage, Rollup
from billing.services import set_plan
from teams.models import Project, User
from tests.agents.admin.conftest import make_agent, make_command, make_incident, make_runner
from tests.browser.conftest import Open
from tests.browser.tab import ARTIFACTS, SIZES

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


NAMES = ("search_papers", "fetch_page", "write_note", "mcp__library__find_the_newest_edition_of_a_book")


def sums(number: int) -> dict[str, Any]:
    """What an agent reports that is busier at times, and fails at times."""
    busy = max(0, int(6 + 5 * sin(number / 5)))
    priced, errors = busy * 21_000, 2 if number % 37 == 0 else 0
    cost = priced + (busy * 9_000 if number % 50 > 25 else 0)
    tools = {name: busy * (4 - place) for place, name in enumerate(NAMES) if busy > 4 - place}
    return {
        "beats": busy + errors, "errors": errors, "progress": busy, "tokens": busy * 1_900, "cost": cost,
        "priced": priced, "unpriced": busy * 10 if number % 50 > 40 else 0, "tool_calls": busy * 9,
        "memory_mb": 300 + number % 400 / 2, "gap": 60.0 + 240 * (number % 90 == 0), "tools": tools,
    }  # fmt: skip


def make_past(agent: Agent, span: str, step: timedelta, count: int) -> None:
    begin = timezone.now().replace(minute=0, second=0, microsecond=0) - step * (count - 1)
    starts = [begin + step * number for number in range(count)]
    Rollup.objects.bulk_create(Rollup(agent=agent, span=span, start=at, **sums(n)) for n, at in enumerate(starts))


@pytest.fixture
def busy(project: Project) -> Agent:
    now = timezone.now()
    agent = make_agent(project, "research-agent", last_progress_at=now - timedelta(minutes=47), tokens_total=9)
    make_past(agent, "m", timedelta(minutes=1), 1_200)
    make_past(agent, "h", timedelta(hours=1), 24 * 7)
    make_past(agent, "d", timedelta(days=1), 90)
    # Before that day nobody kept names, memory and gaps.
    unknown = Rollup.objects.filter(agent=agent, start__lt=now - timedelta(days=70))
    unknown.update(tools=None, memory_mb=None, gap=None)
    make_history_beats(agent, now)
    make_runner(agent)
    make_command(agent)
    make_incident(agent)
    away: Any = {"started_at": now - timedelta(hours=5), "ended_at": now - timedelta(hours=4, minutes=20)}
    Outage.objects.create(part="detector", **away)
    Agent.objects.filter(pk=agent.pk).update(created_at=now - timedelta(days=7))
    AgentState.objects.filter(agent=agent).update(waiting_until=now - timedelta(hours=1))
    return agent


def make_history_beats(agent: Agent, now: datetime) -> None:
    times = [now - timedelta(minutes=2 * (300 - n)) for n in range(300)]
    Heartbeat.objects.bulk_create(
        Heartbeat(agent=agent, day=at.date(), received_at=at, status="ok", content=said(n))
        for n, at in enumerate(times)
    )


def said(number: int) -> dict[str, Any]:
    name = NAMES[number % len(NAMES)]
    calls = [{"name": name, "args": f"topic=planning, page={number}", "ms": 300.0 + number, "ok": number % 17 != 0}]
    found: dict[str, Any] = {"message": f"Read paper {number} on planning", "calls": calls, "sdk": "clevagent 1.0"}
    if number in (20, 150):
        found["note"] = "started"
    if 200 <= number < 240:
        found["waiting"] = {"for": "approval of the outline"}
    return found


@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_history_layout(open_tab: Open, owner: User, busy: Agent, width: int, scheme: str) -> None:
    tab = open_tab(owner, width, scheme)
    page = tab.go(f"/admin/agents/agent/{busy.pk}/change/?span=24h#history")
    page.locator("#agent-charts canvas").nth(5).wait_for()
    tab.picture(f"agent-history-{width}-{scheme}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("h1").count() == 1
    page.locator("#agent-history").screenshot(path=ARTIFACTS / f"agent-part-{width}-{scheme}.png")
    page.get_by_text("Show as table").click()
    page.get_by_text("Recent calls: failures and duration").click()
    assert tab.barriers() == []


@pytest.mark.parametrize(("width", "scheme"), [*SIZES, (1280, "dark"), (390, "light")])
def test_all_charts_and_tools_in_every_span(open_tab: Open, owner: User, busy: Agent, width: int, scheme: str) -> None:
    set_plan(team=busy.project.team, plan="pro", actor="test")
    tab = open_tab(owner, width, scheme)
    for span, label in (("7d", "7 days"), ("90d", "90 days")):
        page = tab.go(f"/admin/agents/agent/{busy.pk}/change/?span={span}#history")
        page.locator("#agent-charts canvas").nth(5).wait_for()
        tools = page.get_by_role("region", name="Tool calls")
        expect(tools.get_by_text("search_papers").first).to_be_visible()
        expect(tools.get_by_text(f"Last {label}").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.locator("#agent-history").screenshot(path=ARTIFACTS / f"agent-part-{span}-{width}-{scheme}.png")


def test_longer_span_by_keyboard(open_tab: Open, owner: User, busy: Agent) -> None:
    tab = open_tab(owner)
    page = tab.go(f"/admin/agents/agent/{busy.pk}/change/#history")
    page.get_by_role("link", name="7 days").focus()
    page.keyboard.press("Enter")
    tab.sees("Last 7 days")
    expect(page.locator("[aria-current=page]", has_text="7 days")).to_have_count(1)
    page.locator("#agent-charts canvas").first.wait_for()
    tab.picture("agent-history-7d")


PLOTS = "document.getElementById('agent-charts').plots"
WIDTHS = f"{PLOTS}.map(({{plot}}) => plot.scales.x.max - plot.scales.x.min)"


def test_charts_update_and_keep_the_zoom(open_tab: Open, owner: User, busy: Agent) -> None:
    tab = open_tab(owner)
    page = tab.go(f"/admin/agents/agent/{busy.pk}/change/?span=6h#history")
    whole = page.evaluate(WIDTHS)
    over = page.locator("#agent-charts .u-over").first
    over.scroll_into_view_if_needed()
    over.drag_to(over, source_position={"x": 60, "y": 30}, target_position={"x": 160, "y": 30})
    tab.until(f"whole => Math.max(...{WIDTHS}) < whole", min(whole))
    closer = page.evaluate(WIDTHS)
    assert len(closer) == 6
    Rollup.objects.filter(agent=busy).update(tokens=123_456)
    page.evaluate("htmx.trigger('#agent-history', 'refresh')")
    tab.until(f"{PLOTS}[0].plot.data[1].some((tokens) => tokens > 100000)")
    assert page.evaluate(WIDTHS) == closer


def test_history_works_without_javascript(open_tab: Open, chromium: Browser, owner: User, busy: Agent) -> None:
    tab = open_tab(owner)
    context = chromium.new_context(java_script_enabled=False)
    context.add_cookies(tab.page.context.cookies())  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(f"{tab.base}/admin/agents/agent/{busy.pk}/change/")
    page.get_by_role("link", name="6 hours").click()
    expect(page.get_by_role("heading", name="Last 6 hours")).to_be_visible()
    assert page.locator("path.w-on-beats").bounding_box()["width"] > 300  # type: ignore[index]
    page.get_by_text("Show as table").click()
    expect(page.get_by_role("columnheader", name="Unpriced tokens")).to_be_visible()
    context.close()


def test_new_agent_shows_instructions(open_tab: Open, owner: User, project: Project) -> None:
    agent = make_agent(project, "fresh", beat=None)
    AgentState.objects.filter(agent=agent).update(status="new")
    tab = open_tab(owner)
    tab.go(f"/admin/agents/agent/{agent.pk}/change/")
    expect(tab.page.get_by_role("tab", name="Start reporting")).to_have_attribute("aria-selected", "true")
    tab.sees("Replace YOUR_KEY with an API key")
    tab.picture("agent-history-empty")
    assert tab.barriers() == []
