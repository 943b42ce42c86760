"""Plan and usage in a browser."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from agents.models import Rollup
from billing import refusals
from billing.services import set_plan
from teams.models import Project, User
from tests.agents.admin.conftest import make_agent
from tests.browser.conftest import Open
from tests.browser.tab import SIZES

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_plan_page_layout(open_tab: Open, owner: User, project: Project, width: int, scheme: str) -> None:
    set_plan(team=project.team, plan="starter", actor="test")
    agents = [make_agent(project, name) for name in ("summarizer", "crawler", "research-agent", "late-comer")]
    set_plan(team=project.team, plan="free", actor="test")
    refusals.record(team_id=project.team_id, project_id=project.pk, name="a-fifth-agent", now=timezone.now())
    midnight = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    for back in range(20):
        for agent in agents[: 1 + back % 3]:
            Rollup.objects.create(
                agent=agent, span=Rollup.Span.DAY, start=midnight - timedelta(days=back), beats=1_000 + 37 * back
            )
    tab = open_tab(owner, width, scheme)
    page = tab.go("/admin/billing/subscription/")
    page.get_by_text("Daily figures").click()
    expect(page.get_by_role("row").nth(20)).to_be_visible()
    tab.picture(f"plan-{width}-{scheme}")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert tab.barriers() == []
