"""From what a run left behind to its figures: what was lost, false incidents, delays, costs, and the targets."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from bench.fleet_load import CLIENT_TIMEOUT, TOKENS, beat_id
from bench.fleet_measure import Cost, Sent, Signal, Stored, percentile
from bench.fleet_plan import OBSERVED, RETURN_WITHIN, Plan
from bench.fleet_receiver import Arrival

MISSED = "missed_heartbeat"
RESOLVED = "incident.resolved"
# The detector's `now` is taken before it reads, so a heartbeat of the same moment may be younger than the finding.
TOLERANCE = 1.0
# A heartbeat counts as disturbed from here on, for "how long until the server was well again".
DISTURBED = 1.0
PARTS = ("web", "worker", "sender", "beat")


@dataclass(frozen=True)
class Evidence:
    """All that a run left behind."""

    plan: Plan
    created_per_second: float
    sent: list[Sent]
    stored: Stored
    arrivals: list[Arrival]
    before: Cost
    after: Cost
    capacity: float = 0


@dataclass
class Figures:
    """One run's result. Durations are seconds, latencies milliseconds, None where nothing was measured."""

    created_per_second: float = 0
    sent: int = 0
    answered: int = 0
    stored: int = 0
    lost: int = 0
    stored_twice: int = 0
    wrong_sums: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    rate: float = 0
    latency_ms: dict[str, float | None] = field(default_factory=dict)
    event_latency_ms: dict[str, float | None] = field(default_factory=dict)
    generator_late_ms: float | None = None
    false_incidents: int = 0
    false_examples: list[str] = field(default_factory=list)
    due: int = 0
    missed: int = 0
    incidents: int = 0
    to_incident: dict[str, float | None] = field(default_factory=dict)
    to_message: dict[str, float | None] = field(default_factory=dict)
    unreported: int = 0
    messages: int = 0
    repeated_messages: int = 0
    max_copies: int = 0
    pending_deliveries: int = 0
    recovered_after: float | None = None
    not_recovered: int = 0
    well_again_after: float | None = None
    capacity: float = 0
    event_rate: float = 0
    shed: int = 0
    refused: int = 0
    refused_without_time: int = 0
    neither: int = 0
    refused_before_shed: float = 0
    taken_p99_s: float | None = None
    outages: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)
    cpu_parts: float = 0
    memory_mb: dict[str, float] = field(default_factory=dict)
    memory_growth_mb: dict[str, float] = field(default_factory=dict)
    hot_share: float | None = None
    commits_per_heartbeat: float = 0
    deadlocks: int = 0
    wal_per_heartbeat: float = 0
    growth: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def figures(evidence: Evidence) -> Figures:
    result = Figures(created_per_second=evidence.created_per_second)
    count_heartbeats(evidence, result)
    measure_latency(evidence, result)
    judge_incidents(evidence, result)
    measure_messages(evidence, result)
    measure_recovery(evidence, result)
    measure_overload(evidence, result)
    measure_cost(evidence, result)
    return result


def count_heartbeats(evidence: Evidence, result: Figures) -> None:
    """Over the whole run: what was acknowledged must be stored, once, and counted in its agent's sums, once."""
    copies = evidence.stored.copies
    acknowledged = [beat_id(beat.agent, beat.number) for beat in evidence.sent if beat.outcome == "200"]
    result.sent, result.answered = len(evidence.sent), len(acknowledged)
    result.stored = sum(name.partition("-")[2].isdigit() and not name.endswith("-0") for name in copies)
    result.lost = sum(name not in copies for name in acknowledged)
    result.stored_twice = sum(count > 1 for count in copies.values())
    result.outcomes = dict(Counter(beat.outcome for beat in evidence.sent).most_common())
    for agent, times in evidence.stored.received.items():
        result.wrong_sums += evidence.stored.tokens.get(agent, 0) != len(times) * TOKENS


def measure_latency(evidence: Evidence, result: Figures) -> None:
    """From the scheduled time on, of what was due after the warm-up."""
    plan = evidence.plan
    measured = [beat for beat in evidence.sent if beat.due >= plan.measured_from]
    start, end = event_window(plan)
    result.rate = len(measured) / (plan.until - plan.measured_from)
    result.latency_ms = in_ms(beat.took for beat in measured)
    result.event_latency_ms = in_ms(beat.took for beat in measured if start <= beat.due < end)
    late = percentile((beat.late for beat in measured), 0.99)
    result.generator_late_ms = None if late is None else late * 1000


def event_window(plan: Plan) -> tuple[float, float]:
    """While agents fall due, are back, the database is slow or the server overloaded; empty in calm runs."""
    if plan.trouble_seconds:
        return plan.event_at, plan.trouble_until
    if plan.cut:
        return plan.cut_from, plan.cut_until + RETURN_WITHIN + OBSERVED
    if plan.silence:
        deadline = plan.event_at + plan.deadline_after
        return deadline, deadline + OBSERVED
    return 0, 0


