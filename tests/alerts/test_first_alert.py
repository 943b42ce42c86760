"""A test alert as the last step of getting started."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core import mail
from django.test import Client
from pytest_django.fixtures import Settings

from alerts.models import Channel
from teams.models import Project, User
from tests.alerts.receiver import Receiver, responds

Browser = Callable[[User], Client]
HERE = "/admin/first-steps/alert/"


def send(browser: Client, project: Project, **fields: Any) -> Any:
    return browser.post(HERE, {"project": project.pk, **fields}, headers={"HX-Request": "true"})


def test_one_click_creates_channel_and_sends_test(owner: User, project: Project, client_of: Browser) -> None:
    browser = client_of(owner)
    assert HERE in browser.get("/admin/first-steps/").content.decode()
    offered = browser.get(HERE, {"project": project.pk}, headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in offered
    assert "owner@example.com</textarea>" in offered
    assert Channel.objects.count() == 0
    shown = send(browser, project, kind="email", email_to="owner@example.com").content.decode()
    assert "Test sent to E-mail" in shown
    assert [(sent.subject, sent.to) for sent in mail.outbox] == [("Test alert for E-mail", ["owner@example.com"])]
    assert Channel.objects.get().config == {"to": ["owner@example.com"]}


@pytest.mark.parametrize("configured", [True, False])
def test_page_shows_where_mail_is_without_server(
    owner: User, project: Project, client_of: Browser, settings: Settings, configured: bool
) -> None:
    settings.EMAIL_CONFIGURED = configured
    shown = send(client_of(owner), project, kind="email", email_to="owner@example.com").content.decode()
    assert ("<code>mail/" in shown) is not configured


def test_failed_test_shows_why_and_can_be_repeated(
    member: User, project: Project, receiver: Receiver, allow_private: None, client_of: Browser
) -> None:
    receiver.answer = responds("500 Oops")
    browser = client_of(member)
    shown = send(browser, project, kind="webhook", webhook_url=receiver.url("/hook")).content.decode()
    channel = Channel.objects.get()
    assert "The test to Webhook failed" in shown
    assert "The receiver answered 500." in shown
    assert channel.config["secret"] in shown
    receiver.answer = responds("204 No Content")
    again = send(browser, project, channel=channel.pk).content.decode()
    assert "Test sent to Webhook" in again
    assert channel.config["secret"] not in again
    assert Channel.objects.count() == 1


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"kind": "email", "email_to": "nobody"}, "not a valid e-mail address"),
        ({"kind": "slack", "slack_url": ""}, "Enter the URL"),
        ({"kind": "pigeon"}, "not one of the available choices"),
        ({}, "required"),
    ],
)
def test_invalid_settings_create_no_channel(
    owner: User, project: Project, client_of: Browser, fields: dict[str, str], why: str
) -> None:
    answer = send(client_of(owner), project, **fields)
    assert answer.status_code == 200
    assert why in answer.content.decode()
    assert (Channel.objects.count(), mail.outbox) == (0, [])


def test_plan_limit_is_explained(owner: User, project: Project, client_of: Browser) -> None:
    for number in range(3):
        Channel.objects.create(project=project, kind="email", name=str(number), config={"to": ["a@example.com"]})
    shown = send(client_of(owner), project, kind="email", email_to="owner@example.com").content.decode()
    assert "The Free plan allows 3 channels, and all are in use" in shown


def test_existing_channels_are_offered_first(owner: User, email: Channel, client_of: Browser) -> None:
    browser = client_of(owner)
    shown = browser.get(HERE).content.decode()
    assert "<html" in shown
    assert shown.index("Send test to mail") < shown.index("Add another channel")
    send(browser, email.project, channel=email.pk)
    assert [sent.to for sent in mail.outbox] == [["ops@example.com"]]


def test_viewer_sees_who_can_send_tests(viewer: User, email: Channel, client_of: Browser) -> None:
    browser = client_of(viewer)
    shown = browser.get(HERE).content.decode()
    assert "Ask a member of Research." in shown
    step = shown[shown.index("step-alert") :]
    assert "<form" not in step[: step.index("</main>")]
    for fields in ({"channel": email.pk}, {"kind": "email", "email_to": "a@example.com"}):
        assert send(browser, email.project, **fields).status_code == 403
    Channel.objects.all().delete()
    assert "Ask a member of Research to add one." in browser.get(HERE).content.decode()


def test_stranger_finds_nothing(stranger: User, email: Channel, client_of: Browser) -> None:
    browser = client_of(stranger)
    theirs = Project.objects.get(team__members=stranger)
    assert browser.get(HERE, {"project": email.project_id}).status_code == 404
    assert send(browser, email.project, channel=email.pk).status_code == 404
    assert send(browser, theirs, channel=email.pk).status_code == 404
    assert mail.outbox == []
