"""Reviews turn heartbeats and time into incidents."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from agents.domain.clocks import Span
from agents.fleet import services
from agents.incidents import actions
from agents.models import Agent, AgentState, Heartbeat, Incident, Outage, Pulse, Signal, Status
from agents.review import review
from agents.storage import decoding, outage_log
from billing.services import set_plan
from teams.errors import ApiError
from teams.models import Project
from tests.agents.conftest import T0, World


def test_silence_is_one_incident_since_the_due_time(world: World) -> None:
    world.beat(0)
    world.watch(1, 119)
    assert world.incidents() == []
    world.look(121)
    (incident,) = world.incidents()
    assert (incident.kind, incident.severity) == ("missed_heartbeat", "critical")
    assert incident.started_at == T0 + timedelta(seconds=60)
    assert incident.opened_at == T0 + timedelta(seconds=121)
    assert world.state().status == Status.DOWN
    assert world.events() == ["opened"]


def test_a_second_review_opens_no_second_incident(world: World) -> None:
    world.beat(0)
    world.watch(1, 400)
    assert len(world.incidents()) == 1
    assert world.events() == ["opened"]


def test_the_next_heartbeat_resolves(world: World) -> None:
    world.beat(0)
    world.watch(1, 130)
    world.beat(131)
    world.look(132)
    (incident,) = world.incidents()
    assert incident.resolved_at == T0 + timedelta(seconds=132)
    assert world.events() == ["opened", "resolved"]
    assert (world.state().status, world.state().incident_id) == (Status.OK, None)


def test_a_late_heartbeat_opens_no_incident(world: World) -> None:
    world.beat(0)
    world.watch(1, 110)
    world.beat(115)
    world.watch(116, 180)
    assert world.incidents() == []


@pytest.mark.parametrize(("interval", "silent_until", "opens"), [(1, 5.9, False), (1, 6.1, True), (10, 19, False)])
def test_a_declared_interval_and_its_grace_count(
    world: World, interval: float, silent_until: float, opens: bool
) -> None:
    world.beat(0, interval=interval)
    world.look(1)
    world.look(silent_until)
    assert bool(world.incidents()) is opens


def test_a_set_interval_overrides_the_declared_one(world: World) -> None:
    world.beat(0, interval=1)
    world.project.agents.update(interval=300)
    world.watch(1, 500)
    assert world.incidents() == []


def test_a_slow_interval_is_learned_after_one_flap(world: World) -> None:
    world.beat(0)
    for number in range(1, 6):
        world.watch(600 * (number - 1) + 1, 600 * number - 1)
        world.beat(600 * number)
        world.look(600 * number + 1)
    assert len(world.incidents()) == 1
    assert world.state().status == Status.OK


def test_alive_without_progress_is_stalled(world: World) -> None:
    world.beat(0, iteration_count=7, progress_timeout=60)
    for at in range(30, 400, 30):
        world.beat(at, iteration_count=7)
        world.look(at + 1)
    (incident,) = world.incidents()
    assert incident.kind == "stalled"
    assert incident.started_at == T0 + timedelta(seconds=60)
    assert incident.reason.startswith("No progress for 7 minutes")
    assert world.state().status == Status.STALLED


def test_progress_resolves_a_stall(world: World) -> None:
    world.beat(0, iteration_count=7, progress_timeout=60)
    for at in range(30, 91, 30):
        world.beat(at, iteration_count=7)
        world.look(at + 1)
    world.beat(100, iteration_count=8)
    world.look(101)
    (incident,) = world.incidents()
    assert incident.resolved_at is not None


def test_without_any_progress_nothing_is_stalled(world: World) -> None:
    for at in range(0, 4000, 50):
        world.beat(at)
        world.look(at + 1)
    assert world.incidents() == []


def test_a_declared_wait_stops_the_progress_clock(world: World) -> None:
    until = (T0 + timedelta(seconds=300)).isoformat()
    world.beat(0, progress=True, progress_timeout=60)
    world.beat(10, progress=False, waiting={"for": "approval", "until": until})
    for at in range(30, 350, 30):
        world.beat(at, progress=False)
        world.look(at + 1)
        if at < 300:
            assert world.state().status == Status.WAITING
    assert world.incidents() == []
    for at in range(360, 400, 10):
        world.beat(at, progress=False)
        world.look(at + 1)
    assert [incident.kind for incident in world.incidents()] == ["stalled"]


def test_the_progress_clock_starts_again_after_a_wait(world: World) -> None:
    world.beat(0, progress=True, progress_timeout=60)
    world.beat(10, progress=False, waiting={"for": "approval"})
    for at in range(30, 330, 30):
        world.beat(at, progress=False)
        world.look(at + 1)
    world.beat(330, progress=False, waiting=None)
    world.look(380)
    assert (world.incidents(), world.state().status) == ([], Status.OK)
    world.beat(390, progress=False)
    world.look(391)
    assert [incident.kind for incident in world.incidents()] == ["stalled"]


def test_an_open_ended_wait_ends_after_a_day(world: World) -> None:
    day = 86_400
    world.beat(0, progress=True, progress_timeout=60, interval=3600)
    for at in range(10, day + 7200, 1800):
        world.beat(at, progress=False, waiting={"for": "approval"})
        world.look(at + 1)
    [incident] = world.incidents()
    assert (incident.kind, incident.started_at) == ("stalled", T0 + timedelta(seconds=day + 70))


@pytest.mark.parametrize("until", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_wait_until_an_absurd_time_is_harmless(world: World, until: str) -> None:
    world.beat(0, progress=True)
    world.beat(1, progress=False, waiting={"for": "approval", "until": until})
    world.beat(2, progress=False)
    world.look(3)
    until_at = world.state().waiting_until
    assert until_at is not None
    assert abs(until_at - T0) <= timedelta(days=1, seconds=1)


def test_a_shutdown_is_quiet_until_the_next_heartbeat(world: World) -> None:
    world.beat(0)
    world.beat(10, status="shutdown")
    world.watch(11, 500)
    assert world.incidents() == []
    assert world.state().status == Status.STOPPED
    world.beat(501)
    world.look(502)
    assert world.state().status == Status.OK
    world.watch(503, 630)
    assert [incident.kind for incident in world.incidents()] == ["missed_heartbeat"]


def test_a_job_that_falls_silent_has_ended(world: World) -> None:
    world.beat(0)
    world.project.agents.update(kind="job")
    world.watch(1, 500)
    assert world.incidents() == []
    assert (world.state().status, world.state().check_at) == (Status.STOPPED, None)
    world.beat(501)
    world.look(502)
    assert world.state().status == Status.OK


def test_a_job_that_fails_or_stalls_is_an_incident(world: World) -> None:
    world.beat(0, agent="erring")
    world.beat(0, agent="stuck", iteration_count=1, progress_timeout=60)
    world.project.agents.update(kind="job")
    world.beat(1, agent="erring", status="error", message="disk full")
    for at in range(30, 150, 30):
        world.beat(at, agent="stuck", iteration_count=1)
        world.look(at + 1)
    assert (world.kinds("erring"), world.kinds("stuck")) == (["error", "missed_heartbeat"], ["stalled"])


def test_a_paused_agent_has_no_incidents(world: World) -> None:
    world.beat(0)
    world.project.agents.update(paused_at=T0)
    world.watch(1, 1000)
    assert world.incidents() == []
    assert world.state().status == Status.PAUSED


def test_a_resumed_agent_gets_its_time_to_report(world: World) -> None:
    world.beat(0, progress=True, progress_timeout=60)
    services.pause(agent=world.agent(), actor="x", now=T0 + timedelta(seconds=10))
    world.watch(11, 1000)
    services.resume(agent=world.agent(), actor="x", now=T0 + timedelta(seconds=1000))
    world.watch(1001, 1119)
    assert [incident.kind for incident in world.incidents()] == ["stalled"]
    world.watch(1119, 1122)
    assert world.kinds() == ["missed_heartbeat"]


def test_a_crash_and_its_silence_are_one_incident(world: World) -> None:
    world.beat(0)
    world.beat(5, status="error", message="CRASH: ValueError: no such page", custom_data='{"traceback": "…"}')
    world.look(6)
    (incident,) = world.incidents()
    assert (incident.kind, incident.reason) == ("crash", "Crashed: ValueError: no such page")
    world.watch(7, 900)
    assert len(world.incidents()) == 1
    assert world.events() == ["opened"]


def test_a_crash_before_a_quick_restart_is_reported(world: World) -> None:
    world.beat(0)
    world.look(1)
    world.beat(2, status="error", message="CRASH: KeyError: 'x'")
    world.beat(3.4)
    world.look(3.5)
    world.look(5)
    (incident,) = world.incidents()
    assert (incident.kind, incident.resolved_at is not None) == ("crash", True)
    assert world.events() == ["opened", "resolved"]


@pytest.mark.parametrize(("message", "kind"), [("disk full", "error"), ("CRASH: ValueError: x", "crash")])
def test_an_error_before_a_shutdown_is_reported(world: World, message: str, kind: str) -> None:
    world.beat(0)
    world.look(1)
    world.beat(2, status="error", message=message)
    world.beat(2.5, status="shutdown")
    world.watch(3, 200)
    assert [(one.kind, one.state) for one in world.incidents()] == [(kind, "resolved")]
    assert (world.events(), world.state().status) == (["opened", "resolved"], Status.STOPPED)
    assert world.state().check_at is None


def test_a_growing_silence_is_announced_once(world: World) -> None:
    world.beat(0)
    world.watch(1, 1000)
    (incident,) = world.incidents()
    assert incident.reason == "No heartbeat for 16 minutes; expected every 60 seconds"
    assert world.events() == ["opened"]


@pytest.mark.parametrize(
    ("message", "reason"), [("CRASH: OSError: disk full", "Crashed: OSError: disk full"), ("disk full", "disk full")]
)
def test_the_reason_stays_while_the_error_lasts(world: World, message: str, reason: str) -> None:
    world.beat(0, progress=True, progress_timeout=900)
    world.beat(5, status="error", message=message, custom_data="line 7")
    world.watch(6, 2000)
    (incident,) = world.incidents()
    signal = incident.signals.get(kind=incident.kind)
    assert (incident.reason, signal.reason) == (reason, reason)
    assert signal.evidence.get("traceback", "line 7") == "line 7"


def test_an_error_lasts_until_the_next_good_heartbeat(world: World) -> None:
    world.beat(0, status="error", message="quota exhausted")
    world.look(1)
    (incident,) = world.incidents()
    assert (incident.kind, incident.severity, incident.reason) == ("error", "warning", "quota exhausted")
    world.beat(30)
    world.look(31)
    assert world.events() == ["opened", "resolved"]


def test_exceeding_the_limit_warns_the_client_once(world: World) -> None:
    world.beat(0, cost_limit_usd=1.0, cost_usd=0.5)
    world.look(1)
    assert world.incidents() == []
    world.beat(2, cost_usd=0.35)
    world.look(3)
    (incident,) = world.incidents()
    assert (incident.kind, incident.severity) == ("cost", "warning")
    world.beat(4, cost_usd=0.2)
    world.look(5)
    assert world.events() == ["opened", "updated"]
    told = world.beat(6)
    assert (told.warning, told.reason, told.hold) == ("cost_exceeded", "Spent $1.05 of $1.00 today", True)
    assert [world.beat(7).warning, world.beat(8).warning] == [None, None]


def test_a_restarted_client_is_warned_again(world: World) -> None:
    world.beat(0, cost_limit_usd=1.0, cost_usd=2, instance="first")
    world.look(1)
    assert world.beat(2, instance="first").warning == "cost_exceeded"
    assert world.beat(3, instance="first").warning is None
    assert world.beat(4, instance="second").warning == "cost_exceeded"


def test_a_budget_resets_at_the_projects_midnight(world: World) -> None:
    world.project.time_zone = "Asia/Tokyo"  # T0 is 21:00 there
    world.project.save()
    world.beat(0, cost_limit_usd=1.0, cost_usd=2, interval=3600)
    world.look(1)
    assert world.kinds() == ["cost"]
    world.look(3 * 3600 + 1)
    assert "cost" not in world.kinds()


def test_five_equal_calls_loop_until_eight_others(world: World) -> None:
    call = {"name": "search_docs", "args": "query=release notes"}
    for at in range(5):
        world.beat(at, tool_calls=1, tool_call_log=[call], cost_usd=0.5)
    world.look(6)
    (incident,) = world.incidents()
    assert incident.kind == "loop"
    assert incident.reason == "`search_docs(query=release notes)` called 5 times in a row in 4 seconds, $2.00 so far"
    assert world.beat(7).warning == "loop_detected"
    others = [{"name": "write_report", "args": f"part={number}"} for number in range(8)]
    world.beat(8, tool_calls=7, tool_call_log=others[:7])
    world.look(9)
    assert world.kinds() == ["loop"]
    world.beat(10, tool_calls=1, tool_call_log=others[7:])
    world.look(11)
    assert world.kinds() == []


def test_an_open_incident_updates_evidence_and_cost(world: World) -> None:
    for second in range(20):
        world.beat(second, cost_usd=0.02, tool_call_log=[{"name": "search", "args": "q=a"}])
        if second % 5 == 4:
            world.look(second + 0.5)
    (incident,) = world.incidents()
    assert incident.reason == incident.signals.get().reason
    assert "called 20 times" in incident.reason
    assert incident.spent == 20 * 20_000 - incident.cost_before > 0
    assert world.events() == ["opened"]


@pytest.mark.parametrize(
    "calls",
    [
        [{"name": "get_status", "args": "job=1"}] * 9,
        [{"name": "read_page", "args": f"page={number}"} for number in range(9)],
        [{"name": "next_page", "args": "", "result_hash": f"{number}"} for number in range(9)],
        [{"name": "search", "args": "a"}] * 3,
    ],
)
def test_polling_and_paging_are_no_loops(world: World, calls: list[dict[str, str]]) -> None:
    world.beat(0, tool_calls=len(calls), tool_call_log=calls)
    world.look(1)
    assert world.incidents() == []


@pytest.mark.parametrize("repeats", [0, -1, 1])
def test_an_absurd_loop_threshold_breaks_nothing(world: World, repeats: int) -> None:
    world.beat(0, interval=10)
    Agent.objects.update(rules={"loop": {"repeats": repeats}})
    world.beat(1, tool_call_log=[{"name": "search"}])
    world.look(2)
    assert world.incidents() == []
    world.look(30)
    assert world.kinds() == ["missed_heartbeat"]


def test_a_second_signal_joins_and_is_announced(world: World) -> None:
    world.beat(0, status="error", message="disk full")
    world.look(1)
    world.watch(2, 125)
    (incident,) = world.incidents()
    assert incident.kind == "error"
    assert world.kinds() == ["error", "missed_heartbeat"]
    assert incident.severity == "critical"
    assert world.events() == ["opened", "updated"]


def test_a_quick_relapse_reopens_the_incident(world: World) -> None:
    world.beat(0, interval=1)
    world.look(1)
    world.look(7)
    world.beat(8)
    world.look(9)
    world.look(15)
    (incident,) = world.incidents()
    assert (incident.reopened, incident.resolved_at) == (1, None)
    assert world.events() == ["opened", "resolved", "reopened"]


def test_a_late_relapse_opens_a_new_incident(world: World) -> None:
    world.beat(0, interval=10)
    world.watch(1, 25)
    for at in range(30, 400, 10):
        world.beat(at)
        world.look(at + 1)
    world.watch(400, 430)
    assert len(world.incidents()) == 2


# The watchdog's own outage


def test_a_five_minute_outage_opens_nothing(world: World) -> None:
    world.beat(0)
    world.watch(1, 10)
    world.look(310, after_outage=True)
    world.look(311)
    assert world.incidents() == []
    assert [(o.started_at, o.ended_at) for o in Outage.objects.all()] == [
        (T0 + timedelta(seconds=10), T0 + timedelta(seconds=310))
    ]


def test_a_slow_detector_still_finds_dead_agents(world: World) -> None:
    world.beat(0, interval=10)
    for at in range(1, 50, 8):
        world.look(at, after_outage=True)
    assert [incident.kind for incident in world.incidents()] == ["missed_heartbeat"]


def test_a_dead_agent_is_found_after_an_outage(world: World) -> None:
    world.beat(0)
    world.watch(1, 10)
    world.look(310, after_outage=True)
    world.watch(311, 440)
    (incident,) = world.incidents()
    assert incident.started_at == T0 + timedelta(seconds=360)
    assert incident.reason.endswith("The watchdog was offline for 5 minutes since then; it may have ended normally")


def test_goodbye_lost_in_an_outage_resolves_it(world: World) -> None:
    """The next process or the runner delivers it."""
    world.beat(0)
    world.watch(1, 10)
    world.look(310, after_outage=True)
    world.watch(311, 440)
    (incident,) = world.incidents()
    world.beat(500, status="shutdown", sent_at=(T0 + timedelta(seconds=20)).isoformat(), age=480)
    world.look(501)
    incident.refresh_from_db()
    assert (incident.state, world.state().status) == ("resolved", "stopped")


def test_agents_get_time_to_report_after_an_outage(world: World) -> None:
    world.beat(0)
    world.watch(1, 118)
    world.look(418, after_outage=True)
    world.watch(419, 480)
    assert world.incidents() == []
    world.watch(480, 490)
    assert len(world.incidents()) == 1


def test_a_clock_set_forward_opens_nothing(world: World) -> None:
    world.beat(0)
    world.look(1)
    world.look(3601, after_outage=True)
    assert world.incidents() == []


def test_a_clock_set_back_loses_no_detection(world: World) -> None:
    world.beat(7200)
    world.look(7201)
    world.beat(0)
    world.watch(1, 125)
    assert len(world.incidents()) == 1


def test_a_clock_set_forward_and_back_finds_the_dead(world: World) -> None:
    world.beat(0, interval=10)
    world.look(1)
    world.look(7200, after_outage=True)
    world.beat(7201, progress=True)
    world.look(7202)
    world.beat(5, progress=True)
    assert world.state().last_progress_at == world.state().last_beat_at == T0 + timedelta(seconds=5)
    world.watch(6, 30)
    assert [incident.kind for incident in world.incidents()] == ["missed_heartbeat"]


def test_a_dead_web_process_counts_as_our_outage(world: World) -> None:
    world.beat(0)
    Pulse.objects.create(name=outage_log.EDGE, at=T0 + timedelta(seconds=20))
    world.watch(1, 600)
    assert world.incidents() == []
    outage_log.tick(outage_log.EDGE, T0 + timedelta(seconds=601))
    world.watch(602, 640)
    assert world.incidents() == []


def test_an_overload_is_no_silence(world: World) -> None:
    """Its heartbeats wait from second 55 to 180, as one web process reports again and again."""
    world.beat(0)
    for at in range(60, 182, 4):
        outage_log.record(outage_log.OVERLOAD, Span(T0 + timedelta(seconds=55), T0 + timedelta(seconds=min(at, 180))))
        world.look(at)
    world.beat(185)
    world.watch(186, 300)
    assert world.incidents() == []
    assert Outage.objects.get().part == outage_log.OVERLOAD


def test_an_overload_is_no_stall(world: World) -> None:
    world.beat(0, progress=True, progress_timeout=60)
    outage_log.record(outage_log.OVERLOAD, Span(T0 + timedelta(seconds=40), T0 + timedelta(seconds=80)))
    for at in (30, 50, 70, 90, 98):
        world.beat(at)
        world.look(at + 1)
    assert world.incidents() == []
    world.beat(145)
    world.look(146)
    assert world.kinds() == ["stalled"]


def test_a_dead_agent_is_found_after_an_overload(world: World) -> None:
    world.beat(0)
    outage_log.record(outage_log.OVERLOAD, Span(T0 + timedelta(seconds=100), T0 + timedelta(seconds=130)))
    world.watch(131, 190)
    assert world.incidents() == []
    world.watch(190, 200)
    assert world.kinds() == ["missed_heartbeat"]


def test_a_detector_far_behind_blames_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sweep ended before it came to agents that have been due for 20 s. One was silent before that began."""
    world.beat(0, agent="first")
    world.beat(10)
    world.look(11)
    with monkeypatch.context() as slow:
        slow.setattr(review, "MAX_SWEEP", 0)
        world.look(140)
    assert Outage.objects.get().started_at == T0 + timedelta(seconds=120)
    world.watch(141, 200)
    assert (world.kinds("first"), world.kinds()) == (["missed_heartbeat"], [])
    world.watch(200, 210)
    assert world.kinds() == ["missed_heartbeat"]


