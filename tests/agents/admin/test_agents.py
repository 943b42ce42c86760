"""The list of agents and an agent's page."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agents.commands import dispatch
from agents.models import Agent, AgentMemory, AgentName, AgentState, Command, Runner, Status
from agents.reporting import agent_status
from billing.services import set_plan
from teams.errors import ApiError
from teams.models import AuditEntry, Project, User
from tests.agents.admin.conftest import Browse, make_agent, make_beat, make_command, make_incident, make_runner

pytestmark = pytest.mark.django_db
LIST = "/admin/agents/agent/"


def page_of(agent: Agent) -> str:
    return f"{LIST}{agent.pk}/change/"


def names_in(body: str) -> list[str]:
    return re.findall(r'<th scope="row"><a [^>]*>([^<]+)</a>', body)


def fates(project: Project) -> list[str]:
    """One agent of each status; answers their names, worst first."""
    make_agent(project, "late", beat=80)
    for status in set(Status.values) - {"late", "paused", "new"}:
        make_agent(project, status, status=status, waiting_until=timezone.now() + timedelta(hours=1))
    make_agent(project, "new", beat=None)
    make_agent(project, "paused", status="paused")
    Agent.objects.filter(name="paused").update(paused_at=timezone.now())
    return ["down", "stalled", "warning", "late", "waiting", "ok", "new", "stopped", "paused"]


# The list


def test_agents_needing_attention_come_first(project: Project, viewer: User, client_of: Browse) -> None:
    expected = fates(project)
    assert names_in(client_of(viewer).get(LIST).content.decode()) == expected


@pytest.mark.parametrize("status", Status.values)
def test_list_filters_by_displayed_status(status: str, project: Project, viewer: User, client_of: Browse) -> None:
    fates(project)
    assert names_in(client_of(viewer).get(f"{LIST}?status={status}").content.decode()) == [status]


@pytest.mark.parametrize(
    ("state", "late"),
    [
        ({"declared_interval": 30.0}, True),
        ({"declared_interval": 90.0}, False),
        ({"usual_gap": 45.0, "beats": 6}, True),
        ({"usual_gap": 45.0, "beats": 5}, False),
        ({"usual_gap": 600.0}, False),
        ({}, False),
    ],
)
def test_late_matches_in_query_and_on_page(state: dict[str, Any], late: bool, project: Project) -> None:
    agent, now = make_agent(project, beat=50, **state), timezone.now()
    shown = Agent.objects.annotate(shown=agent_status.display_status(now)).get(pk=agent.pk)
    [status] = agent_status.statuses([agent], now)
    assert (shown.shown, status.status) == (("late", "late") if late else ("ok", "ok"))


def test_set_interval_wins_over_declared(project: Project) -> None:
    agent, now = make_agent(project, beat=50, declared_interval=10.0), timezone.now()
    Agent.objects.update(interval=300)
    shown = Agent.objects.annotate(shown=agent_status.display_status(now)).get(pk=agent.pk)
    assert shown.shown == "ok"
    assert agent_status.statuses([shown], now)[0].status == "ok"


def test_query_count_does_not_grow_with_agents(project: Project, viewer: User, client_of: Browse) -> None:
    browser = client_of(viewer)
    make_incident(make_agent(project, "first"))
    counts = [queries(browser)]
    agents = Agent.objects.bulk_create([Agent(project=project, name=f"agent-{n:04}") for n in range(1_000)])
    AgentState.objects.bulk_create([AgentState(agent=agent, status="ok", beats=3) for agent in agents])
    AgentMemory.objects.bulk_create([AgentMemory(agent=agent) for agent in agents])
    counts.append(queries(browser))
    assert counts[0] == counts[1]
    assert counts[0] <= 16


def queries(browser: Any) -> int:
    with CaptureQueriesContext(
        connection,
    ) as seen:
        assert browser.get(LIST).status_code == 200
    return len(seen)


def test_poll_returns_only_the_table(bot: Agent, viewer: User, client_of: Browse) -> None:
    body = client_of(viewer).get(f"{LIST}?q=bo", headers={"HX-Request": "true"}).content.decode()
    assert body.startswith('<div class="w" id="agents"')
    assert names_in(body) == ["bot"]
    assert "<html" not in body


def test_search_finds_aliases_once(bot: Agent, viewer: User, client_of: Browse) -> None:
    for alias in ("bot.service", "bot.container"):
        AgentName.objects.create(project=bot.project, agent=bot, name=alias)
    assert names_in(client_of(viewer).get(f"{LIST}?q=bot.").content.decode()) == ["bot"]


def test_row_shows_clocks_spend_and_incident(project: Project, viewer: User, client_of: Browse) -> None:
    today: Any = {"day": timezone.now().date(), "cost_today": 9_100_000, "tokens_today": 120_400}
    today |= {"cost_total": 9_100_000, "tokens_total": 120_400}
    agent = make_agent(project, cost_limit=10_000_000, last_progress_at=timezone.now() - timedelta(hours=2), **today)
    incident = make_incident(agent)
    body = client_of(viewer).get(LIST).content.decode()
    for text in ("due in 5", "1 h 30 min overdue", "5 s ago", "$9.10", "of $10.00", "120,400 tokens"):
        assert text in body, text
    assert f"/admin/agents/incident/{incident.pk}/change/" in body


def test_yesterdays_spend_is_not_todays(project: Project, viewer: User, client_of: Browse) -> None:
    yesterday = timezone.now().date() - timedelta(days=1)
    make_agent(project, day=yesterday, cost_today=9_100_000, tokens_today=5, cost_total=9_100_000, tokens_total=5)
    body = client_of(viewer).get(LIST).content.decode()
    assert "$9.10" not in body
    assert "0 tokens" in body


def test_agents_are_paused_and_resumed_in_bulk(project: Project, member: User, client_of: Browse) -> None:
    agents = [make_agent(project, name) for name in ("one", "two")]
    chosen = {"_selected_action": [agent.pk for agent in agents]}
    client_of(member).post(LIST, {"action": "pause_selected", "choice": "1h", **chosen})
    assert Agent.objects.filter(paused_at__isnull=False).count() == 2
    client_of(member).post(LIST, {"action": "resume_selected", **chosen})
    assert not Agent.objects.filter(paused_at__isnull=False).exists()
    assert set(AuditEntry.objects.filter(action="agent.paused").values_list("actor", flat=True)) == {member.email}


def test_viewer_has_no_actions_or_buttons(bot: Agent, viewer: User, client_of: Browse) -> None:
    make_runner(bot)
    browser = client_of(viewer)
    assert "_selected_action" not in browser.get(LIST).content.decode()
    body = browser.get(page_of(bot)).content.decode()
    assert "/press/" not in body
    assert 'name="_save"' not in body
    browser.post(LIST, {"action": "pause_selected", "choice": "1h", "_selected_action": bot.pk})
    assert not Agent.objects.filter(paused_at__isnull=False).exists()


# The page


def test_page_shows_reason_and_both_clocks(project: Project, viewer: User, client_of: Browse) -> None:
    agent = make_agent(project, last_progress_at=timezone.now() - timedelta(minutes=47))
    make_incident(agent)
    make_beat(agent, "step 12")
    make_command(agent)
    make_runner(agent)
    AgentName.objects.create(project=project, agent=agent, name="bot2")
    Agent.objects.update(labels={"env": "prod"})
    body = client_of(viewer).get(page_of(agent)).content.decode()
    for text in ("No progress for 47 minutes", "due in 5", "17 min overdue", "step 12", "$0.03", "1,200", "restarted"):
        assert text in body, text
    for text in ("Aliases: bot2", "Runs as systemd:bot.service", "env: prod"):
        assert text in body, text


def test_page_without_progress_explains_it(bot: Agent, viewer: User, client_of: Browse) -> None:
    assert "No progress reported yet" in client_of(viewer).get(page_of(bot)).content.decode()


@pytest.mark.parametrize("part", ["head", "now", "history", "better", "beats", "incidents", "commands"])
def test_live_parts_are_fragments(part: str, bot: Agent, viewer: User, client_of: Browse) -> None:
    body = client_of(viewer).get(f"{LIST}{bot.pk}/live/{part}/").content.decode()
    assert f'id="agent-{part}"' in body
    assert "<html" not in body
    assert client_of(viewer).get(f"{LIST}{bot.pk}/live/other/").status_code == 404


FORM = {
    "interval": "", "grace": "", "progress_timeout": "", "daily_budget_usd": "",
    "restart_policy": "manual", "restart_type": "", "restart_target": "", "aliases": "", "kind": "agent",
    "labels": "",
}  # fmt: skip


def save(browser: Any, agent: Agent, **changes: str) -> Any:
    return browser.post(page_of(agent), {**FORM, **changes})


def test_settings_are_saved_through_the_service(bot: Agent, member: User, client_of: Browse) -> None:
    given = {
        "interval": "300",
        "daily_budget_usd": "12.5",
        "run_budget_usd": "2",
        "daily_token_limit": "5000",
        "unsafe_to_repeat": "on",
        "labels": "env=prod",
        "aliases": "bot.service\n bot2 ",
    }
    assert save(client_of(member), bot, **given).status_code == 302
    bot.refresh_from_db()
    assert (bot.interval, str(bot.daily_budget_usd), bot.labels) == (300, "12.500000", {"env": "prod"})
    assert (float(bot.run_budget_usd or 0), bot.daily_token_limit, bot.unsafe_to_repeat) == (2.0, 5000, True)
    assert set(bot.names.values_list("name", flat=True)) == {"bot", "bot.service", "bot2"}
    entry = AuditEntry.objects.get(action="agent.changed")
    assert (entry.actor, entry.data["interval"]) == (member.email, {"from": None, "to": 300.0})


def test_saving_without_changes_writes_nothing(bot: Agent, member: User, client_of: Browse) -> None:
    assert save(client_of(member), bot).status_code == 302
    assert not AuditEntry.objects.filter(action__startswith="agent.").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"interval": "0.5"}, "greater than or equal to 1"),
        ({"grace": "1"}, "greater than or equal to 5"),
        ({"interval": "nan"}, "Enter a number"),
        ({"interval": "1e300"}, "up to a year"),
        ({"daily_budget_usd": "-1"}, "greater than or equal to 0"),
        ({"run_budget_usd": "-1"}, "greater than or equal to 0"),
        ({"daily_token_limit": "-1"}, "greater than or equal to 0"),
        ({"labels": "production"}, "Line 1: use name=value"),
        ({"rule__loop__repeats": "many"}, "Enter a whole number"),
        ({"rule__loop__repeats": "1"}, "greater than or equal to 2"),
        ({"rule__loop__switch": "maybe"}, "Select a valid choice"),
        ({"rule__loop__budget": "search"}, "write a tool name, =, and a whole number"),
        ({"rule__loop__budget": "search = 1"}, "must be a whole number from 2 to 10,000"),
        ({"rule__loop__poller": "search = 1"}, "write a tool name, =, and yes or no"),
        ({"restart_type": "systemd"}, "Set type and target together"),
        ({"aliases": "other"}, "is already a name of the agent other"),
    ],
)
def test_form_errors_are_shown_at_their_field(
    changes: dict[str, str], says: str, bot: Agent, member: User, client_of: Browse
) -> None:
    make_agent(bot.project, "other")
    answer = save(client_of(member), bot, **changes)
    assert answer.status_code == 200
    assert says in answer.content.decode()
    assert not AuditEntry.objects.filter(action__startswith="agent.").exists()


def test_omitted_alias_is_removed(bot: Agent, member: User, client_of: Browse) -> None:
    AgentName.objects.create(project=bot.project, agent=bot, name="bot.service")
    save(client_of(member), bot)
    assert list(bot.names.values_list("name", flat=True)) == ["bot"]


def test_viewer_cannot_save(bot: Agent, viewer: User, client_of: Browse) -> None:
    assert save(client_of(viewer), bot, interval="300").status_code == 403
    bot.refresh_from_db()
    assert bot.interval is None


def test_agent_is_created_manually(project: Project, member: User, client_of: Browse) -> None:
    answer = client_of(member).post(f"{LIST}add/", {"project": project.pk, "name": "nightly", "kind": "job"})
    agent = Agent.objects.get()
    assert answer.status_code == 302
    assert (agent.name, agent.kind, agent.state.status) == ("nightly", "job", "new")
    assert AuditEntry.objects.get(action="agent.created").actor == member.email


def test_agent_names_are_unique(bot: Agent, member: User, client_of: Browse) -> None:
    answer = client_of(member).post(f"{LIST}add/", {"project": bot.project_id, "name": "bot", "kind": "agent"})
    assert "is already a name of an agent in this project" in answer.content.decode()
    assert Agent.objects.count() == 1


def test_plan_limits_manually_created_agents(project: Project, member: User, client_of: Browse) -> None:
    set_plan(team=project.team, plan="free", actor="test")
    for name in ("one", "two", "three"):
        make_agent(project, name)
    answer = client_of(member).post(
        f"{LIST}add/", {"project": project.pk, "name": "four", "kind": "agent"}, follow=True
    )
    assert "The Free plan allows 3 agents, and all are in use" in answer.content.decode()
    assert Agent.objects.count() == 3


def test_deletion_is_audited(bot: Agent, member: User, client_of: Browse) -> None:
    make_incident(bot)
    asked = client_of(member).get(f"{LIST}{bot.pk}/delete/").content.decode()
    assert "<strong>1</strong> incident<" in asked
    assert "Its heartbeats and history are deleted too." in asked
    client_of(member).post(f"{LIST}{bot.pk}/delete/", {"post": "yes"})
    assert not bot.project.agents.exists()
    assert AuditEntry.objects.get(action="agent.deleted").target == "bot"


# The buttons


def press(browser: Any, agent: Agent, name: str, **data: str) -> Any:
    return browser.post(f"{LIST}{agent.pk}/press/{name}/", data, follow=True)


def test_restart_needs_confirmation(bot: Agent, member: User, client_of: Browse) -> None:
    make_runner(bot)
    asked = client_of(member).get(f"{LIST}{bot.pk}/press/restart/").content.decode()
    assert "The runner will restart systemd:bot.service once." in asked
    assert not Command.objects.exists()
    answer = press(client_of(member), bot, "restart", reason="stuck").content.decode()
    assert "Restart of bot requested." in answer
    command = Command.objects.get()
    assert (command.action, command.reason, command.requested_by) == ("restart", "stuck", member.email)


def refuse(agent: Agent, why: str) -> None:
    """Whatever makes the service refuse it to a person."""
    if why == "restart_off":
        Agent.objects.update(restart_policy="off")
    elif why == "runner_silent":
        Runner.objects.all().delete()
    elif why == "no_runner":
        AgentState.objects.update(runner="")
    elif why == "no_target":
        AgentState.objects.update(restart_type="", restart_target="")
    for minutes in range(1, 4) if why == "restart_budget" else ():
        command = make_command(agent)
        Command.objects.filter(pk=command.pk).update(leased_at=timezone.now() - timedelta(minutes=minutes))
    if why == "command_live":
        live = {"state": "leased", "expires_at": timezone.now() + timedelta(minutes=5)}
        Command.objects.filter(pk=make_command(agent).pk).update(**live)


def refused(agent: Agent, action: str) -> ApiError | None:
    """What the service says to a person."""
    try:
        dispatch.request(agent=agent, action=action, actor="member@example.com", reason="", now=timezone.now())
    except ApiError as refusal:
        return refusal
    return None


REASONS = ["", "restart_off", "restart_budget", "runner_silent", "no_runner", "no_target", "command_live"]
OF_RESTARTS = ("", "restart_off", "restart_budget")


@pytest.mark.parametrize("why", REASONS)
@pytest.mark.parametrize("action", ["restart", "stop"])
def test_confirmation_page_and_service_agree(
    bot: Agent, member: User, client_of: Browse, action: str, why: str
) -> None:
    make_runner(bot)
    refuse(bot, why)
    answer = client_of(member).get(f"{LIST}{bot.pk}/press/{action}/").content.decode()
    page = html.unescape(answer.partition("w-ask")[2])
    refusal = refused(Agent.objects.get(), action)
    if refusal is None:
        assert why in (OF_RESTARTS if action == "stop" else "")
        assert (f"Can’t {action} bot now" in page, 'name="reason"' in page) == (False, True)
        return
    sentence, _, _ = refusal.message.partition(" Try again in")
    assert refusal.code == why
    assert re.sub(r"`([^`]+)`", r"<code>\1</code>", sentence) in page
    assert (f"Can’t {action} bot now" in page, 'name="reason"' in page) == (True, False)
    assert re.search(rf'<button type="button" class="w-button" disabled .*{action.capitalize()} bot</button>', page)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"unsafe_to_repeat": True}, "Its work is marked as not idempotent"),
        ({"paused_at": datetime(2026, 5, 4, tzinfo=UTC)}, "Monitoring is paused"),
    ],
)
def test_confirmation_page_warns_of_blocked_restarts(
    bot: Agent, member: User, client_of: Browse, facts: dict[str, Any], said: str
) -> None:
    make_runner(bot)
    Agent.objects.update(**facts)
    page = client_of(member).get(f"{LIST}{bot.pk}/press/restart/").content.decode()
    assert "Automatic restarts are blocked." in page
    assert said in page
    assert 'name="reason"' in page
    assert "Automatic restarts" not in client_of(member).get(f"{LIST}{bot.pk}/press/stop/").content.decode()


def test_confirmation_page_names_replaced_command(bot: Agent, member: User, client_of: Browse) -> None:
    make_runner(bot)
    waiting = {"state": "pending", "origin": "watchdog", "expires_at": timezone.now() + timedelta(minutes=5)}
    Command.objects.filter(pk=make_command(bot).pk).update(**waiting)
    page = client_of(member).get(f"{LIST}{bot.pk}/press/stop/").content.decode()
    assert "This replaces the restart requested by the watchdog, which no runner has picked up yet." in page
    assert "Stop of bot requested." in press(client_of(member), bot, "stop").content.decode()


def test_refused_command_shows_a_sentence(bot: Agent, member: User, client_of: Browse) -> None:
    answer = press(client_of(member), bot, "stop")
    assert answer.status_code == 200
    assert "No restart target is known" in answer.content.decode()
    assert not Command.objects.exists()


@pytest.mark.parametrize(("held", "said"), [(True, "Only a person can start it again"), (False, "No alerts until")])
def test_stopped_agent_says_whether_it_is_held(
    bot: Agent, viewer: User, client_of: Browse, held: bool, said: str
) -> None:
    AgentState.objects.filter(agent=bot).update(status="stopped", reported="shutdown", held=held)
    assert said in client_of(viewer).get(page_of(bot)).content.decode()


def test_page_navigation_and_settings_at_the_end(bot: Agent, member: User, viewer: User, client_of: Browse) -> None:
    Agent.objects.update(name="bot-1")
    body = client_of(member).get(page_of(bot)).content.decode()
    [nav] = re.findall(r'aria-label="On this page">(.*?)</nav>', body)
    parts = re.findall(r'href="#([\w-]+)"', nav)
    places = [body.index(f'id="{part}"') for part in parts]
    assert len(parts) == 7
    assert places == sorted(places)
    assert places[-1] < body.index('name="_save"') < body.index("Delete bot-1…")
    assert "Delete this" not in body
    assert "Delete bot-1" not in client_of(viewer).get(page_of(bot)).content.decode()
    answer = save(client_of(member), bot, interval="0.5").content.decode()
    assert "The settings were not saved." in answer
    assert '<details id="deadlines" open>' in answer


def test_page_title_keeps_the_name_as_is(bot: Agent, owner: User, client_of: Browse) -> None:
    Agent.objects.update(name="bot-1")
    Project.objects.update(name="production")
    for page, name in ((page_of(bot), "bot-1"), (f"/admin/teams/project/{bot.project_id}/change/", "production")):
        [title] = re.findall(r"<h1[^>]*>(.*?)</h1>", client_of(owner).get(page).content.decode(), re.DOTALL)
        assert re.search(rf">\s*{name}\s*</a>", title)
        assert re.search(r">\s*(Agents|Projects)\s*</a>", title)


def test_page_links_to_all_incidents_and_commands(bot: Agent, viewer: User, client_of: Browse) -> None:
    other = make_agent(bot.project, "bot-2")
    for agent in (bot, other):
        make_incident(agent, reason=f"{agent.name} is stuck")
        make_command(agent, by=f"{agent.name}@example.com")
    browser = client_of(viewer)
    body = browser.get(page_of(bot)).content.decode()
    links = re.findall(r'href="([^"]+agent__id__exact[^"]+)"', body)
    assert len(links) == 2
    for link in links:
        shown = browser.get(link).content.decode()
        assert "bot-2" not in shown
        assert "bot is stuck" in shown or "bot@example.com" in shown
        assert f'<option value="{bot.pk}" selected>bot</option>' in shown
    assert "bot-2 is stuck" in browser.get("/admin/agents/incident/").content.decode()
    assert "bot-2@example.com" in browser.get("/admin/agents/command/").content.decode()


def test_page_links_to_maintenance(bot: Agent, member: User, viewer: User, client_of: Browse) -> None:
    link = f"/admin/agents/maintenance/plan/?agents={bot.pk}"
    assert link in client_of(member).get(page_of(bot)).content.decode()
    assert link not in client_of(viewer).get(page_of(bot)).content.decode()


def test_no_restart_button_without_target(bot: Agent, member: User, client_of: Browse) -> None:
    assert "press/restart/" not in client_of(member).get(page_of(bot)).content.decode()
    make_runner(bot)
    assert "press/restart/" in client_of(member).get(page_of(bot)).content.decode()


@pytest.mark.parametrize(
    ("choice", "until", "says"),
    [
        ("1h", timedelta(hours=1), "is paused until"),
        ("tomorrow", None, "09:00:00"),
        ("resumed", None, "until somebody resumes it"),
    ],
)
def test_pause_has_a_length_and_resume(
    choice: str, until: timedelta | None, says: str, bot: Agent, member: User, client_of: Browse
) -> None:
    browser = client_of(member)
    asked = browser.get(f"{LIST}{bot.pk}/press/pause/").content.decode()
    assert f'name="choice" value="{choice}"' in asked
    assert says in press(browser, bot, "pause", choice=choice).content.decode()
    agent = Agent.objects.get()
    assert (agent.paused_at, agent.paused_by) == (timezone.now(), member.email)
    assert (agent.paused_until is None) is (choice == "resumed")
    if until:
        assert agent.paused_until == timezone.now() + until
    assert "press/resume/" in browser.get(page_of(bot)).content.decode()
    press(browser, bot, "resume")
    agent.refresh_from_db()
    assert (agent.paused_at, agent.paused_until, agent.paused_by) == (None, None, "")


def test_one_tap_pauses_nothing(bot: Agent, member: User, client_of: Browse) -> None:
    assert "Choose how long" in press(client_of(member), bot, "pause").content.decode()
    client_of(member).post(LIST, {"action": "pause_selected", "_selected_action": bot.pk})
    assert not Agent.objects.filter(paused_at__isnull=False).exists()


def test_bulk_pause_asks_for_its_length(project: Project, member: User, client_of: Browse) -> None:
    agents = [make_agent(project, name) for name in ("one", "two")]
    chosen = {"action": "pause_selected", "_selected_action": [agent.pk for agent in agents]}
    asked = client_of(member).post(LIST, chosen).content.decode()
    assert "Pause monitoring of 2 agents?" in asked
    assert f'name="_selected_action" value="{agents[0].pk},{agents[1].pk}"' in asked
    assert "Until tomorrow, " in asked


def test_unknown_button_is_not_found(bot: Agent, member: User, client_of: Browse) -> None:
    assert press(client_of(member), bot, "explode").status_code == 404
