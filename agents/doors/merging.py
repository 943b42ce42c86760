"""From facts to what counts: each model call, tool call and sum once, whoever tells it and however often. Pure.

Two observations are of one model call if they share the provider's id and the time; if one lies inside of the other; or
if two instrumentations of one sender tell the same counts at the same time and one of them knows no id. What counts is
the innermost observation, the SDK's own before an instrumentation's. A better one that comes later replaces what was
booked: the correction is an entry of its own, because heartbeats are never changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from agents.domain.heartbeat import MAX_COST, MAX_TOKENS, ToolCall, Usage
from agents.doors import ledger
from agents.doors.facts import NOTHING, Call, Counts, Fact, Origin, Step, Sum, Tool, Track
from agents.doors.identity import Named, agent_of, is_shared
from agents.doors.notes import (
    Booking,
    CallNote,
    LedgerNote,
    PointNote,
    Recall,
    Row,
    SenderNote,
    StepNote,
    ToolNote,
    key_of,
    ledger_key,
    trace_key,
)
from agents.doors.otlp.telemetry import Item, Resource, Span

# Microseconds. An observer's log comes a moment after the call; a provider's id means the same call only near in time,
# because test servers and caches give the same id again.
SAME_CALL: Final = 1_000_000
SAME_TOOL: Final = 5_000_000
_NOWHERE: Final = Resource()
# Coding agents tell the session on every signal, so their tokens and tools are compared within it, whatever the time.
CODING: Final = {"claude-code", "codex", "gemini-cli", "opencode"}


class Entry(msgspec.Struct, eq=False, kw_only=True):
    """One thing for a heartbeat. `is_open`: more must follow, so silence after it is a stall."""

    agent: str
    origin: Origin
    at: int
    usage: Usage | None = None
    tool: ToolCall | None = None
    step: Step | None = None
    is_open: bool = False


class Rename(NamedTuple):
    """An agent that stood for a service has turned out to be the one that a span names."""

    old: str
    new: str


class Merged(msgspec.Struct):
    entries: list[Entry]
    renames: list[Rename]


class Wanted(msgspec.Struct):
    """Which notes a request needs: by key, by reference, and per sender those in a span of time."""

    keys: set[int] = msgspec.field(default_factory=set)
    refs: set[int] = msgspec.field(default_factory=set)
    times: dict[int, tuple[int, int]] = msgspec.field(default_factory=dict)
    senders: set[int] = msgspec.field(default_factory=set)


def wanted(facts: Iterable[Fact], items: Iterable[Item]) -> Wanted:
    """What to load before `merge`."""
    want = Wanted()
    traces = {fact.origin.trace for fact in facts if fact.origin.trace}
    for fact in facts:
        sender = fact.origin.resource.sender
        want.senders.add(sender)
        want.keys.update(_keys(fact, sender))
        if isinstance(fact, Call | Tool) and (ref := _ref(fact, sender)):
            want.refs.add(ref)
        if isinstance(fact, Call | Tool):
            _widen(want, sender, fact.origin.start, fact.origin.end)
    for item in items:
        if isinstance(item, Span) and item.trace in traces:
            _widen(want, item.resource.sender, item.start, item.end)
    want.keys.update(trace_key(trace) for trace in traces)
    want.keys.update(want.senders)
    return want


def _widen(want: Wanted, sender: int, start: int, end: int) -> None:
    first, last = want.times.get(sender, (start, end))
    want.times[sender] = (min(first, start), max(last, end))


def _keys(fact: Fact, sender: int) -> Iterator[int]:
    yield _key(fact, sender)
    if isinstance(fact, Call | Sum):
        yield _ledger_key(fact, sender)
        yield ledger_key(sender, "", _model_key(fact))


def _key(fact: Fact, sender: int) -> int:
    """What identifies the fact itself: its span, its id in a session, its point; else all that it says."""
    origin = fact.origin
    if isinstance(fact, Sum):
        return key_of("point", sender, fact.stream, "" if fact.cumulative else fact.at)
    if isinstance(fact, Tool) and fact.ref and origin.kind in CODING:
        return key_of("tool", origin.session or sender, fact.ref)
    if origin.span:
        return key_of(type(fact).__name__, origin.trace, origin.span)
    if isinstance(fact, Call) and fact.ref:
        return key_of("call", sender, origin.session, fact.track, fact.ref, origin.end)
    return key_of(type(fact).__name__, sender, origin.session, origin.trace, origin.parent, origin.end, _content(fact))


def _content(fact: Fact) -> tuple[object, ...]:
    if isinstance(fact, Call):
        return (fact.model, fact.counts)
    if isinstance(fact, Tool):
        return (fact.name, fact.args_hash, fact.ms)
    return (fact.kind, fact.message) if isinstance(fact, Step) else ()


def _ref(fact: Call | Tool, sender: int) -> int:
    if not fact.ref:
        return 0
    if isinstance(fact, Call):
        return key_of("id", fact.ref)
    return key_of("tool id", (fact.origin.kind in CODING and fact.origin.session) or sender, fact.ref)


def _ledger_key(fact: Call | Sum, sender: int) -> int:
    """Coding agents tell the session with their sums; the others' sums are of the whole process."""
    session = fact.origin.session if fact.origin.kind in CODING else ""
    return ledger_key(sender, session, _model_key(fact))