def test_overloads_close_together_are_one(world: World) -> None:
    for start, end in ((0, 4), (6, 8), (2, 7), (60, 70)):
        outage_log.record(outage_log.OVERLOAD, Span(T0 + timedelta(seconds=start), T0 + timedelta(seconds=end)))
    spans = Outage.objects.order_by("started_at").values_list("started_at", "ended_at")
    assert [((a - T0).seconds, (b - T0).seconds) for a, b in spans] == [(0, 8), (60, 70)]


@pytest.mark.parametrize(("at", "seconds"), [(200, 60), (3_600, 60), (8_000, 600)])
def test_a_standing_incident_is_rarely_reviewed(world: World, at: float, seconds: float) -> None:
    """At the latest after ten minutes, since settings may change."""
    world.beat(0)
    world.look(121)
    world.look(at)
    assert world.state().check_at == T0 + timedelta(seconds=at + seconds)


# Shared incidents


def test_a_silent_runner_is_one_incident(world: World) -> None:
    for name in ("a", "b", "c"):
        world.beat(0, agent=name, source="1/10.0.0.9", interval=10)
    world.watch(1, 22)
    (incident,) = world.incidents()
    assert incident.together
    assert incident.reason == "3 agents on 10.0.0.9 fell silent together: a, b, c"
    assert Signal.objects.filter(incident=incident).count() == 3
    assert world.events() == ["opened"]


