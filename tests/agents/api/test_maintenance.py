"""`/api/v1/maintenance`."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from agents.models import Maintenance
from teams.models import Project, User
from tests.agents.admin.conftest import Browse, make_agent
from tests.agents.api.conftest import Call

LIST = "/admin/agents/maintenance/"


def in_hours(hours: float) -> str:
    return (timezone.now() + timedelta(hours=hours)).isoformat()


def test_window_is_scheduled_listed_and_cancelled(as_full: Call) -> None:
    given = {"reason": "new disks", "starts_at": in_hours(2), "ends_at": in_hours(4), "labels": {"host": "worker-3"}}
    made = as_full("POST", "maintenance", given)
    assert made.status_code == 201
    shown = as_full("GET", f"maintenance/{made.json()['id']}").json()
    assert shown == made.json()
    assert (shown["labels"], shown["opened_at"]) == ({"host": "worker-3"}, None)
    assert as_full("DELETE", f"maintenance/{shown['id']}").status_code == 204
    (over,) = as_full("GET", "maintenance").json()["results"]
    assert over["closed_at"]


def test_window_for_agents_by_name(as_full: Call, project: Project) -> None:
    make_agent(project, "bot"), make_agent(project, "crawler")
    given = {"reason": "new disks", "ends_at": in_hours(1), "agents": ["crawler", "bot"]}
    made = as_full("POST", "maintenance", given).json()
    assert made["agents"] == ["bot", "crawler"]
    refused = as_full("POST", "maintenance", {**given, "agents": ["nobody"]})
    assert (refused.status_code, list(refused.json()["error"]["fields"])) == (422, ["agents"])


def test_window_starts_now_by_default(as_full: Call) -> None:
    made = as_full("POST", "maintenance", {"reason": "x", "ends_at": in_hours(1)}).json()
    assert datetime.fromisoformat(made["starts_at"]) == timezone.now()


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"reason": "x"}, "ends_at"),
        ({"reason": "", "ends_at": "2199-01-01T00:00:00Z"}, "reason"),
        ({"reason": "x", "ends_at": "2020-01-01T00:00:00Z"}, "ends_at"),
        ({"reason": "x", "ends_at": "soon"}, "ends_at"),
    ],
)
def test_invalid_window_names_its_field(as_full: Call, given: dict[str, Any], field: str) -> None:
    answer = as_full("POST", "maintenance", given)
    assert (answer.status_code, list(answer.json()["error"]["fields"])) == (422, [field])


def form(project: Project, **more: str) -> dict[str, str]:
    start, end = timezone.now() + timedelta(hours=1), timezone.now() + timedelta(hours=3)
    times = {f"{name}_{part}": at.strftime(how) for name, at in (("starts_at", start), ("ends_at", end))
             for part, how in (("0", "%Y-%m-%d"), ("1", "%H:%M:%S"))}  # fmt: skip
    return {"project": str(project.pk), "reason": "new disks", "labels": "", **times, **more}


@pytest.mark.parametrize(("who", "status"), [("member", 302), ("viewer", 403)])
def test_member_schedules_in_the_admin(
    project: Project, client_of: Browse, who: str, status: int, request: pytest.FixtureRequest
) -> None:
    browser = client_of(request.getfixturevalue(who))
    assert browser.post(f"{LIST}add/", form(project)).status_code == status
    assert ("new disks</a>" in browser.get(LIST).content.decode()) == (status == 302)


def test_past_window_is_refused_at_its_field(project: Project, member: User, client_of: Browse) -> None:
    answer = client_of(member).post(f"{LIST}add/", form(project, ends_at_0="2020-01-01"))
    assert "Must be after the start." in answer.content.decode()
    assert not Maintenance.objects.exists()


def test_window_is_ended_from_the_list(project: Project, member: User, client_of: Browse) -> None:
    browser = client_of(member)
    browser.post(f"{LIST}add/", form(project))
    window = Maintenance.objects.get()
    body = browser.post(LIST, {"action": "end_selected", "_selected_action": window.pk, "index": 0}, follow=True)
    assert "Maintenance ended. Monitoring resumed." in body.content.decode()
    window.refresh_from_db()
    assert window.closed_at
