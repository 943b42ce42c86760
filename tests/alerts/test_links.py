"""Personal links: to act on an incident from a mail, and to leave a channel."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.test import Client
from django.utils import timezone

from agents.models import AgentState, Command, Incident, IncidentEvent
from alerts import links, outbox, owner_notices, sending
from alerts.models import Channel, Delivery
from teams.models import AuditEntry, Membership, Team, User
from tests.alerts.conftest import NOW

pytestmark = pytest.mark.django_db
Happened = Callable[..., IncidentEvent]
BROWSER = Client(enforce_csrf_checks=True)


def path_of(url: str) -> str:
    return "/" + url.partition("//")[2].partition("/")[2]


@pytest.fixture
def page(member: User, incident: Incident) -> str:
    return path_of(links.act_url(member.pk, incident.pk))


def changed(incident: Incident) -> bool:
    incident.refresh_from_db()
    return bool(incident.acknowledged_at or incident.snoozed_until or Command.objects.exists())


def sent(happened: Happened, channel: Channel, *to: str, kind: str = "opened") -> list[Any]:
    Channel.objects.filter(pk=channel.pk).update(config={"to": list(to)})
    outbox.enqueue(happened(kind))
    mail.outbox.clear()
    sending.deliver(channel.pk, NOW)
    return mail.outbox


def test_opening_the_page_changes_nothing(page: str, incident: Incident) -> None:
    for _ in range(2):
        answer = BROWSER.get(page)
        assert answer.status_code == 200
        assert BROWSER.head(page).status_code == 200
    body = answer.content.decode()
    for text in ("bot-1", "No heartbeat for 2 min", "Acknowledge", "For 30 minutes, until", "member@example.com"):
        assert text in body, text
    assert "no-store" in answer.headers["Cache-Control"]
    assert not changed(incident)


def test_acknowledging_needs_no_sign_in(page: str, incident: Incident) -> None:
    answer = BROWSER.post(page, {"action": "acknowledge"}, follow=True)
    assert "Acknowledged by member@example.com." in answer.content.decode()
    event = IncidentEvent.objects.get(incident=incident, kind="acknowledged")
    assert event.actor == "member@example.com"
    assert AuditEntry.objects.filter(action="incident.acknowledge", actor="member@example.com").count() == 1
    BROWSER.post(page, {"action": "acknowledge"})
    assert IncidentEvent.objects.filter(kind="acknowledged").count() == 1


def test_morning_is_the_persons_own(page: str, incident: Incident, member: User) -> None:
    User.objects.filter(pk=member.pk).update(time_zone="Asia/Tokyo")
    body = BROWSER.post(page, {"action": "snooze", "length": "morning"}, follow=True).content.decode()
    incident.refresh_from_db()
    assert incident.snoozed_until is not None
    assert (incident.snoozed_until.hour, incident.snoozed_until.minute) == (23, 0)
    assert "08:00:00 JST" in body
    BROWSER.post(page, {"action": "unsnooze"})
    incident.refresh_from_db()
    assert incident.snoozed_until is None


@pytest.mark.parametrize("data", [{}, {"action": "resolve"}, {"action": "snooze", "length": "\0"}, {"action": "stop"}])
def test_other_actions_are_refused(page: str, incident: Incident, data: dict[str, str]) -> None:
    assert BROWSER.post(page, data).status_code == 422
    assert not changed(incident)


def test_restart_and_stop_ask_to_sign_in(page: str, incident: Incident) -> None:
    assert "Restart…" not in BROWSER.get(page).content.decode()
    AgentState.objects.update(restart_type="systemd", restart_target="bot.service")
    body = BROWSER.get(page).content.decode()
    for action in ("restart", "stop"):
        [url] = re.findall(rf'href="([^"]+/press/{action}/)"', body)
        for answer in (BROWSER.get(url), Client().post(url)):
            assert answer.status_code == 302
            assert "/login/?next=" in answer.headers["Location"]
    assert not changed(incident)


@pytest.mark.parametrize("ended", ["left", "viewer", "inactive", "second factor", "expired", "tampered", "deleted"])
def test_link_ends_with_the_right_to_act(
    ended: str, page: str, incident: Incident, member: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    match ended:
        case "left":
            Membership.objects.filter(user=member).delete()
        case "viewer":
            Membership.objects.filter(user=member).update(role="viewer")
        case "inactive":
            User.objects.filter(pk=member.pk).update(is_active=False)
        case "second factor":
            Team.objects.update(require_second_factor=True)
        case "expired":
            monkeypatch.setattr(links, "LIFETIME", timedelta(seconds=-1))
        case "tampered":
            page = page[:-3] + ("aa/" if page[-3:-1] != "aa" else "bb/")
        case "deleted":
            Team.objects.update(ended_at=timezone.now())
    assert BROWSER.get(page).status_code == 404
    assert BROWSER.post(page, {"action": "acknowledge"}).status_code == 404
    assert not changed(incident)


def test_link_is_bound_to_its_incident(page: str, stranger: User, incident: Incident) -> None:
    """A link of one purpose is none of another, and a stranger's opens nothing."""
    leaving = links.leave_url(1, "a@b.c").rsplit("/", 2)[1]
    assert BROWSER.get(f"/alerts/act/{leaving}/").status_code == 404
    assert BROWSER.get(path_of(links.act_url(stranger.pk, incident.pk))).status_code == 404


