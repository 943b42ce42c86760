"""What an agent does, whose it is and what to do: on its pages and in messages."""

from __future__ import annotations

import pytest

from agents.models import Agent, Incident
from alerts import message
from teams.models import User
from tests.agents.admin.conftest import Browse
from tests.agents.admin.test_agents import page_of, save

pytestmark = pytest.mark.django_db
ABOUT = {
    "description": "Answers support mail",
    "owner": "Support tools",
    "runbook_url": "https://wiki.example.com/runbooks/support",
}


def test_pages_and_messages_say_whom_to_ask(incident: Incident, bot: Agent, member: User, client_of: Browse) -> None:
    browser = client_of(member)
    assert save(browser, bot, **ABOUT).status_code == 302
    for page in (page_of(bot), f"/admin/agents/incident/{incident.pk}/change/"):
        body = browser.get(page).content.decode()
        assert "Answers support mail" in body
        assert "Owner: Support tools" in body
        assert f'href="{ABOUT["runbook_url"]}"' in body
    lines = message._lines(incident.events.get(), Incident.objects.get())
    assert lines[-3:] == [
        "About: Answers support mail",
        "Owner: Support tools",
        f"Runbook: {ABOUT['runbook_url']}",
    ]


def test_agent_without_them_says_nothing(incident: Incident, bot: Agent, member: User, client_of: Browse) -> None:
    assert "w-about" not in client_of(member).get(page_of(bot)).content.decode()
    assert not any(
        line.startswith(("About:", "Owner:", "Runbook:")) for line in message._lines(incident.events.get(), incident)
    )


@pytest.mark.parametrize("url", ["javascript:alert(1)", "wiki", "ftp://wiki.example.com/"])
def test_runbook_is_a_web_address(url: str, bot: Agent, member: User, client_of: Browse) -> None:
    assert save(client_of(member), bot, runbook_url=url).status_code == 200
    assert Agent.objects.get().runbook_url == ""
