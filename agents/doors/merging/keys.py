"""What identifies a fact, and which notes a request needs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from agents.doors.facts import Call, Fact, Step, Sum, Tool
from agents.doors.notes import key_of, ledger_key, trace_key
from agents.doors.otlp.telemetry import Item, Span

# Coding agents tell the session on every signal, so their tokens and tools are compared within it, whatever the time.
CODING: Final = {"claude-code", "codex", "gemini-cli", "opencode"}


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
        if isinstance(fact, Call | Tool) and (known := ref(fact, sender)):
            want.refs.add(known)
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
    yield key(fact, sender)
    if isinstance(fact, Call | Sum):
        yield ledger_of(fact, sender)
        yield ledger_key(sender, "", model_key(fact))


def key(fact: Fact, sender: int) -> int:
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


def ref(fact: Call | Tool, sender: int) -> int:
    if not fact.ref:
        return 0
    if isinstance(fact, Call):
        return key_of("id", fact.ref)
    return key_of("tool id", (fact.origin.kind in CODING and fact.origin.session) or sender, fact.ref)


def ledger_of(fact: Call | Sum, sender: int) -> int:
    """Coding agents tell the session with their sums; the others' sums are of the whole process."""
    session = fact.origin.session if fact.origin.kind in CODING else ""
    return ledger_key(sender, session, model_key(fact))


def model_key(fact: Call | Sum) -> str:
    return (fact.asked if isinstance(fact, Call) else "") or fact.model