def test_only_operators_get_a_link_of_their_own(
    happened: Happened, email: Channel, member: User, viewer: User, stranger: User
) -> None:
    addresses = ["Member@example.com", "viewer@example.com", "stranger@example.com", "ops@example.com"]
    mails = {each.to[0]: each for each in sent(happened, email, *addresses)}
    assert set(mails) == set(addresses)
    with_link = {to for to, each in mails.items() if "/alerts/act/" in each.body}
    assert with_link == {"Member@example.com"}
    [link] = set(re.findall(r"http\S+/alerts/act/\S+", str(mails["Member@example.com"].body)))
    assert link in mails["Member@example.com"].alternatives[0].content
    BROWSER.post(path_of(link), {"action": "acknowledge"})
    assert Incident.objects.get().acknowledged_by == "member@example.com"


def test_recovery_has_nothing_to_act_on(happened: Happened, email: Channel, member: User) -> None:
    sent(happened, email, member.email)
    Incident.objects.update(resolved_at=NOW)
    [recovery] = sent(happened, email, member.email, kind="resolved")
    assert "/alerts/act/" not in recovery.body
    assert recovery.extra_headers["List-Unsubscribe"].startswith("<http")


# Leaving a channel


def unsubscribe_link(each: Any) -> str:
    assert each.extra_headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    return path_of(each.extra_headers["List-Unsubscribe"].strip("<>"))


def test_one_click_takes_one_address_out(happened: Happened, email: Channel) -> None:
    first, _ = sent(happened, email, "ann@example.com", "ben@example.com")
    link = unsubscribe_link(first)
    assert "ann@example.com" in BROWSER.get(link).content.decode()
    email.refresh_from_db()
    assert email.config["to"] == ["ann@example.com", "ben@example.com"]
    answer = BROWSER.post(link, {"List-Unsubscribe": "One-Click"}, follow=True)
    assert "receives no alerts" in answer.content.decode()
    email.refresh_from_db()
    assert (email.config["to"], email.enabled) == (["ben@example.com"], True)
    assert AuditEntry.objects.filter(action="channel.changed", actor="ann@example.com").count() == 1
    BROWSER.post(link)
    assert AuditEntry.objects.filter(action="channel.changed").count() == 1


def test_last_address_disables_the_channel(happened: Happened, email: Channel, owner: User) -> None:
    [only] = sent(happened, email, "ann@example.com")
    BROWSER.post(unsubscribe_link(only))
    email.refresh_from_db()
    assert (email.enabled, email.disabled_reason) == (False, "by ann@example.com")
    mail.outbox.clear()
    owner_notices.send_due()
    assert [each.to for each in mail.outbox] == [[owner.email]]
    assert "ann@example.com unsubscribed." in mail.outbox[0].body


def test_link_of_a_deleted_channel_says_so(email: Channel) -> None:
    link = path_of(links.leave_url(email.pk, "ops@example.com"))
    email.delete()
    assert BROWSER.post(link).status_code == 404
    assert "sends no more mails" in BROWSER.get(link).content.decode()
    assert not Delivery.objects.exists()
