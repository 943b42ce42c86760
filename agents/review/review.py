"""The review: the only place that draws conclusions. Heartbeats and time alike lead here, and nothing else opens an
incident because of them.

1. Lock the agents' hot rows, so that every heartbeat is either seen or stored after the review.
2. Read the heartbeats since the last review; the rules update their state.
3. Check every rule.
4. Bring incidents in line with the findings: shared incidents first, then each agent's own.
5. Request the restarts that people enabled.
6. Write the outcome, and when to review again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final
from zoneinfo import ZoneInfo

import structlog
from django.db import OperationalError, transaction
from django.db.models import F, QuerySet

from agents import rules
from agents.commands import dispatch, restart_context
from agents.domain import clocks, restart_policy, signal_kinds
from agents.incidents import events, lifecycle
from agents.models import Agent, AgentMemory, AgentState, Command, Heartbeat, Unread
from agents.review import outcome, shared_incidents
from agents.review.case import Case, case_of, curable_kinds, has_ended
from agents.rules import crash
from agents.rules.facts import Facts, Finding, Restarts
from agents.rules.observers import rhythm, runner_view
from agents.storage import decoding, monthly_spend, outage_log, statements
from teams.actors import WATCHDOG
from teams.errors import ApiError

log = structlog.get_logger(__name__)

CHUNK: Final = 1_000
# Heartbeats per review, from the last two days; the rest is read a second later.
MAX_BEATS: Final = 5_000
READ_BACK: Final = timedelta(days=1)
# When a restart is refused for now, for instance because its runner is away, it is requested again.
RETRY_RESTART_AFTER: Final = timedelta(minutes=1)
OUTLIVES_SHUTDOWN: Final = signal_kinds.where(lambda traits: traits.outlives_shutdown)


def sweep(now: datetime) -> int:
    """Review every agent that is due, in chunks; safe with any number of workers. Returns how many."""
    outage_log.tick(outage_log.DETECTOR, now)
    total = 0
    crossed: set[int] = set()
    while True:
        with transaction.atomic():
            ids = _due(now)
            crossed = review(ids, now) if ids else set()
        monthly_spend.look(crossed, now)
        total += len(ids)
        if len(ids) < CHUNK and not crossed:
            return total


def _due(now: datetime) -> list[int]:
    """Agents with heartbeats to read, and agents whose time has come.

    Rows that another worker or a heartbeat has locked are left to the next sweep.
    """
    unread = Unread.objects.values_list("agent_id")
    overdue = AgentState.objects.filter(check_at__lte=now).values_list("agent_id")
    # Not in one statement with the lock: that could use no index.
    found = [pk for (pk,) in unread.union(overdue, all=True)[:CHUNK]]
    if not found:
        return []
    due = AgentState.objects.filter(agent_id__in=found).order_by("check_at")
    return list(due.select_for_update(skip_locked=True, of=("self",)).values_list("agent_id", flat=True))


@transaction.atomic
def review(agent_ids: Iterable[int], now: datetime) -> set[int]:
    """Review these agents at this moment. `now` is read once, before the rows are locked.

    Returns the projects whose monthly budget was exceeded just now, or no longer is: all of their agents must be
    reviewed after this transaction (`monthly_spend.look`).
    """
    outages = outage_log.outages(now)
    cases = [case_of(state, outages) for state in _lock(list(agent_ids))]
    _read_beats(cases, now)
    months = monthly_spend.months((case.state for case in cases), now)
    for case in cases:
        case.month = months.by_agent.get(case.agent.pk)
    _load_signals_and_restarts(cases, now)
    for case in cases:
        _guarded(case, partial(ask_rules, outages=outages, now=now))
    shared_incidents.open_for_silence(cases, outages, now)
    shared_incidents.open_for_months(cases, now)
    for case in cases:
        _guarded(case, partial(_update_incidents, now=now))
        _guarded(case, partial(_request_restart, now=now))
    _save(cases, now)
    return months.crossed


def _lock(ids: Sequence[int]) -> list[AgentState]:
    states: QuerySet[AgentState] = AgentState.objects.filter(agent_id__in=ids).order_by("agent_id")
    return list(states.select_for_update(of=("self",)).select_related("agent__project", "agent__memory"))


def _read_beats(cases: Sequence[Case], now: datetime) -> None:
    """Hand each case its new heartbeats. An agent's ids grow in the order of commits, because its row is locked."""
    by_agent = {case.agent.pk: case for case in cases}
    unread = Heartbeat.objects.filter(agent_id__in=by_agent, id__gt=F("agent__memory__read_to"))
    recent = unread.filter(day__gte=now.date() - READ_BACK).order_by("id").defer("answer")
    beats = list(recent[:MAX_BEATS])
    for beat in beats:
        case = by_agent[beat.agent_id]
        case.memory.read_to = beat.pk
        _guarded(case, partial(_add_beat, beat=beat))
    for case in cases:
        case.has_unread_beats = len(beats) == MAX_BEATS


def _add_beat(case: Case, *, beat: Heartbeat) -> None:
    case.beats.append(decoding.seen(beat))


def _guarded(case: Case, step: Callable[[Case], None]) -> None:
    """One agent that fails must not stop the others: leave it as it was, log it, and review it again later."""
    try:
        step(case)
    except OperationalError:
        raise
    except Exception:
        log.exception("an agent could not be reviewed", agent_id=case.agent.pk)
        case.set_aside = True


def _load_signals_and_restarts(cases: Sequence[Case], now: datetime) -> None:
    ids = [case.agent.pk for case in cases]
    signals, restarts = lifecycle.open_signals(ids), restart_context.recent_restarts(ids, now)
    for case in cases:
        case.signals = signals.get(case.agent.pk, [])
        case.restarts = restarts.get(case.agent.pk, [])


