"""The review: the only place that draws conclusions. Heartbeats and time alike lead here, and nothing else opens an
incident because of them.

1. Lock the agents' hot rows, so that every heartbeat is either seen or stored after the review.
2. Read the heartbeats since the last review; the rules update their state.
3. Check every rule.
4. Bring incidents in line with the findings: shared incidents first, then each agent's own.
5. Request the restarts that people enabled.
6. Write the outcome, and when to review again.

Heartbeats wait for the hot rows that a review holds. So it takes few agents at a time, writes what it changes in sets,
and waits for no other lock meanwhile: agents it cannot conclude about now are left to the next sweep.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, partial
from typing import Any, Final
from zoneinfo import ZoneInfo

import structlog
from django.db import OperationalError, connection, transaction
from django.db.models import F, OuterRef, Q, QuerySet, Subquery

from agents import rules
from agents.commands import dispatch, restart_context
from agents.domain import clocks, restart_policy, signal_kinds
from agents.incidents import events, lifecycle, nudges
from agents.incidents.ledger import Ledger
from agents.models import Agent, AgentState, Command, Heartbeat, StreamEvent, Unread
from agents.review import calm, outcome, shared_incidents
from agents.review.case import Case, case_of, curable_kinds, has_ended, set_job
from agents.rules import crash, loop
from agents.rules.facts import Facts, Restarts
from agents.rules.observers import rhythm, runner_view
from agents.storage import bulk, decoding, event_stream, hot_rows, monthly_spend, outage_log
from agents.storage.calm_rows import READ_BACK
from teams.actors import WATCHDOG
from teams.errors import ApiError
from teams.models import Project

log = structlog.get_logger(__name__)

# Agents per transaction: a heartbeat of one of them waits until all are done, about 1 ms each.
CHUNK: Final = 50
# Seconds after which a sweep ends, and the next one goes on. It knows newer outages, and what fell due meanwhile.
MAX_SWEEP: Final = 2.0
# How often agents are tried again that were passed over, and seconds in between: a review takes about that long.
PASSES: Final = 4
PAUSE: Final = 0.05
# A lock that nobody is expected to hold for longer, such as that of a channel's row for a new delivery.
LOCK_TIMEOUT: Final = "2s"
# Heartbeats per review, from the last two days; the rest is read a second later.
MAX_BEATS: Final = 5_000
# Seconds at which SQLite's waiting writers try again.
LET_OTHERS_WRITE: Final = 0.11
# PostgreSQL: a lock was not available in time, a deadlock, a serialization failure.
RETRYABLE: Final = ("55P03", "40P01", "40001")
# When a restart is refused for now, for instance because its runner is away, it is requested again.
RETRY_RESTART_AFTER: Final = timedelta(minutes=1)
OUTLIVES_SHUTDOWN: Final = signal_kinds.where(lambda traits: traits.outlives_shutdown)


class View:
    """What all reviews of a sweep have in common. `now` is read once, before any row is locked."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    @cached_property
    def outages(self) -> Sequence[clocks.Span]:
        return outage_log.outages(self.now)

    @cached_property
    def judge(self) -> shared_incidents.Judge:
        return shared_incidents.Judge(self.outages, self.now)


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What became of some agents.

    `left` could not be concluded about, because another transaction is at their incident, project or month; they stay
    due. `crossed` are the projects whose monthly budget was exceeded just now, or no longer is: all of their agents
    must be reviewed after this transaction (`monthly_spend.look`).
    """

    done: int = 0
    left: Collection[int] = ()
    crossed: Collection[int] = ()


def sweep(now: datetime) -> int:
    """Review the agents that are due, in chunks; safe with any number of workers. Returns how many.

    Agents are passed over while another transaction has locked what concerns them. They get a few more passes; after
    that they are left to the next sweep.
    """
    outage_log.tick(outage_log.DETECTOR, now)
    view, began = View(now), time.monotonic()
    # Half of the time: however many of these there are, agents in trouble get theirs.
    until = began + MAX_SWEEP / 2
    total = calm.move(lambda: view.outages, now, until=until, let_others_write=_let_others_write)
    for _ in range(PASSES):
        passed_over: set[int] = set()
        while time.monotonic() - began < MAX_SWEEP:
            reviewed = _review_next(view, passed_over)
            if not reviewed.done and not reviewed.left:
                break
            monthly_spend.look(reviewed.crossed, now)
            total, passed_over = total + reviewed.done, passed_over | set(reviewed.left)
            if reviewed.done >= CHUNK:
                _let_others_write()
        if not passed_over:
            break
        time.sleep(PAUSE)
    if time.monotonic() - began >= MAX_SWEEP:
        _record_backlog(now)
    return total


def _record_backlog(now: datetime) -> None:
    """When reviews are as late as in an outage of the detector, deadlines move, and the timeline says so."""
    due = AgentState.objects.filter(check_at__lte=now).order_by("check_at")
    oldest = due.values_list("check_at", flat=True).first()
    if oldest is not None and now - oldest > outage_log.OUTAGE_AFTER[outage_log.DETECTOR]:
        outage_log.record(outage_log.OVERLOAD, clocks.Span(oldest, now))


def _let_others_write() -> None:
    """SQLite has a single writer: without a pause, heartbeats would find the database locked at each of their tries."""
    if not connection.features.has_select_for_update:
        time.sleep(LET_OTHERS_WRITE)


def _review_next(view: View, passed_over: Collection[int]) -> Reviewed:
    """Review the next agents that are due, in one transaction; when that fails, each in its own."""
    ids: list[int] = []
    try:
        with transaction.atomic():
            states = _claim_due(view, passed_over)
            ids = [state.agent_id for state in states]
            return _review(states, view)
    except Exception as error:
        if not ids or _is_down(error):
            raise
        log.warning("agents could not be reviewed together", agents=len(ids), error=str(error))
    return _review_apart(ids, view)


def _claim_due(view: View, passed_over: Collection[int]) -> list[AgentState]:
    """Lock the next agents that are due: first those whose time has come, then those with heartbeats to read.

    Both in the order in which they fell due, so that none waits for ever while reviews are behind. Two statements,
    because no index serves their disjunction.
    """
    others = AgentState.objects.exclude(agent_id__in=passed_over)
    states = _claim(others.filter(check_at__lte=view.now).order_by("check_at")[:CHUNK])
    if len(states) < CHUNK:
        claimed = {state.agent_id for state in states}
        unread = others.filter(agent_id__in=Unread.objects.values("agent_id")).exclude(agent_id__in=claimed)
        since = Unread.objects.filter(agent_id=OuterRef("agent_id")).values("since")
        states += _claim(unread.order_by(Subquery(since), "agent_id")[: CHUNK - len(states)])
    return states


def _still_due(agent_id: int, view: View) -> QuerySet[AgentState]:
    has_unread = Q(agent_id__in=Unread.objects.values("agent_id"))
    return AgentState.objects.filter(Q(check_at__lte=view.now) | has_unread, agent_id=agent_id)


def _claim(rows: QuerySet[AgentState]) -> list[AgentState]:
    """Lock those of these hot rows that nobody else has locked."""
    return _with_related(rows.select_for_update(skip_locked=True, of=("self",)))


def _with_related(rows: QuerySet[AgentState]) -> list[AgentState]:
    states = list(rows.select_related("agent__memory", "agent__job"))
    # Few projects have many agents: joined, each row would bring its own copy.
    projects = Project.objects.in_bulk({state.agent.project_id for state in states})
    for state in states:
        state.agent.project = projects[state.agent.project_id]
    return states


def _is_down(error: Exception) -> bool:
    """Whether trying again does not help: the database is away. A lock that somebody held too long is no such case."""
    return isinstance(error, OperationalError) and getattr(error.__cause__, "sqlstate", "") not in RETRYABLE


def _review_apart(ids: Sequence[int], view: View) -> Reviewed:
    """Review agents one by one: one that fails must not stop the others. It is left as it was, and reviewed later."""
    done, left, crossed = 0, set[int](), set[int]()
    for agent_id in ids:
        try:
            with transaction.atomic():
                reviewed = _review(_claim(_still_due(agent_id, view)), view)
        except Exception as error:
            if _is_down(error):
                raise
            left.add(agent_id)
            if not isinstance(error, OperationalError):
                log.exception("an agent could not be reviewed", agent_id=agent_id)
                AgentState.objects.filter(pk=agent_id).update(check_at=view.now + outcome.SET_ASIDE)
        else:
            done, left, crossed = done + reviewed.done, left | set(reviewed.left), crossed | set(reviewed.crossed)
    return Reviewed(done, left, crossed)


@transaction.atomic
def review(agent_ids: Iterable[int], now: datetime) -> Reviewed:
    """Review these agents at this moment. Waits for their rows."""
    rows = AgentState.objects.filter(agent_id__in=list(agent_ids)).order_by("agent_id")
    return _review(_with_related(rows.select_for_update(of=("self",))), View(now))


def _review(states: Sequence[AgentState], view: View) -> Reviewed:
    """Review agents whose hot rows are locked."""
    if not states:
        return Reviewed()
    months = monthly_spend.months(states, view.now)
    cases = [case_of(state, view.outages) for state in states if state.agent.project_id not in months.busy]
    for case in cases:
        case.month = months.by_agent.get(case.agent.pk)
    _conclude(cases, view)
    settled = _bring_incidents_in_line(cases, view)
    for case in settled:
        _guarded(case, partial(_request_restart, now=view.now))
    _save(settled, view.now)
    done = {case.agent.pk for case in settled}
    left = {state.agent_id for state in states if state.agent_id not in done}
    return Reviewed(len(done), left, months.crossed)


def _conclude(cases: Sequence[Case], view: View) -> None:
    """What the rules find, agent by agent."""
    _read_beats(cases, view.now)
    _load_signals_and_restarts(cases, view.now)
    for case in cases:
        _guarded(case, partial(ask_rules, outages=view.outages, now=view.now))


def _bring_incidents_in_line(cases: Sequence[Case], view: View) -> Sequence[Case]:
    """Open, extend and resolve incidents. Returns the cases that are settled; the others are left to another review."""
    ledger = Ledger(view.now)
    troubled = [case for case in cases if not case.set_aside and (case.findings or case.signals)]
    if not troubled:
        return cases
    _wait_for_no_lock()
    ledger.busy |= shared_incidents.leave_to_others(troubled)
    ledger.open({case.agent.pk: case.signals for case in troubled})
    shared_incidents.open_for_silence(ledger, _settled(ledger, troubled), view.judge)
    shared_incidents.open_for_months(ledger, _settled(ledger, troubled))
    own = _settled(ledger, troubled)
    ledger.look_back([case.agent.pk for case in own if case.findings and not case.signals])
    for case in own:
        case.signals = lifecycle.apply_findings(
            ledger,
            agent=case.agent,
            state=case.state,
            findings=[*case.findings, *case.unproven],
            signals=case.signals,
        )
        case.holds_for_loop = nudges.holds(case.agent, case.signals, is_held=case.state.hold)
    lifecycle.write(ledger)
    return _settled(ledger, cases)


def _wait_for_no_lock() -> None:
    """From here on rows are written that others may hold, if only for a moment."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")