def in_ms(seconds: Iterable[float]) -> dict[str, float | None]:
    return spread([value * 1000 for value in seconds])


def spread(values: Sequence[float]) -> dict[str, float | None]:
    return {"p50": percentile(values, 0.5), "p99": percentile(values, 0.99), "max": max(values, default=None)}


# Incidents


class Absence(NamedTuple):
    """An agent that fell due: from its deadline until its first heartbeat after it, if there was one."""

    deadline: float
    back: float


def absences(evidence: Evidence) -> dict[int, Absence]:
    """The agents that had to be reported: silenced ones, and cut-off ones that were away past their deadline."""
    plan, received = evidence.plan, evidence.stored.received
    stops = dict.fromkeys(plan.silenced(), plan.until)
    stops |= {agent: plan.returns_at(agent) for agent in range(plan.cut)}
    away = {}
    for agent, returns in stops.items():
        before = [at for at in received.get(agent, ()) if at < returns]
        back = next((at for at in received.get(agent, ()) if at >= returns), plan.until)
        if before and before[-1] + plan.deadline_after < returns:
            away[agent] = Absence(before[-1] + plan.deadline_after, back)
    return away


def judge_incidents(evidence: Evidence, result: Figures) -> None:
    """Signals on agents that reported on time are false, whether or not the server took their heartbeats."""
    due, signals = absences(evidence), seen_signals(evidence)
    right = first_signals(signals, due)
    wrong = [signal for signal in signals if not is_right(signal, due)]
    result.due, result.missed = len(due), len(due.keys() - right.keys())
    result.false_incidents = len({(signal.agent, signal.incident) for signal in wrong})
    result.false_examples = [described(signal, evidence) for signal in wrong[:5]]
    result.incidents = len({signal.incident for signal in signals})
    result.to_incident = spread([signal.opened_at - due[agent].deadline for agent, signal in right.items()])
    result.pending_deliveries = evidence.stored.pending
    for part, seconds in evidence.stored.outages:
        result.outages[part] = result.outages.get(part, 0) + seconds


def seen_signals(evidence: Evidence) -> list[Signal]:
    """Those found under load; after it nobody reports any more."""
    return [signal for signal in evidence.stored.signals if signal.opened_at <= evidence.plan.until]


def first_signals(signals: Iterable[Signal], due: dict[int, Absence]) -> dict[int, Signal]:
    right: dict[int, Signal] = {}
    for signal in signals:
        if is_right(signal, due):
            right.setdefault(signal.agent, signal)
    return right


def is_right(signal: Signal, due: dict[int, Absence]) -> bool:
    absence = due.get(signal.agent)
    if absence is None or signal.kind != MISSED:
        return False
    return absence.deadline - TOLERANCE <= signal.opened_at <= absence.back + TOLERANCE


def described(signal: Signal, evidence: Evidence) -> str:
    last = max((at for at in evidence.stored.received.get(signal.agent, ()) if at <= signal.opened_at), default=None)
    ago = "never" if last is None else f"{signal.opened_at - last:.1f} s before"
    at = signal.opened_at - evidence.plan.measured_from
    return f"agent-{signal.agent}: {signal.kind} at {at:.1f} s, last heartbeat received {ago}"


def measure_messages(evidence: Evidence, result: Figures) -> None:
    """From each due agent's deadline to the first message about it: its incident's, once it was part of that."""
    due = absences(evidence)
    by_incident: dict[int, list[float]] = defaultdict(list)
    for arrival in evidence.arrivals:
        if arrival.type != RESOLVED:
            by_incident[arrival.incident].append(arrival.at)
    delays = []
    for agent, signal in first_signals(seen_signals(evidence), due).items():
        times = by_incident.get(signal.incident)
        if times:
            # Agents that join an incident that was reported before cause no message of their own.
            at = next((at for at in times if at >= signal.opened_at), times[0])
            delays.append(max(0.0, at - due[agent].deadline))
    result.to_message = spread(delays)
    result.unreported = len(due) - len(delays)
    count_messages(evidence.arrivals, result)


def count_messages(arrivals: Sequence[Arrival], result: Figures) -> None:
    copies = Counter(arrival.message_id for arrival in arrivals)
    result.messages, result.repeated_messages = len(copies), len(arrivals) - len(copies)
    result.max_copies = max(copies.values(), default=0)


def measure_recovery(evidence: Evidence, result: Figures) -> None:
    plan = evidence.plan
    if plan.cut:
        signals = [signal for signal in seen_signals(evidence) if plan.is_cut(signal.agent)]
        cleared = [signal.cleared_at for signal in signals if signal.cleared_at is not None]
        ends = [at for at in cleared if at <= plan.until]
        result.not_recovered = len(signals) - len(ends)
        result.recovered_after = max(ends) - plan.cut_until if ends else None
    if plan.trouble_seconds:
        end = plan.trouble_until
        later = (beat for beat in evidence.sent if beat.due >= end)
        bad = [beat.due - end for beat in later if beat.outcome != "200" or beat.took > DISTURBED]
        result.well_again_after = max(bad, default=0.0)


