"""The list of incidents and an incident's page."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from agents.incidents import actions
from agents.models import Agent, AgentState, Command, Incident, IncidentEvent, Runner
from alerts.models import Channel, Delivery
from teams.models import Project, User
from tests.agents.admin.conftest import Browse, deployed, make_agent, make_command, make_incident, make_runner

pytestmark = pytest.mark.django_db
LIST = "/admin/agents/incident/"
# Of the part that is asked for each two seconds, session and person included.
MAX_QUERIES = 14
# For those who may press: the command that is live, what stands, what is wrong, earlier restarts, the runner.
QUERIES_OF_BUTTONS = 5


def page_of(incident: Incident) -> str:
    return f"{LIST}{incident.pk}/change/"


def press(browser: Any, incident: Incident, name: str) -> str:
    body: bytes = browser.post(f"{LIST}{incident.pk}/press/{name}/", follow=True).content
    return body.decode()


def reasons_in(body: str) -> list[str]:
    return re.findall(r'<th scope="row"><a [^>]*>([^<]+)</a>', body)


def text_in(body: str) -> str:
    """What a page says, in one line."""
    return " ".join(re.sub(r'<span class="w-icon[^>]*>[^<]*</span>|<[^>]+>', "", body).split())


def test_open_ones_come_first_then_the_newest(project: Project, viewer: User, client_of: Browse) -> None:
    made = [make_incident(make_agent(project, f"bot-{n}"), reason=f"reason {n}") for n in range(3)]
    actions.resolve(incident=made[2], actor="test", now=timezone.now())
    assert reasons_in(client_of(viewer).get(LIST).content.decode()) == ["reason 1", "reason 0", "reason 2"]


@pytest.mark.parametrize(("state", "found"), [("open", 0), ("acknowledged", 1), ("resolved", 2)])
def test_the_list_is_filtered_by_state(
    state: str, found: int, project: Project, viewer: User, client_of: Browse
) -> None:
    made = [make_incident(make_agent(project, f"bot-{n}"), reason=f"reason {n}") for n in range(3)]
    actions.acknowledge(incident=made[1], actor="test", now=timezone.now())
    actions.resolve(incident=made[2], actor="test", now=timezone.now())
    body = client_of(viewer).get(f"{LIST}?state={state}").content.decode()
    assert reasons_in(body) == [f"reason {found}"]


def test_the_page_says_it_all_in_the_persons_time_zone(incident: Incident, viewer: User, client_of: Browse) -> None:
    User.objects.filter(pk=viewer.pk).update(time_zone="Asia/Tokyo")
    body = client_of(viewer).get(page_of(incident)).content.decode()
    for text in ("No progress for 47 minutes", "critical", "$4.25", "47 min", "Last progress", "40 s", "JST"):
        assert text in body, text


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"restarts": 0}, None),
        ({"restarts": 1, "restarted_at": timezone.now()}, "no progress since"),
        (
            {"restarts": 2, "recovered_in": 14.2, "resolved_at": timezone.now()},
            "Restarted 2 times; progress came 14 s after the last.",
        ),
        ({"restarts": 1}, "Restarted once; the last one failed."),
    ],
)
def test_the_page_counts_restarts_and_says_what_they_proved(
    incident: Incident, viewer: User, client_of: Browse, facts: dict[str, Any], said: str | None
) -> None:
    Incident.objects.filter(pk=incident.pk).update(**facts)
    body = client_of(viewer).get(page_of(incident)).content.decode()
    assert ("What was tried" in body) == (said is not None)
    assert (said or "Timeline") in body


def test_the_timeline_says_who_was_told_and_how_it_arrived(incident: Incident, viewer: User, client_of: Browse) -> None:
    now = timezone.now()
    early = now - timedelta(minutes=12, seconds=30)
    for name, kind, said in (
        ("On call", "email", {"state": "sent", "attempts": 2, "sent_at": early, "last_error": "an old error"}),
        ("Chat", "slack", {"state": "failed", "attempts": 1, "last_error": "410 Gone"}),
        ("Hook", "webhook", {"attempts": 3, "next_try_at": now, "last_error": "503"}),
        ("Later", "email", {}),
    ):
        channel = Channel.objects.create(project=incident.project, kind=kind, name=name)
        Delivery.objects.create(event=IncidentEvent.objects.get(), channel=channel, message_id=name, **said)
    Channel.objects.filter(name="Hook").update(retry_at=now + timedelta(minutes=5, seconds=30))
    body = text_in(client_of(viewer).get(page_of(incident)).content.decode())
    assert "On call (E-mail): sent, and accepted by its server 12 min ago, at attempt 2" in body
    assert "Chat (Slack): failed 410 Gone" in body
    assert "Hook (Webhook): tried 3 times; the next try is in 5 min 503" in body
    assert "Later (E-mail): waiting to be sent" in body
    assert "an old error" not in body
    assert "Nobody was told" not in body


@pytest.mark.parametrize("target", ["", "bot.service"])
def test_where_no_runner_watches_the_page_says_why_there_is_no_restart(
    target: str, incident: Incident, member: User, client_of: Browse
) -> None:
    Agent.objects.filter(pk=incident.agent_id).update(restart_type="systemd", restart_target=target)
    body = text_in(client_of(member).get(page_of(incident)).content.decode())
    assert ("It cannot be restarted from here, for no runner watches it." in body) == (not target)


@pytest.mark.parametrize(("who", "hint"), [("member", "Add one"), ("viewer", "Ask a member of Research to add one.")])
def test_that_nobody_was_told_is_said_and_why(
    who: str, hint: str, incident: Incident, client_of: Browse, request: pytest.FixtureRequest
) -> None:
    body = text_in(client_of(request.getfixturevalue(who)).get(page_of(incident)).content.decode())
    assert f"Nobody was told: Production has no channel. {hint}" in body


def test_where_routes_take_something_else_the_way_to_them_is_shown(
    incident: Incident, viewer: User, client_of: Browse
) -> None:
    before = incident.opened_at - timedelta(days=1)
    Channel.objects.create(
        project=incident.project, kind="email", name="On call", labels={"env": "production"}, created_at=before
    )
    browser = client_of(viewer)
    body = browser.get(page_of(incident)).content.decode()
    found = re.search(r'href="([^"]+)">See who hears what', body)
    assert found
    assert "hears only of agents with env=production" in browser.get(found[1].replace("&amp;", "&")).content.decode()


def test_code_in_a_reason_is_shown_as_code(bot: Agent, viewer: User, client_of: Browse) -> None:
    incident = make_incident(bot, reason="`search(query=<b>)` called 14 times")
    browser = client_of(viewer)
    for page in (page_of(incident), LIST, "/admin/", f"/admin/agents/agent/{bot.pk}/change/"):
        body = browser.get(page).content.decode()
        assert "<code>search(query=&lt;b&gt;)</code> called 14 times" in body, page
        assert "`" not in body.partition("<title>")[2].partition("</title>")[0]


def test_what_may_be_so_is_set_at_the_field_that_sets_it(
    incident: Incident, member: User, viewer: User, client_of: Browse
) -> None:
    evidence = {"last_progress_at": incident.started_at.isoformat(), "timeout": 300.0}
    incident.signals.update(evidence=evidence)
    body = client_of(member).get(page_of(incident)).content.decode()
    address = f"/admin/agents/agent/{incident.agent_id}/change/"
    assert f'href="{address}#id_progress_timeout">Open the setting' in body
    assert 'id="id_progress_timeout"' in client_of(member).get(address).content.decode()
    body = client_of(viewer).get(page_of(incident)).content.decode()
    assert "Increase the progress timeout" in body
    assert "Open the setting" not in body


@pytest.mark.parametrize(
    ("kind", "runner", "first"),
    [("stalled", True, "restart"), ("loop", True, "acknowledge"), ("stalled", False, "acknowledge")],
)
def test_what_helps_most_comes_first(
    kind: str, runner: bool, first: str, bot: Agent, member: User, client_of: Browse
) -> None:
    incident = make_incident(bot, kind=kind)
    AgentState.objects.update(status="stalled" if kind == "stalled" else "warning")
    if runner:
        make_runner(bot)
    body = client_of(member).get(page_of(incident)).content.decode()
    assert re.findall(r'w-button w-(\w+)" data-key="(\w+)"|data-key="(\w+)" action', body)[0][1:] == (
        ("restart", "") if first == "restart" else ("", "acknowledge")
    )


@pytest.mark.parametrize(
    ("policy", "kind", "tried", "said"),
    [
        ("auto", "stalled", None, "The watchdog restarts it by itself, as soon as its runner asks."),
        ("auto", "stalled", 30, "still has time to recover. The watchdog looks again in"),
        ("manual", "stalled", None, "Automatic restart is off for this agent"),
        ("off", "stalled", None, "Restarts are off for this agent"),
        ("auto", "loop", None, "a restart would only repeat that"),
        ("auto", "memory", None, None),
    ],
)
def test_the_page_says_what_the_watchdog_does_next(
    policy: str, kind: str, tried: float | None, said: str | None, bot: Agent, viewer: User, client_of: Browse
) -> None:
    incident = make_incident(bot, kind=kind)
    make_runner(bot)
    Agent.objects.update(restart_policy=policy)
    if tried is not None:
        command = make_command(bot)
        Command.objects.filter(pk=command.pk).update(leased_at=timezone.now() - timedelta(seconds=tried))
    body = text_in(client_of(viewer).get(page_of(incident)).content.decode())
    assert ("What was tried" in body) == (said is not None)
    assert said is None or said in body


def test_a_rise_and_a_new_signal_are_told_apart(incident: Incident, viewer: User, client_of: Browse) -> None:
    for rose, text in ((True, "worse"), (False, "more")):
        data = {"signal": "loop", "rose": rose}
        IncidentEvent.objects.create(incident=incident, kind="updated", text=text, data=data)
    body = text_in(client_of(viewer).get(page_of(incident)).content.decode())
    assert "critical now worse" in body
    assert "new signal: loop more" in body


def test_the_facts_can_be_copied_as_text(incident: Incident, viewer: User, client_of: Browse) -> None:
    body = client_of(viewer).get(page_of(incident)).content.decode()
    text = body.partition('id="as-text"')[2].partition(">")[2].partition("</pre>")[0]
    assert text.startswith("bot: No progress for 47 minutes\n")
    said = (f"incident {incident.pk}, critical, open", "UTC, for 47 min; spent since $4.25", "opened: No progress")
    for fact in (*said, page_of(incident)):
        assert fact in text


def test_a_page_of_many_events_takes_no_more_queries(
    incident: Incident, viewer: User, client_of: Browse, django_assert_max_num_queries: Any
) -> None:
    make_runner(incident.agent)
    for number in range(20):
        event = IncidentEvent.objects.create(incident=incident, kind="updated", text=f"text {number}")
        channel = Channel.objects.create(project=incident.project, kind="email", name=f"channel {number}")
        Delivery.objects.create(event=event, channel=channel, message_id=str(number))
    browser = client_of(viewer)
    with django_assert_max_num_queries(MAX_QUERIES):
        assert browser.get(f"{LIST}{incident.pk}/live/now/").status_code == 200


def test_what_the_buttons_know_takes_few_queries(
    incident: Incident, member: User, client_of: Browse, django_assert_max_num_queries: Any
) -> None:
    make_runner(incident.agent)
    browser = client_of(member)
    with django_assert_max_num_queries(MAX_QUERIES + QUERIES_OF_BUTTONS):
        assert browser.get(f"{LIST}{incident.pk}/live/now/").status_code == 200


def test_an_empty_list_teaches(project: Project, viewer: User, client_of: Browse) -> None:
    body = client_of(viewer).get(LIST).content.decode()
    assert "No incident yet." in body
    assert 'href="/admin/alerts/channel/"' in body
    assert 'href="/admin/first-steps/"' in body


def test_the_list_says_who_looks_after_it(incident: Incident, viewer: User, client_of: Browse) -> None:
    actions.acknowledge(incident=incident, actor="night@example.com", now=timezone.now())
    assert "night@example.com" in client_of(viewer).get(LIST).content.decode()


def test_what_an_agent_said_is_shown_and_not_run(bot: Agent, viewer: User, client_of: Browse) -> None:
    incident = make_incident(bot, reason="<script>alert(1)</script>")
    body = client_of(viewer).get(page_of(incident)).content.decode()
    assert "<script>alert(1)" not in body
    assert "&lt;script&gt;alert(1)" in body


def test_acknowledge_then_resolve(incident: Incident, member: User, client_of: Browse) -> None:
    body = press(client_of(member), incident, "acknowledge")
    assert f"Acknowledged by {member.email}" in body
    assert "press/acknowledge/" not in body
    body = press(client_of(member), incident, "resolve")
    assert f"by {member.email}" in body
    assert 'class="w-buttons"' not in body
    incident.refresh_from_db()
    assert (incident.acknowledged_by, incident.resolved_by) == (member.email, member.email)


def test_the_agents_commands_are_at_hand(incident: Incident, member: User, client_of: Browse) -> None:
    make_runner(incident.agent)
    asked = client_of(member).get(f"{LIST}{incident.pk}/press/stop/").content.decode()
    assert "its silence is no alarm" in asked
    assert "The runner is asked to stop bot." in press(client_of(member), incident, "stop")
    assert Command.objects.get().incident == incident
    assert "waits for its runner" in press(client_of(member), incident, "restart")
    press(client_of(member), incident, "pause")
    assert Agent.objects.get().paused_at is not None


def test_a_button_that_would_be_refused_says_so_and_is_not_at_hand(
    incident: Incident, member: User, client_of: Browse
) -> None:
    make_runner(incident.agent)
    Agent.objects.update(restart_policy="off")
    body = client_of(member).get(page_of(incident)).content.decode()
    at_hand, _, others = body.partition("w-at-hand")[2].partition('<div class="w-buttons">')
    assert "press/restart/" not in at_hand
    assert 'press/restart/" aria-describedby="why-not-restart"' in others
    assert "Restart, not now: Restarts are off for this agent" in text_in(others)
    assert "why-not-stop" not in body
    Runner.objects.all().delete()
    Agent.objects.update(restart_policy="manual")
    body = text_in(client_of(member).get(page_of(incident)).content.decode())
    assert "Restart, not now: The runner that watches this agent has not asked" in body
    assert "Stop, not now: for the same reason." in body


def test_a_viewer_sees_it_all_and_presses_nothing(incident: Incident, viewer: User, client_of: Browse) -> None:
    browser = client_of(viewer)
    body = browser.get(page_of(incident)).content.decode()
    assert "No progress for 47 minutes" in body
    assert 'class="w-buttons"' not in body
    for name in ("acknowledge", "resolve", "restart", "stop", "pause"):
        assert browser.post(f"{LIST}{incident.pk}/press/{name}/").status_code == 403
    incident.refresh_from_db()
    assert incident.state == "open"


def test_nothing_is_edited_added_or_deleted_by_members(incident: Incident, owner: User, client_of: Browse) -> None:
    browser = client_of(owner)
    assert browser.post(page_of(incident), {"reason": "nothing happened"}).status_code == 403
    assert browser.get(f"{LIST}add/").status_code == 403
    assert browser.post(f"{LIST}{incident.pk}/delete/", {"post": "yes"}).status_code == 403
    assert Incident.objects.get().reason == "No progress for 47 minutes"


def test_the_operator_may_delete_one(incident: Incident, operator: User, client_of: Browse) -> None:
    assert "the record of who was told go with it" in client_of(operator).get(page_of(incident)).content.decode()
    client_of(operator).post(f"{LIST}{incident.pk}/delete/", {"post": "yes"})
    assert not Incident.objects.exists()


def test_the_live_part_is_a_fragment(incident: Incident, viewer: User, client_of: Browse) -> None:
    body = client_of(viewer).get(f"{LIST}{incident.pk}/live/now/").content.decode()
    assert "No progress for 47 minutes" in body
    assert "<html" not in body


# What else happened


def begun(incident: Incident, minutes: float, **more: Any) -> Incident:
    """Set when it began: so many minutes before the first one's page is looked at."""
    at = timezone.now() - timedelta(minutes=minutes)
    Incident.objects.filter(pk=incident.pk).update(started_at=at, opened_at=at, **more)
    incident.refresh_from_db()
    return incident