def test_a_large_group_says_how_many_it_does_not_name(world: World) -> None:
    set_plan(team=world.project.team, plan="pro", actor="test")
    for number in range(12):
        world.beat(0, agent=f"bot-{number:02}", source="1/10.0.0.9", interval=10)
    world.watch(1, 22)
    (incident,) = world.incidents()
    assert incident.reason.startswith("12 agents on 10.0.0.9 fell silent together: bot-00, bot-01, ")
    assert incident.reason.endswith(", bot-09 and 2 more")


def test_a_group_recovers_with_its_last_agent(world: World) -> None:
    for name in ("a", "b"):
        world.beat(0, agent=name, interval=10)
    world.watch(1, 22)
    world.beat(23, agent="a")
    world.look(24)
    assert [incident.resolved_at for incident in world.incidents()] == [None]
    world.beat(25, agent="b")
    world.look(26)
    assert world.events() == ["opened", "resolved"]


def test_later_members_join_without_notification(world: World) -> None:
    for number, name in enumerate("abc"):
        world.beat(4 * number, agent=name, interval=10)
    world.watch(9, 36)
    assert len(world.incidents()) == 1
    assert world.events() == ["opened", "updated", "note"]


def test_a_shared_incident_outlives_its_first_agent(world: World) -> None:
    for name in ("a", "b", "c"):
        world.beat(0, name, interval=10)
    world.look(21)
    [incident] = world.incidents()
    services.delete_agent(agent=incident.agent, actor="x", now=T0 + timedelta(seconds=22))
    world.look(23)
    assert [(one.pk, one.state) for one in world.incidents()] == [(incident.pk, "open")]
    for agent in Agent.objects.filter(project=world.project):
        world.beat(24, agent.name)
    world.look(25)
    assert world.events() == ["opened", "resolved"]


