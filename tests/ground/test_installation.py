"""The operator's page about the installation itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from agents.models import AgentState, Outage, Pulse, Rollup
from alerts.models import Channel, Delivery
from teams.models import Project, User
from tests.agents.admin.conftest import make_agent
from watchdog_project import health, installation

PAGE = "/admin/installation/"


@pytest.fixture(autouse=True)
def answering_broker(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_broker", lambda: "ok")
    Pulse.objects.update_or_create(name="detector", defaults={"at": timezone.now()})


def facts() -> dict[str, tuple[str, bool]]:
    found = [fact for _, group in installation.groups(timezone.now()) for fact in group]
    return {fact.label: (fact.text, fact.bad) for fact in found}


@pytest.mark.parametrize(("who", "status"), [("operator", 200), ("owner", 403), ("stranger", 403)])
def test_only_the_operator_sees_it(
    who: str, status: int, project: Project, client_of: Any, request: pytest.FixtureRequest
) -> None:
    browser = client_of(request.getfixturevalue(who))
    assert browser.get(PAGE).status_code == status
    assert (PAGE in browser.get("/admin/").content.decode()) == (status == 200)


def test_a_quiet_installation_needs_nobody(project: Project) -> None:
    make_agent(project)
    shown = facts()
    assert [label for label, (_, bad) in shown.items() if bad] == []
    assert (shown["Agents"], shown["Teams"], shown["Detector"]) == (("1", False), ("1", False), ("ok", False))


def test_a_detector_that_is_behind_is_told(project: Project) -> None:
    agent = make_agent(project)
    AgentState.objects.filter(agent=agent).update(check_at=timezone.now() - timedelta(minutes=3))
    assert facts()["Detector behind by"] == ("3 min", True)


def test_load_is_counted_from_sums(project: Project) -> None:
    agent, minute = make_agent(project), timezone.now().replace(second=0, microsecond=0)
    for back, beats in ((1, 7), (30, 100)):
        Rollup.objects.create(agent=agent, span=Rollup.Span.MINUTE, start=minute - timedelta(minutes=back), beats=beats)
    hour = minute.replace(minute=0) - timedelta(hours=5)
    Rollup.objects.create(agent=agent, span=Rollup.Span.HOUR, start=hour, beats=12_000)
    shown = facts()
    assert [shown[f"Heartbeats, last {span}"][0] for span in ("minute", "hour", "24 hours")] == ["7", "107", "12,000"]


def test_what_waits_and_what_failed_is_named(project: Project, operator: User, client_of: Any) -> None:
    channel = Channel.objects.create(project=project, kind="email", name="On call")
    long_ago = timezone.now() - timedelta(minutes=20)
    Delivery.objects.create(channel=channel, message_id="a", created_at=long_ago)
    Delivery.objects.create(channel=channel, message_id="b", state="failed")
    shown = facts()
    assert (shown["Waiting to be sent"][0], shown["Oldest of them"][0]) == ("1", "20 min")
    assert shown["Failed in 24 hours"] == ("1", True)
    assert "On call" in client_of(operator).get(PAGE).content.decode()


def test_own_outages_are_listed(operator: User, client_of: Any) -> None:
    ended = timezone.now() - timedelta(hours=3)
    Outage.objects.create(part="detector", started_at=ended - timedelta(minutes=12), ended_at=ended)
    assert "for 12 min" in client_of(operator).get(PAGE).content.decode()


def test_the_database_has_a_size() -> None:
    text, bad = facts()["Database"]
    assert float(text.split()[0]) >= 0
    assert not bad