def _model_key(fact: Call | Sum) -> str:
    return (fact.asked if isinstance(fact, Call) else "") or fact.model


def merge(facts: Sequence[Fact], items: Iterable[Item], recall: Recall, rule: str = "") -> Merged:
    """What is new in these facts. Changes the notes in `recall`."""
    return _Merge(recall, rule).run(facts, items)


class _Merge:
    def __init__(self, recall: Recall, rule: str) -> None:
        self.recall = recall
        self.rule = rule
        self.entries: list[Entry] = []
        self.renames: list[Rename] = []

    def run(self, facts: Sequence[Fact], items: Iterable[Item]) -> Merged:
        known = self._plant(facts, items)
        calls = [fact for fact in facts if isinstance(fact, Call)]
        self._tell_calls([call for call in calls if call.track == "call"])
        self._tell_tracks([call for call in calls if call.track != "call"])
        self._tell_sums([fact for fact in facts if isinstance(fact, Sum)])
        for tool in _joined([fact for fact in facts if isinstance(fact, Tool)]):
            self._tell_tool(tool)
        for step in (fact for fact in facts if isinstance(fact, Step)):
            self._tell_step(step, is_known=(step.origin.trace, step.origin.span) in known)
        return Merged(sorted(self.entries, key=lambda entry: entry.at), self.renames)

    # Trees

    def _plant(self, facts: Iterable[Fact], items: Iterable[Item]) -> set[tuple[str, str]]:
        """Remember where the spans stand. Returns those that were known before."""
        traces = {fact.origin.trace for fact in facts if fact.origin.trace}
        names = {(step.origin.trace, step.origin.span): step.names for step in facts if isinstance(step, Step)}
        spans = [item for item in items if isinstance(item, Span) and item.trace in traces]
        known = {(span.trace, span.id) for span in spans if span.id in self.recall.nodes(span.trace)}
        for span in spans:
            self.recall.plant(span.trace, span.id, span.parent, names.get((span.trace, span.id), ""))
        return known

    def _named(self, origin: Origin) -> Named:
        named = agent_of(origin, self.recall, self.rule)
        self._note_name(origin.resource.sender, named)
        return named

    def _note_name(self, sender: int, named: Named) -> None:
        """Remember the fallback; rename it once a name is known."""
        row = self.recall.rows.get(sender) or Row(sender, SenderNote())
        note = row.note
        if not isinstance(note, SenderNote):
            return
        if named.is_fallback and note.fallback != named.name:
            note.fallback = named.name
            self.recall.add(row)
        elif not named.is_fallback and note.fallback:
            if not self.rule and not is_shared(note.fallback) and note.fallback != named.name:
                self.renames.append(Rename(note.fallback, named.name))
            note.fallback = ""
            self.recall.add(row)

    # Model calls that are matched one by one

    def _tell_calls(self, calls: Sequence[Call]) -> None:
        groups: dict[int, Call] = {}
        for call in sorted(calls, key=lambda call: call.origin.start):
            row = self._observed(call)
            if row is not None and isinstance(row.note, CallNote):
                groups[row.note.group] = call
                if row.note.told is None:
                    self._tell_call_without_usage(call)
        traces = {call.origin.trace for call in calls if call.origin.trace}
        changed = self._find_outer(traces | self.recall.grown_traces())
        for group in [*groups, *(group for group in changed if group not in groups)]:
            self._book(group, groups.get(group))

    def _observed(self, call: Call) -> Row | None:
        """A new observation in its group; None if it is known already."""
        origin, sender = call.origin, call.origin.resource.sender
        key = _key(call, sender)
        if self.recall.knows(key):
            return None
        note = CallNote(
            scope=origin.scope,
            trace=origin.trace,
            span=origin.span,
            parent=origin.parent,
            group=key,
            told=_told(call),
            is_first_hand=call.is_first_hand,
            session=origin.session,
        )
        row = Row(key, note, sender, _ref(call, sender), origin.start, origin.end)
        note.group = self._group(row, note)
        self.recall.add(row)
        return row

    def _group(self, row: Row, note: CallNote) -> int:
        """The group of an earlier observation of the same call, else its own."""
        same = [other for other in self._candidates(row, note) if isinstance(other.note, CallNote)]
        nearest = min(same, key=lambda other: abs(other.start - row.start), default=None)
        return nearest.note.group if nearest and isinstance(nearest.note, CallNote) else row.key

    def _candidates(self, row: Row, note: CallNote) -> Iterator[Row]:
        if row.ref:
            yield from (other for other in self.recall.with_ref(row.ref) if _is_same_id(row, other, SAME_CALL))
        if note.told is None:
            return
        for other in self.recall.with_sum(row.sender, note.told.counts):
            theirs = other.note
            if not isinstance(theirs, CallNote) or (row.ref and other.ref):
                continue
            # A log comes a moment after its span.
            slack = 0 if bool(note.span) == bool(theirs.span) else SAME_CALL
            members = [each.note for each in self.recall.members(theirs.group) if isinstance(each.note, CallNote)]
            is_own = any((note.scope, bool(note.span)) == (each.scope, bool(each.span)) for each in members)
            if not is_own and row.overlaps(other, slack) and _same_model(note, theirs):
                yield other

    def _find_outer(self, traces: Iterable[str]) -> list[int]:
        """Mark the calls inside of which another one with usage happened. Returns the groups that changed."""
        changed = []
        for trace in traces:
            rows = self.recall.calls_in(trace)
            outer = {
                each
                for row in rows
                if isinstance(row.note, CallNote) and row.note.told
                for each in self.recall.ancestors(trace, row.note.parent)
            }
            for row in rows:
                note = row.note
                if isinstance(note, CallNote) and note.is_outer != (bool(note.span) and note.span in outer):
                    note.is_outer = not note.is_outer
                    self.recall.add(row)
                    changed.append(note.group)
        return changed

    def _book(self, group: int, call: Call | None) -> None:
        """Bring what is booked for a call in line with its best observation."""
        leader = self.recall.rows.get(group)
        if leader is None or not isinstance(leader.note, CallNote):
            return
        note, best = leader.note, _best(self.recall.members(group))
        if best is None and note.booked is None:
            return
        if best and note.booked and not best.differs(note.booked):
            return
        before, note.booked = note.booked, best
        here = call.origin if call else self._origin_of(leader, note)
        note.agent = note.agent or self._named(here).name
        self.recall.add(leader)
        if before:
            self._raise(leader.sender, here, note.agent, "call", before, sign=-1)
        if best:
            is_open = call is not None and call.is_open
            self._raise(leader.sender, here, note.agent, "call", best, is_open=is_open)

    def _origin_of(self, row: Row, note: CallNote) -> Origin:
        """Where an earlier request observed a call that is corrected now."""
        return Origin(
            resource=_NOWHERE,
            kind="otel",
            trace=note.trace,
            span=note.span,
            session=note.session,
            start=row.start,
            end=row.end,
            agent=note.agent,
        )

    # Sums

    def _tell_tracks(self, calls: Sequence[Call]) -> None:
        for call in calls:
            sender = call.origin.resource.sender
            row = Row(_key(call, sender), StepNote(), sender, end=call.origin.end)
            if not self.recall.knows(row.key):
                self.recall.add(row)
                told = _told(call)
                if told is None:
                    self._tell_call_without_usage(call)
                else:
                    name = self._named(call.origin).name
                    self._raise(sender, call.origin, name, call.track, told, is_open=call.is_open)

    def _tell_sums(self, sums: Sequence[Sum]) -> None:
        """Points of one ledger that come together are one report, so that tokens and their price stay together."""
        reports: dict[int, tuple[Sum, Booking]] = {}
        for told in sums:
            sender = told.origin.resource.sender
            counts, cost = self._new_in(told, sender)
            key = _ledger_key(told, sender)
            first, known = reports.get(key, (told, Booking(told.model, told.model, told.provider, NOTHING)))
            whole = cost if known.cost is None else known.cost + (cost or 0.0)
            reports[key] = (first, Booking(told.model, told.model, told.provider, known.counts.plus(counts), whole))
        for first, report in reports.values():
            if report.counts != NOTHING or report.cost:
                self._raise(first.origin.resource.sender, first.origin, "", "metric", report)

    def _new_in(self, told: Sum, sender: int) -> tuple[Counts, float | None]:
        """What a point adds to what its series has told before."""
        key = _key(told, sender)
        row = self.recall.rows.get(key) or Row(key, PointNote(), sender, end=told.at)
        note = row.note
        if not isinstance(note, PointNote):
            return NOTHING, told.cost
        added = Counts(*(max(0, now - before) for now, before in zip(told.counts, note.counts, strict=True)))
        more = max(0.0, (told.cost or 0.0) - note.cost)
        note.counts, note.cost = note.counts.plus(added), note.cost + more
        self.recall.add(row)
        return added, None if told.cost is None else more

    def _raise(
        self,
        sender: int,
        origin: Origin,
        agent: str,
        track: Track,
        told: Booking,
        *,
        sign: int = 1,
        is_open: bool = False,
    ) -> None:
        """Report to the ledger; what it raises becomes an entry."""
        session = origin.session if origin.kind in CODING else ""
        key = ledger_key(sender, session, told.asked or told.model)
        row = self.recall.rows.get(key) or Row(key, LedgerNote(), sender, end=origin.end)
        if not isinstance(row.note, LedgerNote):
            return
        counts = Counts(*(sign * value for value in told.counts))
        raises = ledger.report(row.note, track, counts, None if told.cost is None else sign * told.cost)
        self.recall.add(row)
        if session:
            raises = [each for raised in raises for each in self._beyond_process(sender, origin, told, raised)]
        if not raises:
            return
        name = agent or self._named(origin).name
        for raised in raises:
            usage = _usage(told, raised)
            self.entries.append(Entry(agent=name, origin=origin, at=origin.end, usage=usage, is_open=is_open))

    def _beyond_process(self, sender: int, origin: Origin, told: Booking, raised: ledger.Raise) -> list[ledger.Raise]:
        """What a session adds to the sums that the sender's metrics tell without a session, which a setting leaves out.

        Without such metrics, all of it.
        """
        key = ledger_key(sender, "", told.asked or told.model)
        row = self.recall.rows.get(key) or Row(key, LedgerNote(), sender, end=origin.end)
        if not isinstance(row.note, LedgerNote):
            return [raised]
        found = ledger.report(row.note, "log", raised.counts, raised.cost)
        self.recall.add(row)
        return found if "metric" in row.note.tracks else [raised]

    def _tell_call_without_usage(self, call: Call) -> None:
        """A call shows work, also if it failed or told no usage."""
        step = Step(origin=call.origin, kind="error" if call.failure else "step", message=call.failure)
        self._add_step(step, is_open=call.is_open)

    # Tools and steps

    def _tell_tool(self, tool: Tool) -> None:
        origin, sender = tool.origin, tool.origin.resource.sender
        key = _key(tool, sender)
        if not tool.name or self.recall.knows(key):
            return
        note = ToolNote(
            name=tool.name,
            scope=origin.scope,
            session=origin.session,
            trace=origin.trace,
            span=origin.span,
            parent=origin.parent,
            is_hook=origin.is_hook,
        )
        row = Row(key, note, sender, _ref(tool, sender), origin.start, origin.end)
        is_known = self._is_told(row, note)
        self.recall.add(row)
        if not is_known:
            call = ToolCall(tool.name[:200], tool.args or None, tool.args_hash, tool.result_hash, _ms(tool.ms), tool.ok)
            name = self._named(origin).name
            self.entries.append(Entry(agent=name, origin=origin, at=origin.end, tool=call, is_open=True))

    def _is_told(self, row: Row, note: ToolNote) -> bool:
        """Whether another observer told this tool call."""
        if row.ref and any(_is_same_id(row, other, SAME_TOOL) for other in self.recall.with_ref(row.ref)):
            return True
        for other in self.recall.tools(row.sender, note.session, note.name):
            theirs = other.note
            if isinstance(theirs, ToolNote) and (_is_nested(note, theirs) or _is_same_tool(row, note, other, theirs)):
                theirs.is_matched = note.is_matched = True
                self.recall.add(other)
                return True
        return False

    def _tell_step(self, step: Step, *, is_known: bool) -> None:
        origin, sender = step.origin, step.origin.resource.sender
        if origin.span:
            if not is_known:
                self._add_step(step, is_open=step.is_open)
            return
        row = Row(_key(step, sender), StepNote(), sender, end=origin.end)
        if not self.recall.knows(row.key):
            self.recall.add(row)
            self._add_step(step, is_open=step.is_open)

    def _add_step(self, step: Step, *, is_open: bool) -> None:
        origin = step.origin
        name = self._named(origin).name
        self.entries.append(Entry(agent=name, origin=origin, at=origin.end, step=step, is_open=is_open))


