"""Every page of the admin's side bar and behind it, in Chromium: no barrier, no complaint, nothing from elsewhere.

Tab reaches everything in order, and each stop shows that it has the focus.
"""

from __future__ import annotations

import pytest
from django.utils import timezone

from agents.models import IncomingWebhook
from alerts.models import Channel
from teams import services
from teams.models import ApiKey, Membership, Project, User
from tests.browser.conftest import Open
from tests.browser.keyboard import Keyboard
from tests.browser.tab import SIZES
from tests.browser.test_live_pages import make_fleet

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
LISTS = [
    "", "agents/agent/", "agents/incident/", "agents/command/", "agents/maintenance/", "first-steps/",
    "alerts/channel/", "alerts/channel/add/", "alerts/channel/routes/", "alerts/delivery/",
    "agents/incomingwebhook/", "agents/incomingwebhook/add/",
    "teams/team/", "teams/project/", "teams/apikey/",
    "teams/apikey/add/", "teams/membership/", "teams/invitation/", "teams/invitation/add/",
    "billing/subscription/", "teams/auditentry/", "installation/", "teams/user/",
]  # fmt: skip
ACCOUNT = ["profile/", "teams/", "password/change/", "2fa/", "sessions/", "logout/", "email/"]


@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_pages_are_accessible(
    open_tab: Open, operator: User, owner: User, project: Project, api_key: str, width: int, scheme: str
) -> None:
    incident = make_fleet(project)
    webhook = IncomingWebhook.objects.create(project=project, kind="github", name="acme/bot", secret="s" * 40)
    services.invite(team=project.team, email="new@example.com", role="viewer", invited_by=owner, now=timezone.now())
    rows = [
        f"agents/agent/{incident.agent_id}/change/",
        f"agents/incident/{incident.pk}/change/",
        f"alerts/channel/{Channel.objects.all()[0].pk}/change/",
        f"agents/incomingwebhook/{webhook.pk}/change/",
        f"teams/project/{project.pk}/change/",
        f"teams/team/{project.team_id}/change/",
        f"teams/team/{project.team_id}/delete/",
        f"teams/apikey/{ApiKey.objects.all()[0].pk}/change/",
        f"teams/apikey/{ApiKey.objects.all()[0].pk}/revoke/",
        f"teams/membership/{Membership.objects.all()[0].pk}/change/",
    ]
    tab = open_tab(operator, width, scheme)
    found: dict[str, list[str]] = {}
    for path in [*(f"/admin/{one}" for one in (*LISTS, *rows)), *(f"/accounts/{one}" for one in ACCOUNT)]:
        page = tab.go(path)
        assert page.locator("h1").count() == 1, path
        tab.picture(f"every{path.replace('/', '-')}{width}-{scheme}")
        barriers = tab.barriers()
        if barriers:
            found[path] = barriers
        if faults := Keyboard(tab).walk(content_only=path not in ("/admin/", "/accounts/profile/")):
            found.setdefault(path, []).extend(faults)
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            found.setdefault(path, []).append("scrolls sideways")
    assert found == {}
