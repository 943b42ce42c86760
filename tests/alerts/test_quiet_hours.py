"""Quiet hours: until when a message waits, and who hears of what in the end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.test import Client

from agents.incidents import events
from agents.models import Incident, IncidentEvent
from alerts import people, wakeup
from alerts.models import Channel, Delivery, QuietHours
from alerts.quiet_hours import DAYS, Quiet, waits_until
from teams.models import User
from tests.alerts.conftest import NOW

NIGHT = Quiet(time(22), time(7), DAYS, ZoneInfo("Europe/Berlin"))
PAGE = "/alerts/quiet-hours/"
Happen = Callable[..., IncidentEvent]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("ready", "sent"),
    [
        ("2026-11-23 20:59", "2026-11-23 20:59"),
        ("2026-11-23 21:00", "2026-11-24 06:00"),
        ("2026-11-24 05:59", "2026-11-24 06:00"),
        ("2026-11-24 06:00", "2026-11-24 06:00"),
        ("2026-03-28 21:00", "2026-03-29 05:00"),  # the clock goes forward in this night
        ("2026-10-25 00:30", "2026-10-25 06:00"),  # and back in this one: 2:30 comes twice
        ("2026-10-25 01:30", "2026-10-25 06:00"),
    ],
)
def test_nights_end_by_the_local_clock(ready: str, sent: str) -> None:
    assert waits_until(NIGHT, at(ready), "warning") == at(sent)


def test_nights_belong_to_the_day_on_which_they_begin() -> None:
    friday = Quiet(time(22), time(7), ["fri"], UTC)
    assert waits_until(friday, at("2026-11-28 06:00"), "warning") == at("2026-11-28 07:00")
    assert waits_until(friday, at("2026-11-27 06:00"), "warning") == at("2026-11-27 06:00")


def test_one_quiet_time_may_lead_into_the_next() -> None:
    whole = Quiet(time(0), time(0), ["sat", "sun"], UTC)
    assert waits_until(whole, at("2026-11-28 12:00"), "warning") == at("2026-11-30 00:00")


def test_critical_alerts_pass_unless_told_otherwise() -> None:
    strict = Quiet(time(22), time(7), DAYS, UTC, critical_passes=False)
    assert waits_until(NIGHT, at("2026-11-23 23:00"), "critical") == at("2026-11-23 23:00")
    assert waits_until(strict, at("2026-11-23 23:00"), "critical") == at("2026-11-24 07:00")


# With deliveries. It is 20:25:57 UTC, and Mia is quiet from 20:00 to 6:00.


@pytest.fixture
def happen(incident: Incident, monkeypatch: pytest.MonkeyPatch) -> Happen:
    monkeypatch.setattr(wakeup, "wake", lambda _: None)
    Incident.objects.update(severity="warning")

    def write(kind: str, minutes: float = 0, **data: object) -> IncidentEvent:
        incident.refresh_from_db()
        at = NOW + timedelta(minutes=minutes)
        return events.record(incident=incident, kind=kind, text=kind, now=at, data=data)

    return write


@pytest.fixture
def mia(member: User, email: Channel) -> User:
    Channel.objects.filter(pk=email.pk).update(config={"to": ["Member@example.com", "ops@example.com"]})
    people.set_quiet_hours(member, {"start": time(20), "end": time(6), "days": list(DAYS), "critical_passes": True})
    return member


def waiting() -> dict[str, list[tuple[str, str, int]]]:
    """By recipient: events, their states, and the minutes that they wait."""
    found: dict[str, list[tuple[str, str, int]]] = {}
    for row in Delivery.objects.order_by("pk").select_related("event"):
        assert row.event is not None
        assert row.next_try_at is not None
        wait = int((row.next_try_at - row.created_at).total_seconds() / 60)
        found.setdefault(row.recipient, []).append((row.event.kind, row.state, wait))
    return found


def test_only_the_quiet_wait(happen: Happen, mia: User) -> None:
    happen("opened", 0)
    assert waiting() == {
        "Member@example.com": [("opened", "pending", 574)],
        "ops@example.com": [("opened", "pending", 0)],
    }


def test_what_becomes_critical_is_not_blocked(happen: Happen, mia: User) -> None:
    """By the warning before it, which would come first in the morning."""
    happen("opened", 0)
    Incident.objects.update(severity="critical")
    happen("updated", 1, signal="stalled", rose=True)
    assert waiting()["Member@example.com"] == [("opened", "pending", 1), ("updated", "pending", 0)]
    people.set_quiet_hours(mia, {"start": time(20), "end": time(6), "days": list(DAYS), "critical_passes": False})
    Delivery.objects.update(next_try_at=NOW + timedelta(hours=9))
    happen("updated", 2, signal="loop", rose=True)
    assert [wait for _, _, wait in waiting()["Member@example.com"]] == [540, 539, 572]


@pytest.mark.parametrize("end", ["acknowledged", "resolved"])
def test_what_is_over_by_morning_is_never_told(happen: Happen, mia: User, end: str) -> None:
    """Neither the failure nor the recovery."""
    happen("opened", 0)
    Delivery.objects.filter(recipient="ops@example.com").update(state="sent")
    happen(end, 60)
    happen("resolved", 600)
    mine = waiting()["Member@example.com"]
    assert mine == [("opened", "skipped", 574)]
    assert ("resolved", "pending", 0) in waiting()["ops@example.com"]


def test_recovery_waits_for_the_morning(happen: Happen, mia: User) -> None:
    people.set_quiet_hours(mia, None)
    happen("opened", 0)
    Delivery.objects.update(state="sent")
    people.set_quiet_hours(mia, {"start": time(20), "end": time(6), "days": list(DAYS)})
    Incident.objects.update(severity="critical")
    happen("resolved", 1)
    assert waiting()["Member@example.com"][1] == ("resolved", "pending", 573)


def test_failed_attempts_are_not_taken_for_quiet_ones(happen: Happen, mia: User) -> None:
    """A channel that fails gets both messages once it works again."""
    happen("opened", 0)
    Delivery.objects.update(attempts=1, next_try_at=NOW + timedelta(hours=2))
    happen("resolved", 60)
    assert [kind for kind, state, _ in waiting()["ops@example.com"] if state == "pending"] == ["opened", "resolved"]


# The page


def test_person_sets_and_ends_quiet_hours(member: User, client_of: Callable[[User], Client]) -> None:
    browser = client_of(member)
    assert Client().get(PAGE).status_code == 302
    sent = {"start": "22:00", "end": "07:00", "days": ["sat", "sun"], "critical_passes": "on", "do": "save"}
    assert "Saved." in browser.post(PAGE, sent, follow=True).content.decode()
    row = QuietHours.objects.get(user=member)
    assert (row.start, row.end, row.days, row.critical_passes) == (time(22), time(7), ["sat", "sun"], True)
    assert 'value="22:00"' in browser.get(PAGE).content.decode()
    assert "no quiet hours" in browser.post(PAGE, {"do": "end"}, follow=True).content.decode()
    assert not QuietHours.objects.exists()


ALWAYS = {"end": "22:00", "days": list(DAYS)}


@pytest.mark.parametrize("change", [{"days": []}, {"days": ["never"]}, {"start": "25:00"}, {"end": ""}, ALWAYS])
def test_invalid_quiet_hours_are_refused(
    member: User, client_of: Callable[[User], Client], change: dict[str, object]
) -> None:
    sent = {"start": "22:00", "end": "07:00", "days": ["sat"], "do": "save"} | change
    assert client_of(member).post(PAGE, sent).status_code == 200
    assert not QuietHours.objects.exists()