def test_neighbours_that_failed_at_the_same_time_are_named(
    incident: Incident, project: Project, viewer: User, client_of: Browse
) -> None:
    begun(make_incident(make_agent(project, "near"), reason="fell silent"), 47 + 14)
    begun(make_incident(make_agent(project, "far"), reason="hours before"), 300)
    body = client_of(viewer).get(page_of(incident)).content.decode()
    assert "near: fell silent" in body
    assert "hours before" not in body


def test_another_teams_incidents_are_no_neighbours(
    incident: Incident, stranger: User, viewer: User, client_of: Browse
) -> None:
    theirs = Project.objects.get(name="Theirs")
    begun(make_incident(make_agent(theirs, "foreign"), reason="not ours"), 47)
    body = client_of(viewer).get(page_of(incident)).content.decode()
    assert "Nothing else of the team began" in body
    assert "not ours" not in body


def test_earlier_ones_like_it_show_how_they_ended_and_what_was_noted(
    incident: Incident, bot: Agent, member: User, client_of: Browse
) -> None:
    begun(incident, 60 * 24)
    browser = client_of(member)
    browser.post(f"{LIST}{incident.pk}/press/note/", {"reason": "the proxy was full"})
    actions.resolve(incident=incident, actor=member.email, now=timezone.now())
    again = make_incident(bot, reason="stuck again")
    body = browser.get(page_of(again)).content.decode()
    assert "“the proxy was full” member@example.com" in body
    assert f"resolved by {member.email}" in body