def ask_rules(
    case: Case, *, outages: Sequence[clocks.Span], now: datetime, only: Mapping[str, rules.Rule] | None = None
) -> None:
    """Let the rules read the new heartbeats, and collect their findings. `only` names some rules, by default all."""
    asked = rules.every() if only is None else only
    case.memory.rules = rules.read(case.memory.rules, case.beats, asked)
    _learn_rhythm(case, outages)
    ended, paused = has_ended(case, now), case.agent.paused_at is not None
    if not paused:
        _check_all(case, [rule for rule in asked.values() if not ended or rule.KIND in OUTLIVES_SHUTDOWN], now)
    if not (ended or paused):
        found = {finding.kind for finding in case.findings}
        case.unproven = restart_context.unproven_findings(case.signals, found, case.state)


def _learn_rhythm(case: Case, outages: Sequence[clocks.Span]) -> None:
    """Set the progress clock by the rhythm that the new heartbeats taught."""
    state = case.state
    case.rhythm = rhythm.learned(case.memory.rules.get(rhythm.KIND, {}), state.last_progress_at)
    state.learned_progress_timeout, state.quiet_until = case.rhythm.timeout, case.rhythm.quiet_until
    case.progress = clocks.progress(case.settings, state, outages)


def _check_all(case: Case, asked: Sequence[rules.Rule], now: datetime) -> None:
    for rule in asked:
        # One by one, because a rule sees the findings before it: `restart_failed` asks which of them a restart cures.
        finding = _check(rule, case, now)
        if finding is not None:
            case.findings.append(finding)
    case.findings = rules.worst_per_kind(case.findings)


def _check(rule: rules.Rule, case: Case, now: datetime) -> Finding | None:
    armed = rules.in_force(rule, case.agent.project.rules, case.agent.rules)
    return rule.check(_facts(case, rule.KIND, armed.thresholds, now)) if armed.on else None


def _facts(case: Case, kind: str, thresholds: Mapping[str, Any], now: datetime) -> Facts:
    agent, state, zone = case.agent, case.state, ZoneInfo(case.agent.project.time_zone)
    limits = monthly_spend.limits(agent, state)
    return Facts(
        now=now,
        row=state,
        alive=case.alive,
        progress=case.progress,
        interval=clocks.interval(case.settings, state),
        paused=agent.paused_at is not None,
        budget=limits.day,
        today=now.astimezone(zone).date(),
        beats=case.beats,
        state=case.memory.rules.get(kind, {}),
        thresholds=thresholds,
        runner_view=runner_view.last_view(case.memory.rules.get(runner_view.KIND, {})),
        restarts=_restarts(case),
        rhythm=case.rhythm,
        zone=zone,
        run_budget=limits.run,
        token_limit=limits.tokens,
        month=case.month,
        is_crash_rule_on=rules.in_force(crash, agent.project.rules, agent.rules).on,
        is_held=state.hold and not any(signal.kind == signal_kinds.STALLED for signal in case.signals),
    )


def _restarts(case: Case) -> Restarts:
    if not case.restarts:
        return Restarts()
    kinds = curable_kinds(case)
    given_up = next((signal for signal in case.signals if signal.kind == restart_policy.FAILED), None)
    return Restarts(
        made=case.restarts,
        delays=restart_context.delays(),
        patience=restart_context.patience(case.agent, case.state, kinds),
        needed_for=kinds,
        given_up=restart_context.as_finding(given_up) if given_up else None,
    )


def _update_incidents(case: Case, *, now: datetime) -> None:
    if case.set_aside or not (case.findings or case.signals):
        return
    with transaction.atomic():
        case.signals = lifecycle.apply_findings(
            agent=case.agent,
            state=case.state,
            findings=[*case.findings, *case.unproven],
            signals=case.signals,
            now=now,
        )


def _request_restart(case: Case, *, now: datetime) -> None:
    """Restart an agent whose policy is automatic. When that is refused, the agent is reviewed again in time."""
    kinds = curable_kinds(case)
    if case.set_aside or not kinds or case.agent.restart_policy != Agent.RestartPolicy.AUTO:
        return
    case.retry_restart_at = now + RETRY_RESTART_AFTER
    try:
        with transaction.atomic():
            dispatch.request(
                agent=case.agent,
                action=Command.Action.RESTART,
                actor=WATCHDOG,
                reason=next(finding.reason for finding in case.findings if finding.kind in kinds),
                now=now,
                origin=restart_policy.WATCHDOG,
                incident=case.signals[0].incident,
            )
    except ApiError as refusal:
        _handle_refusal(case, refusal, now)


def _handle_refusal(case: Case, refusal: ApiError, now: datetime) -> None:
    """Retry when waiting is enough; otherwise say on the timeline why nothing happens. Giving up has its own signal."""
    if refusal.retry_after:
        case.retry_restart_at = now + timedelta(seconds=refusal.retry_after)
    elif refusal.code != "gave_up":
        text = f"Not restarted: {refusal.message}"
        events.note_once(incident=case.signals[0].incident, code=refusal.code, text=text, now=now)


def _save(cases: Sequence[Case], now: datetime) -> None:
    Unread.objects.filter(agent_id__in=[case.agent.pk for case in cases]).delete()
    statements.save_outcomes([outcome.row(case, now) for case in cases])
    changed = [case.memory for case in cases if case.beats or case.set_aside]
    AgentMemory.objects.bulk_update(changed, ["read_to", "rules"], batch_size=200)
