"""The one place that concludes: heartbeats and time alike end here, and nowhere else is an incident opened.

1. Lock the agents' hot rows, so that a beat is either seen or comes after the verdict.
2. Read what came in since the last review, and let the rules remember it.
3. Ask every rule.
4. Bring incidents in line with what was found: those that fell silent together first, then each agent.
5. Ask for the restarts that people armed.
6. Write what was concluded, and when to look again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from functools import partial
from typing import Any, Final
from zoneinfo import ZoneInfo

import structlog
from django.db import OperationalError, transaction
from django.db.models import F

from agents import attempts, budgets, clocks, commands, incidents, restart, rules, spending, store, watch
from agents.models import Agent, AgentMemory, AgentState, Command, Heartbeat, Signal, Status
from agents.rules import cost, crash, outside, rhythm, together, version
from agents.rules.base import CRITICAL, BeatSeen, Facts, Finding, Learned, Restarts
from teams.errors import ApiError
from teams.models import Project

log = structlog.get_logger(__name__)

CHUNK: Final = 1_000
# After an error in one agent's conclusion the others go on, and it is looked at again after this.
SET_ASIDE: Final = timedelta(seconds=60)
# At most so many heartbeats a review, from the last two days; what is left is read a second later.
BEATS_READ: Final = 5_000
READ_BACK: Final = timedelta(days=1)
LOOK_AGAIN: Final = timedelta(seconds=1)
# No deadline is trusted for longer: its project's settings or our own clock may change in between.
TRUSTED_FOR: Final = timedelta(minutes=10)
# "No heartbeat for 3 minutes" is said anew so often while it goes on.
GROWS_OLDER: Final = ("missed_heartbeat", "stalled")
REWORDED_EVERY: Final = timedelta(minutes=1)
# A restart that cannot be had for now, as when its runner is away, is asked for again.
ASKED_AGAIN: Final = timedelta(minutes=1)
GOES_ON_MOST: Final = timedelta(days=366)
# Labels that name what an agent is at: another value is another piece of work.
RUN_LABELS: Final = ("run", "run_id", "task", "task_id", "session_id", "conversation_id", "thread_id")
# Told although the agent said goodbye right after it: it happened.
TOLD_OF_STOPPED: Final = ("crash", "error")


@dataclass(slots=True)
class Case:
    """One agent under review."""

    agent: Agent
    state: AgentState
    memory: AgentMemory
    alive: clocks.Clock | None
    progress: clocks.Clock | None
    settings: clocks.Settings
    month: budgets.Month | None = None
    rhythm: Learned = field(default_factory=Learned)
    beats: list[BeatSeen] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    # What a restart was made for and nothing is found of any more, but not yet proven to be cured.
    unproven: list[Finding] = field(default_factory=list)
    standing: list[Signal] = field(default_factory=list)
    restarts: list[datetime] = field(default_factory=list)
    ask_again: datetime | None = None
    set_aside: bool = False
    more_to_read: bool = False


def sweep(now: datetime) -> int:
    """Review every agent whose time has come, in chunks; safe with any number of workers. Returns how many."""
    watch.tick(watch.DETECTOR, now)
    total = 0
    crossed: set[int] = set()
    while True:
        with transaction.atomic():
            due = AgentState.objects.filter(check_at__lte=now).order_by("check_at")
            ids = list(_locked(due)[:CHUNK].values_list("agent_id", flat=True))
            crossed = review(ids, now) if ids else set()
        spending.look(crossed, now)
        total += len(ids)
        if len(ids) < CHUNK and not crossed:
            return total


def _locked(states: Any) -> Any:
    """Rows that another worker is at are its business; those a heartbeat holds are met again in a second."""
    return states.select_for_update(skip_locked=True, of=("self",))


@transaction.atomic
def review(agent_ids: Iterable[int], now: datetime) -> set[int]:
    """Conclude for these agents at this moment. `now` is read once, before the rows are locked.

    Returns the projects whose monthly budget was exceeded just now, or is no longer: all of their agents are to be
    looked at (`spending.look`), after this transaction.
    """
    outages = watch.outages(now)
    cases = [case_of(state, outages) for state in _states(list(agent_ids))]
    _read_beats(cases, now)
    months = spending.months((case.state for case in cases), now)
    for case in cases:
        case.month = months.by_agent.get(case.agent.pk)
    _stand(cases, now)
    for case in cases:
        _guarded(case, now, lambda case: ask(case, outages, now))
    _conclude_together(cases, outages, now)
    _conclude_months(cases, now)
    for case in cases:
        _guarded(case, now, lambda case: _conclude(case, now))
        _guarded(case, now, lambda case: _restart(case, now))
    store.conclude([_row(case, now) for case in cases])
    read = [case.memory for case in cases if case.beats or case.set_aside]
    AgentMemory.objects.bulk_update(read, ["read_to", "rules"], batch_size=200)
    return months.crossed


def _states(ids: Sequence[int]) -> list[AgentState]:
    states = AgentState.objects.filter(agent_id__in=ids).order_by("agent_id")
    return list(states.select_for_update(of=("self",)).select_related("agent__project", "agent__memory"))


def case_of(state: AgentState, outages: Sequence[clocks.Span]) -> Case:
    """An agent to be judged by its row, with both clocks."""
    agent = state.agent
    given = agent.clock_settings
    alive, progress = clocks.alive(given, state, outages), clocks.progress(given, state, outages)
    return Case(agent, state, agent.memory, alive, progress, given)


def _read_beats(cases: Sequence[Case], now: datetime) -> None:
    """Hand each case its new heartbeats. An agent's ids grow in the order of commits, since its row is locked."""
    by_agent = {case.agent.pk: case for case in cases}
    unread = Heartbeat.objects.filter(agent_id__in=by_agent, id__gt=F("agent__memory__read_to"))
    recent = unread.filter(day__gte=now.date() - READ_BACK).order_by("id").defer("answer")
    read = list(recent[:BEATS_READ])
    for beat in read:
        case = by_agent[beat.agent_id]
        case.memory.read_to = beat.pk
        _guarded(case, now, partial(_hand, beat))
    for case in cases:
        case.more_to_read = len(read) == BEATS_READ


