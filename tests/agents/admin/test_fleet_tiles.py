"""The fleet on the start page."""

from __future__ import annotations

import re

import pytest

from teams.models import Project, User
from tests.agents.admin.conftest import Browse, make_agent, make_incident

pytestmark = pytest.mark.django_db
STEPS = "/admin/first-steps/"


def tiles(body: str) -> dict[str, int]:
    return {status: int(n) for status, n in re.findall(r'\?status=(\w+)"><strong>(\d+)<', body)}


def test_empty_fleet_links_to_get_started(project: Project, viewer: User, client_of: Browse) -> None:
    body = client_of(viewer).get("/admin/").content.decode()
    assert "No agents yet" in body
    assert STEPS in body


def test_fleet_counts_statuses_and_lists_worst(project: Project, viewer: User, client_of: Browse) -> None:
    for n in range(3):
        make_agent(project, f"good-{n}")
    make_agent(project, "tardy", beat=80)
    incident = make_incident(make_agent(project, "stuck"))
    body = client_of(viewer).get("/admin/").content.decode()
    assert 'role="search"' in body
    assert {status: n for status, n in tiles(body).items() if n} == {"stalled": 1, "late": 1, "ok": 3}
    assert re.findall(r'<th scope="row"><a [^>]*>([^<]+)</a>', body) == ["stuck", "tardy", "good-0", "good-1", "good-2"]
    assert f"/admin/agents/incident/{incident.pk}/change/" in body
