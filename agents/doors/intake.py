"""The one way in: facts become heartbeats and are stored with what the doors remember, in one transaction."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import OperationalError, transaction
from django.utils import timezone

from agents.api.heartbeats import received_from
from agents.domain.heartbeat import Beat
from agents.domain.hot_row import Answer
from agents.doors import beats, memory, merging
from agents.doors.facts import Fact
from agents.doors.merging import Rename
from agents.doors.otlp.telemetry import Item
from agents.ingest import bindings
from agents.ingest.rate_limit import plan_for
from agents.ingest.write import Received, busy, commit_here, unavailable
from agents.models import Agent, AgentName
from teams.auth import Caller
from teams.errors import ApiError

# Another request may hold an agent's row for a moment.
TRIES: Final = 40
PAUSE: Final = 0.05
# An agent named for a service is renamed only during its first run.
STILL_NEW: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Taken:
    """How many facts were refused, and why the first one was; the answer to an agent on hold, else to the last one."""

    refused: int = 0
    reason: str = ""
    answer: Answer | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """One request: who sends it, what it says."""

    caller: Caller
    facts: Sequence[Fact]
    items: Sequence[Item]
    source: str


def take(report: Report) -> Taken:
    """Store what is new in a request, all of it or nothing.

    Raises ApiError: 429 for a flood, 503 when it cannot be stored now.
    """
    if not report.facts:
        return Taken()
    for _ in range(TRIES):
        try:
            with transaction.atomic():
                return _take(report, timezone.now())
        except _LockedError:
            time.sleep(PAUSE)
        except OperationalError as error:
            raise unavailable(error) from None
    raise busy()


class _LockedError(Exception):
    """Another transaction holds an agent's row."""


def _take(report: Report, now: datetime) -> Taken:
    project_id = report.caller.project_id
    want = merging.wanted(report.facts, report.items)
    memory.lock_senders(project_id, want.senders, now)
    notes = memory.recall(project_id, want)
    merged = merging.merge(report.facts, report.items, notes, report.caller.agent_rule)
    for rename in merged.renames:
        _rename(report.caller, rename, now)
    taken = _store(report, beats.beats_of(merged.entries))
    memory.store(project_id, notes.changed.values(), now)
    return taken


def _store(report: Report, made: Sequence[tuple[Beat, int]]) -> Taken:
    received = [_received(report, beat) for beat, _ in made]
    outcomes = commit_here(received) if received else []
    refused, reason = 0, ""
    answer: Answer | None = None
    for outcome, (_, size) in zip(outcomes, made, strict=True):
        if isinstance(outcome, ApiError):
            if outcome.http_status == 503:
                raise _LockedError
            if outcome.http_status >= 500:
                raise outcome
            refused, reason = refused + size, reason or outcome.message
        elif isinstance(outcome, Answer) and not (answer and answer.hold):
            answer = outcome
    return Taken(refused, reason, answer)


def _received(report: Report, beat: Beat) -> Received:
    beat.beat_id = uuid.uuid4().hex
    caller = report.caller
    (received,) = received_from([beat], caller, plan_for(caller, timezone.now()), report.source)
    return received


def _rename(caller: Caller, rename: Rename, now: datetime) -> None:
    """Give a new agent the name that its spans give it. It keeps the service's name as an alias.

    Only with a key that may report under both names: else any key of the project could take an agent over.
    """
    if bindings.is_for_another(caller, rename.new):
        return
    own = Agent.objects.filter(bindings.agents_of(caller, "pk"), project=caller.project_id)
    agents = own.filter(created_at__gte=now - STILL_NEW).select_for_update(of=("self",))
    agent = agents.filter(name=rename.old).first()
    if agent is None or AgentName.objects.filter(project=caller.project_id, name=rename.new).exists():
        return
    agent.name = rename.new
    agent.save(update_fields=["name"])
    owner = bindings.owner_of(caller)
    AgentName.objects.create(project_id=caller.project_id, name=rename.new, agent=agent, bound_to=owner)
