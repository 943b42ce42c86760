"""What each sender's payloads say, by the shapes that they document."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.doors.webhooks import alertmanager, github, gitlab, sentry
from agents.doors.webhooks.happenings import Happening, moment
from teams.errors import ApiError
from tests.agents.doors.webhooks.payloads import NOW, payload


def at(hour: int, minute: int, second: int = 0) -> datetime:
    return datetime(2026, 11, 30, hour, minute, second, tzinfo=UTC)


def of_github(event: str, body: Any) -> list[Happening]:
    return github.happenings({"x-github-event": event}, body, NOW)


def of_sentry(resource: str, body: Any) -> list[Happening]:
    stamp = str(int(NOW.timestamp()))
    return sentry.happenings({"sentry-hook-resource": resource, "sentry-hook-timestamp": stamp}, body, NOW)


def test_github_deployment() -> None:
    (deploy,) = of_github("deployment_status", payload("github.deployment_status"))
    assert (deploy.kind, deploy.tone) == ("deploy", "deploy")
    assert deploy.text == "Deployed acme/bot main (f95f852) to production"
    assert (deploy.began, deploy.ended) == (at(10, 1), at(10, 4, 10))
    assert deploy.url == "https://github.com/acme/bot/actions/runs/7001/job/19"


def test_github_deployment_on_its_way() -> None:
    body = payload("github.deployment_status")
    done = of_github("deployment_status", body)[0]
    body["deployment_status"] |= {"state": "in_progress"}
    (running,) = of_github("deployment_status", body)
    assert running.text.startswith("Deploying acme/bot")
    assert running.key == done.key
    assert running.version < done.version, "of the same second, the end counts"
    body["deployment_status"] |= {"state": "failure", "description": "exit 1"}
    (failed,) = of_github("deployment_status", body)
    assert (failed.tone, failed.text[:14], failed.text[-6:]) == ("warning", "Deploy failed:", "exit 1")
    body["deployment_status"]["state"] = "inactive"
    assert of_github("deployment_status", body) == []


def test_github_release_and_workflow() -> None:
    (release,) = of_github("release", payload("github.release"))
    assert (release.text, release.began) == ("Released acme/bot v1.4.0", at(10, 0))
    (run,) = of_github("workflow_run", payload("github.workflow_run"))
    assert (run.tone, run.text) == ("warning", "Deploy failed: acme/bot main (3484a3f) by Deploy")
    tests = payload("github.workflow_run")
    tests["workflow_run"] |= {"name": "Tests", "path": ".github/workflows/tests.yml"}
    assert of_github("workflow_run", tests) == []
    assert of_github("push", {"ref": "refs/heads/main"}) == []


def test_gitlab_deployment_and_release() -> None:
    (deploy,) = gitlab.happenings({}, payload("gitlab.deployment"), NOW)
    assert (deploy.text, deploy.began) == ("Deployed acme/bot main (279484c0) to staging", at(10, 4, 10))
    (running,) = gitlab.happenings({}, payload("gitlab.deployment") | {"status": "running"}, NOW)
    assert (running.key, running.version < deploy.version) == (deploy.key, True)
    (release,) = gitlab.happenings({}, payload("gitlab.release"), NOW)
    assert (release.text, release.tone) == ("Released acme/bot v1.1", "deploy")
    assert gitlab.happenings({}, {"object_kind": "push"}, NOW) == []


def test_alertmanager_alerts() -> None:
    firing, resolved = alertmanager.happenings({}, payload("alertmanager"), NOW)
    assert (firing.tone, firing.agents) == ("critical", ("bot",))
    assert firing.text == "HighErrorRate: More than 5 % of requests fail"
    assert firing.began == at(10, 0) + timedelta(microseconds=123456)
    assert firing.ended is None
    assert (resolved.began, resolved.ended, resolved.tone) == (at(9, 0), at(9, 30), "warning")


def test_alertmanager_resolution_is_newer() -> None:
    body = payload("alertmanager")
    firing = alertmanager.happenings({}, body, NOW)[0]
    body["alerts"][0] |= {"status": "resolved", "endsAt": "2026-11-30T10:05:00Z"}
    over = alertmanager.happenings({}, body, NOW)[0]
    assert (over.key, over.version > firing.version, over.ended) == (firing.key, True, at(10, 5))


@pytest.mark.parametrize("body", [{}, {"version": "3", "alerts": []}, {"version": "4", "alerts": {}}])
def test_other_versions_are_refused(body: Any) -> None:
    with pytest.raises(ApiError, check=lambda error: error.http_status == 422):
        alertmanager.happenings({}, body, NOW)


def test_sentry_issue_alert() -> None:
    (alert,) = of_sentry("event_alert", payload("sentry.event_alert"))
    assert alert.text == "Very Important Alert Rule!: ValueError: no such city: Paris"
    assert (alert.tone, alert.began, alert.ended) == ("warning", at(10, 6, 4), at(10, 6, 4))
    assert alert.agents == ("bot", "worker-3")


def test_sentry_issue_from_created_to_resolved() -> None:
    body = payload("sentry.issue")
    (opened,) = of_sentry("issue", body)
    assert (opened.text, opened.agents) == ("BOTS-3 ValueError: no such city: Paris", ("bot", "bots"))
    assert (opened.began, opened.ended) == (at(10, 5), None)
    (over,) = of_sentry("issue", body | {"action": "resolved"})
    assert (over.key, over.ended) == (opened.key, NOW)
    assert of_sentry("issue", body | {"action": "assigned"}) == []
    assert of_sentry("installation", {"action": "created", "data": {}}) == []


def test_sentry_metric_alert_and_error() -> None:
    (metric,) = of_sentry("metric_alert", payload("sentry.metric_alert"))
    assert metric.text == "Critical: Too many errors: 1000 events in the last 10 minutes"
    assert (metric.tone, metric.agents, metric.ended) == ("critical", ("bot",), None)
    event = payload("sentry.event_alert")["data"]["event"]
    assert len(of_sentry("error", {"action": "created", "data": {"error": event}})) == 1


def test_secrets_in_texts_are_hidden() -> None:
    body = payload("sentry.event_alert")
    body["data"]["event"]["title"] = "failed with sk-ant-REDACTED-for-the-test"
    (alert,) = of_sentry("event_alert", body)
    assert "sk-ant-api03" not in alert.text


@pytest.mark.parametrize(
    ("told", "read"),
    [
        ("2026-11-30T10:00:00Z", at(10, 0)),
        ("2026-11-30 12:00:00 +0200", at(10, 0)),
        ("2026-11-30 10:00:00 UTC", at(10, 0)),
        (1796032800, at(10, 0)),
        ("0001-01-01T00:00:00Z", None),
        ("2027-11-30T10:00:00Z", None),
        ("9999-12-31T23:59:59-14:00", None),
        ("soon", None),
        (1e400, None),
        (True, None),
        (None, None),
    ],
)
def test_times(told: Any, read: datetime | None) -> None:
    assert moment(told, NOW) == read


def test_clock_that_is_ahead_is_now() -> None:
    assert moment((NOW + timedelta(minutes=4)).isoformat(), NOW) == NOW


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
NAMES = [
    *("github.deployment_status", "github.release", "github.workflow_run", "gitlab.deployment", "gitlab.release"),
    *("alertmanager", "sentry.event_alert", "sentry.issue", "sentry.metric_alert"),
]
MODULES: Any = {"github": github, "gitlab": gitlab, "alertmanager": alertmanager, "sentry": sentry}


@given(st.sampled_from(NAMES), st.data())
def test_nothing_absurd_raises(name: str, data: st.DataObject) -> None:
    """Any value anywhere in a payload is read or passed over."""
    kind, _, event = name.partition(".")
    body = payload(name)
    holder = body
    while True:
        key = data.draw(st.sampled_from(sorted(holder)))
        if not isinstance(holder[key], dict) or not holder[key] or data.draw(st.booleans()):
            holder[key] = data.draw(VALUES)
            break
        holder = holder[key]
    headers = {"x-github-event": event, "sentry-hook-resource": event}
    if name == "alertmanager":
        body |= {"version": "4", "alerts": body["alerts"] if isinstance(body.get("alerts"), list) else []}
    found = MODULES[kind].happenings(headers, body, NOW)
    assert all(len(one.text) <= 300 and len(one.url) <= 500 and one.began <= NOW for one in found)
    assert all(abs(one.version) < 2**63 for one in found)