def measure_overload(evidence: Evidence, result: Figures) -> None:
    """What the server does with more heartbeats than it can carry: it sheds detail, then it asks clients to wait."""
    plan = evidence.plan
    if not plan.overload_rate:
        return
    shed = [at for at in evidence.stored.shed if at >= plan.measured_from]
    result.capacity, result.shed = evidence.capacity, len(shed)
    during = [beat for beat in evidence.sent if plan.event_at <= beat.due < plan.trouble_until]
    refused = [beat for beat in evidence.sent if beat.outcome.startswith("429")]
    result.event_rate = len(during) / plan.trouble_seconds
    result.refused, result.refused_without_time = len(refused), sum(beat.outcome == "429!" for beat in refused)
    result.neither = sum(not beat.outcome.startswith(("200", "429")) for beat in evidence.sent)
    result.taken_p99_s = percentile((beat.took for beat in during if beat.outcome == "200"), 0.99)
    if refused:
        first = min(beat.due + beat.took for beat in refused)
        result.refused_before_shed = max(0.0, (shed[0] if shed else plan.until) - first)


def measure_cost(evidence: Evidence, result: Figures) -> None:
    """Between the end of the warm-up and the end of the load."""
    before, after = evidence.before, evidence.after
    seconds = after.at - before.at
    beats = sum(before.at <= at < after.at for times in evidence.stored.received.values() for at in times) or 1
    result.cpu = {name: (used - before.cpu.get(name, 0)) / seconds for name, used in after.cpu.items()}
    result.cpu_parts = sum(result.cpu.get(name, 0) for name in PARTS)
    result.memory_mb = after.memory
    result.memory_growth_mb = {name: used - before.memory.get(name, 0) for name, used in after.memory.items()}
    updates = after.updates - before.updates
    result.hot_share = (after.hot_updates - before.hot_updates) / updates if updates else None
    result.commits_per_heartbeat = (after.commits - before.commits) / beats
    result.deadlocks = after.deadlocks
    result.wal_per_heartbeat = (after.wal - before.wal) / beats
    grown = {name: size - before.tables.get(name, 0) for name, size in after.tables.items()}
    result.growth = dict(Counter({name: size for name, size in grown.items() if size}).most_common(5))


# Targets


class Target(NamedTuple):
    name: str
    measured: float | None
    limit: float
    unit: str

    @property
    def is_met(self) -> bool:
        return self.measured is not None and self.measured <= self.limit


def targets(plan: Plan, result: Figures) -> list[Target]:
    """The limits that apply to what was run."""
    applying = [
        Target("false incidents", result.false_incidents, 0, ""),
        Target("acknowledged heartbeats lost", result.lost, 0, ""),
        Target("copies of a message", result.max_copies, 2, ""),
        Target("WAL per heartbeat", result.wal_per_heartbeat / 1000, 1.5, "kB"),
    ]
    if plan.slow_seconds:
        applying.append(Target("undisturbed after the slow database", result.well_again_after, 10, "s"))
    if plan.overload_rate:
        applying += overload_targets(result)
    if plan.cut:
        applying += cut_targets(plan, result)
    if plan.silence:
        applying += silence_targets(result)
    return applying if event_window(plan) != (0, 0) else [*applying, *calm_targets(result)]


def calm_targets(result: Figures) -> list[Target]:
    return [
        Target("heartbeat p99", result.latency_ms["p99"], 60, "ms"),
        Target("CPU of all parts", result.cpu_parts, 0.7, "cores"),
    ]


def cut_targets(plan: Plan, result: Figures) -> list[Target]:
    hosts = -(-plan.cut // plan.per_host)
    return [
        Target("incidents", result.incidents, hosts + plan.silence, ""),
        Target("agents not recovered", result.not_recovered, 0, ""),
        Target("all recovered after the return", result.recovered_after, 15, "s"),
    ]


def overload_targets(result: Figures) -> list[Target]:
    return [
        Target("agents with wrong sums", result.wrong_sums, 0, ""),
        Target("neither stored nor asked to wait", result.neither, 0, ""),
        Target("refused without Retry-After", result.refused_without_time, 0, ""),
        Target("refused before detail was shed", result.refused_before_shed, 0, "s"),
        Target("p99 of what was taken meanwhile", result.taken_p99_s, CLIENT_TIMEOUT, "s"),
        Target("undisturbed after the overload", result.well_again_after, 10, "s"),
    ]


def silence_targets(result: Figures) -> list[Target]:
    return [
        Target("due agents not reported", result.missed + result.unreported, 0, ""),
        Target("deadline to message, all", result.to_message["max"], 5, "s"),
        Target("deadline to message, p99", result.to_message["p99"], 3, "s"),
        Target("heartbeat p99 meanwhile", result.event_latency_ms["p99"], 200, "ms"),
    ]
