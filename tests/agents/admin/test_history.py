"""The parts of an agent's page about the past."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agents.domain.notes import STARTED
from agents.models import Agent, AgentMemory, AgentState, Command, Heartbeat, Outage, Rollup
from agents.rules.facts import BeatSeen
from agents.rules.observers import history, rhythm
from billing.services import set_plan
from teams.models import Project, User
from tests.agents.admin.conftest import Browse, deployed, make_agent, make_command, make_incident

pytestmark = pytest.mark.django_db
LIST = "/admin/agents/agent/"


def page_of(agent: Agent, span: str = "") -> str:
    return f"{LIST}{agent.pk}/change/{span and '?span=' + span}"


def part_of(agent: Agent, span: str = "") -> str:
    return f"{LIST}{agent.pk}/live/history/{span and '?span=' + span}"


def advice_of(agent: Agent) -> str:
    return f"{LIST}{agent.pk}/live/better/"


def make_history(agent: Agent, minutes: int = 60) -> datetime:
    """A heartbeat a minute with one tool call each, and its roll-ups; answers when it began."""
    begin = timezone.now().replace(second=0, microsecond=0) - timedelta(minutes=minutes)
    times = [begin + timedelta(minutes=n) for n in range(minutes)]
    sums: Any = {"beats": 1, "progress": 1, "tokens": 100, "cost": 30_000, "priced": 20_000, "tool_calls": 1}
    sums |= {"gap": 60.0, "tools": {"fetch_page": 1}}
    Rollup.objects.bulk_create(
        Rollup(agent=agent, span="m", start=at, memory_mb=200.0 + n, **sums) for n, at in enumerate(times)
    )
    Heartbeat.objects.bulk_create(_beat(agent, at, n) for n, at in enumerate(times))
    return begin


def _beat(agent: Agent, at: datetime, number: int) -> Heartbeat:
    call = {"name": "fetch_page", "args": f"url=https://papers.example/{number}", "ms": 340.0, "ok": number % 10 != 9}
    content = {"message": f"page {number}", "calls": [call], "sdk": "clevagent 1.0"}
    return Heartbeat(
        agent=agent, day=at.date(), received_at=at, status="ok", tokens=100, memory_mb=200.0 + number, content=content
    )


def data_in(body: str) -> dict[str, Any]:
    found = re.search(r'<script id="agent-series" type="application/json">(.*?)</script>', body)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


@pytest.mark.parametrize(("hours", "timeout", "is_said"), [(5, None, True), (1, None, False), (5, 600, False)])
def test_first_day_says_how_long_idle_is_normal(
    bot: Agent, viewer: User, client_of: Browse, hours: int, timeout: int | None, is_said: bool
) -> None:
    now = timezone.now()
    beats = [BeatSeen(now - timedelta(minutes=n), "ok", progress=True) for n in range(60 * hours, -1, -5)]
    bot.memory.rules = {rhythm.KIND: rhythm.read({}, beats)}
    bot.memory.save()
    AgentState.objects.filter(agent=bot).update(last_progress_at=now)
    Agent.objects.filter(pk=bot.pk).update(progress_timeout=timeout)
    assert ("it alerts only from" in client_of(viewer).get(page_of(bot)).content.decode()) is is_said


def test_charts_get_sums_of_the_time_range(bot: Agent, viewer: User, client_of: Browse) -> None:
    make_history(bot)
    data = data_in(client_of(viewer).get(part_of(bot, "6h")).content.decode())
    assert len({len(data[name]) for name in ("at", "tokens", "priced", "reported", "errors", "gap", "memory_mb")}) == 1
    assert (sum(data["beats"]), sum(data["tokens"])) == (60, 6_000)
    assert (round(sum(data["priced"]), 6), round(sum(data["reported"]), 6)) == (1.2, 0.6)
    assert (max(filter(None, data["gap"])), max(filter(None, data["memory_mb"]))) == (60.0, 259.0)


def test_poll_keeps_the_time_range(bot: Agent, viewer: User, client_of: Browse) -> None:
    body = client_of(viewer).get(page_of(bot, "7d")).content.decode()
    assert "Last 7 days" in body
    assert f'hx-get="{LIST}{bot.pk}/live/history/?span=7d"' in body
    assert data_in(body)["step"] == 3_600


def test_ranges_beyond_the_plan_are_not_offered(bot: Agent, viewer: User, client_of: Browse) -> None:
    set_plan(team=bot.project.team, plan="free", actor="test")
    body = client_of(viewer).get(page_of(bot, "90d")).content.decode()
    assert "Last 7 days" in body
    assert "span=7d#" in body
    assert "span=30d" not in body
    assert "The Free plan keeps 7 days of history." in body


def test_unknown_range_is_a_day(bot: Agent, viewer: User, client_of: Browse) -> None:
    assert "Last 24 hours" in client_of(viewer).get(page_of(bot, "soon")).content.decode()


def test_old_starts_and_waits_are_on_the_timeline(bot: Agent, viewer: User, client_of: Browse) -> None:
    then = timezone.now() - timedelta(days=5)
    said = [("", STARTED), ("approval", ""), ("", "")]
    beats = [
        BeatSeen(then + timedelta(hours=hour), "ok", waiting=waiting, note=note, progress=hour == 2)
        for hour, (waiting, note) in enumerate(said)
    ]
    AgentMemory.objects.filter(agent=bot).update(rules={history.KIND: history.read({}, beats)})
    week = client_of(viewer).get(part_of(bot, "7d")).content.decode()
    day = client_of(viewer).get(part_of(bot, "24h")).content.decode()
    for text in ("Agent started.", "Waited for approval."):
        assert (text in week, text in day) == (True, False)


def test_timeline_shows_incidents_restarts_and_outages(bot: Agent, viewer: User, client_of: Browse) -> None:
    make_history(bot)
    incident, now = make_incident(bot), timezone.now()
    make_command(bot)
    Outage.objects.create(part="detector", started_at=now - timedelta(minutes=9), ended_at=now - timedelta(minutes=8))
    AgentState.objects.filter(agent=bot).update(run_at=now - timedelta(minutes=59))
    body = client_of(viewer).get(part_of(bot, "1h")).content.decode()
    for text in ("Stalled: No progress for 47 minutes", "Restart requested by member@example.com: completed"):
        assert text in body, text
    for text in (
        "Watchdog was offline; this time is not counted.",
        "Agent started.",
        f"/incident/{incident.pk}/change/",
    ):
        assert text in body, text
    for shape, tone in (("rect", "critical"), ("rect", "calm"), ("rect", "away"), ("path", "beats")):
        assert f'<{shape} class="w-on-{tone}"' in body, tone


def test_events_before_the_time_range_are_hidden(bot: Agent, viewer: User, client_of: Browse) -> None:
    make_command(bot)
    Command.objects.update(created_at=timezone.now() - timedelta(hours=2))
    browser = client_of(viewer)
    assert "Restart requested" not in browser.get(part_of(bot, "1h")).content.decode()
    assert "Restart requested" in browser.get(part_of(bot, "6h")).content.decode()


def test_recent_calls_show_failures_and_durations(bot: Agent, viewer: User, client_of: Browse) -> None:
    make_history(bot)
    body = client_of(viewer).get(part_of(bot)).content.decode()
    assert cells_of("fetch_page", body.split("Recent calls: failures and duration")[1]) == [
        "60",
        "6",
        "340 ms",
        "340 ms",
    ]


def cells_of(tool: str, body: str) -> list[str]:
    row = re.search(rf'<tr data-key="{tool}">(.*?)</tr>', body)
    assert row, tool
    return re.findall(r"<td[^>]*>([^<]*)<", row[1])


def make_long_history(agent: Agent, days: int) -> None:
    """Hours and days with 20 calls of search, 10 of fetch and 5 that came without a name, in each."""
    now = timezone.now()
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    sums: Any = {"agent": agent, "beats": 60, "tool_calls": 35, "tools": {"search": 20, "fetch": 10}}
    starts = [("h", now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=n)) for n in range(24 * days)]
    starts += [("d", today - timedelta(days=n)) for n in range(days)]
    Rollup.objects.bulk_create(
        Rollup(span=span, start=at, memory_mb=300.0 + n, gap=61.0, **sums) for n, (span, at) in enumerate(starts)
    )


@pytest.mark.parametrize(
    ("span", "rollups", "said"), [("7d", 24 * 7, "7 days"), ("30d", 24 * 30, "30 days"), ("90d", 60, "90 days")]
)
def test_memory_gaps_and_tools_follow_the_range(
    bot: Agent, viewer: User, client_of: Browse, span: str, rollups: int, said: str
) -> None:
    set_plan(team=bot.project.team, plan="pro", actor="test")
    make_long_history(bot, 60)
    body = client_of(viewer).get(part_of(bot, span)).content.decode()
    data = data_in(body)
    known = sum(value is not None for value in data["memory_mb"])
    assert known == sum(value is not None for value in data["gap"]) == sum(count > 0 for count in data["beats"])
    assert sum(data["beats"]) >= 60 * rollups
    assert cells_of("search", body) == [f"{sum(data['beats']) // 3:,}"]
    assert f"Last {said}." in body
    assert re.search(r"[\d,]+ more calls without a tool name\.", body)


def test_data_before_tool_names_is_unknown(bot: Agent, viewer: User, client_of: Browse) -> None:
    make_long_history(bot, 3)
    since = timezone.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=9)
    Rollup.objects.filter(start__lt=since).update(memory_mb=None, gap=None, tools=None)
    body = client_of(viewer).get(part_of(bot, "7d")).content.decode()
    data = data_in(body)
    assert [sum(value is not None for value in data[name]) for name in ("memory_mb", "gap")] == [10, 10]
    assert 0 not in data["memory_mb"]
    assert body.count(f'known since <time datetime="{since.isoformat()}"') == 1
    assert body.count(f'data starts at <time datetime="{since.isoformat()}"') == 1
    assert cells_of("search", body) == ["200"]


def test_no_bars_without_named_calls(bot: Agent, viewer: User, client_of: Browse) -> None:
    now = timezone.now().replace(second=0, microsecond=0)
    Rollup.objects.create(agent=bot, span="m", start=now - timedelta(minutes=5), beats=2, tool_calls=3, tools={})
    body = client_of(viewer).get(part_of(bot)).content.decode()
    assert "Last 24 hours: none reported." in body
    assert "Recent calls" not in body


def test_agent_without_history_gets_instructions(project: Project, viewer: User, client_of: Browse) -> None:
    agent = make_agent(project, "fresh", beat=None)
    browser = client_of(viewer)
    body = browser.get(part_of(agent)).content.decode()
    assert "Only heartbeats" not in body
    assert "No data yet." in body
    body = browser.get(advice_of(agent)).content.decode()
    assert "clevagent.init(api_key=&quot;YOUR_KEY&quot;, agent=&quot;fresh&quot;" in body


def test_current_activity_is_shown(bot: Agent, viewer: User, client_of: Browse) -> None:
    now = timezone.now()
    make_history(bot, 5)
    since = (now - timedelta(seconds=34)).isoformat()
    content: Any = {"message": "key sk-abcdefghijklmnopqrst", "doing": {"tool": "fetch_page", "since": since}}
    content["calls"] = [{"name": "ask", "args": "token=abcdefgh"}]
    Heartbeat.objects.create(agent=bot, day=now.date(), received_at=now, status="ok", content=content)
    body = client_of(viewer).get(f"{LIST}{bot.pk}/live/now/").content.decode()
    assert "Current activity" in body
    assert "Calling <code>fetch_page</code>" in body
    assert "34 s ago" in body
    assert "token=[hidden]" in body
    assert "sk-abc" not in body


def test_lost_details_and_skew_are_shown(bot: Agent, viewer: User, client_of: Browse) -> None:
    now = timezone.now()
    sent_at = (now - timedelta(hours=26)).isoformat()
    content = {"left_out": {"labels": "at most 20 <b>"}, "sent_at": sent_at, "age": 0.5}
    Heartbeat.objects.create(agent=bot, day=now.date(), received_at=now, status="ok", content=content)
    body = client_of(viewer).get(page_of(bot)).content.decode()
    assert "Left out of its heartbeats" in body
    assert "<code>labels</code>: at most 20 &lt;b&gt;" in body
    assert "The clock of its machine is 26 hours behind." in body


def test_right_clock_and_whole_beats_show_nothing(bot: Agent, viewer: User, client_of: Browse) -> None:
    now = timezone.now()
    content = {"message": "step", "sent_at": now.isoformat(), "age": 0.5}
    Heartbeat.objects.create(agent=bot, day=now.date(), received_at=now, status="ok", content=content)
    body = client_of(viewer).get(page_of(bot)).content.decode()
    assert "Left out" not in body
    assert "clock of its machine" not in body


def test_silent_agent_shows_its_last_activity(bot: Agent, viewer: User, client_of: Browse) -> None:
    make_history(bot, 5)
    AgentState.objects.filter(agent=bot).update(status="down")
    body = client_of(viewer).get(f"{LIST}{bot.pk}/live/now/").content.decode()
    assert "Last activity" in body
    assert "Current activity" not in body


def test_crash_message_is_no_activity(bot: Agent, viewer: User, client_of: Browse) -> None:
    make_history(bot, 5)
    now = timezone.now()
    content = {"message": "CRASH: KeyError: 'title'"}
    Heartbeat.objects.create(agent=bot, day=now.date(), received_at=now, status="error", content=content)
    body = client_of(viewer).get(f"{LIST}{bot.pk}/live/now/").content.decode()
    assert "page 4" in body
    assert "KeyError" not in body


def test_start_of_the_current_run_is_always_known(bot: Agent, viewer: User, client_of: Browse) -> None:
    AgentState.objects.filter(agent=bot).update(run_at=timezone.now() - timedelta(days=5))
    browser = client_of(viewer)
    assert "Agent started." in browser.get(part_of(bot, "7d")).content.decode()
    assert "Agent started." not in browser.get(part_of(bot, "24h")).content.decode()


def test_waiting_agent_says_for_what(bot: Agent, viewer: User, client_of: Browse) -> None:
    until = timezone.now() + timedelta(hours=1)
    AgentState.objects.filter(agent=bot).update(status="waiting", waiting_for="approval", waiting_until=until)
    assert "Waiting for approval, until" in client_of(viewer).get(f"{LIST}{bot.pk}/live/now/").content.decode()


def test_learned_rhythm_is_shown(bot: Agent, viewer: User, client_of: Browse) -> None:
    now = timezone.now().timestamp()
    bot.memory.rules = {"rhythm": {"gaps": [120.0] * 9, "blocks": [660.0] * 20, "size": 28_800, "first": now - 864_000}}
    bot.memory.save()
    AgentState.objects.filter(agent=bot).update(last_progress_at=timezone.now())
    body = client_of(viewer).get(f"{LIST}{bot.pk}/live/now/").content.decode()
    assert "Typical progress every 2 min (daily max 11 min). Alerts after 29 min without progress." in body
    Agent.objects.filter(pk=bot.pk).update(progress_timeout=20)
    body = client_of(viewer).get(f"{LIST}{bot.pk}/live/now/").content.decode()
    assert "Typical progress every 2 min (daily max 11 min)." in body
    assert "Alerts after" not in body


@pytest.mark.parametrize(
    ("state", "offered"),
    [
        ({}, {"client", "progress", "calls", "usage", "runner"}),
        ({"last_progress_at": "now"}, {"client", "calls", "usage", "runner"}),
        ({"tokens_total": 5}, {"client", "progress", "calls", "runner"}),
        ({"tokens_total": 5, "unpriced_total": 5}, {"client", "progress", "calls", "runner", "price"}),
        (
            {"restart_type": "systemd", "restart_target": "bot.service"},
            {"client", "progress", "calls", "usage", "runner"},
        ),
        (
            {"restart_type": "systemd", "restart_target": "bot.service", "runner": "web-1"},
            {"client", "progress", "calls", "usage"},
        ),
    ],
)
def test_missing_reports_are_suggested(
    bot: Agent, viewer: User, client_of: Browse, state: dict[str, Any], offered: set[str]
) -> None:
    given = {name: timezone.now() if value == "now" else value for name, value in state.items()}
    AgentState.objects.filter(agent=bot).update(**given)
    body = client_of(viewer).get(advice_of(bot)).content.decode()
    assert set(re.findall(r'class="w-advice" data-key="(\w+)"', body)) == offered


def test_stranger_gets_neither_page_nor_numbers(bot: Agent, stranger: User, client_of: Browse) -> None:
    browser = client_of(stranger)
    assert [browser.get(path).status_code for path in (part_of(bot), page_of(bot, "1h"))] == [404, 404]


def test_times_are_in_the_viewers_zone(bot: Agent, viewer: User, client_of: Browse) -> None:
    User.objects.filter(pk=viewer.pk).update(time_zone="Asia/Tokyo")
    assert data_in(client_of(viewer).get(part_of(bot)).content.decode())["zone"] == "Asia/Tokyo"


def test_query_count_does_not_grow_with_history(bot: Agent, viewer: User, client_of: Browse) -> None:
    browser = client_of(viewer)
    counts = [_queries(browser, page_of(bot))]
    make_history(bot, 600)
    make_incident(bot)
    make_command(bot)
    counts.append(_queries(browser, page_of(bot)))
    assert counts[1] <= counts[0] + 2  # the open incident and its link
    assert _queries(browser, part_of(bot)) <= 13


def _queries(browser: Any, path: str) -> int:
    with CaptureQueriesContext(connection) as seen:
        assert browser.get(path).status_code == 200
    return len(seen)


def test_deploy_shows_both_versions(bot: Agent, viewer: User, client_of: Browse) -> None:
    assert "<span>Deploys</span>" not in client_of(viewer).get(page_of(bot)).content.decode()
    deployed(bot, (50, "1.4.2"), (20, "1.4.3"))
    body = client_of(viewer).get(page_of(bot)).content.decode()
    assert "<span>Deploys</span>" in body
    assert "Version 1.4.3 replaced 1.4.2." in body
    assert re.search(r"Version 1.4.3 since <time[^>]*>20 min ago</time>, previously 1.4.2", body)
