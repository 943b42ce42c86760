"""What people and programs are told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from pytest_django.fixtures import Settings

from agents.models import Agent, Command, Incident, IncidentEvent, Signal
from alerts import message
from alerts.channels.base import Message
from alerts.models import Channel, Delivery
from tests.alerts.conftest import NOW

FIELDS = [
    "id", "agent", "kind", "kinds", "severity", "state", "started_at", "opened_at", "acknowledged_at", "resolved_at",
    "reason", "evidence", "cost_usd", "priced_usd", "reported_usd", "unpriced_tokens",
    "restarts", "time_to_recovery", "restart_to_recovery", "signals", "timeline", "url",
]  # fmt: skip
Happened = Callable[..., IncidentEvent]


def of(event: IncidentEvent) -> Message:
    return message.of_event(event, Incident.objects.get(pk=event.incident_id), "msg_1")


def add_signal(incident: Incident, kind: str, reason: str, agent: Agent | None = None) -> Signal:
    return Signal.objects.create(
        incident=incident,
        agent=agent or incident.agent,
        kind=kind,
        severity="warning",
        reason=reason,
        evidence={"calls": 220},
        started_at=NOW,
        opened_at=NOW,
    )


@pytest.mark.parametrize(
    ("kind", "title"),
    [
        ("missed_heartbeat", "bot-1 is down"),
        ("stalled", "bot-1 is stalled"),
        ("loop", "bot-1 is in a loop"),
        ("cost", "bot-1 is over its budget"),
        ("error", "bot-1 reports an error"),
        ("crash", "bot-1 crashed"),
        ("memory", "bot-1 keeps using more memory"),
        ("restart_failed", "bot-1 could not be restarted"),
    ],
)
def test_the_title_says_what_is_wrong_with_which_agent(
    happened: Happened, incident: Incident, kind: str, title: str
) -> None:
    incident.kind = kind
    incident.save()
    assert of(happened("opened")).title == title


@pytest.mark.parametrize(
    ("event", "text", "kind", "title", "severity"),
    [
        ("opened", "x", "incident.opened", "bot-1 is down", "critical"),
        ("reopened", "Again: x", "incident.opened", "bot-1 is down again", "critical"),
        ("updated", "Same call 220 times", "incident.updated", "bot-1: also loop", "critical"),
        ("acknowledged", "Acknowledged by a@b.c", "incident.acknowledged", "bot-1: acknowledged by a@b.c", "critical"),
        ("resolved", "Recovered after 5 min", "incident.resolved", "bot-1: recovered after 5 min", "ok"),
    ],
)
def test_each_event_has_its_words(
    happened: Happened, incident: Incident, event: str, text: str, kind: str, title: str, severity: str
) -> None:
    add_signal(incident, "loop", "Same call 220 times")
    told = of(happened(event, text=text))
    assert (told.type, told.title, told.severity) == (kind, title, severity)


def test_a_budget_that_is_near_is_not_said_to_be_exceeded(happened: Happened, incident: Incident) -> None:
    Incident.objects.filter(pk=incident.pk).update(kind="cost", severity="warning")
    assert of(happened("opened")).title == "bot-1 has a spend warning"


def test_a_budget_that_was_near_and_is_exceeded_is_said_to_be(happened: Happened, incident: Incident) -> None:
    Incident.objects.filter(pk=incident.pk).update(kind="cost")
    add_signal(incident, "cost", "Spent $1.05 of $1.00 today")
    later = NOW + timedelta(minutes=5)
    assert of(happened("updated", at=later, text="Spent $1.05 of $1.00 today")).title == "bot-1 is over its budget"


def test_a_projects_month_is_said_of_the_project(happened: Happened, incident: Incident) -> None:
    Incident.objects.filter(pk=incident.pk).update(kind="cost", together=True)
    add_signal(incident, "cost", "The project has spent $10.00 of $10.00 this month")
    assert of(happened("opened")).title == f"{incident.project.name} is over its monthly budget"


def test_tokens_without_a_price_are_said_beside_the_money(happened: Happened, incident: Incident) -> None:
    Incident.objects.filter(pk=incident.pk).update(unpriced=12_300)
    assert "Spent since it began: 12,300 tokens without a known price" in of(happened("opened")).lines
    Incident.objects.filter(pk=incident.pk).update(cost=1_234_567)
    assert "Spent since it began: $1.23 and 12,300 tokens without a known price" in of(happened("opened")).lines


def test_giving_up_is_said_first(happened: Happened, incident: Incident) -> None:
    add_signal(incident, "restart_failed", "Gave up: 3 restarts within 23 minutes did not help")
    told = of(happened("updated", text="Gave up: 3 restarts within 23 minutes did not help"))
    assert told.title == "bot-1: automatic restarts gave up"
    assert "Gave up: 3 restarts within 23 minutes did not help" in told.lines


def test_the_lines_say_why_since_when_what_it_cost_and_what_was_tried(happened: Happened, incident: Incident) -> None:
    add_signal(incident, "loop", "Same call 220 times")
    Incident.objects.filter(pk=incident.pk).update(cost=1_234_567)
    Command.objects.create(
        agent=incident.agent,
        incident=incident,
        action="restart",
        type="systemd",
        target="bot.service",
        state="failed",
        result="exit 1",
        requested_by="a@b.c",
        expires_at=NOW,
    )
    told = of(happened("updated", at=NOW + timedelta(minutes=65, seconds=9), text="Same call 220 times"))
    assert told.lines == (
        "No heartbeat for 2 min",
        "Same call 220 times",
        "Since 23 Nov 2026, 20:25:57 UTC, for 1 h 5 min",
        "Spent since it began: $1.23",
        "Tried: restart of bot.service: failed, exit 1",
    )


def test_what_it_stands_on_comes_with_it_in_words(happened: Happened, incident: Incident) -> None:
    signal = add_signal(incident, "missed_heartbeat", "No heartbeat for 2 min")
    signal.evidence = {"last_heartbeat_at": NOW.isoformat(), "interval": 30.0, "deadline": NOW.isoformat()}
    signal.save()
    assert of(happened("opened")).facts == (("Last heartbeat", "23 Nov 2026, 20:25:57 UTC"),)
    assert of(happened("resolved")).facts == ()


def test_of_a_traceback_the_end_comes_with_it(happened: Happened, incident: Incident) -> None:
    Incident.objects.update(kind="crash")
    signal = add_signal(incident, "crash", "Crashed: KeyError")
    signal.evidence = {"message": "KeyError", "traceback": "\n".join(f"line\t{n}" for n in range(40))}
    signal.save()
    (label, text) = of(happened("opened")).facts[0]
    assert (label, text.splitlines()) == ("Traceback", [f"line {n}" for n in range(28, 40)])


def test_code_is_plain_in_the_title_and_marked_in_the_lines(happened: Happened, incident: Incident) -> None:
    Incident.objects.update(reason="`search` called 4 times")
    told = of(happened("resolved", text="Over: `search` was switched off"))
    assert told.title == "bot-1: over: search was switched off"
    assert told.lines[0] == "It was: `search` called 4 times"


def test_what_came_back_is_said_once(happened: Happened, incident: Incident) -> None:
    told = of(happened("reopened", text="Again: No heartbeat for 2 min"))
    assert told.lines == ("No heartbeat for 2 min", "Since 23 Nov 2026, 20:25:57 UTC, for 0 s")


def test_a_silence_that_turned_out_to_be_a_hosts_is_said_so(happened: Happened, incident: Incident) -> None:
    add_signal(incident, "missed_heartbeat", "No heartbeat")
    add_signal(incident, "missed_heartbeat", "No heartbeat", Agent.objects.create(project=incident.project, name="b"))
    Incident.objects.update(together=True)
    later = NOW + timedelta(minutes=1)
    assert of(happened("updated", at=later)).title == "2 agents of Production fell silent together"


def test_times_are_in_the_projects_zone(happened: Happened, incident: Incident) -> None:
    incident.project.time_zone = "Europe/Vienna"
    incident.project.save()
    assert any("21:25:57 CET" in line for line in of(happened("opened")).lines)


def test_a_recovery_says_how_long_it_lasted(happened: Happened, incident: Incident) -> None:
    Incident.objects.filter(pk=incident.pk).update(resolved_at=NOW + timedelta(minutes=3))
    told = of(happened("resolved", at=NOW + timedelta(minutes=3)))
    assert "It began on 23 Nov 2026, 20:25:57 UTC and lasted 3 min" in told.lines


def test_agents_that_fell_silent_together_are_counted(happened: Happened, incident: Incident) -> None:
    for number in range(4):
        agent = Agent.objects.create(project=incident.project, name=f"other-{number}")
        add_signal(incident, "missed_heartbeat", "No heartbeat", agent)
    Incident.objects.filter(pk=incident.pk).update(together=True)
    assert of(happened("opened")).title == "4 agents of Production fell silent together"


def test_names_and_reasons_are_one_printable_line_each(happened: Happened, incident: Incident) -> None:
    Agent.objects.update(name="bot\r\nBcc: x@example.com\u2028")
    Incident.objects.update(reason="first\nsecond\x07")
    told = of(happened("opened"))
    assert told.title == "bot Bcc: x@example.com is down"
    assert told.lines[0] == "first second"


def test_programs_get_the_incident_as_the_api_has_it(
    happened: Happened, incident: Incident, settings: Settings
) -> None:
    settings.BASE_URL = "https://watchdog.example.com"
    add_signal(incident, "missed_heartbeat", "No heartbeat")
    Incident.objects.filter(pk=incident.pk).update(cost=1_234_567)
    payload = of(happened("opened")).payload
    assert set(payload) == {"incident", "agent", "project", "team"}
    page = f"https://watchdog.example.com/admin/agents/agent/{incident.agent_id}/change/"
    assert payload["agent"] == {"id": incident.agent_id, "name": "bot-1", "status": "down", "url": page}
    assert (payload["project"], payload["team"]) == ("Production", "Research")
    told = payload["incident"]
    assert sorted(told) == sorted(FIELDS)
    assert told["started_at"] == "2026-11-23T20:25:57Z"
    assert told["cost_usd"] == 1.234567
    assert told["evidence"] == {"calls": 220}
    assert told["agent"] == {"id": incident.agent_id, "name": "bot-1", "url": page}
    assert [line["kind"] for line in told["timeline"]] == ["opened"]


def test_a_test_says_that_it_is_one(email: Channel) -> None:
    told = message.of_delivery(Delivery(channel=email, message_id="msg_1", created_at=NOW))
    assert told.type == "channel.test"
    assert told.title == "Test of mail"
    assert told.payload == {"incident": None, "agent": None, "project": "Production", "team": "Research"}