def test_a_shared_incident_counts_its_own_agents_cost(world: World) -> None:
    for name, cost in (("thrifty", 0.01), ("rich", 500)):
        world.beat(0, name, interval=10, cost_usd=cost)
    world.look(21)
    [incident] = world.incidents()
    assert incident.agent.name == "thrifty"
    world.beat(22, "rich", status="error", message="no")
    world.look(23)
    assert world.events() == ["opened", "updated"]
    assert [one.spent for one in world.incidents()] == [0]
    services.delete_agent(agent=incident.agent, actor="x", now=T0 + timedelta(seconds=24))
    world.beat(25, "rich", status="error", message="no", cost_usd=2)
    world.look(26)
    assert [(one.agent.name, one.spent) for one in world.incidents()] == [("rich", 2_000_000)]


def test_deleting_the_last_agent_closes_its_incident(world: World) -> None:
    for name in ("a", "b"):
        world.beat(0, name, interval=10)
    world.look(21)
    [incident] = world.incidents()
    world.beat(22, incident.agent.name)
    world.look(23)
    gone = Agent.objects.exclude(pk=incident.agent.pk).get()
    services.delete_agent(agent=gone, actor="x", now=T0 + timedelta(seconds=24))
    incident.refresh_from_db()
    assert (incident.state, world.events()) == ("resolved", ["opened", "resolved"])


