"""The ping API of Healthchecks: every kind of request, its status and its text."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client

from agents.api.jobs.pings import BODY_LIMIT
from agents.fleet import jobs, services
from agents.models import Agent, Heartbeat, Job
from agents.review import review
from billing.services import set_plan
from teams.models import AuditEntry, Project, User
from tests.agents.conftest import World

RID = "123e4567-e89b-12d3-a456-426614174000"


@pytest.fixture
def job(world: World) -> Job:
    with world.clock(0) as now:
        agent = services.add_agent(project=world.project, name="Nightly Backup", kind="job", actor="x", now=now)
    return agent.job


def last_ping() -> dict[str, Any]:
    return {**(Heartbeat.objects.order_by("-id")[0].content or {})}


@pytest.mark.parametrize("method", ["get", "head", "post"])
@pytest.mark.parametrize(
    ("path", "event", "status"),
    [
        ("", "success", None),
        ("/", "success", None),
        ("/start", "start", None),
        ("/fail", "fail", None),
        ("/log", "log", None),
        ("/0", "success", 0),
        ("/3", "fail", 3),
        ("/255", "fail", 255),
        ("/start/", "start", None),
        ("/3/", "fail", 3),
    ],
)
def test_every_ping_is_answered_ok(
    client: Client, job: Job, method: str, path: str, event: str, status: int | None
) -> None:
    answer = getattr(client, method)(f"/ping/{job.ping_id}{path}")
    assert answer.status_code == 200
    assert answer.content == (b"" if method == "head" else b"OK")
    assert answer["Content-Type"].startswith("text/plain")
    assert answer["Ping-Body-Limit"] == str(BODY_LIMIT)
    assert last_ping()["job"]["event"] == event
    assert last_ping()["job"].get("exit_status") == status


def test_ping_key_and_slug_find_the_job(client: Client, job: Job) -> None:
    base = f"/ping/{job.agent.project.ping_key}"
    assert client.get(f"{base}/nightly-backup").content == b"OK"
    assert client.post(f"{base}/nightly-backup/start").content == b"OK"
    assert client.get(f"{base}/Nightly Backup").content == b"OK"
    assert Heartbeat.objects.filter(agent=job.agent).count() == 3


def test_uuids_in_capitals_are_the_same(client: Client, job: Job) -> None:
    """As `uuidgen` prints them on macOS."""
    assert client.get(f"/ping/{str(job.ping_id).upper()}/3", {"rid": RID.upper()}).content == b"OK"
    assert (last_ping()["job"]["rid"], last_ping()["job"]["exit_status"]) == (RID, 3)


def test_unknown_jobs_are_not_found(client: Client, job: Job) -> None:
    for path in (f"{uuid4()}", f"{job.agent.project.ping_key}/other", "A" * 22 + "/nightly-backup"):
        answer = client.get(f"/ping/{path}")
        assert (answer.status_code, answer.content) == (404, b"not found")
    assert not Heartbeat.objects.exists()


def test_create_makes_a_job_once(client: Client, world: World) -> None:
    url = f"/ping/{world.project.ping_key}/etl/start?create=1"
    for _ in range(2):
        answer = client.post(url)
        assert (answer.status_code, answer.content) == (200, b"OK")
    (agent,) = Agent.objects.all()
    assert (agent.name, agent.kind, agent.job.slug) == ("etl", "job", "etl")
    assert (agent.job.schedule, agent.job.period, agent.job.grace) == ("period", 86_400, 3_600)
    assert AuditEntry.objects.filter(action="agent.created", target="etl").count() == 1
    assert client.get(f"/ping/{world.project.ping_key}/other?create=0").status_code == 404
    assert client.get(f"/ping/{world.project.ping_key}/Other?create=1").content == b"invalid url format"


@pytest.mark.parametrize("slug", ["Other", "a b", "a%00b", "a.b", "%E7%AA%81", "%FF", "x" * 201])
def test_create_takes_slugs_only(client: Client, world: World, slug: str) -> None:
    for path in (slug, f"{slug}/start", f"{slug}/0"):
        assert client.get(f"/ping/{world.project.ping_key}/{path}").status_code == 404
        assert client.get(f"/ping/{world.project.ping_key}/{path}?create=1").status_code in (400, 404)
    assert not Agent.objects.exists()


def test_create_respects_the_plan_and_strict_mode(client: Client, world: World) -> None:
    base = f"/ping/{world.project.ping_key}"
    set_plan(team=world.project.team, plan="enterprise", actor="x")
    assert client.get(f"{base}/unlimited?create=1").status_code == 200
    Agent.objects.all().delete()
    set_plan(team=world.project.team, plan="free", actor="x")
    for name in ("a", "b", "c"):
        assert client.get(f"{base}/{name}?create=1").status_code == 200
    assert client.get(f"{base}/d?create=1").status_code == 403
    Project.objects.update(strict=True)
    assert client.get(f"{base}/e?create=1").status_code == 403
    assert client.get(f"{base}/a?create=1").status_code == 200
    assert Agent.objects.count() == 3


def test_ambiguous_slug_is_a_conflict(client: Client, world: World) -> None:
    with world.clock(0) as now:
        for name in ("My Job", "my job"):
            services.add_agent(project=world.project, name=name, kind="job", actor="x", now=now)
    answer = client.get(f"/ping/{world.project.ping_key}/my-job")
    assert (answer.status_code, answer.content) == (409, b"ambiguous slug")


@pytest.mark.parametrize(
    ("path", "text"),
    [("/256", b"invalid url format"), ("?rid=7", b"invalid uuid format"), ("/start?rid=", b"invalid uuid format")],
)
def test_wrong_pings_are_refused(client: Client, job: Job, path: str, text: bytes) -> None:
    answer = client.get(f"/ping/{job.ping_id}{path}")
    assert (answer.status_code, answer.content) == (400, text)
    assert not Heartbeat.objects.exists()


@pytest.mark.parametrize("method", ["put", "delete", "patch", "options"])
def test_other_methods_are_not_allowed(client: Client, job: Job, method: str) -> None:
    answer = getattr(client, method)(f"/ping/{job.ping_id}")
    assert (answer.status_code, answer["Allow"]) == (405, "HEAD, GET, POST")
    assert not Heartbeat.objects.exists()


def test_run_id_is_kept(client: Client, job: Job) -> None:
    client.get(f"/ping/{job.ping_id}/start", {"rid": RID})
    assert last_ping()["job"]["rid"] == RID


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "application/x-www-form-urlencoded", "what/ever"])
def test_body_is_kept_and_never_parsed(client: Client, job: Job, kind: str) -> None:
    client.generic("POST", f"/ping/{job.ping_id}/fail", b"{not=json&", content_type=kind)
    assert last_ping()["custom"] == "{not=json&"


def test_body_is_bounded_and_redacted(client: Client, job: Job) -> None:
    body = b"password=hunter2 \xff\x00" + b"x" * 10_000_000
    answer = client.generic("POST", f"/ping/{job.ping_id}", body, content_type="text/plain")
    assert answer.content == b"OK"
    kept = last_ping()["custom"]
    assert kept.startswith("password=[hidden] \ufffd\ufffdx")
    assert len(kept) <= BODY_LIMIT + 10


def test_a_flood_is_refused(client: Client, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.ingest.rate_limit.FLOOD_FACTOR", 0)
    answer = client.get(f"/ping/{job.ping_id}")
    assert answer.status_code == 429
    assert int(answer["Retry-After"]) > 0


def test_pings_of_an_agent_are_heartbeats(client: Client, world: World) -> None:
    world.beat(0, agent="bot")
    with world.clock(10):
        client.get(f"/ping/{world.project.ping_key}/bot")
        client.post(f"/ping/{world.project.ping_key}/bot/fail", "boom", content_type="text/plain")
    world.look(11)
    assert world.kinds() == ["error"]


def test_other_projects_jobs_cannot_be_pinged(client: Client, job: Job, stranger: User) -> None:
    theirs = Project.objects.get(name="Theirs").ping_key
    assert client.get(f"/ping/{theirs}/nightly-backup").status_code == 404


def test_deleted_job_is_not_found(client: Client, job: Job, world: World) -> None:
    with world.clock(5) as now:
        services.delete_agent(agent=job.agent, actor="x", now=now)
    assert client.get(f"/ping/{job.ping_id}").status_code == 404
    assert client.get(f"/ping/{world.project.ping_key}/nightly-backup").status_code == 404


def test_a_failed_run_is_an_incident(client: Client, job: Job, world: World) -> None:
    with world.clock(10):
        client.get(f"/ping/{job.ping_id}/start")
    with world.clock(40) as now:
        client.post(f"/ping/{job.ping_id}/3", "one\ndisk full\n", content_type="text/plain")
        review.sweep(now)
    (incident,) = world.incidents()
    assert incident.reason == "Failed with exit status 3 after 30 seconds: disk full"
    assert world.kinds("Nightly Backup") == ["job_failed"]
    with world.clock(60) as now:
        client.get(f"/ping/{job.ping_id}")
        review.sweep(now)
    assert world.kinds("Nightly Backup") == []


def test_heartbeats_report_runs_too(client: Client, world: World, api_key: str) -> None:
    body = {"agent": "etl", "job": {"event": "fail", "exit_status": 7, "rid": "a", "duration": 2.5}}
    answer = client.post(
        "/api/v1/heartbeat", json.dumps(body), content_type="application/json", headers={"X-API-Key": api_key}
    )
    assert answer.status_code == 200
    agent = Agent.objects.get()
    assert (agent.kind, agent.job.schedule) == ("job", "none")
    assert jobs.by_ping_id(agent.job.ping_id) == agent
