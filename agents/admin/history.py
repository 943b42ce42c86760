"""The parts of an agent's page about the past: last activity, timeline, charts, and what it could report."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.forms import Media
from django.http import HttpRequest
from django.utils import timezone

from agents.domain import tool_counts
from agents.models import Agent, Status
from agents.reporting import advice, history, recent, series, timeline
from agents.reporting.agent_status import AgentStatus
from agents.rules import stalled
from agents.rules.facts import Learned
from agents.rules.observers import rhythm
from billing.limits import plan_of

MEDIA: Final = Media(
    css={"all": ["vendor/uplot/uPlot.min.css", "agents/history.css"]},
    js=["vendor/uplot/uPlot.iife.min.js", "agents/chart.js"],
)
ACTIVITY_BEATS: Final = 20
MAX_LISTED: Final = 40
# An agent in one of these is not doing anything now; the page shows what it did last.
INACTIVE: Final = (Status.DOWN, Status.STOPPED)
CHARTED: Final = ("beats", "errors", "tokens", "unpriced", "tool_calls", "memory_mb", "gap")


def activity(agent: Agent, row: AgentStatus, now: datetime) -> dict[str, Any]:
    """One query, or two."""
    state, last_progress_at = agent.memory.rules.get(rhythm.KIND, {}), agent.state.last_progress_at
    learned = rhythm.learned(state, last_progress_at)
    return {
        "activity": recent.activity(history.telling_beats(agent.state, now, ACTIVITY_BEATS)),
        "is_inactive": row.status in INACTIVE,
        "learned": learned,
        "has_set_timeout": _has_set_timeout(agent),
        "rests": rhythm.rests(state, last_progress_at),
        "may_rest_until": _may_rest_until(agent, learned, now),
    }


def _has_set_timeout(agent: Agent) -> bool:
    return bool(agent.progress_timeout or agent.state.declared_progress_timeout)


def _may_rest_until(agent: Agent, learned: Learned, now: datetime) -> datetime | None:
    """None if a timeout is set, because that alone decides, or if the learned timeout would detect a stall earlier."""
    until, timeout = learned.quiet_until, learned.timeout or 0.0
    if _has_set_timeout(agent) or until is None:
        return None
    return until if until > now + timedelta(seconds=timeout) else None


def past(request: HttpRequest, agent: Agent, target: str, now: datetime) -> dict[str, Any]:
    """As far back as the plan's history goes."""
    plan = plan_of(agent.project.team_id)
    zoom = series.zoom_for(request.GET.get("span"), plan.history_days)
    steps, beats = history.series(agent.pk, zoom, now), history.recent_beats(agent.pk, now)
    return {
        "plan": plan,
        "zoom": zoom,
        "zooms": [(choice, choice.days <= plan.history_days) for choice in series.ZOOMS],
        "series": steps,
        "data": chart_data(steps),
        **_timeline(agent, steps, now),
        **_tools(steps, beats),
        "advice": advice.advice(reports(agent, beats, target)),
    }


def _timeline(agent: Agent, steps: series.Series, now: datetime) -> dict[str, Any]:
    events = history.entries(agent, steps.since, now)
    built = timeline.build(steps, [*events, *history.remembered_entries(agent, now)])
    hidden = max(0, len(built.entries) - MAX_LISTED)
    return {"timeline": built, "events": built.entries[:MAX_LISTED], "hidden_events": hidden}


def _tools(steps: series.Series, beats: list[recent.ReportedBeat]) -> dict[str, Any]:
    return {
        "tools": tool_counts.shown(steps.tools),
        "unnamed_calls": max(0, steps.total.tool_calls - sum(steps.tools.values())),
        "tool_stats": recent.tool_stats(beats),
        "beats_since": beats[-1].at if beats else None,
    }


def chart_data(steps: series.Series) -> dict[str, Any]:
    """Times in seconds since 1970, money in dollars, and the viewer's time zone."""
    columns = {name: [getattr(step, name) for step in steps.steps] for name in CHARTED}
    money = {name: [getattr(step, name) / 1e6 for step in steps.steps] for name in ("priced", "reported")}
    at = [int(step.start.timestamp()) for step in steps.steps]
    return {"zone": timezone.get_current_timezone_name(), "step": steps.zoom.step, "at": at, **columns, **money}


def reports(agent: Agent, beats: list[recent.ReportedBeat], target: str) -> advice.Reports:
    state = agent.state
    return advice.Reports(
        name=agent.name,
        server=settings.BASE_URL,
        client=any(beat.content.get("sdk") for beat in beats),
        progress=state.last_progress_at is not None,
        # Heartbeats are read back for a day; the rule knows its last call for good.
        calls=any(beat.content.get("calls") for beat in beats)
        or bool(agent.memory.rules.get(stalled.KIND, {}).get("call")),
        usage=bool(state.tokens_total or state.cost_total),
        tokens_without_price=bool(state.unpriced_total),
        runner=bool(target and state.runner),
        target=target,
    )