def _told(call: Call) -> Booking | None:
    """Libraries report a price of 0 for models they do not know."""
    if call.counts is None or not any(call.counts[:2]):
        return None
    return Booking(call.model, call.asked, call.provider, call.counts, call.cost or None)


def _is_same_id(row: Row, other: Row, slack: int) -> bool:
    """Observers of one call are a moment apart; two spans of one observer, one after the other, are two calls.

    Some servers number the calls of each answer from 0, so an id comes again soon.
    """
    mine, theirs = row.note, other.note
    if not isinstance(mine, CallNote | ToolNote) or not isinstance(theirs, CallNote | ToolNote):
        return False
    is_one_observer = bool(mine.span) and bool(theirs.span) and mine.scope == theirs.scope
    return row.overlaps(other, 0) if is_one_observer else row.overlaps(other, slack)


def _same_model(note: CallNote, other: CallNote) -> bool:
    mine, theirs = note.told, other.told
    if mine is None or theirs is None:
        return False
    names = sorted((each.model.lower().rpartition("/")[2] for each in (mine, theirs)), key=len)
    return names[1].startswith(names[0])


def _best(members: Sequence[Row]) -> Booking | None:
    """The innermost observation with usage, the SDK's own first; with the price of another that tells the same."""
    notes = [row.note for row in members if isinstance(row.note, CallNote) and row.note.told]
    inner = [note for note in notes if not note.is_outer]
    best = max(inner, key=lambda note: (note.is_first_hand, note.scope), default=None)
    if best is None or best.told is None:
        return None
    costs = [note.told.cost for note in notes if note.told and note.told.counts == best.told.counts]
    cost = best.told.cost or next((cost for cost in costs if cost), None)
    return msgspec.structs.replace(best.told, cost=cost)


