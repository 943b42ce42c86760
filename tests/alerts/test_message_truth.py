"""Messages over random stories, driven through the real services: every sentence agrees with the rows it stands on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from django.db.models import Sum
from hypothesis import HealthCheck, example, given, settings

from agents.domain import signal_kinds
from agents.domain.durations import spoken
from agents.models import Agent, AgentState, Command, Heartbeat, Incident, IncidentEvent, Signal, Status
from alerts import message
from alerts.channels.base import Message
from alerts.models import Channel, Delivery
from teams.auth import authenticate_key
from teams.models import Project
from tests.agents.conftest import T0, World
from tests.agents.stories import BEATS, FLEET_STORIES, MORE_BEATS, Story, beat, budget_the_month, by_person, look
from tests.examples import examples

pytestmark = [pytest.mark.django_db, pytest.mark.slow]
FAILURES = ("opened", "updated", "reopened")
DOLLARS = r"\$([\d,]+(?:\.\d+)?)"
Claim = Callable[["Sent", "re.Match[str]"], bool]


@pytest.fixture
def world(project: Project, api_key: str) -> World:
    Channel.objects.create(project=project, kind="email", name="mail", config={"to": ["ops@example.com"]})
    return World(project, authenticate_key(api_key))


@dataclass(frozen=True)
class Sent:
    """A message as it leaves right after its event, and the rows at that moment."""

    text: Message
    event: IncidentEvent
    incident: Incident

    @property
    def now(self) -> datetime:
        return self.event.at

    @property
    def agent(self) -> Agent:
        """Whom the event is about: of a shared incident, the agent of its newest signal."""
        signal = self.incident.signals.filter(kind=self.event.data.get("signal", ""), opened_at__lte=self.now).last()
        return signal.agent if signal else self.incident.agent

    @property
    def state(self) -> AgentState:
        return AgentState.objects.get(agent=self.agent)

    def open(self, **conditions: Any) -> bool:
        """Whether the agent has such a signal open in this incident."""
        return self.incident.signals.filter(agent=self.agent, cleared_at=None, **conditions).exists()


def sent_after(last: int) -> Iterator[Sent]:
    deliveries = list(Delivery.objects.filter(pk__gt=last, event__isnull=False).select_related("event", "channel"))
    known = message.incidents_of(deliveries)
    for delivery in deliveries:
        assert delivery.event is not None
        incident = Incident.objects.get(pk=delivery.event.incident_id)
        yield Sent(message.of_delivery(delivery, known), delivery.event, incident)


MONTH_EXCEEDED: Story = [
    (1, beat(MORE_BEATS[9])),
    (1, beat(MORE_BEATS[10], "bot-2")),
    (1, by_person(budget_the_month)),
    (1, look),
    (61, beat(MORE_BEATS[10], "bot-2")),
    (1, look),
]
CRASH_NEAR_BUDGET: Story = [
    (1, beat(BEATS[2])),
    (1, look),
    (5, beat(BEATS[5])),
    (1, look),
    (200, beat(BEATS[3])),
    (1, look),
]
HOST_DIES: Story = [*((1, beat(MORE_BEATS[9], name)) for name in ("bot", "bot-2", "bot-3")), (61, look), (4_000, look)]
FORECAST: Story = [
    (1, beat({"cost_usd": 0.5, "cost_limit_usd": 3})),
    *((300, beat({"cost_usd": 0.25})) for _ in range(8)),
    (1, look),
]


@settings(max_examples=examples(15), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(MONTH_EXCEEDED)
@example(CRASH_NEAR_BUDGET)
@example(HOST_DIES)
@example(FORECAST)
@given(FLEET_STORIES)
def test_messages_say_what_rows_say(world: World, story: Story) -> None:
    with transaction.atomic():
        at, last = 0.0, 0
        for waited, deed in story:
            at += waited
            deed(world, at)
            with world.clock(at):
                for sent in sent_after(last):
                    check(sent)
            last = Delivery.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
        with world.clock(at):
            for sent in sent_after(0):
                check_late(sent)
        transaction.set_rollback(True)


def check(sent: Sent) -> None:
    title = sent.text.title
    claims = [(found, is_so) for pattern, is_so in TITLES.items() if (found := re.fullmatch(pattern, title))]
    assert claims, f"unknown title: {title}"
    for found, is_so in claims:
        assert is_so(sent, found), title
    lines = [sent.event.text] if sent.event.kind in FAILURES else []
    for line in (*lines, *sent.text.lines[1:]):
        for pattern, is_so in LINES.items():
            for found in re.finditer(pattern, line):
                assert is_so(sent, found), line
    is_bad = sent.incident.signals.filter(cleared_at=None, severity="critical").exists()
    assert sent.text.severity == "critical" or sent.event.kind not in FAILURES or not is_bad


def check_late(sent: Sent) -> None:
    """A message that leaves only now: whatever became critical since, a budget is exceeded only if it is."""
    budgets = sent.incident.signals.filter(kind="cost")
    if "exceeded its" in sent.text.title:
        assert budgets.filter(severity="critical").exists(), sent.text.title
    if " % of its" in sent.text.title:
        assert budgets.latest("pk").severity == "warning", sent.text.title


# Titles


def about_agent(sent: Sent, found: re.Match[str]) -> bool:
    return found["who"] == sent.agent.name


def about_project(sent: Sent, found: re.Match[str]) -> bool:
    return found["who"] == sent.incident.project.name


def fell_together(sent: Sent, found: re.Match[str]) -> bool:
    silent = sent.incident.signals.filter(kind="missed_heartbeat").values("agent").distinct().count()
    return sent.incident.together and int(found["n"]) == silent >= 2


def is_down(sent: Sent, found: re.Match[str]) -> bool:
    return about_agent(sent, found) and sent.open(kind="missed_heartbeat") and sent.state.status == Status.DOWN


def has(kind: str) -> Claim:
    return lambda sent, found: about_agent(sent, found) and sent.open(kind=kind)


def is_not_running(sent: Sent, found: re.Match[str]) -> bool:
    return about_agent(sent, found) and sent.open(kind="error") and sent.state.runner_down


def reported_error(sent: Sent, found: re.Match[str]) -> bool:
    return about_agent(sent, found) and sent.open(kind="error") and not sent.state.runner_down


def exceeded(sent: Sent, found: re.Match[str]) -> bool:
    cost, limit = spent_today(sent)
    return about_agent(sent, found) and limit is not None and cost >= limit and sent.state.hold


def nearly_used(sent: Sent, found: re.Match[str]) -> bool:
    cost, limit = month(sent.incident.project, sent.now) if found["monthly"] else spent_today(sent)
    who = about_project if found["monthly"] else about_agent
    return who(sent, found) and limit is not None and int(found["percent"]) == 100 * cost // limit < 100


def exceeded_month(sent: Sent, found: re.Match[str]) -> bool:
    cost, limit = month(sent.incident.project, sent.now)
    return about_project(sent, found) and limit is not None and cost >= limit


def is_new(sent: Sent, found: re.Match[str]) -> bool:
    signals = sent.incident.signals.filter(agent__name=found["who"], opened_at=sent.now)
    return found["label"] in {signal.kind_label for signal in signals}


def recovered(sent: Sent, found: re.Match[str]) -> bool:
    incident = sent.incident
    after = (incident.recovered_in is not None) == ("the restart" in found[0] or "restart " in found[0])
    return incident.outcome == "recovered" and lasted(sent, found) and after


def lasted(sent: Sent, found: re.Match[str]) -> bool:
    return found["lasted"] == spoken((sent.now - sent.incident.started_at).total_seconds())


def within_budget(sent: Sent, found: re.Match[str]) -> bool:
    is_budget = signal_kinds.traits(sent.incident.kind).is_budget
    return is_budget and sent.incident.outcome == "within_budget" and lasted(sent, found)


def paused(sent: Sent, found: re.Match[str]) -> bool:
    return sent.incident.outcome == "paused" and sent.incident.agent.paused_by == found["by"] and lasted(sent, found)


def gave_up(sent: Sent, found: re.Match[str]) -> bool:
    made = Command.objects.filter(agent=sent.agent, action="restart", leased_at__isnull=False).count()
    return about_agent(sent, found) and sent.open(kind="restart_failed") and made >= 3


def by(field: str) -> Claim:
    return lambda sent, found: getattr(sent.incident, field) == found["by"]


AGAIN = "(?: again)?"
SPAN = r"(?P<lasted>\d+ \w+)"
TITLES: Mapping[str, Claim] = {
    rf"(?P<n>\d+) agents in Production fell silent together{AGAIN}": fell_together,
    rf"(?P<who>.+) is down{AGAIN}": is_down,
    rf"(?P<who>.+) is stalled{AGAIN}": has("stalled"),
    rf"(?P<who>.+) is in a loop{AGAIN}": has("loop"),
    rf"(?P<who>.+) reported an error{AGAIN}": reported_error,
    rf"(?P<who>.+) is not running{AGAIN}": is_not_running,
    rf"(?P<who>.+) crashed{AGAIN}": has("crash"),
    rf"(?P<who>.+) exceeded its budget{AGAIN}": exceeded,
    rf"(?P<who>.+) exceeded its monthly budget{AGAIN}": exceeded_month,
    rf"(?P<who>.+) budget exceeded \(also affects .+\){AGAIN}": exceeded_month,
    rf"(?P<who>.+) has used (?P<percent>\d+) % of its (?P<monthly>monthly )?budget{AGAIN}": nearly_used,
    r"(?P<who>.+) could not be restarted": gave_up,
    r"(?P<who>.+): new signal \((?P<label>.+)\)": is_new,
    r".+ again": lambda sent, found: sent.incident.reopened > 0 and sent.event.kind == "reopened",
    rf".+: recovered after {SPAN}(?:, \d+ \w+ after (?:the restart|restart \d+))?": recovered,
    rf".+: within the budget again after {SPAN}": within_budget,
    rf".+: stopped after {SPAN}": lambda sent, found: sent.incident.outcome == "stopped" and lasted(sent, found),
    rf".+: monitoring paused by (?P<by>\S+) after {SPAN}": paused,
    r".+: resolved by (?P<by>\S+)": by("resolved_by"),
    r".+: acknowledged by (?P<by>\S+)": by("acknowledged_by"),
}

# Sentences


def micro(text: str) -> int:
    return round(float(text.replace(",", "")) * 1_000_000)


def is_about(text: str, amount: int) -> bool:
    """Shown in whole cents."""
    return abs(micro(text) - amount) <= 5_000


def spent_today(sent: Sent) -> tuple[int, int | None]:
    state, agent = sent.state, sent.agent
    own = agent.daily_budget_usd
    return (state.cost_today if state.day == sent.now.date() else 0), (
        state.cost_limit if own is None else round(own * 1_000_000)
    )


def month(project: Project, now: datetime) -> tuple[int, int | None]:
    project.refresh_from_db()
    states = AgentState.objects.filter(agent__project=project, month=now.date().replace(day=1))
    limit = project.monthly_budget_usd
    return states.aggregate(cost=Sum("cost_month"))["cost"] or 0, None if limit is None else round(limit * 1_000_000)


def is_silent_for(sent: Sent, found: re.Match[str]) -> bool:
    last = sent.state.last_beat_at
    return last is not None and found[1] == spoken((sent.now - last).total_seconds())


def is_stalled_for(sent: Sent, found: re.Match[str]) -> bool:
    last = sent.state.last_progress_at
    return last is not None and found[1] == spoken((sent.now - last).total_seconds())


def spent(sent: Sent, found: re.Match[str]) -> bool:
    cost, limit = spent_today(sent)
    return limit is not None and is_about(found[1], cost) and is_about(found[2], limit)


def project_spent(sent: Sent, found: re.Match[str]) -> bool:
    cost, limit = month(sent.incident.project, sent.now)
    return limit is not None and is_about(found[1], cost) and is_about(found[2], limit)


def of_last_hour(sent: Sent, found: re.Match[str]) -> bool:
    """Counted in steps of five minutes."""
    return spent_since(sent, 3_600) - 5_000 <= micro(found[1]) <= spent_since(sent, 3_900) + 5_000


def spent_since(sent: Sent, seconds: float) -> int:
    since = sent.now - timedelta(seconds=seconds)
    beats = Heartbeat.objects.filter(agent=sent.agent, received_at__gte=since)
    return beats.aggregate(cost=Sum("cost"))["cost"] or 0


def used_up_at(sent: Sent, found: re.Match[str]) -> bool:
    """At the rate since the spend began, of at most an hour and five minutes; shown in whole minutes."""
    cost, limit = spent_today(sent)
    first = Heartbeat.objects.filter(agent=sent.agent, cost__gt=0).order_by("received_at").first()
    assert limit is not None
    assert first is not None
    known = min(3_600.0, (sent.now - first.received_at).total_seconds())
    soonest = (limit - cost) / (max(spent_since(sent, 3_900), 1) / known)
    latest = (limit - cost) / (max(spent_since(sent, 3_600), 1) / (known + 300))
    at = [sent.now + timedelta(seconds=seconds) for seconds in (soonest - 60, latest + 60)]
    shown = datetime.combine(sent.now.date(), datetime.strptime(found[1], "%H:%M").time(), sent.now.tzinfo)  # noqa: DTZ007
    return at[0] <= shown <= at[1] or at[1].date() != sent.now.date()


def all_on_hold(sent: Sent, found: re.Match[str]) -> bool:
    seen = AgentState.objects.filter(last_beat_at__isnull=False, agent__paused_at=None).exclude(status=Status.STOPPED)
    return project_spent(sent, found) and all(seen.values_list("hold", flat=True))


def since(sent: Sent, found: re.Match[str]) -> bool:
    began = datetime.strptime(found[1], "%d %b %Y, %H:%M:%S %Z").replace(tzinfo=T0.tzinfo)
    return began == sent.incident.started_at.replace(microsecond=0) and began <= sent.now


def cost_since(sent: Sent, found: re.Match[str]) -> bool:
    at_start = sent.incident.cost_before
    return is_about(found[1], AgentState.objects.get(agent=sent.incident.agent).cost_total - at_start)


def attempt(sent: Sent, found: re.Match[str]) -> bool:
    labels = {command.get_state_display() for command in sent.incident.commands.all()}
    return any(found[1].startswith(label) for label in labels)


def restarts(sent: Sent, found: re.Match[str]) -> bool:
    made = Command.objects.filter(agent=sent.agent, action="restart", leased_at__isnull=False)
    return made.filter(leased_at__gt=sent.now - timedelta(days=1)).count() >= int(found[1])


def named_silent(sent: Sent, found: re.Match[str]) -> bool:
    names = found[2].split(", ")
    silent = Signal.objects.filter(kind="missed_heartbeat", agent__name__in=names, incident=sent.incident)
    return int(found[1]) == len(names) == silent.values("agent").distinct().count()


LINES: Mapping[str, Claim] = {
    r"^No heartbeat for (.+?); expected": is_silent_for,
    r"^No progress for (\d+ \w+)": is_stalled_for,
    rf"^Spent {DOLLARS} of {DOLLARS} today": spent,
    rf"^The project has spent {DOLLARS} of {DOLLARS} this month": project_spent,
    rf"the project has spent {DOLLARS} of its {DOLLARS} monthly budget": all_on_hold,
    rf"today, {DOLLARS} of it in the last hour": of_last_hour,
    r"today.*at the last hour’s rate(?: \(.+?\))? the budget will be used up at (\d\d:\d\d)(?:$|[,;])": used_up_at,
    r"^(\d+) agents .+ fell silent together: (.+)": named_silent,
    r"^(?:Since|Started) (\d+ \w+ \d+, [\d:]+ \w+)": since,
    rf"^Cost(?: of \S+)? since start: {DOLLARS}": cost_since,
    r"^Acknowledged by (?P<by>\S+)": by("acknowledged_by"),
    r"^(?:Restart|Stop) of [^:]+: (.+)": attempt,
    r"^Gave up: (\d+) restarts within": restarts,
    r"automatically|by itself": lambda sent, found: False,
}