def test_a_healthy_peer_prevents_grouping(world: World) -> None:
    for name in ("a", "b", "c"):
        world.beat(0, agent=name, interval=10)
    for at in range(8, 30, 8):
        world.beat(at, agent="c")
        world.look(at + 1)
    assert [incident.together for incident in world.incidents()] == [False, False]


# Concurrency and failures


def test_a_heartbeat_during_review_is_no_false_alarm(world: World) -> None:
    world.beat(0)
    world.look(1)
    due = AgentState.objects.filter(check_at__lte=T0 + timedelta(seconds=121))
    found = list(due.values_list("agent_id", flat=True))
    world.beat(120.5)
    review.review(found, T0 + timedelta(seconds=121))
    assert found
    assert world.incidents() == []


def test_one_failing_agent_does_not_stop_the_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.beat(0, agent="poisoned", source="1/10.0.0.1")
    world.beat(0, agent="healthy", source="1/10.0.0.2")
    world.agent("poisoned").memory.__class__.objects.filter(agent__name="poisoned").update(rules={"loop": {"key": 1}})
    world.beat(1, agent="poisoned", tool_calls=1, tool_call_log=[{"name": "x"}], source="1/10.0.0.1")
    monkeypatch.setattr("agents.rules.crash.check", _raise_for_poisoned(world))
    world.watch(2, 125)
    assert [incident.agent.name for incident in world.incidents()] == ["healthy"]
    assert world.state("poisoned").check_at is not None


