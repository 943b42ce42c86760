"""A maintenance window's own page."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from agents.fleet import maintenance
from agents.models import Maintenance
from teams.models import AuditEntry, Project, User
from tests.agents.admin.conftest import Browse, make_agent

pytestmark = pytest.mark.django_db
LIST = "/admin/agents/maintenance/"


def pressed(browser: Client, window: Maintenance, name: str) -> str:
    body: bytes = browser.post(f"{LIST}{window.pk}/press/{name}/", follow=True).content
    return body.decode()


@pytest.mark.parametrize(
    ("begins", "name", "label", "said"),
    [
        (-1, "end", "End now", "Maintenance ended. Monitoring resumed."),
        (1, "cancel", "Cancel maintenance", "Maintenance cancelled."),
    ],
)
def test_maintenance_is_ended_from_its_page(
    project: Project, member: User, viewer: User, client_of: Browse, begins: int, name: str, label: str, said: str
) -> None:
    now = timezone.now()
    agent = make_agent(project)
    starts = now + timedelta(hours=begins)
    times: Any = {"starts_at": starts, "ends_at": starts + timedelta(hours=2)}
    window = maintenance.schedule(
        project=project, reason="new disks", labels={}, actor="x@example.com", now=now, **times
    )
    maintenance.apply_schedule(now)
    page, browser = f"{LIST}{window.pk}/change/", client_of(member)
    body = browser.get(page).content.decode()
    assert f"{label}</button>" in body
    assert body.count("/press/") == 1
    assert "/press/" not in client_of(viewer).get(page).content.decode()
    assert client_of(viewer).post(f"{LIST}{window.pk}/press/{name}/").status_code == 403
    assert said in pressed(browser, window, name)
    window.refresh_from_db()
    agent.refresh_from_db()
    assert (window.closed_at is not None, agent.paused_at) == (True, None)
    assert "/press/" not in browser.get(page).content.decode()
    assert "This maintenance had already ended." in pressed(browser, window, name)
    entry = AuditEntry.objects.get(action="maintenance.ended")
    assert entry.actor == member.email


@pytest.mark.parametrize(("labels", "said"), [({}, "Any"), ({"host": "w-3", "env": "live"}, "env=live, host=w-3")])
def test_labels_are_shown_as_text(
    project: Project, viewer: User, client_of: Browse, labels: dict[str, str], said: str
) -> None:
    now = timezone.now()
    times: Any = {"starts_at": now, "ends_at": now + timedelta(hours=2)}
    window = maintenance.schedule(project=project, reason="new disks", labels=labels, actor="x", now=now, **times)
    body = client_of(viewer).get(f"{LIST}{window.pk}/change/").content.decode()
    assert said in body
    assert "{}" not in body.partition("Only agents with labels")[2][:400]


def test_other_teams_window_is_not_found(project: Project, stranger: User, client_of: Browse) -> None:
    now = timezone.now()
    times: Any = {"starts_at": now, "ends_at": now + timedelta(hours=2)}
    window = maintenance.schedule(
        project=project, reason="new disks", labels={}, actor="x@example.com", now=now, **times
    )
    assert client_of(stranger).post(f"{LIST}{window.pk}/press/end/").status_code == 404
    window.refresh_from_db()
    assert window.closed_at is None
