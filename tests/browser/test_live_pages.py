"""Pages that keep themselves up to date, as a person sees them."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from agents.models import Agent, AgentState, Incident, IncidentEvent
from agents.review import review
from alerts.models import Channel, Delivery
from teams.models import ApiKey, Project, User
from tests.agents.admin.conftest import make_agent, make_beat, make_command, make_incident, make_runner
from tests.browser.conftest import Open, send_beat
from tests.browser.tab import SIZES
from tests.flows.installation import PATIENCE

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def make_fleet(project: Project) -> Incident:
    """One agent of each fate, and an incident that was told."""
    make_agent(project, "summarizer", last_progress_at=timezone.now(), tokens_today=120_400, cost_today=1_250_000)
    make_agent(project, "nightly-report", beat=3_600, status="stopped", reported="shutdown")
    make_agent(project, "late-bird", beat=80)
    waits: Any = {"waiting_for": "approval", "waiting_until": timezone.now() + timedelta(hours=1)}
    make_agent(project, "publisher", status="waiting", **waits)
    make_agent(project, "brand-new", beat=None)
    spender = make_agent(project, "crawler", cost_today=9_100_000, day=timezone.now().date(), cost_limit=10_000_000)
    make_incident(spender, kind="cost", reason="Spent $9.10 of $10.00 today")
    AgentState.objects.filter(agent=spender).update(status="warning")
    stuck = make_agent(project, "research-agent", last_progress_at=timezone.now() - timedelta(minutes=47))
    make_runner(stuck)
    make_beat(stuck, "Still working on step 12")
    make_command(stuck)
    return told(make_incident(stuck))


def told(incident: Incident) -> Incident:
    event = IncidentEvent.objects.get(incident=incident)
    for name, kind, state, error in (
        ("On call", "email", "sent", ""),
        ("#alerts", "slack", "pending", "503 Service Unavailable; next attempt in 2 minutes"),
    ):
        channel = Channel.objects.create(project=incident.project, kind=kind, name=name)
        sent = timezone.now() if state == "sent" else None
        Delivery.objects.create(
            event=event, channel=channel, state=state, message_id=name, last_error=error, sent_at=sent
        )
    return incident


def test_first_steps_turn_green_within_a_second(open_tab: Open, server: str, owner: User, project: Project) -> None:
    tab = open_tab(owner)
    page = tab.go("/admin/first-steps/")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    key = page.locator("#new-key").inner_text()
    page.get_by_role("button", name="Copy the key").click()
    tab.sees("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == key
    tab.sees("Waiting for the first heartbeat…")
    assert page.locator("#beat").get_attribute("hx-trigger") == "every 300ms"
    tab.picture("first-steps-waiting")
    assert send_beat(server, key) == 200
    tab.sees("my-agent is reporting")
    tab.picture("first-steps-green")
    assert ApiKey.objects.filter(project=project).count() == 1


def test_quickstart_tabs_and_curl_command(open_tab: Open, owner: User, project: Project) -> None:
    tab = open_tab(owner)
    page = tab.go("/admin/first-steps/#docker")
    key = page.locator("#new-key").inner_text()

    def shown() -> list[str]:
        page.locator("[role=tab][aria-selected=true]").first.wait_for()
        return [str(one.get_attribute("id")) for one in page.locator("#setup [role=tabpanel]:visible").all()]

    assert shown() == ["docker"], "the address says which"
    page.get_by_role("tab", name="Docker").press("ArrowRight")
    assert shown() == ["job"]
    assert page.evaluate("document.activeElement.id") == "tab-job"
    page.get_by_role("tab", name="Job").press("Home")
    page.keyboard.press("ArrowLeft")
    assert shown() == ["openclaw"], "round the end"
    page.get_by_role("tab", name="curl").click()
    assert tab.barriers() == []
    command = page.locator("#curl-command").inner_text()
    assert key in command
    tab.go("/admin/first-steps/")
    assert shown() == ["curl"], "it is remembered"
    done = subprocess.run(["sh", "-c", f"{command} --fail --silent"], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    tab.sees("my-agent is reporting")
    assert Agent.objects.get().name == "my-agent"


def test_incident_appears_on_open_pages(open_tab: Open, owner: User, project: Project) -> None:
    agent = make_agent(project, "bot", beat=40, declared_interval=30.0, check_at=timezone.now())
    Agent.objects.update(grace=5)
    fleet, page = open_tab(owner), open_tab(owner)
    fleet.go("/admin/")
    page.go(f"/admin/agents/agent/{agent.pk}/change/")
    fleet.sees("bot")
    assert fleet.page.locator("#fleet").get_attribute("hx-trigger") == "every 2s"
    assert not Incident.objects.exists()
    review.sweep(timezone.now())
    assert Incident.objects.filter(agent=agent, kind="missed_heartbeat").exists()
    fleet.sees("; expected every 30 seconds")
    page.sees("; expected every 30 seconds")


def test_incident_page_is_live_and_buttons_work(open_tab: Open, owner: User, project: Project) -> None:
    incident = make_fleet(project)
    tab = open_tab(owner, 390)
    page = tab.go(f"/admin/agents/incident/{incident.pk}/change/")
    IncidentEvent.objects.create(incident=incident, kind="note", text="A second look")
    tab.sees("A second look")
    page.get_by_role("button", name="Acknowledge").click()
    tab.sees("Acknowledged by owner@example.com")
    page.get_by_role("link", name="Restart…").click()
    tab.sees("The runner will restart systemd:research-agent.service")
    tab.picture("ask-390")
    page.get_by_label("Reason").fill("stuck since lunch")
    page.get_by_role("button", name="Restart").click()
    tab.sees("Restart of research-agent.service requested")


def test_list_refresh_keeps_selection_and_focus(open_tab: Open, owner: User, project: Project) -> None:
    first, second = make_agent(project, "first"), make_agent(project, "second")
    tab = open_tab(owner)
    page = tab.go("/admin/agents/agent/")
    box = page.get_by_label("Select second")
    box.check()
    AgentState.objects.filter(agent=second).update(status="stalled")
    page.locator(f"tr[data-key='{second.pk}']").get_by_text("stalled").wait_for()
    expect(page.locator("#result_list tbody th a")).to_have_text([second.name, first.name])
    assert box.is_checked()
    assert box.evaluate("box => box === document.activeElement")


@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_live_page_layout(open_tab: Open, owner: User, project: Project, api_key: str, width: int, scheme: str) -> None:
    incident = make_fleet(project)
    tab = open_tab(owner, width, scheme)
    pages = {
        "fleet": "/admin/",
        "agents": "/admin/agents/agent/",
        "agent": f"/admin/agents/agent/{incident.agent_id}/change/",
        "incidents": "/admin/agents/incident/",
        "incident": f"/admin/agents/incident/{incident.pk}/change/",
        "commands": "/admin/agents/command/",
        "first-steps": "/admin/first-steps/",
    }
    for name, path in pages.items():
        page = tab.go(path)
        page.locator(".w").first.wait_for()
        tab.picture(f"{name}-{width}-{scheme}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        assert page.locator("h1").count() == 1


def test_buttons_are_above_the_fold_on_a_phone(open_tab: Open, owner: User, project: Project) -> None:
    incident = make_fleet(project)
    page = open_tab(owner, 390).go(f"/admin/agents/incident/{incident.pk}/change/")
    button = page.get_by_role("button", name="Resolve").bounding_box()
    assert button is not None
    assert button["y"] + button["height"] < 844
    assert button["height"] >= 44


def test_lost_connection_is_shown(open_tab: Open, owner: User, project: Project) -> None:
    make_agent(project)
    tab = open_tab(owner)
    page = tab.go("/admin/")
    page.route("**/admin/fleet/", lambda route: route.abort())
    page.locator("#fleet.w-stale").wait_for()
    page.unroute("**/admin/fleet/")
    page.locator("#fleet:not(.w-stale)").wait_for()
    tab.complaints.clear()  # the aborted requests


def test_signing_out_elsewhere_leads_to_sign_in(open_tab: Open, owner: User, project: Project) -> None:
    make_agent(project)
    page = open_tab(owner).go("/admin/")
    page.context.clear_cookies()
    page.wait_for_url("**/accounts/login/**")


@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_incident_shows_related_incidents(
    open_tab: Open, owner: User, project: Project, width: int, scheme: str
) -> None:
    incident = make_fleet(project)
    earlier = Incident.objects.create(
        project=project, agent=incident.agent, kind="stalled", severity="critical", reason="No progress for 20 minutes",
        started_at=incident.started_at - timedelta(days=3), opened_at=incident.opened_at - timedelta(days=3),
        resolved_at=incident.opened_at - timedelta(days=3), resolved_by="watchdog", restarts=1, cost=1_200_000,
    )  # fmt: skip
    IncidentEvent.objects.create(incident=earlier, kind="note", text="the proxy was full", actor="owner@example.com")
    tab = open_tab(owner, width, scheme)
    page = tab.go(f"/admin/agents/incident/{incident.pk}/change/")
    page.get_by_label("Note").fill("restarting the proxy")
    page.get_by_role("button", name="Add note").click()
    tab.sees("Note added to the timeline.")
    tab.sees("crawler: Spent $9.10 of $10.00 today")
    tab.sees("“the proxy was full”")
    tab.picture(f"incident-around-{width}-{scheme}")
    assert tab.barriers() == []
