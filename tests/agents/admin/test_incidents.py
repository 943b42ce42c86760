"""The list of incidents and an incident's page."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from agents.incidents import actions
from agents.incidents.events import record
from agents.models import Agent, AgentState, Command, Incident, IncidentEvent, Runner
from alerts.models import Channel, Delivery
from teams.models import Project, User
from tests.agents.admin.conftest import Browse, deployed, make_agent, make_command, make_incident, make_runner

pytestmark = pytest.mark.django_db
LIST = "/admin/agents/incident/"
# For the part that polls every two seconds, including session, user, and the heartbeats that show what it did last.
MAX_QUERIES = 16
# For people who may act: the live command, the incident, open signals, earlier restarts, the runner.
BUTTON_QUERIES = 5


def page_of(incident: Incident) -> str:
    return f"{LIST}{incident.pk}/change/"


def press(browser: Any, incident: Incident, name: str, **data: str) -> str:
    body: bytes = browser.post(f"{LIST}{incident.pk}/press/{name}/", data, follow=True).content
    return body.decode()


def reasons_in(body: str) -> list[str]:
    return re.findall(r'<th scope="row"><a [^>]*>([^<]+)</a>', body)


def text_in(body: str) -> str:
    """The text of a page on one line."""
    return " ".join(re.sub(r'<span class="w-icon[^>]*>[^<]*</span>|<[^>]+>', "", body).split())


def test_open_incidents_first_then_newest(project: Project, viewer: User, client_of: Browse) -> None:
    made = [make_incident(make_agent(project, f"bot-{n}"), reason=f"reason {n}") for n in range(3)]
    actions.resolve(incident=made[2], actor="test", now=timezone.now())
    assert reasons_in(client_of(viewer).get(LIST).content.decode()) == ["reason 1", "reason 0", "reason 2"]


@pytest.mark.parametrize(("state", "found"), [("open", 0), ("acknowledged", 1), ("resolved", 2)])
def test_list_filters_by_state(state: str, found: int, project: Project, viewer: User, client_of: Browse) -> None:
    made = [make_incident(make_agent(project, f"bot-{n}"), reason=f"reason {n}") for n in range(3)]
    actions.acknowledge(incident=made[1], actor="test", now=timezone.now())
    actions.resolve(incident=made[2], actor="test", now=timezone.now())
    body = client_of(viewer).get(f"{LIST}?state={state}").content.decode()
    assert reasons_in(body) == [f"reason {found}"]


def test_page_uses_the_viewers_time_zone(incident: Incident, viewer: User, client_of: Browse) -> None:
    User.objects.filter(pk=viewer.pk).update(time_zone="Asia/Tokyo")
    body = client_of(viewer).get(page_of(incident)).content.decode()
    for text in ("No progress for 47 minutes", "critical", "$4.25", "47 min", "Last progress", "40 s", "JST"):
        assert text in body, text


def test_agent_that_works_again_is_said_to(incident: Incident, viewer: User, client_of: Browse) -> None:
    """Although its incident is still open, for another reason."""
    restarted_at = timezone.now() - timedelta(minutes=2)
    Incident.objects.filter(pk=incident.pk).update(restarts=1, restarted_at=restarted_at)
    assert "Restarted once: no progress since." in client_of(viewer).get(page_of(incident)).content.decode()
    AgentState.objects.filter(agent=incident.agent).update(last_progress_at=restarted_at + timedelta(seconds=40))
    body = client_of(viewer).get(page_of(incident)).content.decode()
    assert "Restarted once: working again, other problems remain." in body


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"restarts": 0}, None),
        ({"restarts": 1, "restarted_at": timezone.now()}, "Restarted once: no progress since."),
        (
            {"restarts": 2, "recovered_in": 14.2, "resolved_at": timezone.now()},
            "Restarted 2 times: working again 14 s after the last restart.",
        ),
        ({"restarts": 1}, "Restarted once: the last restart failed."),
    ],
)
def test_page_counts_restarts_and_their_outcome(
    incident: Incident, viewer: User, client_of: Browse, facts: dict[str, Any], said: str | None
) -> None:
    Incident.objects.filter(pk=incident.pk).update(**facts)
    body = client_of(viewer).get(page_of(incident)).content.decode()
    assert ("Restart attempts" in body) == (said is not None)
    assert (said or "Timeline") in body


def test_timeline_shows_notifications(incident: Incident, viewer: User, client_of: Browse) -> None:
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
    assert "On call (E-mail): sent 12 min ago after 2 attempts" in body
    assert "Chat (Slack): failed 410 Gone" in body
    assert "Hook (Webhook): retrying after 3 failed attempts, next attempt in 5 min 503" in body
    assert "Later (E-mail): waiting to be sent" in body
    assert "an old error" not in body
    assert "No one was notified" not in body


@pytest.mark.parametrize("target", ["", "bot.service"])
def test_page_explains_missing_restart(target: str, incident: Incident, member: User, client_of: Browse) -> None:
    Agent.objects.filter(pk=incident.agent_id).update(restart_type="systemd", restart_target=target)
    body = text_in(client_of(member).get(page_of(incident)).content.decode())
    assert ("Can’t restart: no runner manages this agent. Set one up" in body) == (not target)


@pytest.mark.parametrize(
    ("who", "hint"), [("member", "Add a channel"), ("viewer", "Ask a member of Research to add one.")]
)
def test_page_explains_why_nobody_was_notified(
    who: str, hint: str, incident: Incident, client_of: Browse, request: pytest.FixtureRequest
) -> None:
    body = text_in(client_of(request.getfixturevalue(who)).get(page_of(incident)).content.decode())
    assert f"No one was notified: Production has no channel. {hint}" in body


def test_page_links_to_alert_routing(incident: Incident, viewer: User, client_of: Browse) -> None:
    before = incident.opened_at - timedelta(days=1)
    Channel.objects.create(
        project=incident.project, kind="email", name="On call", labels={"env": "production"}, created_at=before
    )
    browser = client_of(viewer)
    body = browser.get(page_of(incident)).content.decode()
    found = re.search(r'href="([^"]+)">View alert routing', body)
    assert found
    assert (
        "receives only alerts for agents with env=production"
        in browser.get(found[1].replace("&amp;", "&")).content.decode()
    )


def test_code_in_a_reason_is_marked_up(bot: Agent, viewer: User, client_of: Browse) -> None:
    incident = make_incident(bot, reason="`search(query=<b>)` called 14 times")
    browser = client_of(viewer)
    for page in (page_of(incident), LIST, "/admin/", f"/admin/agents/agent/{bot.pk}/change/"):
        body = browser.get(page).content.decode()
        assert "<code>search(query=&lt;b&gt;)</code> called 14 times" in body, page
        assert "`" not in body.partition("<title>")[2].partition("</title>")[0]


def test_expected_behavior_links_to_its_setting(
    incident: Incident, member: User, viewer: User, client_of: Browse
) -> None:
    evidence = {"last_progress_at": incident.started_at.isoformat(), "timeout": 300.0}
    incident.signals.update(evidence=evidence)
    body = client_of(member).get(page_of(incident)).content.decode()
    address = f"/admin/agents/agent/{incident.agent_id}/change/"
    assert f'href="{address}#id_progress_timeout">Open setting' in body
    assert 'id="id_progress_timeout"' in client_of(member).get(address).content.decode()
    body = client_of(viewer).get(page_of(incident)).content.decode()
    assert "Increase the progress timeout" in body
    assert "Open setting" not in body


@pytest.mark.parametrize(
    ("kind", "runner", "first"),
    [("stalled", True, "restart"), ("loop", True, "acknowledge"), ("stalled", False, "acknowledge")],
)
def test_most_helpful_button_comes_first(
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
        ("auto", "stalled", None, "The watchdog will restart it as soon as its runner checks in."),
        ("auto", "stalled", 30, "still has time to recover. Next check in"),
        ("manual", "stalled", None, "Automatic restarts are off for this agent"),
        ("off", "stalled", None, "Restarts are off for this agent"),
        ("auto", "loop", None, "a restart would only repeat that"),
        ("auto", "memory", None, None),
    ],
)
def test_page_says_what_the_watchdog_does_next(
    policy: str, kind: str, tried: float | None, said: str | None, bot: Agent, viewer: User, client_of: Browse
) -> None:
    incident = make_incident(bot, kind=kind)
    make_runner(bot)
    Agent.objects.update(restart_policy=policy)
    if tried is not None:
        command = make_command(bot)
        Command.objects.filter(pk=command.pk).update(leased_at=timezone.now() - timedelta(seconds=tried))
    body = text_in(client_of(viewer).get(page_of(incident)).content.decode())
    assert ("Restart attempts" in body) == (said is not None)
    assert said is None or said in body


def test_escalation_and_new_signal_differ(incident: Incident, viewer: User, client_of: Browse) -> None:
    for rose, text in ((True, "worse"), (False, "more")):
        data = {"signal": "loop", "rose": rose}
        IncidentEvent.objects.create(incident=incident, kind="updated", text=text, data=data)
    body = text_in(client_of(viewer).get(page_of(incident)).content.decode())
    assert "became critical worse" in body
    assert "new signal: loop more" in body


def test_timeline_calls_a_near_budget_a_warning(incident: Incident, viewer: User, client_of: Browse) -> None:
    data = {"signal": "cost", "severity": "warning", "rose": False}
    IncidentEvent.objects.create(incident=incident, kind="updated", text="Spent $8", data=data)
    body = text_in(client_of(viewer).get(page_of(incident)).content.decode())
    assert "new signal: budget warning Spent $8" in body


def test_incident_can_be_copied_as_text(incident: Incident, viewer: User, client_of: Browse) -> None:
    body = client_of(viewer).get(page_of(incident)).content.decode()
    text = body.partition('id="as-text"')[2].partition(">")[2].partition("</pre>")[0]
    assert text.startswith("bot: No progress for 47 minutes\n")
    said = (
        f"incident {incident.pk}, critical, open",
        "UTC, ongoing for 47 min; cost since start $4.25",
        "opened: No progress",
    )
    for fact in (*said, page_of(incident)):
        assert fact in text


def test_query_count_does_not_grow_with_events(
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


def test_buttons_need_few_queries(
    incident: Incident, member: User, client_of: Browse, django_assert_max_num_queries: Any
) -> None:
    make_runner(incident.agent)
    browser = client_of(member)
    with django_assert_max_num_queries(MAX_QUERIES + BUTTON_QUERIES):
        assert browser.get(f"{LIST}{incident.pk}/live/now/").status_code == 200


def test_empty_list_explains_next_steps(project: Project, viewer: User, client_of: Browse) -> None:
    body = client_of(viewer).get(LIST).content.decode()
    assert "No incidents yet" in body
    assert 'href="/admin/alerts/channel/"' in body
    assert 'href="/admin/first-steps/"' in body


def test_list_shows_who_acknowledged(incident: Incident, viewer: User, client_of: Browse) -> None:
    actions.acknowledge(incident=incident, actor="night@example.com", now=timezone.now())
    assert "night@example.com" in client_of(viewer).get(LIST).content.decode()


def test_agent_text_is_escaped(bot: Agent, viewer: User, client_of: Browse) -> None:
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


def test_agent_actions_are_on_the_incident(incident: Incident, member: User, client_of: Browse) -> None:
    make_runner(incident.agent)
    asked = client_of(member).get(f"{LIST}{incident.pk}/press/stop/").content.decode()
    assert "only a person can start it again" in asked
    assert "Stop of bot requested." in press(client_of(member), incident, "stop")
    assert Command.objects.get().incident == incident
    assert "waiting for the runner" in press(client_of(member), incident, "restart")
    assert "/press/resume/" in press(client_of(member), incident, "pause", choice="1h")
    assert Agent.objects.get().paused_at is not None
    press(client_of(member), incident, "resume")
    assert Agent.objects.get().paused_at is None


def test_refused_button_is_explained_and_not_pinned(incident: Incident, member: User, client_of: Browse) -> None:
    make_runner(incident.agent)
    Agent.objects.update(restart_policy="off")
    body = client_of(member).get(page_of(incident)).content.decode()
    pinned, _, others = body.partition("w-pinned")[2].partition('<div class="w-buttons">')
    assert "press/restart/" not in pinned
    assert 'press/restart/" aria-describedby="why-not-restart"' in others
    assert "Restart unavailable: Restarts are off for this agent" in text_in(others)
    assert "why-not-stop" not in body
    Runner.objects.all().delete()
    Agent.objects.update(restart_policy="manual")
    body = text_in(client_of(member).get(page_of(incident)).content.decode())
    assert "Restart unavailable: The runner of this agent has not been heard from" in body
    assert "Stop unavailable: same reason." in body


def test_viewer_sees_everything_but_cannot_act(incident: Incident, viewer: User, client_of: Browse) -> None:
    browser = client_of(viewer)
    body = browser.get(page_of(incident)).content.decode()
    assert "No progress for 47 minutes" in body
    assert 'class="w-buttons"' not in body
    for name in ("acknowledge", "resolve", "restart", "stop", "pause"):
        assert browser.post(f"{LIST}{incident.pk}/press/{name}/").status_code == 403
    incident.refresh_from_db()
    assert incident.state == "open"


def test_members_cannot_edit_add_or_delete(incident: Incident, owner: User, client_of: Browse) -> None:
    browser = client_of(owner)
    assert browser.post(page_of(incident), {"reason": "nothing happened"}).status_code == 403
    assert browser.get(f"{LIST}add/").status_code == 403
    assert browser.post(f"{LIST}{incident.pk}/delete/", {"post": "yes"}).status_code == 403
    assert Incident.objects.get().reason == "No progress for 47 minutes"


def test_operator_may_delete_an_incident(incident: Incident, operator: User, client_of: Browse) -> None:
    assert (
        "Also deletes its evidence, timeline, notes and notification history."
        in client_of(operator).get(page_of(incident)).content.decode()
    )
    client_of(operator).post(f"{LIST}{incident.pk}/delete/", {"post": "yes"})
    assert not Incident.objects.exists()


def test_live_part_is_a_fragment(incident: Incident, viewer: User, client_of: Browse) -> None:
    body = client_of(viewer).get(f"{LIST}{incident.pk}/live/now/").content.decode()
    assert "No progress for 47 minutes" in body
    assert "<html" not in body


# Related and previous incidents


def begun(incident: Incident, minutes: float, **more: Any) -> Incident:
    """Sets the start to this many minutes ago."""
    at = timezone.now() - timedelta(minutes=minutes)
    Incident.objects.filter(pk=incident.pk).update(started_at=at, opened_at=at, **more)
    incident.refresh_from_db()
    return incident


def test_related_incidents_are_listed(incident: Incident, project: Project, viewer: User, client_of: Browse) -> None:
    begun(make_incident(make_agent(project, "near"), reason="fell silent"), 47 + 14)
    begun(make_incident(make_agent(project, "far"), reason="hours before"), 300)
    body = client_of(viewer).get(page_of(incident)).content.decode()
    assert "near: fell silent" in body
    assert "hours before" not in body


def test_other_teams_incidents_are_not_related(
    incident: Incident, stranger: User, viewer: User, client_of: Browse
) -> None:
    theirs = Project.objects.get(name="Theirs")
    begun(make_incident(make_agent(theirs, "foreign"), reason="not ours"), 47)
    body = client_of(viewer).get(page_of(incident)).content.decode()
    assert "No other incident of the team started" in body
    assert "not ours" not in body


def test_previous_incidents_show_outcome_and_notes(
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
def test_only_members_may_add_notes(
    who: str, status: int, incident: Incident, client_of: Browse, request: pytest.FixtureRequest
) -> None:
    browser = client_of(request.getfixturevalue(who))
    answer = browser.post(f"{LIST}{incident.pk}/press/note/", {"reason": "looking"})
    assert answer.status_code == status
    noted = IncidentEvent.objects.filter(kind="note", text="looking").count()
    assert noted == (1 if status == 302 else 0)


def test_empty_note_is_refused(incident: Incident, member: User, client_of: Browse) -> None:
    assert "Enter a note." in press(client_of(member), incident, "note")
    assert not IncidentEvent.objects.filter(kind="note").exists()


def test_muted_incident_sends_no_notifications(incident: Incident, member: User, client_of: Browse) -> None:
    channel = Channel.objects.create(project=incident.project, kind="email", name="On call")
    assert "Muted. No further notifications, including recovery." in press(client_of(member), incident, "mute")
    incident.refresh_from_db()
    actions.resolve(incident=incident, actor=member.email, now=timezone.now())
    assert not Delivery.objects.filter(channel=channel).exists()
    assert IncidentEvent.objects.filter(text=f"Muted by {member.email}").count() == 1
    body = client_of(member).get(page_of(incident)).content.decode()
    assert f"<strong>Muted by {member.email}</strong></p>" in body
    assert f"UTC  Muted by {member.email}\n" in body


def test_muted_incident_can_be_unmuted(incident: Incident, member: User, client_of: Browse) -> None:
    channel = Channel.objects.create(
        project=incident.project, kind="email", name="On call", config={"to": ["a@example.com"]}
    )
    browser = client_of(member)
    assert "/press/unmute/" not in browser.get(page_of(incident)).content.decode()
    press(browser, incident, "mute")
    assert "/press/unmute/" in browser.get(page_of(incident)).content.decode()
    assert "Unmuted: notifications are sent again." in press(browser, incident, "unmute")
    incident.refresh_from_db()
    assert incident.muted_at is None
    record(incident=incident, kind="updated", text="Again", now=timezone.now())
    assert Delivery.objects.filter(channel=channel).exists()


def test_page_shows_version_and_deploys(incident: Incident, viewer: User, client_of: Browse) -> None:
    assert "<dt>Version</dt>" not in client_of(viewer).get(page_of(incident)).content.decode()
    deployed(incident.agent, (500, "1.4.2"), (53.5, "1.4.3"), (1.5, "1.4.4"))
    body = client_of(viewer).get(page_of(incident)).content.decode()
    assert re.search(
        r"<dt>Version</dt><dd>1.4.3 .*<strong>deployed 6 min before the incident</strong>; previously 1.4.2", body
    )
    assert re.search(r"<dt>Deployed</dt><dd>1.4.4 .*, 45 min after the incident started", body)


@pytest.mark.parametrize(
    ("action", "states", "says"),
    [
        ("acknowledge_selected", ["acknowledged", "acknowledged", "resolved"], "Acknowledged 1 of 3 incidents."),
        ("resolve_selected", ["resolved", "resolved", "resolved"], "Resolved 2 of 3 incidents."),
    ],
)
def test_selected_incidents_change_together(
    action: str, states: list[str], says: str, project: Project, member: User, client_of: Browse
) -> None:
    rows = [make_incident(make_agent(project, name)) for name in ("fresh", "seen", "over")]
    actions.acknowledge(incident=rows[1], actor="ann@example.com", now=timezone.now())
    actions.resolve(incident=rows[2], actor="ann@example.com", now=timezone.now())
    data = {"action": action, "index": "0", "_selected_action": [row.pk for row in rows]}
    page = client_of(member).post(LIST, data, follow=True).content.decode()
    assert says in page
    assert [Incident.objects.get(pk=row.pk).state for row in rows] == states
    assert Incident.objects.get(pk=rows[1].pk).acknowledged_by == "ann@example.com"


def test_viewer_and_stranger_change_no_incident(
    incident: Incident, viewer: User, stranger: User, client_of: Browse
) -> None:
    data = {"action": "resolve_selected", "index": "0", "_selected_action": [incident.pk]}
    for person in (viewer, stranger):
        client_of(person).post(LIST, data)
    assert Incident.objects.get().state == "open"
    assert "_selected_action" not in client_of(viewer).get(LIST).content.decode()
