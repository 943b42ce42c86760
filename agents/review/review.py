"""The one place that concludes: heartbeats and time alike end here, and nowhere else is an incident opened.

1. Lock the agents' hot rows, so that a beat is either seen or comes after the verdict.
2. Read what came in since the last review, and let the rules remember it.
3. Ask every rule.
4. Bring incidents in line with what was found: those that fell silent together first, then each agent.
5. Ask for the restarts that people armed.
6. Write what was concluded, and when to look again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final
from zoneinfo import ZoneInfo

import structlog
from django.db import OperationalError, transaction
from django.db.models import F

from agents import rules
from agents.commands import dispatch, restart_context
from agents.domain import clocks, restart_policy
from agents.incidents import lifecycle
from agents.models import Agent, AgentMemory, AgentState, Command, Heartbeat
from agents.review import outcome, shared_incidents
from agents.review.case import Case, case_of, has_ended, needed_for
from agents.rules import crash
from agents.rules.facts import Facts, Restarts
from agents.rules.observers import rhythm, runner_view
from agents.storage import decoding, monthly_spend, outage_log, statements
from teams.actors import WATCHDOG
from teams.errors import ApiError

log = structlog.get_logger(__name__)

CHUNK: Final = 1_000
# At most so many heartbeats a review, from the last two days; what is left is read a second later.
BEATS_READ: Final = 5_000
READ_BACK: Final = timedelta(days=1)
# A restart that cannot be had for now, as when its runner is away, is asked for again.
ASKED_AGAIN: Final = timedelta(minutes=1)
# Told although the agent said goodbye right after it: it happened.
TOLD_OF_STOPPED: Final = ("crash", "error")


def sweep(now: datetime) -> int:
    """Review every agent whose time has come, in chunks; safe with any number of workers. Returns how many."""
    outage_log.tick(outage_log.DETECTOR, now)
    total = 0
    crossed: set[int] = set()
    while True:
        with transaction.atomic():
            due = AgentState.objects.filter(check_at__lte=now).order_by("check_at")
            ids = list(_locked(due)[:CHUNK].values_list("agent_id", flat=True))
            crossed = review(ids, now) if ids else set()
        monthly_spend.look(crossed, now)
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
    outages = outage_log.outages(now)
    cases = [case_of(state, outages) for state in _states(list(agent_ids))]
    _read_beats(cases, now)
    months = monthly_spend.months((case.state for case in cases), now)
    for case in cases:
        case.month = months.by_agent.get(case.agent.pk)
    _stand(cases, now)
    for case in cases:
        _guarded(case, now, lambda case: ask(case, outages, now))
    shared_incidents.conclude_silence(cases, outages, now)
    shared_incidents.conclude_months(cases, now)
    for case in cases:
        _guarded(case, now, lambda case: _conclude(case, now))
        _guarded(case, now, lambda case: _restart(case, now))
    statements.conclude([outcome.row(case, now) for case in cases])
    read = [case.memory for case in cases if case.beats or case.set_aside]
    AgentMemory.objects.bulk_update(read, ["read_to", "rules"], batch_size=200)
    return months.crossed


def _states(ids: Sequence[int]) -> list[AgentState]:
    states = AgentState.objects.filter(agent_id__in=ids).order_by("agent_id")
    return list(states.select_for_update(of=("self",)).select_related("agent__project", "agent__memory"))


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
    case.beats.append(decoding.seen(beat))


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
    stopped = has_ended(case, now)
    for rule in asked.values():
        if case.agent.paused_at or (stopped and rule.KIND not in TOLD_OF_STOPPED):
            continue
        armed = rules.in_force(rule, case.agent.project.rules, case.agent.rules)
        finding = rule.check(_facts(case, rule.KIND, armed.thresholds, now)) if armed.on else None
        if finding is not None:
            case.findings.append(finding)
    case.findings = rules.worst_per_kind(case.findings)
    if not (stopped or case.agent.paused_at):
        found = {finding.kind for finding in case.findings}
        case.unproven = restart_context.unproven(case.standing, found, case.state)


def _learn(case: Case, outages: Sequence[clocks.Span]) -> None:
    """The progress clock as it is with the rhythm that the new beats taught."""
    state = case.state
    case.rhythm = rhythm.of(case.memory.rules.get(rhythm.KIND, {}), state.last_progress_at)
    state.learned_progress_timeout, state.quiet_until = case.rhythm.timeout, case.rhythm.quiet_until
    case.progress = clocks.progress(case.settings, state, outages)


def _facts(case: Case, kind: str, thresholds: Mapping[str, Any], now: datetime) -> Facts:
    agent, state = case.agent, case.state
    limits = monthly_spend.limits(agent, state)
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
        outside=runner_view.of(case.memory.rules.get(runner_view.KIND, {})),
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
    needed = needed_for(case)
    given_up = next((one for one in case.standing if one.kind == restart_policy.FAILED), None)
    return Restarts(
        made=case.restarts,
        delays=restart_context.delays(),
        patience=restart_context.patience(case.agent, case.state, needed),
        needed_for=needed,
        given_up=restart_context.said_again(given_up) if given_up else None,
    )


def _stand(cases: Sequence[Case], now: datetime) -> None:
    """How each stood before: what is wrong with it, and what was tried."""
    standing = lifecycle.open_signals(case.agent.pk for case in cases)
    restarts = restart_context.handed_out([case.agent.pk for case in cases], now)
    for case in cases:
        case.standing = standing.get(case.agent.pk, [])
        case.restarts = restarts.get(case.agent.pk, [])


def _conclude(case: Case, now: datetime) -> None:
    if case.set_aside or not (case.findings or case.standing):
        return
    with transaction.atomic():
        case.standing = lifecycle.conclude(
            agent=case.agent,
            state=case.state,
            findings=[*case.findings, *case.unproven],
            standing=case.standing,
            now=now,
        )


def _restart(case: Case, now: datetime) -> None:
    """Ask for the restart of an agent that is armed for it; what speaks against it is looked at again in its time."""
    needed = needed_for(case)
    if case.set_aside or not needed or case.agent.restart_policy != Agent.RestartPolicy.AUTO:
        return
    reason = next(finding.reason for finding in case.findings if finding.kind in needed)
    asked = {"action": Command.Action.RESTART, "actor": WATCHDOG, "origin": restart_policy.WATCHDOG}
    incident = case.standing[0].incident
    try:
        with transaction.atomic():
            dispatch.request(agent=case.agent, incident=incident, reason=reason, now=now, **asked)
    except ApiError as refusal:
        if refusal.retry_after is None and refusal.code != "gave_up":
            lifecycle.note_once(incident=incident, code=refusal.code, text=f"Not restarted: {refusal.message}", now=now)
        case.ask_again = now + (timedelta(seconds=refusal.retry_after) if refusal.retry_after else ASKED_AGAIN)
    else:
        case.ask_again = now + ASKED_AGAIN
