"""Channels and deliveries in the admin, as each role meets them."""

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
from tests.alerts.receiver import Receiver, says

Browser = Callable[[User], Client]
ADD = "/admin/alerts/channel/add/"


def page(channel: Channel, rest: str = "change/") -> str:
    return f"/admin/alerts/channel/{channel.pk}/{rest}"


def address_of_test(channel: Channel) -> str:
    return reverse("admin:alerts_channel_send_test", args=[channel.pk])


def entered(project: Project, kind: str, **settings: str) -> dict[str, Any]:
    return {"project": project.pk, "kind": kind, "name": "new", **settings}


def test_a_member_adds_an_email_channel(member: User, project: Project, client_of: Browser) -> None:
    answer = client_of(member).post(ADD, entered(project, "email", email_to="a@example.com\nb@example.com"))
    assert answer.status_code == 302
    assert Channel.objects.get().config == {"to": ["a@example.com", "b@example.com"]}


def test_a_channel_is_routed_in_its_form(member: User, project: Project, client_of: Browser) -> None:
    route = {"severity": "critical", "labels": "env=prod"}
    browser = client_of(member)
    assert browser.post(ADD, entered(project, "email", email_to="a@example.com", **route)).status_code == 302
    channel = Channel.objects.get()
    assert (channel.severity, channel.labels) == ("critical", {"env": "prod"})
    answer = browser.post(page(channel), entered(project, "email", email_to="a@example.com", labels="env"))
    assert "Line 1: use name=value" in answer.content.decode()


def test_a_webhooks_secret_is_shown_once(member: User, project: Project, client_of: Browser) -> None:
    browser = client_of(member)
    answer = browser.post(ADD, entered(project, "webhook", webhook_url="https://example.com/hook"))
    channel = Channel.objects.get()
    assert channel.config["secret"] in answer.content.decode()
    for address in (page(channel), "/admin/alerts/channel/", "/admin/alerts/delivery/"):
        assert channel.config["secret"] not in browser.get(address).content.decode()


@pytest.mark.parametrize(
    ("kind", "settings", "says_what"),
    [
        ("email", {"email_to": "nobody"}, "not an e-mail address"),
        ("email", {}, "Give"),
        ("webhook", {"webhook_url": "http://127.0.0.1/"}, "must be public"),
        ("slack", {"webhook_url": "https://example.com/"}, "Give the address"),
    ],
)
def test_what_makes_no_sense_is_explained_beside_its_field(
    member: User, project: Project, client_of: Browser, kind: str, settings: dict[str, str], says_what: str
) -> None:
    answer = client_of(member).post(ADD, entered(project, kind, **settings))
    assert answer.status_code == 200
    assert says_what in answer.content.decode()
    assert Channel.objects.count() == 0


def test_the_plans_limit_is_a_sentence(member: User, project: Project, client_of: Browser) -> None:
    for number in range(3):
        Channel.objects.create(project=project, kind="email", name=str(number), config={"to": ["a@example.com"]})
    answer = client_of(member).post(ADD, entered(project, "email", email_to="a@example.com"), follow=True)
    assert "All 3 places for channels" in answer.content.decode()
    assert Channel.objects.count() == 3


def test_an_empty_field_keeps_a_secret_address(member: User, project: Project, client_of: Browser) -> None:
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


def test_neither_project_nor_kind_can_be_changed(
    member: User, email: Channel, stranger: User, client_of: Browser
) -> None:
    theirs = Project.objects.get(team__members=stranger)
    body = {"project": theirs.pk, "kind": "slack", "name": "x", "email_to": "a@example.com"}
    client_of(member).post(page(email), body)
    before = (email.project_id, email.kind)
    email.refresh_from_db()
    assert (email.project_id, email.kind, email.name) == (*before, "x")


def test_a_test_asks_first_then_goes_out_and_says_how_it_went(
    member: User, webhook: Channel, receiver: Receiver, client_of: Browser
) -> None:
    browser = client_of(member)
    address = address_of_test(webhook)
    assert browser.get(address).status_code == 200
    assert receiver.requests == []
    assert "was sent" in browser.post(address, follow=True).content.decode()
    assert len(receiver.requests) == 1
    receiver.answer = says("500 Oops")
    assert "The receiver answered 500." in browser.post(address, follow=True).content.decode()


