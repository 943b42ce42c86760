"""The fleet and the list of agents, as a person sees them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from agents.models import Agent, Heartbeat, Rollup
from teams.models import Project, User
from tests.browser.conftest import Open
from tests.browser.test_live_pages import SIZES, make_fleet

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def with_history(project: Project) -> None:
    """An hour of heartbeats for everybody, with errors, silence and no progress here and there."""
    make_fleet(project)
    minute = timezone.now().replace(second=0, microsecond=0)
    Agent.objects.update(created_at=minute - timedelta(days=2))
    Rollup.objects.bulk_create(
        Rollup(
            agent=agent,
            span="m",
            start=minute - timedelta(minutes=n),
            beats=2,
            progress=int(agent.name != "research-agent" or n > 47),
            errors=int(agent.name == "crawler" and n % 17 == 3),
        )
        for agent in Agent.objects.exclude(name="brand-new")
        for n in range(120)
        if (n * agent.pk) % 41 != 5
    )


@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_the_fleet_has_a_good_face(open_tab: Open, owner: User, project: Project, width: int, scheme: str) -> None:
    with_history(project)
    tab = open_tab(owner, width, scheme)
    for name, path in {"fleet": "/admin/", "agents": "/admin/agents/agent/"}.items():
        page = tab.go(path)
        page.locator(".w-strip svg").first.wait_for()
        tab.picture(f"{name}-{width}-{scheme}")
        assert tab.barriers() == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name


def test_a_heartbeat_shows_in_the_strip_by_itself(open_tab: Open, owner: User, project: Project) -> None:
    with_history(project)
    Rollup.objects.all().delete()
    tab = open_tab(owner)
    page = tab.go("/admin/")
    drawing = page.locator("tr", has_text="crawler").locator(".w-strip svg")
    assert "nothing yet" not in (drawing.get_attribute("aria-label") or "")
    now, crawler = timezone.now(), Agent.objects.get(name="crawler")
    Heartbeat.objects.create(agent=crawler, day=now.date(), received_at=now, spent_at=now, status="error")
    page.locator("tr", has_text="crawler").locator(".w-strip path.w-s-error").wait_for(timeout=4000, state="attached")