def _hand(beat: Heartbeat, case: Case) -> None:
    case.beats.append(beat_seen(beat))


def beat_seen(beat: Heartbeat) -> BeatSeen:
    """A stored heartbeat, as rules see it."""
    content = beat.content or {}
    calls = content.get("calls") or []
    return BeatSeen(
        beat.received_at,
        beat.status,
        content.get("message") or "",
        content.get("custom") or "",
        calls,
        beat.tokens,
        beat.cost,
        content.get("note") or "",
        content.get("evidence") or {},
        progress=beat.progress,
        waiting=(content.get("waiting") or {}).get("for", ""),
        memory_mb=beat.memory_mb,
        counter=content.get("counter") if calls else beat.tool_calls or None,
        iteration=beat.iteration,
        run=_run(content.get("labels") or {}),
        version=version.named(content.get("labels") or {}),
        prompts=content.get("prompts") or (),
        spent_at=beat.spent_at,
        doing=_doing(content, beat.received_at),
    )


def _doing(content: dict[str, Any], received_at: datetime) -> dict[str, Any]:
    """The tool call that goes on; since when by our clock, where the client says what its own shows.

    Whatever that is, it did not begin after it was told, nor more than a year before.
    """
    doing, sent = content.get("doing"), content.get("sent_at")
    if not doing:
        return {}
    sent_at = datetime.fromisoformat(sent) if sent else received_at
    went_on = (sent_at if sent_at.tzinfo else received_at) - datetime.fromisoformat(doing["since"])
    return {**doing, "since": (received_at - min(max(went_on, timedelta(0)), GOES_ON_MOST)).isoformat()}


def _run(labels: dict[str, str]) -> str:
    """Which run, task or talk an agent says it is at."""
    return " ".join(f"{name}={labels[name]}" for name in RUN_LABELS if name in labels)


def _guarded(case: Case, now: datetime, work: Callable[[Case], None]) -> None:
    """A poisoned agent must not stop the others: leave it as it was, look at it later, and say so in the log."""
    try:
        work(case)
    except OperationalError:
        raise
    except Exception:
        log.exception("an agent could not be reviewed", agent_id=case.agent.pk)
        case.set_aside = True


