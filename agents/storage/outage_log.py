"""Watching ourselves: when each part last ran, and the times in which it did not.

A stop, a crash, a suspended machine or a clock set forward all look the same from here: a gap between two ticks.
Deadlines are moved by such gaps (`clocks.py`), so our own outage is never an agent's failure.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction

from agents.domain.clocks import Span
from agents.models import Outage, Pulse

DETECTOR: Final = "detector"
EDGE: Final = "edge"
# The edge ticks every two seconds; what it misses is lost, so this is no longer than the smallest grace. The sweep
# ticks every second and finds all that came meanwhile: one that is merely slow must go on judging, and `/readyz` fails
# from the same time on.
OUTAGE_AFTER: Final = {EDGE: timedelta(seconds=5), DETECTOR: timedelta(seconds=10)}
# No deadline lies further back than the longest interval.
REMEMBERED: Final = timedelta(days=8)
# An outage that ends in the future was a clock set forward and is set back; others may tick a moment after we look.
MAX_AHEAD: Final = timedelta(minutes=1)


def tick(part: str, now: datetime) -> None:
    """Say that a part runs; a gap since its last tick becomes an outage. Call it before judging anybody."""
    with transaction.atomic():
        pulse, fresh = Pulse.objects.select_for_update().get_or_create(name=part, defaults={"at": now})
        if fresh:
            return
        if now - pulse.at > OUTAGE_AFTER[part]:
            Outage.objects.create(part=part, started_at=pulse.at, ended_at=now)
        pulse.at = now
        pulse.save(update_fields=["at"])


def outages(now: datetime) -> list[Span]:
    """The times in which we did not watch, oldest first, without overlaps; one of the edge may still go on."""
    known = Outage.objects.filter(ended_at__gt=now - REMEMBERED, ended_at__lte=now + MAX_AHEAD)
    spans = [Span(start, end) for start, end in known.values_list("started_at", "ended_at")]
    edge = Pulse.objects.filter(name=EDGE, at__lt=now - OUTAGE_AFTER[EDGE]).first()
    if edge is not None:
        spans.append(Span(edge.at, now))
    return merged(spans)


def merged(spans: Iterable[Span]) -> list[Span]:
    """Spans in order, with overlapping ones made one."""
    result: list[Span] = []
    for span in sorted(spans, key=lambda one: one.start):
        if result and span.start <= result[-1].end:
            result[-1] = Span(result[-1].start, max(result[-1].end, span.end))
        else:
            result.append(span)
    return result
