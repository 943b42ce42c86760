"""The operator's page in a browser."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from agents.models import Agent, AgentState, Outage, Rollup
from alerts.models import Channel, Delivery
from teams.models import Project, User
from tests.browser.conftest import Open
from tests.browser.tab import SIZES
from tests.browser.test_live_pages import make_fleet

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_installation_page_layout(open_tab: Open, operator: User, project: Project, width: int, scheme: str) -> None:
    make_fleet(project)
    Delivery.objects.create(channel=Channel.objects.all()[0], message_id="failed", state="failed")
    ended = timezone.now() - timedelta(hours=3)
    Outage.objects.create(part="detector", started_at=ended - timedelta(minutes=12), ended_at=ended)
    Rollup.objects.create(agent=Agent.objects.all()[0], span="h", start=timezone.now(), beats=120)
    tab = open_tab(operator, width, scheme)
    page = tab.page
    page.clock.install()
    tab.go("/admin/installation/")
    tab.sees("Watchdog outages in the last 7 days")
    tab.picture(f"installation-{width}-{scheme}")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert tab.barriers() == []
    AgentState.objects.update(check_at=ended)
    page.clock.fast_forward(6_000)
    tab.sees("✕ fix now: start the worker, or add another one")
