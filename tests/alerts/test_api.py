"""Channels and deliveries over HTTP, and the services behind them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.core import mail
from django.test import Client
from django.utils import timezone
from standardwebhooks import Webhook

from agents.models import IncidentEvent
from alerts import outbox, services
from alerts.models import Channel, Delivery
from billing.models import Subscription
from teams import services as team_services
from teams.models import AuditEntry, Project, User
from tests.alerts.conftest import NOW
from tests.alerts.receiver import Receiver, responds

EMAIL = {"kind": "email", "name": "mail", "config": {"to": ["ops@example.com"]}}


@pytest.fixture
def api(full_key: str) -> Any:
    """`api("post", "channels", {...})` answers (status, body)."""
    return caller(full_key)


def caller(key: str) -> Any:
    client = Client(headers={"X-API-Key": key})

    def call(method: str, path: str, body: Any = None) -> tuple[int, Any]:
        data = "" if body is None else json.dumps(body)
        answer = client.generic(method.upper(), f"/api/v1/{path}", data, content_type="application/json")
        return answer.status_code, answer.json() if answer.content else None

    return call


def test_channel_is_created_changed_and_deleted(api: Any, project: Project) -> None:
    status, made = api("post", "channels", EMAIL)
    assert status == 201
    assert "secret" not in made
    assert api("get", f"channels/{made['id']}") == (200, made)
    assert api("get", "channels")[1]["results"] == [made]
    status, changed = api("patch", f"channels/{made['id']}", {"name": "night", "enabled": False})
    assert (status, changed["name"], changed["enabled"]) == (200, "night", False)
    assert changed["config"] == {"to": ["ops@example.com"]}
    route = {"severity": "critical", "labels": {"env": "prod"}}
    status, routed = api("patch", f"channels/{made['id']}", route)
    assert (status, {name: routed[name] for name in route}) == (200, route)
    assert api("delete", f"channels/{made['id']}") == (204, None)
    assert api("get", f"channels/{made['id']}")[0] == 404
    actions = AuditEntry.objects.filter(action__startswith="channel.").order_by("pk").values_list("action", flat=True)
    verbs = [action.removeprefix("channel.") for action in actions]
    assert verbs == ["created", "switched_off", "changed", "changed", "deleted"]


def test_webhook_secret_is_shown_once_and_signs(api: Any, receiver: Receiver, allow_private: None) -> None:
    _, made = api("post", "channels", {"kind": "webhook", "name": "hook", "config": {"url": receiver.url("/a")}})
    assert made["secret"].startswith("whsec_")
    shown = [api("get", "channels"), api("get", f"channels/{made['id']}"), api("patch", f"channels/{made['id']}", {})]
    assert made["secret"] not in json.dumps(shown)
    status, sent = api("post", f"channels/{made['id']}/test")
    assert (status, sent["state"], sent["event"], sent["incident"]) == (200, "sent", "test", None)
    (request,) = receiver.requests
    said = Webhook(made["secret"]).verify(request.body, request.headers)
    assert said["type"] == "channel.test"
    assert request.headers["webhook-id"] == sent["message_id"]


def test_webhook_secret_survives_a_new_url(api: Any, allow_private: None) -> None:
    config = {"url": "https://example.com/a", "secret": "whsec_AAAA"}
    _, made = api("post", "channels", {"kind": "webhook", "name": "hook", "config": config})
    api("patch", f"channels/{made['id']}", {"config": {"url": "https://example.com/b", "secret": "whsec_AAAA"}})
    assert Channel.objects.get().config == {"url": "https://example.com/b", "secret": made["secret"]}


def test_slack_url_is_shortened(api: Any) -> None:
    url = "https://hooks.slack.com/services/T0/B0/abcdWXYZ"
    _, made = api("post", "channels", {"kind": "slack", "name": "chat", "config": {"url": url}})
    assert made["config"] == {"url": "https://hooks.slack.com/…WXYZ"}
    status, _ = api("patch", f"channels/{made['id']}", {"config": made["config"]})
    assert status == 422
    assert Channel.objects.get().config == {"url": url}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({**EMAIL, "kind": "pigeon"}, "kind"),
        ({**EMAIL, "name": ""}, "name"),
        ({**EMAIL, "name": "x" * 101}, "name"),
        ({**EMAIL, "name": "a\0b"}, "name"),
        ({**EMAIL, "config": {"to": ["nobody"]}}, "config.to"),
        ({**EMAIL, "config": {}}, "config.to"),
        ({**EMAIL, "config": []}, "config"),
        ({"kind": "email", "name": "mail"}, "config"),
        ({"kind": "webhook", "name": "x", "config": {"url": "http://127.0.0.1/"}}, "config.url"),
        ({"kind": "webhook", "name": "x", "config": {"url": "http://10.0.0.1/"}}, "config.url"),
    ],
)
def test_invalid_settings_are_rejected_by_field(api: Any, body: Any, field: str) -> None:
    status, answer = api("post", "channels", body)
    assert status == 422
    assert set(answer["error"]["fields"]) == {field}
    assert Channel.objects.count() == 0


def test_rejected_change_changes_nothing(api: Any, email: Channel) -> None:
    assert api("patch", f"channels/{email.pk}", {"name": "new", "config": {"to": ["nobody"]}})[0] == 422
    email.refresh_from_db()
    assert (email.name, email.config) == ("mail", {"to": ["ops@example.com"]})


def test_plan_limits_channels_across_projects(api: Any, project: Project) -> None:
    Subscription.objects.filter(team=project.team).delete()
    other = team_services.create_project(team=project.team, name="Staging", actor="test")
    for number in range(3):
        Channel.objects.create(project=(project, other)[number % 2], kind="email", name=str(number), config={})
    status, answer = api("post", "channels", EMAIL)
    assert (status, answer["error"]["code"]) == (403, "channel_limit_reached")
    assert "Free" in answer["error"]["message"]
    assert Channel.objects.count() == 3


def test_channels_of_another_project_are_not_found(email: Channel, stranger: User) -> None:
    theirs = Project.objects.get(team__members=stranger)
    api = caller(team_services.issue_key(project=theirs, name="x", scope="full", actor="test")[1])
    assert api("get", "channels")[1]["count"] == 0
    for method, path in (("get", ""), ("patch", ""), ("delete", ""), ("post", "/test")):
        assert api(method, f"channels/{email.pk}{path}", {})[0] == 404
    assert Channel.objects.count() == 1
    assert mail.outbox == []


def test_failed_test_says_why_and_is_not_retried(api: Any, webhook: Channel, receiver: Receiver) -> None:
    receiver.answer = responds("500 Oops")
    status, sent = api("post", f"channels/{webhook.pk}/test")
    assert (status, sent["state"], sent["last_error"]) == (200, "failed", "The receiver answered 500.")
    webhook.refresh_from_db()
    assert webhook.last_error == "The receiver answered 500."
    assert webhook.retry_at is None
    assert not Delivery.objects.due(timezone.now()).exists()


def test_disabled_channel_can_be_tested(api: Any, email: Channel) -> None:
    Channel.objects.update(enabled=False)
    assert api("post", f"channels/{email.pk}/test")[1]["state"] == "sent"
    assert len(mail.outbox) == 1


def test_deliveries_are_listed_newest_first(api: Any, email: Channel, happened: Any) -> None:
    for kind in ("opened", "updated"):
        outbox.enqueue(happened(kind))
    _, page = api("get", "deliveries")
    assert [row["event"] for row in page["results"]] == ["updated", "opened"]
    assert page["results"][0]["incident"] == IncidentEvent.objects.first().incident_id  # type: ignore[union-attr]
    assert page["results"][0]["state"] == "pending"
    assert api("get", "deliveries?limit=1")[1]["next"]


def test_deliveries_cost_a_constant_number_of_queries(
    api: Any, email: Channel, happened: Any, django_assert_max_num_queries: Any
) -> None:
    for _ in range(20):
        outbox.enqueue(happened("updated"))
    with django_assert_max_num_queries(5):
        assert len(api("get", "deliveries")[1]["results"]) == 20


# What a change does to what waits


def change(channel: Channel, **changes: Any) -> Channel:
    return services.change_channel(channel=channel, actor="a@example.com", now=NOW, **changes)


def test_disabling_cancels_and_enabling_starts_afresh(email: Channel, happened: Any) -> None:
    outbox.enqueue(happened("opened"))
    Channel.objects.update(failing_since=NOW, retry_at=NOW, failures=4, last_error="x", disabled_reason="y")
    change(email, enabled=False)
    assert email.deliveries.get().state == Delivery.State.SKIPPED
    on = change(email, enabled=True)
    assert (on.failing_since, on.retry_at, on.failures, on.last_error, on.disabled_reason) == (None, None, 0, "", "")
    assert email.deliveries.get().state == Delivery.State.SKIPPED


def test_new_address_is_retried_immediately(email: Channel, happened: Any) -> None:
    outbox.enqueue(happened("opened"))
    email.deliveries.update(attempts=5, next_try_at=NOW + timezone.timedelta(hours=4))  # type: ignore[attr-defined]
    change(email, config={"to": ["new@example.com"]})
    assert email.deliveries.get().next_try_at == NOW


def test_renaming_changes_nothing_else(email: Channel, happened: Any) -> None:
    Channel.objects.update(failing_since=NOW)
    assert change(email, name="new").failing_since == NOW


def test_unchanged_channel_is_not_audited(email: Channel) -> None:
    change(email, name="mail", enabled=True, config={"to": ["ops@example.com"]})
    assert not AuditEntry.objects.filter(action__startswith="channel.").exists()


def test_audit_log_contains_no_secret(project: Project) -> None:
    config = {"url": "https://example.com/hidden?token=hidden"}
    services.create_channel(project=project, kind="slack", name="x", config=config, actor="a@example.com")
    assert "hidden" not in str(list(AuditEntry.objects.values_list("target", "data")))