def _settled(ledger: Ledger, cases: Sequence[Case]) -> Sequence[Case]:
    return [case for case in cases if case.agent.pk not in ledger.busy] if ledger.busy else cases


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
        if case.restarts and case.state.reported == "shutdown" and not case.state.held:
            since = min(case.restarts)
            case.is_being_restarted = restart_context.is_being_restarted(case.agent.pk, case.signals, since)


def ask_rules(
    case: Case, *, outages: Sequence[clocks.Span], now: datetime, only: Mapping[str, rules.Rule] | None = None
) -> None:
    """Let the rules read the new heartbeats, and collect their findings. `only` names some rules, by default all."""
    asked = rules.every() if only is None else only
    case.memory.rules = rules.read(case.memory.rules, case.beats, asked)
    _learn_rhythm(case, outages)
    set_job(case, outages)
    ended, paused = has_ended(case, now), case.agent.paused_at is not None
    if not paused:
        _check_all(case, [rule for rule in asked.values() if not ended or rule.KIND in OUTLIVES_SHUTDOWN], now)
    if not (ended or paused):
        found = {finding.kind for finding in case.findings}
        case.unproven = restart_context.unproven_findings(case.signals, found, case.state)
        if not nudges.may_end(case.agent, is_held=case.state.hold):
            loops = [signal for signal in case.signals if signal.kind == loop.KIND and loop.KIND not in found]
            case.unproven += map(restart_context.as_finding, loops)