@pytest.mark.parametrize(("who", "status"), [("member", 302), ("viewer", 403), ("stranger", 404)])
def test_members_note_and_others_do_not(
    who: str, status: int, incident: Incident, client_of: Browse, request: pytest.FixtureRequest
) -> None:
    browser = client_of(request.getfixturevalue(who))
    answer = browser.post(f"{LIST}{incident.pk}/press/note/", {"reason": "looking"})
    assert answer.status_code == status
    noted = IncidentEvent.objects.filter(kind="note", text="looking").count()
    assert noted == (1 if status == 302 else 0)


def test_an_empty_note_is_none(incident: Incident, member: User, client_of: Browse) -> None:
    assert "Write something first." in press(client_of(member), incident, "note")
    assert not IncidentEvent.objects.filter(kind="note").exists()


def test_nobody_is_told_more_of_a_muted_incident(incident: Incident, member: User, client_of: Browse) -> None:
    channel = Channel.objects.create(project=incident.project, kind="email", name="On call")
    assert "Muted: nobody is told more" in press(client_of(member), incident, "mute")
    incident.refresh_from_db()
    actions.resolve(incident=incident, actor=member.email, now=timezone.now())
    assert not Delivery.objects.filter(channel=channel).exists()
    assert IncidentEvent.objects.filter(text=f"Muted by {member.email}").count() == 1


def test_the_page_says_which_version_ran_and_what_was_deployed_since(
    incident: Incident, viewer: User, client_of: Browse
) -> None:
    assert "<dt>Version</dt>" not in client_of(viewer).get(page_of(incident)).content.decode()
    deployed(incident.agent, (500, "1.4.2"), (53.5, "1.4.3"), (1.5, "1.4.4"))
    body = client_of(viewer).get(page_of(incident)).content.decode()
    assert re.search(r"<dt>Version</dt><dd>1.4.3 .*<strong>6 min before</strong>; until then 1.4.2", body)
    assert re.search(r"<dt>Deployed</dt><dd>1.4.4 .*, 45 min after it began", body)