def _usage(told: Booking, raised: ledger.Raise) -> Usage:
    counts = Counts(*(max(-MAX_TOKENS, min(tokens, MAX_TOKENS)) for tokens in raised.counts))
    return Usage(
        model=told.model[:200] or "unknown",
        provider=_provider(told.provider),
        input_tokens=counts.input,
        output_tokens=counts.output,
        cache_read_tokens=counts.cache_read,
        cache_write_tokens=counts.cache_write,
        reasoning_tokens=counts.reasoning,
        cost_usd=None if raised.cost is None else max(-MAX_COST, min(raised.cost, MAX_COST)),
    )


def _provider(name: str) -> str | None:
    """The Vercel AI SDK names the API, too: `openai.chat`, `google.generative-ai`."""
    head, _, api = name.partition(".")
    is_api = api in ("chat", "responses", "messages", "completion", "embedding", "generative-ai", "image")
    return (head if is_api else name)[:100] or None


def _ms(ms: float | None) -> float | None:
    return None if ms is None else min(ms, 86_400_000.0 * 366)


def _joined(tools: Sequence[Tool]) -> Iterator[Tool]:
    """Claude Code tells a tool in two spans: one has the name, the other knows whether it failed."""
    named: dict[tuple[str, str], Tool] = {}
    for tool in sorted(tools, key=lambda tool: (not tool.name, tool.origin.start)):
        key = (tool.origin.session, tool.ref)
        if not tool.ref or tool.origin.kind not in CODING:
            yield tool
        elif key not in named:
            named[key] = tool
        elif named[key].ok is None:
            named[key].ok = tool.ok
    yield from named.values()


def _is_nested(note: ToolNote, other: ToolNote) -> bool:
    return bool(note.trace) and note.trace == other.trace and (note.parent == other.span or other.parent == note.span)


def _is_same_tool(row: Row, note: ToolNote, other: Row, theirs: ToolNote) -> bool:
    """Two of hook, log and span tell it, and not both of them know an id."""
    sources = (note.is_hook, bool(note.span)), (theirs.is_hook, bool(theirs.span))
    if (row.ref and other.ref) or note.is_matched or theirs.is_matched or sources[0] == sources[1]:
        return False
    return row.overlaps(other, SAME_CALL)
