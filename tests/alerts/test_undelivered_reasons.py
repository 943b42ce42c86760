"""Why no one was notified."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from agents.models import Incident, IncidentEvent
from alerts import undelivered_reasons as reasons
from alerts.models import Channel, Delivery
from tests.alerts.conftest import NOW

Happened = Callable[..., IncidentEvent]
BEFORE, AFTER = NOW - timedelta(days=1), NOW + timedelta(minutes=1)


@pytest.mark.parametrize(
    ("channels", "why"),
    [
        ([], reasons.NO_CHANNEL),
        ([{"created_at": AFTER}], reasons.NO_CHANNEL_THEN),
        ([{"enabled": False}, {"created_at": AFTER}], reasons.ALL_DISABLED),
        (
            [{"severity": "critical"}, {"labels": {"env": "production"}}, {"enabled": False}],
            reasons.NOT_ROUTED,
        ),
        ([{}], reasons.NOT_ROUTED_THEN),
    ],
)
def test_reason_follows_from_the_channels(
    incident: Incident, happened: Happened, channels: list[dict[str, Any]], why: str
) -> None:
    for number, fields in enumerate(channels):
        settings = {"project": incident.project, "kind": "email", "name": f"channel {number}", "created_at": BEFORE}
        Channel.objects.create(**settings | fields)
    event = happened("opened")
    assert reasons.explain(incident, [event]) == [(event, why)]


def test_muted_incident_is_the_reason(incident: Incident, happened: Happened) -> None:
    incident.muted_at = NOW
    early, late = happened("opened", at=BEFORE), happened("updated", at=AFTER)
    assert reasons.explain(incident, [early, late]) == [
        (early, reasons.NO_CHANNEL),
        (late, reasons.MUTED),
    ]


def test_muting_stays_the_reason_after_it_ended(incident: Incident, happened: Happened) -> None:
    events = [happened("note", muted=True), happened("updated"), happened("note", muted=False), happened("updated")]
    said = [why for _, why in reasons.explain(incident, events)]
    assert said == ["", reasons.MUTED, "", reasons.NO_CHANNEL]


def test_reason_is_given_once_and_for_failures_only(incident: Incident, happened: Happened) -> None:
    events = [happened(kind) for kind in ("opened", "note", "updated", "command", "resolved")]
    assert [why for _, why in reasons.explain(incident, events)] == [
        "",
        "",
        reasons.NO_CHANNEL,
        "",
        "",
    ]


def test_reopening_before_sent_recovery_is_explained(incident: Incident, happened: Happened, email: Channel) -> None:
    over, again = happened("resolved"), happened("reopened")
    Delivery.objects.create(event=over, channel=email, message_id="msg_1", state=Delivery.State.SKIPPED)
    assert reasons.explain(incident, [over, again]) == [(over, ""), (again, reasons.ONGOING)]


def test_delivered_event_needs_no_reason(incident: Incident, happened: Happened, email: Channel) -> None:
    event = happened("opened")
    Delivery.objects.create(event=event, channel=email, message_id="msg_1")
    assert reasons.explain(incident, [event]) == [(event, "")]


def test_delivery_waits_for_its_channels_backoff(email: Channel) -> None:
    delivery = Delivery(channel=email, next_try_at=NOW)
    assert delivery.not_before == NOW
    email.retry_at = AFTER
    assert delivery.not_before == AFTER


def test_reason_knows_how_severe_it_was(incident: Incident, happened: Happened) -> None:
    """A warning that no channel took became critical, which was notified."""
    incident.severity = "critical"
    opened = happened("opened", severity="warning")
    noted = happened("note")
    rose = happened("updated", signal="cost", severity="critical", rose=True)
    assert list(reasons.severities(incident, [opened, noted, rose]).values()) == ["warning", "warning", "critical"]
