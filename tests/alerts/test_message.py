"""The messages that people and programs receive."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from pytest_django.fixtures import Settings

from agents.models import Agent, Command, Incident, IncidentEvent, Signal
from alerts import message
from alerts.channels.base import Message
from alerts.models import Channel, Delivery, Policy
from tests.alerts.conftest import NOW

FIELDS = [
    "id", "agent", "kind", "kinds", "severity", "state", "started_at", "opened_at", "acknowledged_at", "resolved_at",
    "snoozed_until",
    "reason", "evidence", "cost_usd", "priced_usd", "reported_usd", "unpriced_tokens",
    "restarts", "time_to_recovery", "restart_to_recovery", "signals", "timeline", "url",
]  # fmt: skip
Happened = Callable[..., IncidentEvent]


def of(event: IncidentEvent) -> Message:
    return message.of_event(event, Incident.objects.get(pk=event.incident_id), "msg_1")


def add_signal(
    incident: Incident, kind: str, reason: str, agent: Agent | None = None, severity: str = "warning"
) -> Signal:
    return Signal.objects.create(
        incident=incident,
        agent=agent or incident.agent,
        kind=kind,
        severity=severity,
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
        ("cost", "bot-1 exceeded its budget"),
        ("error", "bot-1 reported an error"),
        ("crash", "bot-1 crashed"),
        ("memory", "bot-1 memory keeps growing"),
        ("restart_failed", "bot-1 could not be restarted"),
    ],
)
def test_title_names_the_agent_and_the_problem(happened: Happened, incident: Incident, kind: str, title: str) -> None:
    incident.kind = kind
    incident.save()
    assert of(happened("opened")).title == title


@pytest.mark.parametrize(
    ("event", "text", "kind", "title", "severity"),
    [
        ("opened", "x", "incident.opened", "bot-1 is down", "critical"),
        ("reopened", "Again: x", "incident.opened", "bot-1 is down again", "critical"),
        ("updated", "Same call 220 times", "incident.updated", "bot-1: new signal (loop)", "critical"),
        ("acknowledged", "Acknowledged by a@b.c", "incident.acknowledged", "bot-1: acknowledged by a@b.c", "critical"),
        ("resolved", "Recovered after 5 min", "incident.resolved", "bot-1: recovered after 5 min", "ok"),
    ],
)
def test_each_event_has_its_title(
    happened: Happened, incident: Incident, event: str, text: str, kind: str, title: str, severity: str
) -> None:
    add_signal(incident, "loop", "Same call 220 times")
    sent = of(happened(event, text=text))
    assert (sent.type, sent.title, sent.severity) == (kind, title, severity)


def test_budget_warning_says_80_percent(happened: Happened, incident: Incident) -> None:
    Incident.objects.filter(pk=incident.pk).update(kind="cost", severity="warning")
    assert of(happened("opened")).title == "bot-1 has used 80 % of its budget"


def test_near_budget_is_not_exceeded_by_a_crash(happened: Happened, incident: Incident) -> None:
    Incident.objects.filter(pk=incident.pk).update(kind="cost", severity="critical")
    add_signal(incident, "cost", "Spent $8.50 of $10.00 today")
    Signal.objects.update(evidence={"budget": "day", "spent_usd": 8.5, "budget_usd": 10.0})
    add_signal(incident, "crash", "Crashed: KeyError", severity="critical")
    assert of(happened("opened")).title == "bot-1 has used 85 % of its budget"


@pytest.mark.parametrize(
    ("evidence", "percent"),
    [
        ({"spent_usd": 9.999, "budget_usd": 10.0}, 99),
        ({"spent_usd": 8.2, "budget_usd": 10.0}, 82),
        ({"tokens": 921, "token_limit": 1000}, 92),
        ({"spent_usd": 0.0, "budget_usd": 0.0}, 80),
    ],
)
def test_title_says_how_much_is_used(
    happened: Happened, incident: Incident, evidence: dict[str, float], percent: int
) -> None:
    Incident.objects.filter(pk=incident.pk).update(kind="cost", severity="warning")
    add_signal(incident, "cost", "Spent much")
    Signal.objects.update(evidence={"budget": "day", **evidence})
    assert of(happened("opened")).title == f"bot-1 has used {percent} % of its budget"


def test_dead_agent_seen_by_its_runner_is_not_running(happened: Happened, incident: Incident) -> None:
    Incident.objects.filter(pk=incident.pk).update(kind="error")
    signal = add_signal(incident, "error", "Not responding: Docker says exited (code 1)", severity="critical")
    assert of(happened("opened")).title == "bot-1 is not running"
    Signal.objects.filter(pk=signal.pk).update(severity="warning")
    assert of(happened("reopened")).title == "bot-1 reported an error again"


def test_signal_that_became_critical_is_not_new(happened: Happened, incident: Incident) -> None:
    add_signal(incident, "cost", "Spent $1.05 of $1.00 today", severity="critical")
    event = happened("updated", at=NOW + timedelta(minutes=5), text="Spent $1.05 of $1.00 today")
    event.data = {"signal": "cost", "rose": True}
    event.save()
    assert of(event).title == "bot-1 exceeded its budget"


def test_each_of_two_new_signals_is_named(happened: Happened, incident: Incident) -> None:
    for kind in ("loop", "memory"):
        add_signal(incident, kind, f"{kind} why")
    titles = []
    for kind in ("loop", "memory"):
        event = happened("updated", text=f"{kind} why")
        event.data = {"signal": kind, "rose": False}
        event.save()
        titles.append(of(event).title)
    assert titles == ["bot-1: new signal (loop)", "bot-1: new signal (memory growth)"]


def test_signal_beside_a_shared_budget_names_its_agent(happened: Happened, incident: Incident) -> None:
    Incident.objects.filter(pk=incident.pk).update(kind="cost", together=True)
    add_signal(incident, "cost", "The project has spent $10.00 of $10.00 this month", severity="critical")
    add_signal(incident, "loop", "Same call 220 times")
    event = happened("updated", text="Same call 220 times")
    event.data = {"signal": "loop", "rose": False}
    event.save()
    assert of(event).title == "bot-1: new signal (loop)"


def test_cost_of_a_shared_incident_names_its_agent(happened: Happened, incident: Incident) -> None:
    Incident.objects.filter(pk=incident.pk).update(cost=1_234_567, together=True)
    assert "Cost of bot-1 since start: $1.23" in of(happened("opened")).lines


def test_budget_warning_that_rises_says_exceeded(happened: Happened, incident: Incident) -> None:
    Incident.objects.filter(pk=incident.pk).update(kind="cost")
    add_signal(incident, "cost", "Spent $1.05 of $1.00 today", severity="critical")
    later = NOW + timedelta(minutes=5)
    assert of(happened("updated", at=later, text="Spent $1.05 of $1.00 today")).title == "bot-1 exceeded its budget"


@pytest.mark.parametrize(
    ("evidence", "title"),
    [
        ({"budget": "month"}, "Production has used 80 % of its monthly budget"),
        ({"budget": "pace"}, "bot-1 is spending faster than usual"),
        ({"pattern": "token_spike"}, "bot-1 is using more tokens than usual"),
    ],
)
def test_cost_warning_names_its_cause(
    happened: Happened, incident: Incident, evidence: dict[str, str], title: str
) -> None:
    Incident.objects.filter(pk=incident.pk).update(kind="cost", severity="warning")
    add_signal(incident, "cost", "Spent $0.80")
    Signal.objects.update(evidence=evidence)
    assert of(happened("opened")).title == title


def test_monthly_budget_names_the_affected_agent(happened: Happened, incident: Incident) -> None:
    add_signal(incident, "cost", "The project has spent $10.00 of $10.00 this month")
    Signal.objects.update(evidence={"budget": "month"}, severity="critical")
    assert of(happened("updated")).title == "Production budget exceeded (also affects bot-1)"


def test_monthly_budget_names_the_project(happened: Happened, incident: Incident) -> None:
    Incident.objects.filter(pk=incident.pk).update(kind="cost", together=True)
    add_signal(incident, "cost", "The project has spent $10.00 of $10.00 this month", severity="critical")
    assert of(happened("opened")).title == f"{incident.project.name} exceeded its monthly budget"


def test_unpriced_tokens_are_named_with_the_cost(happened: Happened, incident: Incident) -> None:
    Incident.objects.filter(pk=incident.pk).update(unpriced=12_300)
    assert "Cost since start: 12,300 tokens without a known price" in of(happened("opened")).lines
    Incident.objects.filter(pk=incident.pk).update(cost=1_234_567)
    assert "Cost since start: $1.23 plus 12,300 tokens without a known price" in of(happened("opened")).lines


def test_failed_restart_is_in_the_title(happened: Happened, incident: Incident) -> None:
    add_signal(incident, "restart_failed", "Gave up: 3 restarts within 23 minutes did not help")
    sent = of(happened("updated", text="Gave up: 3 restarts within 23 minutes did not help"))
    assert sent.title == "bot-1 could not be restarted"
    assert "Gave up: 3 restarts within 23 minutes did not help" in sent.lines


def test_lines_give_reason_start_cost_and_restarts(happened: Happened, incident: Incident) -> None:
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
    sent = of(happened("updated", at=NOW + timedelta(minutes=65, seconds=9), text="Same call 220 times"))
    assert sent.lines == (
        "No heartbeat for 2 min",
        "Same call 220 times",
        "Since 23 Nov 2026, 20:25:57 UTC (1 h 5 min)",
        "Cost since start: $1.23",
        "Restart of bot.service: failed, exit 1",
    )


def test_evidence_is_included(happened: Happened, incident: Incident) -> None:
    signal = add_signal(incident, "missed_heartbeat", "No heartbeat for 2 min")
    signal.evidence = {"last_heartbeat_at": NOW.isoformat(), "interval": 30.0, "deadline": NOW.isoformat()}
    signal.save()
    assert of(happened("opened")).facts == (("Last heartbeat", "23 Nov 2026, 20:25:57 UTC"),)
    assert of(happened("resolved")).facts == ()


def test_end_of_a_traceback_is_included(happened: Happened, incident: Incident) -> None:
    Incident.objects.update(kind="crash")
    signal = add_signal(incident, "crash", "Crashed: KeyError")
    signal.evidence = {"message": "KeyError", "traceback": "\n".join(f"line\t{n}" for n in range(40))}
    signal.save()
    (label, text) = of(happened("opened")).facts[0]
    assert (label, text.splitlines()) == ("Traceback", [f"line {n}" for n in range(28, 40)])


def test_code_is_marked_in_lines_but_not_in_title(happened: Happened, incident: Incident) -> None:
    Incident.objects.update(reason="`search` called 4 times")
    sent = of(happened("resolved", text="Over: `search` was switched off"))
    assert sent.title == "bot-1: over: search was switched off"
    assert sent.lines[0] == "Reason: `search` called 4 times"


def test_reopening_repeats_nothing(happened: Happened, incident: Incident) -> None:
    sent = of(happened("reopened", text="Again: No heartbeat for 2 min"))
    assert sent.lines == ("No heartbeat for 2 min", "Since 23 Nov 2026, 20:25:57 UTC")


def test_silence_that_becomes_shared_is_announced(happened: Happened, incident: Incident) -> None:
    add_signal(incident, "missed_heartbeat", "No heartbeat")
    add_signal(incident, "missed_heartbeat", "No heartbeat", Agent.objects.create(project=incident.project, name="b"))
    Incident.objects.update(together=True)
    later = NOW + timedelta(minutes=1)
    assert of(happened("updated", at=later)).title == "2 agents in Production fell silent together"


def test_times_are_in_the_projects_time_zone(happened: Happened, incident: Incident) -> None:
    incident.project.time_zone = "Europe/Vienna"
    incident.project.save()
    assert any("21:25:57 CET" in line for line in of(happened("opened")).lines)


def test_recovery_says_how_long_it_lasted(happened: Happened, incident: Incident) -> None:
    Incident.objects.filter(pk=incident.pk).update(resolved_at=NOW + timedelta(minutes=3))
    sent = of(happened("resolved", at=NOW + timedelta(minutes=3)))
    assert "Started 23 Nov 2026, 20:25:57 UTC, lasted 3 min" in sent.lines


def test_agents_that_fell_silent_are_counted(happened: Happened, incident: Incident) -> None:
    for number in range(4):
        agent = Agent.objects.create(project=incident.project, name=f"other-{number}")
        add_signal(incident, "missed_heartbeat", "No heartbeat", agent)
    Incident.objects.filter(pk=incident.pk).update(together=True)
    assert of(happened("opened")).title == "4 agents in Production fell silent together"


def test_names_and_reasons_are_one_printable_line(happened: Happened, incident: Incident) -> None:
    Agent.objects.update(name="bot\r\nBcc: x@example.com\u2028")
    Incident.objects.update(reason="first\nsecond\x07")
    sent = of(happened("opened"))
    assert sent.title == "bot Bcc: x@example.com is down"
    assert sent.lines[0] == "first second"


def test_payload_is_the_incident_of_the_api(happened: Happened, incident: Incident, settings: Settings) -> None:
    settings.BASE_URL = "https://watchdog.example.com"
    add_signal(incident, "missed_heartbeat", "No heartbeat")
    Incident.objects.filter(pk=incident.pk).update(cost=1_234_567)
    payload = of(happened("opened")).payload
    assert set(payload) == {"incident", "agent", "project", "team"}
    page = f"https://watchdog.example.com/admin/agents/agent/{incident.agent_id}/change/"
    assert payload["agent"] == {"id": incident.agent_id, "name": "bot-1", "status": "down", "url": page}
    assert (payload["project"], payload["team"]) == ("Production", "Research")
    body = payload["incident"]
    assert sorted(body) == sorted(FIELDS)
    assert body["started_at"] == "2026-11-23T20:25:57Z"
    assert body["cost_usd"] == 1.234567
    assert body["evidence"] == {"calls": 220}
    assert body["agent"] == {"id": incident.agent_id, "name": "bot-1", "url": page}
    assert [line["kind"] for line in body["timeline"]] == ["opened"]


def test_test_alert_says_so(email: Channel) -> None:
    sent = message.of_delivery(Delivery(channel=email, message_id="msg_1", created_at=NOW), {})
    assert sent.type == "channel.test"
    assert sent.title == "Test alert for mail"
    assert sent.lines == ("This is a test. This channel receives all alerts for all agents of the project.",)
    assert sent.payload == {"incident": None, "agent": None, "project": "Production", "team": "Research"}


def test_test_alert_promises_no_more_than_its_route(email: Channel) -> None:
    def line() -> str:
        return message.of_delivery(Delivery(channel=email, message_id="msg_1", created_at=NOW), {}).lines[0]

    email.severity, email.labels = "critical", {"env": "prod"}
    assert line().endswith("receives only critical alerts for agents with env=prod of the project.")
    Policy.objects.create(project=email.project)
    assert line().endswith("The project’s notification policy decides which alerts it receives.")
    email.enabled = False
    assert line().endswith("This channel is disabled: it receives no alerts until somebody enables it.")