def _raise_for_poisoned(world: World) -> object:
    poisoned = world.agent("poisoned").pk

    def check(facts: object) -> None:
        if facts.row.agent_id == poisoned:  # type: ignore[attr-defined]
            raise ValueError("poisoned")

    return check


# Resolved by people


def test_acknowledging_and_resolving_by_hand(world: World) -> None:
    world.beat(0)
    world.watch(1, 125)
    (incident,) = world.incidents()
    actions.acknowledge(incident=incident, actor="owner@example.com", now=T0 + timedelta(seconds=130))
    actions.resolve(incident=incident, actor="owner@example.com", now=T0 + timedelta(seconds=140))
    incident.refresh_from_db()
    assert incident.state == Incident.State.RESOLVED
    assert world.events() == ["opened", "acknowledged", "resolved"]
    world.watch(141, 400)
    assert len(world.incidents()) == 1
    assert world.state().status == Status.STOPPED


def test_resolving_fails_when_another_agent_joins(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.beat(0)
    world.watch(1, 125)
    (incident,) = world.incidents()
    monkeypatch.setattr(actions, "_locked", lambda agent_ids: {})
    with pytest.raises(ApiError, match="just joined"):
        actions.resolve(incident=incident, actor="owner@example.com", now=T0 + timedelta(seconds=130))
    assert world.kinds() == ["missed_heartbeat"]


def test_each_kind_resolved_by_hand_stays_resolved(world: World) -> None:
    call = {"name": "search", "args": "x"}
    world.beat(0, cost_limit_usd=1, cost_usd=2, tool_calls=6, tool_call_log=[call] * 6, interval=600)
    world.look(1)
    assert world.kinds() == ["cost", "loop"]
    actions.resolve(incident=world.incidents()[0], actor="x", now=T0 + timedelta(seconds=2))
    world.watch(3, 20)
    world.beat(21, cost_usd=0.1, interval=600)
    world.look(22)
    assert len(world.incidents()) == 1
    assert world.kinds() == []


def test_resolving_covers_errors_not_reviewed_yet(world: World) -> None:
    world.beat(0)
    world.beat(1, status="error", message="disk full")
    world.look(2)
    world.beat(3, status="error", message="disk still full")
    actions.resolve(incident=world.incidents()[0], actor="x", now=T0 + timedelta(seconds=3))
    world.watch(4, 20)
    assert world.events() == ["opened", "resolved"]
    assert world.state().status == Status.STOPPED


@pytest.mark.parametrize("changed", [{}, {"cost_limit_usd": 1.8}], ids=["the same budget", "a larger one"])
def test_a_waived_warning_returns_when_exceeded(world: World, changed: dict[str, Any]) -> None:
    world.beat(0, cost_limit_usd=1, cost_usd=0.9)
    world.look(1)
    actions.resolve(incident=world.incidents()[0], actor="x", now=T0 + timedelta(seconds=2))
    world.look(3)
    assert world.kinds() == []
    world.beat(4, cost_usd=0.9, **changed)
    world.look(5)
    assert world.kinds() == ["cost"]
    assert world.beat(6).warning == "cost_exceeded"


def test_unread_heartbeats_are_read_a_second_later(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.beat(0, "quiet")
    world.beat(0, "busy")
    world.look(1)
    monkeypatch.setattr(review, "MAX_BEATS", 3)
    for number in range(4):
        world.beat(2, "busy", tool_call_log=[{"name": f"page {number}"}])
    world.beat(3, "quiet", status="error", message="disk full")
    world.beat(3.5, "quiet")
    world.look(4)
    world.look(5)
    assert [(one.agent.name, one.kind) for one in world.incidents()] == [("quiet", "error")]


def test_a_shorter_grace_applies_to_silent_agents(world: World) -> None:
    Project.objects.update(default_grace=86_400)
    world.beat(0, interval=10)
    world.look(1)
    Project.objects.update(default_grace=5)
    for at in range(2, 660, 8):
        world.look(at)
    assert world.kinds() == ["missed_heartbeat"]


def test_an_unreadable_heartbeat_stops_no_other_review(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is skipped, so even its own agent is reviewed again after a minute."""
    seen = decoding.seen

    def poisoned(beat: Heartbeat) -> Any:
        return 1 / 0 if (beat.content or {}).get("message") == "poison" else seen(beat)

    monkeypatch.setattr(decoding, "seen", poisoned)
    world.beat(0, "bad", interval=60)
    world.beat(0, "good", interval=10)
    world.look(1)
    world.beat(2, "bad", status="error", message="poison")
    world.beat(2, "good", status="error", message="disk full")
    world.look(3)
    assert (world.kinds("bad"), world.kinds("good")) == ([], ["error"])
    world.beat(62, "bad", status="error", message="disk full")
    world.look(64)
    assert world.kinds("bad") == ["error"]


# Cost of a sweep


def test_an_idle_sweep_takes_few_statements(world: World, django_assert_max_num_queries: object) -> None:
    world.beat(0)
    world.look(1)
    # One of them is the test's own, and six are savepoints, which are transactions outside of a test.
    with django_assert_max_num_queries(12):  # type: ignore[operator]
        world.look(2)


def test_the_name_of_another_incident_is_no_obstacle(world: World) -> None:
    """It gave its name to a shared incident that it has left, so another member names the new one."""
    for name in ("a", "b", "c"):
        world.beat(0, name, interval=10, source="1/x" if name < "c" else "1/y")
    world.look(21)
    [first] = [incident for incident in world.incidents() if incident.together]
    Incident.objects.filter(pk=first.pk).update(kind="cost")
    named = first.agent
    Signal.objects.filter(agent=named).update(cleared_at=T0 + timedelta(seconds=22), kind="cost")
    AgentState.objects.filter(agent=named).update(check_at=T0)
    world.look(23)
    assert world.kinds(named.name) == ["missed_heartbeat"]
