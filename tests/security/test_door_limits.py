"""Doors are no way around the limits of heartbeats: requests, stored bytes and new agents count there, too."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from agents.api.jobs import pings
from agents.fleet import jobs
from agents.ingest import rate_limit
from agents.ingest.rate_limit import Meter
from agents.ingest.registration import create_agent
from agents.models import Agent, Heartbeat, Job
from billing.plans import BY_KEY
from billing.services import set_plan
from teams.models import Project, Team

pytestmark = pytest.mark.django_db
OUTPUT = "what the job printed"
EMPTY: dict[str, bytes] = {"/v1/traces": b'{"resourceSpans": []}', "/hooks/codex": b'{"hook_event_name": "Nothing"}'}


@pytest.fixture
def meter(monkeypatch: pytest.MonkeyPatch) -> Meter:
    meter = Meter()
    monkeypatch.setattr(rate_limit, "of_this_process", meter)
    return meter


@pytest.fixture
def job(project: Project) -> Job:
    create_agent(project=project, name="nightly", now=timezone.now(), kind=Agent.Kind.JOB)
    return Job.objects.get()


@pytest.mark.parametrize("path", EMPTY)
def test_request_of_nothing_counts(path: str, api_key: str, meter: Meter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a body takes time, whether anything is stored of it or not."""
    client = Client(headers={"X-API-Key": api_key})
    monkeypatch.setattr(rate_limit, "FLOOD_FACTOR", 2 / BY_KEY["free"].requests_per_minute)
    statuses = [client.post(path, EMPTY[path], "application/json").status_code for _ in range(3)]
    assert statuses == [200, 200, 429]


def test_batch_of_errors_counts(api_key: str, meter: Meter) -> None:
    client = Client(headers={"X-API-Key": api_key})
    body = b'{"heartbeats": [{"status": "ok"}]}'
    client.post("/api/v1/heartbeat/batch", body, "application/json")
    assert list(meter._used.values()) == [1]


def printed(job: Job, event: str) -> str:
    Client().post(f"/ping/{job.ping_id}/{event}", OUTPUT, "text/plain")
    content = Heartbeat.objects.order_by("-id")[0].content or {}
    assert content["job"]["event"] == event, "the ping itself is never lost"
    return str(content.get("custom") or "")


def test_output_counts_as_stored_bytes(job: Job, team: Team) -> None:
    assert printed(job, "start") == OUTPUT
    Team.objects.update(details_off_until=timezone.now() + timedelta(hours=1))
    assert [printed(job, event) for event in ("start", "fail")] == ["", ""]
    Team.objects.update(details_off_until=timezone.now() - timedelta(hours=1))
    assert printed(job, "start") == OUTPUT


def test_output_beyond_the_rate_is_dropped(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pings, "count_beats", lambda *_: False)
    assert printed(job, "start") == ""
    assert printed(job, "fail") == OUTPUT, "a failure's reason is kept, within the day's storage"


def test_ping_key_creates_few_jobs_an_hour(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    set_plan(team=project.team, plan="enterprise", actor="x")
    monkeypatch.setattr(jobs, "NEW_JOBS", jobs.NEW_JOBS._replace(most=2))
    statuses = [Client().get(f"/ping/{project.ping_key}/job-{n}?create=1").status_code for n in range(4)]
    assert statuses == [200, 200, 429, 429]
    assert Agent.objects.count() == 2
    assert Client().get(f"/ping/{project.ping_key}/job-0?create=1").status_code == 200