def test_tests_can_be_sent_from_the_list(member: User, email: Channel, client_of: Browser) -> None:
    body = {"action": "test_selected", "_selected_action": [email.pk]}
    client_of(member).post("/admin/alerts/channel/", body)
    assert [told.subject for told in mail.outbox] == ["Test of mail"]


def test_the_page_shows_the_latest_deliveries(
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


def test_a_viewer_looks_and_does_nothing(viewer: User, email: Channel, project: Project, client_of: Browser) -> None:
    browser = client_of(viewer)
    assert "ops@example.com" in browser.get(page(email)).content.decode()
    assert browser.get("/admin/alerts/channel/").status_code == 200
    assert browser.get(ADD).status_code == 403
    assert browser.post(ADD, entered(project, "email", email_to="a@example.com")).status_code == 403
    assert browser.post(page(email), {"name": "x"}).status_code == 403
    assert browser.post(page(email, "delete/"), {"post": "yes"}).status_code == 403
    assert browser.post(address_of_test(email)).status_code == 403
    browser.post("/admin/alerts/channel/", {"action": "test_selected", "_selected_action": [email.pk]})
    assert mail.outbox == []
    assert Channel.objects.get().name == "mail"


def test_a_stranger_finds_nothing(stranger: User, email: Channel, happened: Any, client_of: Browser) -> None:
    outbox.enqueue(happened("opened"))
    browser = client_of(stranger)
    delivery = Delivery.objects.get()
    for address in (page(email), page(email, "delete/"), page(email, "history/"), address_of_test(email)):
        assert browser.get(address).status_code in (403, 404)
    assert browser.post(address_of_test(email)).status_code in (403, 404)
    assert browser.get(f"/admin/alerts/delivery/{delivery.pk}/change/").status_code == 404
    for address in ("/admin/alerts/channel/", "/admin/alerts/delivery/"):
        assert "bot-1" not in browser.get(address).content.decode()
        assert "mail (E-mail)" not in browser.get(address).content.decode()
    assert mail.outbox == []


def test_a_channel_cannot_be_put_into_another_teams_project(
    stranger: User, project: Project, client_of: Browser
) -> None:
    client_of(stranger).post(ADD, entered(project, "email", email_to="a@example.com"))
    assert Channel.objects.count() == 0


def test_a_member_deletes_a_channel(member: User, email: Channel, client_of: Browser) -> None:
    client_of(member).post(page(email, "delete/"), {"post": "yes"})
    assert Channel.objects.count() == 0


def test_lists_cost_the_same_few_statements_however_long(
    member: User, email: Channel, happened: Any, client_of: Browser, django_assert_max_num_queries: Any
) -> None:
    for _ in range(30):
        outbox.enqueue(happened("updated"))
    browser = client_of(member)
    for address in ("/admin/alerts/delivery/", "/admin/alerts/channel/", page(email)):
        with django_assert_max_num_queries(20):
            assert browser.get(address).status_code == 200


def test_the_test_button_says_in_place_how_it_went(
    member: User, webhook: Channel, receiver: Receiver, client_of: Browser
) -> None:
    browser = client_of(member)
    answer = browser.post(address_of_test(webhook), headers={"HX-Request": "true"})
    assert 'id="channel-now"' in answer.content.decode()
    assert "accepted there" in answer.content.decode()
    receiver.answer = says("500 Oops")
    assert "The receiver answered 500." in browser.post(address_of_test(webhook), headers={"HX-Request": "true"}).text


def press(browser: Client, channel: Channel, **sent: str) -> str:
    answer = browser.post(page(channel, "switch/"), sent, follow=True)
    channel.refresh_from_db()
    return answer.content.decode()


def test_a_channel_is_switched_off_and_on_by_a_button_and_says_by_whom(
    member: User, email: Channel, happened: Any, client_of: Browser
) -> None:
    browser = client_of(member)
    for _ in range(2):  # a second press changes nothing
        assert f"Switched off by {member.email}" in press(browser, email, to="off")
    assert not email.enabled
    outbox.enqueue(happened("opened"))
    assert not Delivery.objects.exists()
    assert "Switched off" not in press(browser, email, to="on")
    assert (email.enabled, email.disabled_reason) == (True, "")
    actions = list(AuditEntry.objects.filter(action__startswith="channel").values_list("action", flat=True))
    assert actions == ["channel.switched_on", "channel.switched_off"]


def test_what_the_receiver_said_stands_on_a_channel_that_it_switched_off(
    viewer: User, email: Channel, client_of: Browser
) -> None:
    Channel.objects.filter(pk=email.pk).update(enabled=False, disabled_reason="The receiver answered 410.")
    shown = client_of(viewer).get(page(email)).content.decode()
    assert "Switched off by the watchdog: The receiver answered 410." in shown
    assert "Members of the team and above can switch it on." in shown
    assert "Send a test" not in shown


def test_a_webhooks_secret_can_be_changed_and_is_shown_once(
    member: User, webhook: Channel, email: Channel, receiver: Receiver, client_of: Browser
) -> None:
    browser, before = client_of(member), webhook.config["secret"]
    assert browser.get(page(webhook, "new_secret/")).status_code == 200
    shown = browser.post(page(webhook, "new_secret/")).content.decode()
    webhook.refresh_from_db()
    assert webhook.config["secret"] != before
    assert webhook.config["secret"] in shown
    assert webhook.config["secret"] not in browser.get(page(webhook)).content.decode()
    assert "has no secret" in browser.post(page(email, "new_secret/"), follow=True).content.decode()


def test_the_list_says_what_a_channel_hears_of_and_how_its_day_was(
    viewer: User, email: Channel, happened: Any, client_of: Browser
) -> None:
    Channel.objects.filter(pk=email.pk).update(severity="critical", labels={"env": "prod"})
    for number, state in enumerate(["sent", "failed", "failed"]):
        Delivery.objects.create(channel=email, message_id=str(number), state=state)
    old = timezone.now() - timedelta(hours=25)
    Delivery.objects.create(channel=email, message_id="old", state="failed", created_at=old)
    shown = " ".join(client_of(viewer).get("/admin/alerts/channel/").content.decode().split())
    assert "only what is critical, of agents with env=prod" in shown
    assert '2 failed</strong> <span class="w-soft">1 sent' in shown


def test_an_empty_list_teaches_who_may_and_who_may_not(
    member: User, viewer: User, project: Project, client_of: Browser
) -> None:
    for path in ("/admin/alerts/channel/", "/admin/alerts/channel/routes/"):
        assert "Add a channel" in client_of(member).get(path).content.decode()
        shown = client_of(viewer).get(path).content.decode()
        assert "Add a channel" not in shown
        assert "Members of the team and above add channels." in shown


ROUTES = "/admin/alerts/channel/routes/"


def test_one_page_says_who_hears_what_and_where_nobody_does(
    viewer: User, project: Project, agent: Agent, email: Channel, client_of: Browser
) -> None:
    Channel.objects.filter(pk=email.pk).update(severity="critical", labels={"env": "prod"})
    Agent.objects.filter(pk=agent.pk).update(labels={"env": "prod"})
    shown = " ".join(client_of(viewer).get(ROUTES).content.decode().split())
    heard, new = shown.index("1 agent with env=prod"), shown.index("New agents without labels")
    assert new < heard  # gaps first
    assert shown.count("nobody</span>") == 3


@pytest.mark.parametrize(
    ("asked", "says_what"),
    [
        ({"agent": "bot-1", "severity": "critical"}, "told</span> mail"),
        ({"agent": "bot-1", "severity": "warning"}, "not told</span> mail hears only what is critical"),
        ({"agent": "bot-9", "severity": "warning"}, "has no agent named “bot-9”"),
    ],
)
def test_a_route_can_be_tried(
    asked: dict[str, str], says_what: str, viewer: User, agent: Agent, email: Channel, client_of: Browser
) -> None:
    Channel.objects.filter(pk=email.pk).update(severity="critical")
    assert says_what in " ".join(client_of(viewer).get(ROUTES, asked).content.decode().split())


def test_the_routes_of_another_team_are_not_there(
    stranger: User, project: Project, email: Channel, client_of: Browser
) -> None:
    browser = client_of(stranger)
    assert browser.get(ROUTES, {"project": project.pk}).status_code == 404
    assert "ops@example.com" not in browser.get(ROUTES).content.decode()
