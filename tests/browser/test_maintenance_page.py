"""The calendar of maintenance windows in a browser."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from agents.fleet import maintenance
from agents.models import Maintenance
from teams.models import Project, User
from tests.agents.admin.conftest import make_agent
from tests.browser.conftest import Open
from tests.browser.tab import SIZES

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_maintenance_in_calendar_and_on_agents(
    open_tab: Open, owner: User, project: Project, width: int, scheme: str
) -> None:
    agent, now = make_agent(project, "crawler"), timezone.now()
    for start, hours, reason in ((0, 3, "new disks"), (30, 2, "database upgrade"), (200, 50, "moving house")):
        begin = now + timedelta(hours=start)
        times: Any = {"starts_at": begin, "ends_at": begin + timedelta(hours=hours)}
        maintenance.schedule(project=project, reason=reason, labels={}, actor=owner.email, now=now, **times)
    maintenance.apply_schedule(now)
    tab = open_tab(owner, width, scheme)
    page = tab.go("/admin/agents/maintenance/")
    tab.sees("moving house")
    tab.picture(f"maintenance-{width}-{scheme}")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert tab.barriers() == []
    tab.go(f"/admin/agents/agent/{agent.pk}/change/")
    tab.sees("In maintenance until")
    window = Maintenance.objects.get(reason="new disks")
    page = tab.go(f"/admin/agents/maintenance/{window.pk}/change/")
    tab.picture(f"maintenance-open-{width}-{scheme}")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert tab.barriers() == []
    page.get_by_role("button", name="End now").click()
    tab.sees("Maintenance ended. Monitoring resumed.")
    assert page.get_by_role("button", name="End now").count() == 0
    planned = Maintenance.objects.get(reason="database upgrade")
    page = tab.go(f"/admin/agents/maintenance/{planned.pk}/change/")
    page.get_by_role("button", name="Cancel maintenance").wait_for()
    Maintenance.objects.filter(pk=planned.pk).update(opened_at=now)
    page.get_by_role("button", name="End now").wait_for()
    tab.go("/admin/agents/maintenance/add/")
    tab.picture(f"maintenance-add-{width}-{scheme}")
    assert tab.barriers() == []