def ask(
    case: Case, outages: Sequence[clocks.Span], now: datetime, asked: Mapping[str, rules.Rule] | None = None
) -> None:
    """Let the rules read what came in and say what they find; all of them, unless some are named."""
    asked = rules.every() if asked is None else asked
    case.memory.rules = rules.read(case.memory.rules, case.beats, asked)
    _learn(case, outages)
    stopped = _has_ended(case, now)
    for rule in asked.values():
        if case.agent.paused_at or (stopped and rule.KIND not in TOLD_OF_STOPPED):
            continue
        armed = rules.in_force(rule, case.agent.project.rules, case.agent.rules)
        finding = rule.check(_facts(case, rule.KIND, armed.thresholds, now)) if armed.on else None
        if finding is not None:
            case.findings.append(finding)
    case.findings = rules.one_of_each(case.findings)
    if not (stopped or case.agent.paused_at):
        found = {finding.kind for finding in case.findings}
        case.unproven = attempts.unproven(case.standing, found, case.state)


def _learn(case: Case, outages: Sequence[clocks.Span]) -> None:
    """The progress clock as it is with the rhythm that the new beats taught."""
    state = case.state
    case.rhythm = rhythm.of(case.memory.rules.get(rhythm.KIND, {}), state.last_progress_at)
    state.learned_progress_timeout, state.quiet_until = case.rhythm.timeout, case.rhythm.quiet_until
    case.progress = clocks.progress(case.settings, state, outages)


def _has_ended(case: Case, now: datetime) -> bool:
    """Stopped, as it said; or a job that is silent, which is how jobs end. One that erred did not end well."""
    state, alive = case.state, case.alive
    silent = alive is not None and now >= alive.deadline
    return state.reported == "shutdown" or (
        case.agent.kind == Agent.Kind.JOB and silent and state.reported != "error" and not state.crashed
    )


def _facts(case: Case, kind: str, thresholds: Mapping[str, Any], now: datetime) -> Facts:
    agent, state = case.agent, case.state
    limits = spending.limits(agent, state)
    return Facts(
        now=now,
        seen=state,
        alive=case.alive,
        progress=case.progress,
        interval=clocks.interval(case.settings, state),
        paused=agent.paused_at is not None,
        budget=limits.day,
        today=now.astimezone(ZoneInfo(agent.project.time_zone)).date(),
        beats=case.beats,
        memory=case.memory.rules.get(kind, {}),
        thresholds=thresholds,
        outside=outside.of(case.memory.rules.get(outside.KIND, {})),
        restarts=_restarts(case),
        rhythm=case.rhythm,
        zone=ZoneInfo(agent.project.time_zone),
        run_budget=limits.run,
        token_limit=limits.tokens,
        month=case.month,
        tells_crashes=rules.in_force(crash, agent.project.rules, agent.rules).on,
        is_held=case.state.hold and not any(one.kind == "stalled" for one in case.standing),
    )


def _restarts(case: Case) -> Restarts:
    if not case.restarts:
        return Restarts()
    needed = _needed_for(case)
    given_up = next((one for one in case.standing if one.kind == restart.FAILED), None)
    return Restarts(
        made=case.restarts,
        delays=attempts.delays(),
        patience=attempts.patience(case.agent, case.state, needed),
        needed_for=needed,
        given_up=attempts.said_again(given_up) if given_up else None,
    )


def _needed_for(case: Case) -> set[str]:
    """What was found that a restart could cure."""
    return restart.cures({finding.kind for finding in case.findings}, runner_down=case.state.runner_down)


def _stand(cases: Sequence[Case], now: datetime) -> None:
    """How each stood before: what is wrong with it, and what was tried."""
    standing = incidents.open_signals(case.agent.pk for case in cases)
    restarts = attempts.handed_out([case.agent.pk for case in cases], now)
    for case in cases:
        case.standing = standing.get(case.agent.pk, [])
        case.restarts = restarts.get(case.agent.pk, [])


def _conclude_together(cases: Sequence[Case], outages: Sequence[clocks.Span], now: datetime) -> None:
    """One incident for agents of a host, a runner or a network that fell silent at once."""
    fresh: dict[int, dict[int, Case]] = defaultdict(dict)
    for case in cases:
        if _newly_silent(case):
            fresh[case.agent.project_id][case.agent.pk] = case
    for project_id, silent in sorted(fresh.items()):
        # Another worker may hold the rest of the same group: whoever comes second joins the first one's incident.
        Project.objects.select_for_update(no_key=True).get(pk=project_id)
        for group in together.groups(_peers(project_id, outages, now)):
            members = [silent[agent_id] for agent_id in group.agent_ids if agent_id in silent]
            if members:
                _open_group(group, members, now)


