"""The operator's page with metrics of the installation."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.conf import settings
from django.utils import timezone

from agents.models import AgentState, Outage, Pulse, Rollup
from alerts.models import Channel, Delivery
from billing.services import set_plan
from teams.models import Project, User
from tests.agents.admin.conftest import make_agent
from watchdog_project import health, installation, metrics

PAGE = "/admin/installation/"


@pytest.fixture(autouse=True)
def answering_broker(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_broker", lambda: "ok")
    monkeypatch.setattr(health, "queued", lambda names: dict.fromkeys(names, 0))
    Pulse.objects.update_or_create(name="detector", defaults={"at": timezone.now()})


def shown_metrics() -> dict[str, tuple[str, str]]:
    """Label -> text and level."""
    shown = [metric for _, group in metrics.groups(timezone.now()) for metric in group]
    return {metric.label: (metric.text, metric.level) for metric in shown}


@pytest.mark.parametrize(("who", "status"), [("operator", 200), ("owner", 403), ("stranger", 403)])
def test_operator_only(who: str, status: int, project: Project, client_of: Any, request: pytest.FixtureRequest) -> None:
    browser = client_of(request.getfixturevalue(who))
    assert browser.get(PAGE).status_code == status
    assert (PAGE in browser.get("/admin/").content.decode()) == (status == 200)


def test_idle_installation_has_no_warnings(project: Project) -> None:
    make_agent(project)
    shown = shown_metrics()
    assert [label for label, (_, level) in shown.items() if level and not label.startswith("Disk")] == []
    assert (shown["Agents"], shown["Teams"], shown["Detector"]) == (("1", ""), ("1", ""), ("ok", ""))


@pytest.mark.parametrize(("seconds", "level"), [(2, ""), (9, "late"), (180, "bad")])
def test_detector_lag_is_graded_with_advice(
    project: Project, operator: User, client_of: Any, seconds: int, level: str
) -> None:
    agent = make_agent(project)
    with time_machine.travel(timezone.now(), tick=False):
        AgentState.objects.filter(agent=agent).update(check_at=timezone.now() - timedelta(seconds=seconds))
        assert shown_metrics()["Detector lag"][1] == level
        page = client_of(operator).get(PAGE).content.decode()
    advice = {"": "nothing to do", "late": "! check: start the worker", "bad": "✕ fix now: start the worker"}[level]
    assert (advice in page) == bool(level)


def test_long_queues_are_graded(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "queued", lambda _: {"celery": 700, "alerts": 61})
    shown = shown_metrics()
    assert (shown["Queued tasks"], shown["Queued alert tasks"]) == (("700", "bad"), ("61", "late"))
    monkeypatch.setattr(health, "queued", lambda _: None)
    assert "Queued tasks" not in shown_metrics()


def test_stale_rollups_are_graded(project: Project) -> None:
    Pulse.objects.create(name="rollup", at=timezone.now() - timedelta(minutes=5))
    assert shown_metrics()["Roll-ups updated"] == ("5 min ago", "late")


def test_load_comes_from_rollups(project: Project) -> None:
    agent, minute = make_agent(project), timezone.now().replace(second=0, microsecond=0)
    Pulse.objects.create(name="rollup", at=minute + timedelta(seconds=1))
    for back, beats in ((1, 7), (30, 100)):
        Rollup.objects.create(agent=agent, span=Rollup.Span.MINUTE, start=minute - timedelta(minutes=back), beats=beats)
    shown = shown_metrics()
    clock = timezone.localtime(minute - timedelta(minutes=1))
    assert shown["Heartbeats per minute"][0] == f"7, at {clock:%H:%M}"
    assert shown["Heartbeats in the last hour"][0] == "107"


def test_load_before_first_rollup(project: Project) -> None:
    make_agent(project, beat=5)
    make_agent(project, "silent", beat=300)
    shown = shown_metrics()
    assert shown["Agents reporting in the last minute"][0] == "1"
    assert "Heartbeats per minute" not in shown


def test_teams_by_load(project: Project, stranger: User, operator: User, client_of: Any) -> None:
    theirs = Project.objects.get(team__members=stranger)
    set_plan(team=theirs.team, plan="pro", actor="test")
    now = timezone.now()
    for where, name, beats in ((project, "a", 30), (theirs, "b", 60), (theirs, "c", 30)):
        agent = make_agent(where, name)
        for span, back, sent in (("h", 2, beats), ("d", 2, beats), ("d", 50, 1_000), ("h", 30, 5_000)):
            start = now - timedelta(hours=back)
            Rollup.objects.create(agent=agent, span=span, start=start, beats=sent)
    loads = installation.loads(now)
    found = [(str(one.team), one.plan, one.agents, one.beats, one.share, one.stored) for one in loads.teams]
    assert loads.beats == 120
    assert found == [("Elsewhere", "Pro", 2, 90, 75, 2_090), ("Research", "Free", 1, 30, 25, 1_030)]
    page = client_of(operator).get(PAGE).content.decode()
    assert f"/admin/billing/subscription/?team={theirs.team_id}" in page


def test_live_update_queries_are_constant(
    project: Project, operator: User, client_of: Any, django_assert_max_num_queries: Any
) -> None:
    browser = client_of(operator)
    for number in range(4):
        agent = make_agent(project, f"agent-{number}")
        Rollup.objects.create(agent=agent, span="h", start=timezone.now() - timedelta(hours=1), beats=60)
    for part, shown, queries in (("now", "Detector lag", 24), ("loads", "Teams by load", 16)):
        with django_assert_max_num_queries(queries):
            poll = browser.get(f"{PAGE}?part={part}", headers={"HX-Request": "true"}).content.decode()
        assert shown in poll
        assert "<html" not in poll
    with django_assert_max_num_queries(34):
        assert "<html" in browser.get(PAGE).content.decode()


def test_waiting_and_failed_notifications(project: Project, operator: User, client_of: Any) -> None:
    channel = Channel.objects.create(project=project, kind="email", name="On call")
    long_ago = timezone.now() - timedelta(minutes=20)
    Delivery.objects.create(channel=channel, message_id="a", created_at=long_ago)
    Delivery.objects.create(channel=channel, message_id="b", state="failed")
    shown = shown_metrics()
    assert (shown["Waiting to be sent"], shown["Oldest waiting"]) == (("1", ""), ("20 min", "bad"))
    assert shown["Failed in 24 hours"] == ("1", "late")
    assert "On call" in client_of(operator).get(PAGE).content.decode()


def test_watchdog_outages_are_listed(operator: User, client_of: Any) -> None:
    ended = timezone.now() - timedelta(hours=3)
    Outage.objects.create(part="detector", started_at=ended - timedelta(minutes=12), ended_at=ended)
    assert "for 12 min" in client_of(operator).get(PAGE).content.decode()


def test_database_size() -> None:
    assert float(shown_metrics()["Database"][0].split()[0]) > 0


@pytest.mark.parametrize(("size", "text"), [(420_000, "0.4 MB"), (12_000_000, "12 MB"), (12_440_000_000, "12.4 GB")])
def test_megabytes(size: int, text: str) -> None:
    assert metrics.megabytes(size) == text


def test_version_is_the_projects() -> None:
    assert f'version = "{metrics.version().split(",")[0]}"' in (settings.BASE_DIR / "pyproject.toml").read_text()
