"""Why nobody was told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from agents.models import Incident, IncidentEvent
from alerts import undelivered_reasons
from alerts.models import Channel, Delivery
from tests.alerts.conftest import NOW

Happened = Callable[..., IncidentEvent]
BEFORE, AFTER = NOW - timedelta(days=1), NOW + timedelta(minutes=1)


@pytest.mark.parametrize(
    ("channels", "why"),
    [
        ([], undelivered_reasons.NO_CHANNEL),
        ([{"created_at": AFTER}], undelivered_reasons.NONE_YET),
        ([{"enabled": False}, {"created_at": AFTER}], undelivered_reasons.ALL_OFF),
        ([{"severity": "critical"}, {"labels": {"env": "production"}}, {"enabled": False}], undelivered_reasons.ROUTED),
        ([{}], undelivered_reasons.CHANGED),
    ],
)
def test_the_reason_is_read_from_the_channels(
    incident: Incident, happened: Happened, channels: list[dict[str, Any]], why: str
) -> None:
    for number, one in enumerate(channels):
        made = {"project": incident.project, "kind": "email", "name": f"channel {number}"}
        Channel.objects.create(**made, **{"created_at": BEFORE, **one})
    event = happened("opened")
    assert undelivered_reasons.untold(incident, [event]) == [(event, why)]


def test_what_was_muted_was_told_nobody_for_that(incident: Incident, happened: Happened) -> None:
    incident.muted_at = NOW
    early, late = happened("opened", at=BEFORE), happened("updated", at=AFTER)
    assert undelivered_reasons.untold(incident, [early, late]) == [
        (early, undelivered_reasons.NO_CHANNEL),
        (late, undelivered_reasons.MUTED),
    ]


def test_it_is_said_once_and_of_failures_only(incident: Incident, happened: Happened) -> None:
    events = [happened(kind) for kind in ("opened", "note", "updated", "command", "resolved")]
    assert [why for _, why in undelivered_reasons.untold(incident, events)] == [
        "",
        "",
        undelivered_reasons.NO_CHANNEL,
        "",
        "",
    ]


def test_what_came_back_before_anybody_heard_that_it_was_over_is_not_told_again(
    incident: Incident, happened: Happened, email: Channel
) -> None:
    over, again = happened("resolved"), happened("reopened")
    Delivery.objects.create(event=over, channel=email, message_id="msg_1", state=Delivery.State.SKIPPED)
    assert undelivered_reasons.untold(incident, [over, again]) == [(over, ""), (again, undelivered_reasons.ONGOING)]


def test_who_was_told_needs_no_reason(incident: Incident, happened: Happened, email: Channel) -> None:
    event = happened("opened")
    Delivery.objects.create(event=event, channel=email, message_id="msg_1")
    assert undelivered_reasons.untold(incident, [event]) == [(event, "")]


def test_a_delivery_waits_for_its_channel_to_rest(email: Channel) -> None:
    delivery = Delivery(channel=email, next_try_at=NOW)
    assert delivery.not_before == NOW
    email.retry_at = AFTER
    assert delivery.not_before == AFTER