def _learn_rhythm(case: Case, outages: Sequence[clocks.Span]) -> None:
    """Set the progress clock by the rhythm that the new heartbeats taught."""
    state = case.state
    case.rhythm = rhythm.learned(case.memory.rules.get(rhythm.KIND, {}), state.last_progress_at)
    state.learned_progress_timeout, state.quiet_until = case.rhythm.timeout, case.rhythm.quiet_until
    case.progress = clocks.progress(case.settings, state, outages)


def _check_all(case: Case, asked: Sequence[rules.Rule], now: datetime) -> None:
    known = _known(case, now)
    for rule in asked:
        armed = rules.in_force(rule, case.agent.project.rules, case.agent.rules)
        if armed.on:
            state = case.memory.rules.get(rule.KIND, {})
            # Each time, because a rule sees the findings before it: `restart_failed` asks which a restart cures.
            facts = Facts(**known, state=state, thresholds=armed.thresholds, restarts=_restarts(case))
            if (finding := rule.check(facts)) is not None:
                case.findings.append(finding)
    case.findings = rules.worst_per_kind(case.findings)


def _known(case: Case, now: datetime) -> dict[str, Any]:
    """The facts that all rules see alike."""
    agent, state, zone = case.agent, case.state, ZoneInfo(case.agent.project.time_zone)
    limits = monthly_spend.limits(agent, state)
    return {
        "now": now,
        "row": state,
        "alive": case.alive,
        "progress": case.progress,
        "interval": clocks.interval(case.settings, state),
        "paused": agent.paused_at is not None,
        "budget": limits.day,
        "today": now.astimezone(zone).date(),
        "beats": case.beats,
        "runner_view": runner_view.last_view(case.memory.rules.get(runner_view.KIND, {})),
        "rhythm": case.rhythm,
        "zone": zone,
        "run_budget": limits.run,
        "token_limit": limits.tokens,
        "month": case.month,
        "is_crash_rule_on": rules.in_force(crash, agent.project.rules, agent.rules).on,
        "job": case.job,
        "is_held": state.hold and not any(signal.kind == signal_kinds.STALLED for signal in case.signals),
    }


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


def _status_event(case: Case, status: str, now: datetime) -> StreamEvent:
    return event_stream.event(case.agent, "agent.status", {"status": str(status), "was": str(case.state.status)}, now)


def _save(cases: Sequence[Case], now: datetime) -> None:
    hot_rows.mark_read([case.agent.pk for case in cases])
    outcomes = [outcome.row(case, now) for case in cases]
    hot_rows.save_outcomes(outcomes)
    pairs = zip(cases, outcomes, strict=True)
    changed = [(case, row["status"]) for case, row in pairs if row["status"] != case.state.status]
    event_stream.write([_status_event(case, status, now) for case, status in changed])
    bulk.update([case.memory for case in cases if case.beats or case.set_aside], ("read_to", "rules"))
