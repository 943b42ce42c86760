"""The parts of an agent's page that look back: what it was doing, its timeline, its charts, what it could report."""

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
from agents.reporting.agent_status import Standing
from agents.rules.facts import Learned
from agents.rules.observers import rhythm
from billing.limits import plan_of

MEDIA: Final = Media(
    css={"all": ["vendor/uplot/uPlot.min.css", "agents/history.css"]},
    js=["vendor/uplot/uPlot.iife.min.js", "agents/chart.js"],
)
LAST: Final = 20
LISTED: Final = 40
# Who is one of these does nothing now; what is known of it is what it did last.
QUIET: Final = (Status.DOWN, Status.STOPPED)


def doing(agent: Agent, row: Standing, now: datetime) -> dict[str, Any]:
    """One query."""
    memory, moved = agent.memory.rules.get(rhythm.KIND, {}), agent.state.last_progress_at
    learned = rhythm.learned(memory, moved)
    return {
        "doing": recent.doing(history.told(agent.pk, now, LAST)),
        "quiet": row.status in QUIET,
        "learned": learned,
        "rests": rhythm.rests(memory, moved),
        "may_rest_until": _may_rest_until(agent, learned, now),
    }


def _may_rest_until(agent: Agent, learned: Learned, now: datetime) -> datetime | None:
    """None where a timeout was given, which counts alone, or where a stall would be told by the timeout learned."""
    until, timeout = learned.quiet_until, learned.timeout or 0.0
    if agent.progress_timeout or agent.state.declared_progress_timeout or until is None:
        return None
    return until if until > now + timedelta(seconds=timeout) else None


def looking_back(request: HttpRequest, agent: Agent, target: str, now: datetime) -> dict[str, Any]:
    """As far as the plan's history goes."""
    plan = plan_of(agent.project.team_id)
    zoom = series.chosen(request.GET.get("span"), plan.history_days)
    seen = history.series(agent.pk, zoom, now)
    told = history.told(agent.pk, now)
    happened = history.entries(agent.pk, agent.created_at, seen.since, now)
    drawn = timeline.drawn(seen, [*happened, *history.remembered(agent, now)])
    return {
        "plan": plan,
        "zoom": zoom,
        "zooms": [(one, one.days <= plan.history_days) for one in series.ZOOMS],
        "series": seen,
        "data": as_data(seen),
        "timeline": drawn,
        "listed": drawn.entries[:LISTED],
        "unlisted": max(0, len(drawn.entries) - LISTED),
        "told_from": told[-1].at if told else None,
        "called": tool_counts.shown(seen.tools),
        "unnamed": max(0, seen.total.tool_calls - sum(seen.tools.values())),
        "last_calls": recent.calls_by_name(told),
        "advice": advice.advice(reports(agent, told, target)),
    }


def as_data(seen: series.Series) -> dict[str, Any]:
    """For the charts: times in seconds since 1970, money in dollars, and the zone in which times are shown."""
    columns = {name: [getattr(step, name) for step in seen.steps] for name in CHARTED}
    money = {name: [getattr(step, name) / 1e6 for step in seen.steps] for name in ("priced", "reported")}
    at = [int(step.start.timestamp()) for step in seen.steps]
    return {"zone": timezone.get_current_timezone_name(), "step": seen.zoom.step, "at": at, **columns, **money}


CHARTED: Final = ("beats", "errors", "tokens", "unpriced", "tool_calls", "memory_mb", "gap")


def reports(agent: Agent, told: list[recent.ReportedBeat], target: str) -> advice.Reports:
    state = agent.state
    return advice.Reports(
        name=agent.name,
        server=settings.BASE_URL,
        client=any(one.content.get("sdk") for one in told),
        progress=state.last_progress_at is not None,
        calls=any(one.content.get("calls") for one in told),
        usage=bool(state.tokens_total or state.cost_total),
        tokens_without_price=bool(state.unpriced_total),
        runner=bool(target),
    )
