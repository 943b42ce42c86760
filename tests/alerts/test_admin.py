"""Channels and the notification log in the admin, for each role."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from agents.models import Agent
from alerts import outbox
from alerts.models import Channel, Delivery
from teams.models import AuditEntry, Project, User
from tests.alerts.receiver import Receiver, responds

Browser = Callable[[User], Client]
ADD = "/admin/alerts/channel/add/"


def page(channel: Channel, rest: str = "change/") -> str:
    return f"/admin/alerts/channel/{channel.pk}/{rest}"


def url_of_test(channel: Channel) -> str:
    return reverse("admin:alerts_channel_send_test", args=[channel.pk])


def form_data(project: Project, kind: str, **settings: str) -> dict[str, Any]:
    return {"project": project.pk, "kind": kind, "name": "new", **settings}


def test_member_adds_an_email_channel(member: User, project: Project, client_of: Browser) -> None:
    answer = client_of(member).post(ADD, form_data(project, "email", email_to="a@example.com\nb@example.com"))
    assert answer.status_code == 302
    assert Channel.objects.get().config == {"to": ["a@example.com", "b@example.com"]}


def test_filters_are_set_in_the_form(member: User, project: Project, client_of: Browser) -> None:
    route = {"severity": "critical", "labels": "env=prod"}
    browser = client_of(member)
    assert browser.post(ADD, form_data(project, "email", email_to="a@example.com", **route)).status_code == 302
    channel = Channel.objects.get()
    assert (channel.severity, channel.labels) == ("critical", {"env": "prod"})
    answer = browser.post(page(channel), form_data(project, "email", email_to="a@example.com", labels="env"))
    assert "Line 1: use name=value" in answer.content.decode()


def test_webhook_secret_is_shown_once(member: User, project: Project, client_of: Browser) -> None:
    browser = client_of(member)
    answer = browser.post(ADD, form_data(project, "webhook", webhook_url="https://example.com/hook"))
    channel = Channel.objects.get()
    assert channel.config["secret"] in answer.content.decode()
    for address in (page(channel), "/admin/alerts/channel/", "/admin/alerts/delivery/"):
        assert channel.config["secret"] not in browser.get(address).content.decode()


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("email", {"email_to": "nobody"}, "not a valid e-mail address"),
        ("email", {}, "1 to 20 e-mail addresses"),
        ("webhook", {"webhook_url": "http://127.0.0.1/"}, "must be public"),
        ("slack", {"webhook_url": "https://example.com/"}, "Enter the URL"),
    ],
)
def test_invalid_setting_is_explained_at_its_field(
    member: User, project: Project, client_of: Browser, kind: str, settings: dict[str, str], message: str
) -> None:
    answer = client_of(member).post(ADD, form_data(project, kind, **settings))
    assert answer.status_code == 200
    assert message in answer.content.decode()
    assert Channel.objects.count() == 0


def test_plan_limit_is_explained(member: User, project: Project, client_of: Browser) -> None:
    for number in range(3):
        Channel.objects.create(project=project, kind="email", name=str(number), config={"to": ["a@example.com"]})
    answer = client_of(member).post(ADD, form_data(project, "email", email_to="a@example.com"), follow=True)
    assert "The Free plan allows 3 channels" in answer.content.decode()
    assert Channel.objects.count() == 3


def test_empty_field_keeps_a_secret_url(member: User, project: Project, client_of: Browser) -> None:
    url = "https://hooks.slack.com/services/T0/B0/abcdWXYZ"
    channel = Channel.objects.create(project=project, kind="slack", name="chat", config={"url": url})
    browser = client_of(member)
    shown = browser.get(page(channel)).content.decode()
    assert "abcdWXYZ" not in shown
    assert "https://hooks.slack.com/…WXYZ" in shown
    browser.post(page(channel), {"name": "renamed", "slack_url": ""})
    channel.refresh_from_db()
    assert (channel.name, channel.config) == ("renamed", {"url": url})
    browser.post(page(channel), {"name": "renamed", "slack_url": "https://example.com/new"})
    channel.refresh_from_db()
    assert channel.config == {"url": "https://example.com/new"}


def test_project_and_kind_cannot_be_changed(member: User, email: Channel, stranger: User, client_of: Browser) -> None:
    theirs = Project.objects.get(team__members=stranger)
    body = {"project": theirs.pk, "kind": "slack", "name": "x", "email_to": "a@example.com"}
    client_of(member).post(page(email), body)
    before = (email.project_id, email.kind)
    email.refresh_from_db()
    assert (email.project_id, email.kind, email.name) == (*before, "x")


def test_test_is_confirmed_sent_and_reported(
    member: User, webhook: Channel, receiver: Receiver, client_of: Browser
) -> None:
    browser = client_of(member)
    address = url_of_test(webhook)
    assert browser.get(address).status_code == 200
    assert receiver.requests == []
    assert "Test sent to hook" in browser.post(address, follow=True).content.decode()
    assert len(receiver.requests) == 1
    receiver.answer = responds("500 Oops")
    assert "The receiver answered 500." in browser.post(address, follow=True).content.decode()


def test_tests_can_be_sent_from_the_list(member: User, email: Channel, client_of: Browser) -> None:
    body = {"action": "test_selected", "_selected_action": [email.pk]}
    client_of(member).post("/admin/alerts/channel/", body)
    assert [sent.subject for sent in mail.outbox] == ["Test alert for mail"]


def test_page_shows_recent_notifications(
    viewer: User, email: Channel, webhook: Channel, happened: Any, client_of: Browser
) -> None:
    for number in range(25):
        outbox.enqueue(happened("updated", text=f"signal {number}"))
    newest, oldest = email.deliveries.order_by("-pk"), email.deliveries.order_by("pk")
    Delivery.objects.filter(pk=newest[0].pk).update(last_error="the newest error")
    Delivery.objects.filter(pk=oldest[0].pk).update(last_error="the oldest error")
    Delivery.objects.filter(channel=webhook).update(last_error="of another channel")
    shown = client_of(viewer).get(page(email)).content.decode()
    assert "the newest error" in shown
    assert "the oldest error" not in shown
    assert "of another channel" not in shown


def test_viewer_can_only_look(viewer: User, email: Channel, project: Project, client_of: Browser) -> None:
    browser = client_of(viewer)
    assert "ops@example.com" in browser.get(page(email)).content.decode()
    assert browser.get("/admin/alerts/channel/").status_code == 200
    assert browser.get(ADD).status_code == 403
    assert browser.post(ADD, form_data(project, "email", email_to="a@example.com")).status_code == 403
    assert browser.post(page(email), {"name": "x"}).status_code == 403
    assert browser.post(page(email, "delete/"), {"post": "yes"}).status_code == 403
    assert browser.post(url_of_test(email)).status_code == 403
    browser.post("/admin/alerts/channel/", {"action": "test_selected", "_selected_action": [email.pk]})
    assert mail.outbox == []
    assert Channel.objects.get().name == "mail"


def test_stranger_finds_nothing(stranger: User, email: Channel, happened: Any, client_of: Browser) -> None:
    outbox.enqueue(happened("opened"))
    browser = client_of(stranger)
    delivery = Delivery.objects.get()
    for address in (page(email), page(email, "delete/"), page(email, "history/"), url_of_test(email)):
        assert browser.get(address).status_code in (403, 404)
    assert browser.post(url_of_test(email)).status_code in (403, 404)
    assert browser.get(f"/admin/alerts/delivery/{delivery.pk}/change/").status_code == 404
    for address in ("/admin/alerts/channel/", "/admin/alerts/delivery/"):
        assert "bot-1" not in browser.get(address).content.decode()
        assert "mail (E-mail)" not in browser.get(address).content.decode()
    assert mail.outbox == []


def test_channel_cannot_join_another_teams_project(stranger: User, project: Project, client_of: Browser) -> None:
    client_of(stranger).post(ADD, form_data(project, "email", email_to="a@example.com"))
    assert Channel.objects.count() == 0


def test_member_deletes_a_channel(member: User, email: Channel, client_of: Browser) -> None:
    client_of(member).post(page(email, "delete/"), {"post": "yes"})
    assert Channel.objects.count() == 0


def test_lists_cost_a_constant_number_of_queries(
    member: User, email: Channel, happened: Any, client_of: Browser, django_assert_max_num_queries: Any
) -> None:
    for _ in range(30):
        outbox.enqueue(happened("updated"))
    browser = client_of(member)
    for address in ("/admin/alerts/delivery/", "/admin/alerts/channel/", page(email)):
        with django_assert_max_num_queries(20):
            assert browser.get(address).status_code == 200


def test_test_button_shows_result_in_place(
    member: User, webhook: Channel, receiver: Receiver, client_of: Browser
) -> None:
    browser = client_of(member)
    answer = browser.post(url_of_test(webhook), headers={"HX-Request": "true"})
    assert 'id="channel-now"' in answer.content.decode()
    assert "Check that it arrived." in answer.content.decode()
    receiver.answer = responds("500 Oops")
    assert "The receiver answered 500." in browser.post(url_of_test(webhook), headers={"HX-Request": "true"}).text


def press(browser: Client, channel: Channel, **sent: str) -> str:
    answer = browser.post(page(channel, "switch/"), sent, follow=True)
    channel.refresh_from_db()
    return answer.content.decode()


def test_button_disables_and_enables_a_channel(member: User, email: Channel, happened: Any, client_of: Browser) -> None:
    browser = client_of(member)
    for _ in range(2):  # a second press changes nothing
        assert f"Disabled by {member.email}" in press(browser, email, to="off")
    assert not email.enabled
    outbox.enqueue(happened("opened"))
    assert not Delivery.objects.exists()
    assert "Disabled" not in press(browser, email, to="on")
    assert (email.enabled, email.disabled_reason) == (True, "")
    actions = list(AuditEntry.objects.filter(action__startswith="channel").values_list("action", flat=True))
    assert actions == ["channel.switched_on", "channel.switched_off"]


def test_page_shows_why_a_channel_was_disabled(viewer: User, email: Channel, client_of: Browser) -> None:
    Channel.objects.filter(pk=email.pk).update(enabled=False, disabled_reason="The receiver answered 410.")
    shown = client_of(viewer).get(page(email)).content.decode()
    assert "Disabled automatically: The receiver answered 410." in shown
    assert "Members and above can re-enable it." in shown
    assert "Send test" not in shown


def test_webhook_secret_is_rotated_and_shown_once(
    member: User, webhook: Channel, email: Channel, receiver: Receiver, client_of: Browser
) -> None:
    browser, before = client_of(member), webhook.config["secret"]
    assert browser.get(page(webhook, "new_secret/")).status_code == 200
    shown = browser.post(page(webhook, "new_secret/")).content.decode()
    webhook.refresh_from_db()
    assert webhook.config["secret"] != before
    assert webhook.config["secret"] in shown
    assert webhook.config["secret"] not in browser.get(page(webhook)).content.decode()
    assert "have no secret" in browser.post(page(email, "new_secret/"), follow=True).content.decode()


def test_list_shows_route_and_last_24_hours(viewer: User, email: Channel, happened: Any, client_of: Browser) -> None:
    Channel.objects.filter(pk=email.pk).update(severity="critical", labels={"env": "prod"})
    for number, state in enumerate(["sent", "failed", "failed"]):
        Delivery.objects.create(channel=email, message_id=str(number), state=state)
    old = timezone.now() - timedelta(hours=25)
    Delivery.objects.create(channel=email, message_id="old", state="failed", created_at=old)
    shown = " ".join(client_of(viewer).get("/admin/alerts/channel/").content.decode().split())
    assert "Only critical alerts for agents with env=prod" in shown
    assert '2 failed</strong> <span class="w-soft">1 sent' in shown


def test_empty_list_says_who_can_add_channels(member: User, viewer: User, project: Project, client_of: Browser) -> None:
    for path in ("/admin/alerts/channel/", "/admin/alerts/channel/routes/"):
        assert "Add a channel" in client_of(member).get(path).content.decode()
        shown = client_of(viewer).get(path).content.decode()
        assert "Add a channel" not in shown
        assert "Only members and above can add channels." in shown


ROUTES = "/admin/alerts/channel/routes/"


def test_routing_page_shows_coverage_and_gaps(
    viewer: User, project: Project, agent: Agent, email: Channel, client_of: Browser
) -> None:
    Channel.objects.filter(pk=email.pk).update(severity="critical", labels={"env": "prod"})
    Agent.objects.filter(pk=agent.pk).update(labels={"env": "prod"})
    shown = " ".join(client_of(viewer).get(ROUTES).content.decode().split())
    covered, new = shown.index("1 agent with env=prod"), shown.index("New agents without labels")
    assert new < covered  # gaps first
    assert shown.count("no channel</span>") == 3


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"agent": "bot-1", "severity": "critical"}, "notified</span> mail"),
        ({"agent": "bot-1", "severity": "warning"}, "not notified</span> mail receives only critical alerts"),
        ({"agent": "bot-9", "severity": "warning"}, "has no agent named “bot-9”"),
    ],
)
def test_routing_page_checks_an_agent(
    asked: dict[str, str], message: str, viewer: User, agent: Agent, email: Channel, client_of: Browser
) -> None:
    Channel.objects.filter(pk=email.pk).update(severity="critical")
    assert message in " ".join(client_of(viewer).get(ROUTES, asked).content.decode().split())


def test_routing_of_another_team_is_not_found(
    stranger: User, project: Project, email: Channel, client_of: Browser
) -> None:
    browser = client_of(stranger)
    assert browser.get(ROUTES, {"project": project.pk}).status_code == 404
    assert "ops@example.com" not in browser.get(ROUTES).content.decode()
