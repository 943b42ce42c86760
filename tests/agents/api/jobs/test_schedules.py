"""`/api/v1/agents/{id}/schedule`: a job's schedule from setting it to the incident and back."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from agents.domain.jobs import Run
from agents.models import Agent
from agents.review import review
from agents.rules.observers import runs
from teams import services
from teams.models import AuditEntry
from tests.agents.conftest import World

NIGHTLY = {"schedule": "cron", "expression": "0 13 * * *", "time_zone": "UTC", "grace": 600, "max_duration": 1_200}


@pytest.fixture
def set_schedule(world: World, full_key: str) -> Any:
    """Set the schedule of the job `backup`, which a ping creates at second 0; returns the answer."""
    with world.clock(0):
        Client().get(f"/ping/{world.project.ping_key}/backup?create=1")

    def change(**changes: Any) -> Any:
        client = Client(headers={"X-API-Key": full_key})
        path = f"/api/v1/agents/{world.agent('backup').pk}/schedule"
        with world.clock(1):
            return client.patch(path, changes, content_type="application/json")

    return change


def test_schedule_is_set_and_shown(set_schedule: Any, world: World) -> None:
    set_schedule(**NIGHTLY)
    world.look(2)
    shown = set_schedule(**NIGHTLY).json()
    assert {name: shown[name] for name in NIGHTLY} == NIGHTLY
    assert (shown["next_expected_at"], shown["next_deadline"]) == ("2026-05-04T13:00:00Z", "2026-05-04T13:10:00Z")
    assert "/ping/" in shown["ping_url"]
    assert shown["slug_url"].endswith("/backup")
    assert [run["ok"] for run in shown["runs"]] == [True]
    assert AuditEntry.objects.filter(action="agent.changed", target="backup").count() == 1


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"schedule": "cron", "expression": "nonsense"}, "expression"),
        ({"schedule": "cron"}, "expression"),
        ({"schedule": "on_calendar", "expression": "25:00"}, "expression"),
        ({"schedule": "weekly"}, "schedule"),
        ({"time_zone": "Mars"}, "time_zone"),
        ({"grace": 1}, "grace"),
        ({"period": 0}, "period"),
        ({"max_duration": "long"}, "max_duration"),
        ({"slug": "Not A Slug"}, "slug"),
    ],
)
def test_wrong_schedules_are_refused(set_schedule: Any, changes: dict[str, Any], field: str) -> None:
    answer = set_schedule(**changes)
    assert answer.status_code == 422
    assert list(answer.json()["error"]["fields"]) == [field]


def test_read_key_sees_no_ping_address(set_schedule: Any, world: World) -> None:
    set_schedule(**NIGHTLY)
    key = services.issue_key(project=world.project, name="r", scope="read", actor="x")[1]
    path = f"/api/v1/agents/{world.agent('backup').pk}/schedule"
    shown = Client(headers={"X-API-Key": key}).get(path).json()
    assert (shown["ping_url"], shown["slug_url"]) == (None, None)
    assert world.project.ping_key not in str(shown)


def test_job_that_did_not_start_is_an_incident(set_schedule: Any, world: World) -> None:
    set_schedule(**NIGHTLY)
    world.watch(2, 4_199)
    assert world.incidents() == []
    world.look(4_200)
    (incident,) = world.incidents()
    assert incident.reason == "Did not start: expected at 13:00 or up to 10 minutes later"
    assert (incident.kind, incident.severity) == ("did_not_start", "critical")
    assert world.state("backup").status == "down"
    with world.clock(4_300):
        Client().get(f"/ping/{world.project.ping_key}/backup/start")
    world.look(4_301)
    assert world.kinds("backup") == []
    assert world.state("backup").status == "ok"


def test_run_that_takes_too_long_is_an_incident(set_schedule: Any, world: World) -> None:
    set_schedule(**NIGHTLY)
    with world.clock(3_600):
        Client().get(f"/ping/{world.project.ping_key}/backup/start")
    world.look(3_601)
    world.watch(3_602, 4_799)
    assert world.incidents() == []
    world.look(4_800)
    assert world.kinds("backup") == ["took_too_long"]
    with world.clock(4_900) as now:
        Client().get(f"/ping/{world.project.ping_key}/backup")
        review.sweep(now)
    assert world.kinds("backup") == []


def test_resolved_by_a_person_it_stays_resolved(set_schedule: Any, world: World, full_key: str) -> None:
    set_schedule(**NIGHTLY)
    world.look(4_200)
    (incident,) = world.incidents()
    client = Client(headers={"X-API-Key": full_key})
    with world.clock(4_210):
        assert client.post(f"/api/v1/incidents/{incident.pk}/resolve").status_code == 200
    world.look(4_211)
    world.look(40_000)
    assert world.kinds("backup") == []
    world.look(3_600 + 86_400 + 601)
    assert world.kinds("backup") == ["did_not_start"]


def test_second_run_for_one_time_is_a_warning(set_schedule: Any, world: World) -> None:
    set_schedule(**NIGHTLY)
    for second in (3_600, 3_700):
        with world.clock(second) as now:
            Client().get(f"/ping/{world.project.ping_key}/backup")
            review.sweep(now)
    (incident,) = world.incidents()
    assert (incident.kind, incident.severity) == ("ran_too_often", "warning")
    assert incident.reason == "Ran 2 times since 13:00; expected once"


def test_run_too_often_names_what_is_allowed(set_schedule: Any, world: World) -> None:
    set_schedule(**NIGHTLY)
    Agent.objects.update(rules={"ran_too_often": {"runs": 2}})
    for second in (3_600, 3_700, 3_800):
        with world.clock(second) as now:
            Client().get(f"/ping/{world.project.ping_key}/backup")
            review.sweep(now)
    assert world.incidents()[0].reason == "Ran 3 times since 13:00; expected at most 2 times"


def test_watchdog_outage_blames_no_job(set_schedule: Any, world: World) -> None:
    set_schedule(**NIGHTLY)
    world.look(3_000)
    world.look(5_000, after_outage=True)
    assert world.incidents() == []


def test_agent_becomes_a_job(world: World, full_key: str) -> None:
    world.beat(0)
    client = Client(headers={"X-API-Key": full_key})
    path = f"/api/v1/agents/{world.agent().pk}/schedule"
    assert client.get(path).json()["schedule"] == "none"
    assert client.patch(path, NIGHTLY, content_type="application/json").status_code == 200
    assert world.agent().kind == "job"


def test_plain_heartbeats_show_that_a_job_started(world: World, full_key: str) -> None:
    world.beat(0)
    path = f"/api/v1/agents/{world.agent().pk}/schedule"
    with world.clock(1):
        Client(headers={"X-API-Key": full_key}).patch(path, NIGHTLY, content_type="application/json")
    world.beat(3_650)
    world.look(4_201)
    assert world.incidents() == []
    world.look(86_400 + 4_201)
    assert world.kinds() == ["did_not_start"]


def test_wrapped_commands_are_judged_while_they_run(world: World) -> None:
    beat: dict[str, Any] = {"agent": "etl", "interval": 30, "instance": "r"}
    world.beat(0, **beat, progress=True, job={"event": "start", "rid": "r"})
    world.beat(30, **beat, progress=False)
    world.look(31)
    world.beat(60, **beat, progress=False)
    world.look(95)
    assert world.kinds("etl") == []
    world.look(121)
    assert world.kinds("etl") == ["missed_heartbeat"]
    world.beat(130, **beat, job={"event": "success", "rid": "r"})
    world.look(131)
    world.look(90_000)
    assert world.kinds("etl") == []
    assert world.state("etl").status == "ok"


def test_quiet_command_is_not_stalled(world: World) -> None:
    beat: dict[str, Any] = {"agent": "etl", "interval": 30, "instance": "r"}
    world.beat(0, **beat, progress=True, job={"event": "start", "rid": "r"})
    for second in range(30, 4_000, 30):
        world.beat(second, **beat, progress=False)
    world.look(4_000)
    assert world.kinds("etl") == []


def late(world: World, at: float, made: float, **job: Any) -> None:
    """A heartbeat about a run that its client stored, and that is sent later."""
    with world.clock(made) as made_at:
        sent_at = made_at.isoformat()
    world.beat(at, "backup", job=job, age=at - made, sent_at=sent_at, beat_id=f"{made}")


HOURLY = {**NIGHTLY, "expression": "0 * * * *", "grace": 300, "max_duration": 600}


def test_runs_delivered_late_count_at_their_time(set_schedule: Any, world: World) -> None:
    """The hourly runs of a morning without network, delivered together: no alarm stays, none counts twice."""
    set_schedule(**HOURLY)
    for hour in range(1, 5):
        began = hour * 3_600.0
        for _ in range(2):  # the first answer was lost
            late(world, 14_460, began, event="start", rid=f"run {hour}")
            late(world, 14_461, began + 60, event="success", rid=f"run {hour}", duration=60.0)
    world.look(14_462)
    assert world.kinds("backup") == []
    begun = [run.began for run in job_runs(world)]
    with world.clock(0) as zero:
        assert [(at - zero).total_seconds() for at in begun if at] == [3_600, 7_200, 10_800, 14_400]
    world.look(18_299)
    assert world.kinds("backup") == []
    world.look(18_301)
    assert world.kinds("backup") == ["did_not_start"]


def test_late_failure_is_over_with_a_later_success(set_schedule: Any, world: World) -> None:
    set_schedule(**HOURLY)
    world.beat(7_201, "backup", job={"event": "start", "rid": "b"})
    world.beat(7_300, "backup", job={"event": "success", "rid": "b"})
    world.look(7_301)
    late(world, 7_400, 3_600, event="start", rid="a")
    late(world, 7_401, 3_700, event="fail", rid="a", exit_status=3)
    world.look(7_402)
    assert world.kinds("backup") == []
    assert [run.ok for run in job_runs(world) if run.rid] == [False, True]


def test_late_failure_of_the_last_run_is_an_incident(set_schedule: Any, world: World) -> None:
    set_schedule(**HOURLY)
    late(world, 7_100, 3_600, event="start", rid="a")
    late(world, 7_101, 3_700, event="fail", rid="a", exit_status=3)
    world.look(7_102)
    assert world.kinds("backup") == ["job_failed"]
    with world.clock(3_700) as failed_at:
        assert world.incidents()[-1].started_at == failed_at


def job_runs(world: World) -> list[Run]:
    """The runs of `backup`, without the ping that created it."""
    return [run for run in runs.runs_of(world.agent("backup").memory.rules[runs.KIND]) if run.rid]
