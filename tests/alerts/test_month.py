"""A month with a clock: 200 agents, five people in three zones, a rotation, quiet hours, and the end of summer time.

What the policy, the outbox and the sweep write is compared with a reading of the policy that shares no code with them:
it walks minute by minute.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db.models import Min

from agents.incidents import events
from agents.models import Agent, AgentState, Incident
from alerts import escalations, on_call, people, policy_changes, wakeup
from alerts.models import Channel, Delivery, Escalation
from teams.models import Membership, Project, User

BEGINS = datetime(2026, 10, 12, tzinfo=UTC)
DAYS = 31
ZONES = {
    **dict.fromkeys(("ann", "ben"), "Europe/Berlin"),
    **dict.fromkeys(("cy", "dora"), "America/New_York"),
    "eve": "Asia/Tokyo",
}
# Eve doesn't want to be woken at all.
STRICT = {"eve"}
ON_CALL = ["ann", "cy", "eve"]
RULES = [
    {
        "name": "Production",
        "match": {"severity": "critical", "labels": {"env": "prod"}},
        "steps": [
            {"on_call": ["Primary"], "repeat": 15, "times": 3},
            {"people": ["ben@example.com", "dora@example.com"], "after": 40},
        ],
    },
    {"name": "Rest", "steps": [{"channels": ["Chat"]}, {"people": ["dora@example.com"], "after": 120}]},
]


@dataclass(frozen=True)
class Episode:
    """One incident, in minutes since the beginning. `taken` is when it is acknowledged, if ever."""

    agent: int
    severity: str
    env: str
    opened: int
    taken: int | None
    resolved: int


def episodes() -> Iterator[Episode]:
    dice = random.Random(16)
    for agent in range(200):
        opened = dice.randrange(DAYS * 24 * 60)
        resolved = opened + dice.choice([3, 20, 50, 200, 900])
        taken = dice.choice([None, opened + dice.randrange(1, 130)])
        env = dice.choice(["prod", "test"])
        yield Episode(agent, dice.choice(["critical", "warning"]), env, opened, taken, resolved)


# The independent reading

Message = tuple[int, str, str]


def clock(person: str, minute: int) -> datetime:
    return (BEGINS + timedelta(minutes=minute)).astimezone(ZoneInfo(ZONES[person]))


def is_quiet(person: str, minute: int, severity: str) -> bool:
    if person not in ZONES or (severity == "critical" and person not in STRICT):
        return False
    hour = clock(person, minute).hour
    return hour >= 22 or hour < 7


def wakes(person: str, minute: int, severity: str) -> int:
    while is_quiet(person, minute, severity):
        minute += 1
    return minute


def duty(minute: int) -> str:
    local = clock("ann", minute)
    monday = date(2026, 10, 5)
    days = (local.date() - monday).days - (1 if local.hour < 9 else 0)
    return ON_CALL[days // 7 % 3]


def reading(episode: Episode) -> Iterator[Message]:
    """Who is told what, and when."""
    over = min(episode.taken or episode.resolved, episode.resolved)
    if episode.severity == "critical" and episode.env == "prod":
        wanted = [(after, duty(episode.opened + after)) for after in (0, 15, 30)] + [(40, "ben"), (40, "dora")]
    else:
        wanted = [(0, "chat"), (120, "dora")]
    told = set()
    for after, person in wanted:
        ready = episode.opened + after
        sent = wakes(person, ready, episode.severity)
        if ready < over and (sent == ready or sent <= over):
            told.add(person)
            yield sent, person, "failure"
    for person in told:
        yield wakes(person, episode.resolved, ""), person, "recovery"


# The product


@pytest.fixture
def world(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setattr(wakeup, "wake", lambda _: None)
    for name, zone in ZONES.items():
        user = User.objects.create_user(f"{name}@example.com", time_zone=zone)
        Membership.objects.create(team=project.team, user=user, role="member")
        passes = name not in STRICT
        days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
        night: dict[str, Any] = {"start": time(22), "end": time(7), "days": days, "critical_passes": passes}
        people.set_quiet_hours(user, night)
    addresses = [f"{name}@example.com" for name in ZONES]
    for name, to in (("People", addresses), ("Chat", ["chat@example.com"])):
        Channel.objects.create(project=project, kind="email", name=name, config={"to": to})
    turns = {"people": [f"{name}@example.com" for name in ON_CALL], "first": "2026-10-05", "at": "09:00", "days": 7}
    on_call.save(project=project, name="Primary", data={"zone": "Europe/Berlin", "layers": [turns]}, actor="test")
    policy_changes.save(project=project, data=RULES, actor="test", now=BEGINS)
    return project


def at(minute: int) -> datetime:
    return BEGINS + timedelta(minutes=minute)


def send(now: datetime) -> None:
    Delivery.objects.filter(state="pending", next_try_at__lte=now).update(state="sent")


def pass_time(until: datetime) -> None:
    """Run the sweep whenever something is due, and the senders."""
    while (due := Escalation.objects.aggregate(at=Min("next_at"))["at"]) is not None and due < until:
        send(due)
        escalations.sweep(due)
    send(until)


def live(project: Project, episode: Episode) -> Iterator[tuple[int, str, Incident]]:
    agent = Agent.objects.create(project=project, name=f"bot-{episode.agent}", labels={"env": episode.env})
    AgentState.objects.create(agent=agent, status="down")
    incident = Incident.objects.create(
        project=project,
        agent=agent,
        kind="stalled",
        severity=episode.severity,
        reason="r",
        started_at=at(episode.opened),
        opened_at=at(episode.opened),
    )
    yield episode.opened, "opened", incident
    if episode.taken is not None and episode.taken < episode.resolved:
        yield episode.taken, "acknowledged", incident
    yield episode.resolved, "resolved", incident


def happen(minute: int, kind: str, incident: Incident) -> None:
    pass_time(at(minute))
    column = {"acknowledged": "acknowledged_at", "resolved": "resolved_at"}.get(kind)
    if column:
        Incident.objects.filter(pk=incident.pk).update(**{column: at(minute)})
        incident.refresh_from_db()
    events.record(incident=incident, kind=kind, text=kind, now=at(minute))


@pytest.mark.django_db
def test_month_follows_an_independent_reading(world: Project) -> None:
    everything = list(episodes())
    steps = [step for episode in everything for step in live(world, episode)]
    for minute, kind, incident in sorted(steps, key=lambda step: step[:2]):
        happen(minute, kind, incident)
    pass_time(at(DAYS * 24 * 60 + 5000))
    sent = Counter(written())
    wanted = Counter((f"bot-{episode.agent}", *message) for episode in everything for message in reading(episode))
    assert sent == wanted
    assert len(wanted) > 500
    assert not Delivery.objects.filter(state="pending").exists()


def written() -> Iterator[tuple[str, int, str, str]]:
    rows = Delivery.objects.filter(state="sent").select_related("event__incident__agent")
    for row in rows:
        assert row.event is not None
        assert row.next_try_at is not None
        kind = "recovery" if row.event.kind == "resolved" else "failure"
        minute = int((row.next_try_at - BEGINS).total_seconds() // 60)
        yield row.event.incident.agent.name, minute, row.recipient.partition("@")[0], kind