def _conclude_months(cases: Sequence[Case], now: datetime) -> None:
    """One incident for all agents that a project's monthly budget holds from now on."""
    fresh: dict[int, list[Case]] = defaultdict(list)
    for case in cases:
        new = not (case.standing or case.set_aside)
        if new and [_held_by(finding) for finding in case.findings] == [budgets.MONTH]:
            fresh[case.agent.project_id].append(case)
    for project_id, held in sorted(fresh.items()):
        Project.objects.select_for_update(no_key=True).get(pk=project_id)
        parts = [(case.agent, case.state, case.findings[0]) for case in held]
        month = held[0].month
        assert month is not None  # noqa: S101 - it was found
        spent = f"{cost.dollars(month.cost)} of {cost.dollars(month.limit)}"
        title = f"All agents are on hold: the project has spent {spent} this month"
        signals = incidents.open_for_project(members=parts, project_id=project_id, title=title, now=now)
        for case, signal in zip(held, signals, strict=True):
            case.standing = [signal]


def _held_by(finding: Finding) -> str:
    """The budget that it says is exceeded; empty for all else."""
    held = finding.kind == cost.KIND and finding.severity == CRITICAL
    return str(finding.evidence.get("budget", "")) if held else ""


def _newly_silent(case: Case) -> bool:
    found = [finding.kind for finding in case.findings if finding.kind != restart.FAILED]
    return not case.standing and found == ["missed_heartbeat"]


def _peers(project_id: int, outages: Sequence[clocks.Span], now: datetime) -> list[together.Peer]:
    states = AgentState.objects.filter(agent__project_id=project_id, agent__paused_at__isnull=True, crashed=False)
    states = states.exclude(agent__kind=Agent.Kind.JOB).exclude(reported="shutdown")
    expected = states.filter(last_beat_at__isnull=False)
    cases = [case_of(state, outages) for state in expected.select_related("agent__project", "agent__memory")]
    return [_peer(case, now) for case in cases]


def _peer(case: Case, now: datetime) -> together.Peer:
    state, alive = case.state, case.alive
    assert state.last_beat_at is not None  # noqa: S101 - filtered for
    assert alive is not None  # noqa: S101 - follows from it
    every = clocks.interval(case.settings, state)
    due = alive.due_at if now >= alive.deadline else None
    return together.Peer(state.agent_id, state.source, state.last_beat_at, every, due)


def _open_group(group: together.Group, members: Sequence[Case], now: datetime) -> None:
    names = ", ".join(Agent.objects.filter(pk__in=group.agent_ids).order_by("name").values_list("name", flat=True)[:10])
    where = f"on {group.source.partition('/')[2] or group.source}" if group.source else "in this project"
    title = f"{len(group.agent_ids)} agents {where} fell silent together: {names}"
    parts = [(case.agent, case.state, case.findings[0]) for case in members]
    signals = incidents.open_together(members=parts, agent_ids=group.agent_ids, title=title, now=now)
    for case, signal in zip(members, signals, strict=True):
        case.standing = [signal]


def _conclude(case: Case, now: datetime) -> None:
    if case.set_aside or not (case.findings or case.standing):
        return
    with transaction.atomic():
        case.standing = incidents.conclude(
            agent=case.agent,
            state=case.state,
            findings=[*case.findings, *case.unproven],
            standing=case.standing,
            now=now,
        )


def _restart(case: Case, now: datetime) -> None:
    """Ask for the restart of an agent that is armed for it; what speaks against it is looked at again in its time."""
    needed = _needed_for(case)
    if case.set_aside or not needed or case.agent.restart_policy != Agent.RestartPolicy.AUTO:
        return
    reason = next(finding.reason for finding in case.findings if finding.kind in needed)
    asked = {"action": Command.Action.RESTART, "actor": incidents.WATCHDOG, "origin": restart.WATCHDOG}
    incident = case.standing[0].incident
    try:
        with transaction.atomic():
            commands.request(agent=case.agent, incident=incident, reason=reason, now=now, **asked)
    except ApiError as refusal:
        if refusal.retry_after is None and refusal.code != "gave_up":
            incidents.note_once(incident=incident, code=refusal.code, text=f"Not restarted: {refusal.message}", now=now)
        case.ask_again = now + (timedelta(seconds=refusal.retry_after) if refusal.retry_after else ASKED_AGAIN)
    else:
        case.ask_again = now + ASKED_AGAIN


def _row(case: Case, now: datetime) -> dict[str, Any]:
    """What the hot row learns from the review."""
    state = case.state
    if case.set_aside:
        kept = {name: getattr(state, name) for name in store.CONCLUDED if name != "check_at"}
        return {"agent_id": case.agent.pk, "check_at": now + SET_ASIDE, **kept}
    incident = case.standing[0].incident if case.standing else None
    return {
        "agent_id": case.agent.pk,
        "check_at": look_again(case, now),
        "quiet_until": case.rhythm.quiet_until,
        "learned_progress_timeout": case.rhythm.timeout,
        "status": status_of(case, now),
        "incident_id": incident.pk if incident else None,
        "incident_kind": incident.kind if incident else "",
        "warnings": _warnings(case.standing) or None,
        "hold": _on_hold(case.standing),
        "waiting_until": _waited_until(case, now),
        "lifted": _lifted(case),
    }


def _on_hold(standing: Sequence[Signal]) -> bool:
    return any(signal.kind == "cost" and signal.severity == CRITICAL for signal in standing)


def _waited_until(case: Case, now: datetime) -> datetime | None:
    """What was held until now has its time to go on, as after a wait."""
    until = case.state.waiting_until
    if not case.state.hold or _on_hold(case.standing):
        return until
    return max(until, now) if until else now


def _lifted(case: Case) -> dict[str, Any] | None:
    """What heartbeats must know of it, which hold by themselves: budgets that a person let pass, or all of them."""
    if not rules.in_force(cost, case.agent.project.rules, case.agent.rules).on:
        return budgets.ALL_LIFTED
    lifted: dict[str, Any] | None = case.memory.rules.get(cost.KIND, {}).get("lifted")
    return lifted


def _warnings(standing: Sequence[Signal]) -> list[list[str]]:
    """What clients are to be warned of: a loop, or a budget that is exceeded and not merely near."""
    return [
        [f"{signal.incident_id}:{signal.kind}:{signal.pk}{_of_which(signal)}", signal.reason]
        for signal in standing
        if signal.kind == "loop" or (signal.kind == "cost" and signal.severity == CRITICAL)
    ]


def _of_which(signal: Signal) -> str:
    """Of a budget that was raised and is exceeded again the client is told again."""
    found = next(iter(signal.evidence.get("budgets", ())), None) if signal.kind == "cost" else None
    return f":{found[0]}{found[2]}" if found else ""


def status_of(case: Case, now: datetime) -> str:
    """How it is shown."""
    kinds, state = {finding.kind for finding in case.findings}, case.state
    if case.agent.paused_at:
        return Status.PAUSED
    if _has_ended(case, now):
        return Status.STOPPED
    if kinds & {"missed_heartbeat", "crash"} or ("error" in kinds and state.runner_down):
        return Status.DOWN
    if "stalled" in kinds:
        return Status.STALLED
    if kinds or case.unproven or state.reported == "warning":
        return Status.WARNING
    if state.waiting_until and state.waiting_until > now:
        return Status.WAITING
    return Status.OK if state.beats else Status.NEW


def look_again(case: Case, now: datetime) -> datetime | None:
    """The next moment at which time alone could change the verdict; a heartbeat brings it forward when it matters."""
    if case.agent.paused_at:
        return None
    if _has_ended(case, now):
        return now + LOOK_AGAIN if case.findings else None
    moments = [clock.deadline for clock in (case.alive, case.progress) if clock]
    moments += [moment for moment in (case.ask_again, _last_chance(case, now)) if moment]
    if case.state.waiting_until:
        moments.append(case.state.waiting_until)
    if any(finding.kind == "cost" for finding in case.findings):
        moments.append(_midnight(case, now))
    if any(finding.kind in GROWS_OLDER for finding in case.findings):
        moments.append(now + REWORDED_EVERY)
    passed = any(beat.status == "error" for beat in case.beats) and case.state.reported != "error"
    if passed or case.more_to_read:
        moments.append(now + LOOK_AGAIN)
    return min((min(moment, now + TRUSTED_FOR) for moment in moments if moment > now), default=None)


def _last_chance(case: Case, now: datetime) -> datetime | None:
    """When the last restart of what still does not work has had its time."""
    needed = _needed_for(case)
    if not needed:
        return None
    return restart.delayed_until(
        case.restarts, now, attempts.patience(case.agent, case.state, needed), attempts.delays()
    )


def _midnight(case: Case, now: datetime) -> datetime:
    zone = ZoneInfo(case.agent.project.time_zone)
    return datetime.combine(now.astimezone(zone).date() + timedelta(days=1), time.min, zone)
