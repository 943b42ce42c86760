"""Watchdog outages: when each part last ran, and when it did not.

A stop, a crash, a suspended machine or a clock set forward all look the same: a gap between two ticks. Deadlines move
by these gaps (`clocks.py`), so a watchdog outage is never blamed on an agent.
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
# The edge (web processes) ticks every two seconds; heartbeats it misses are lost, so its limit is the smallest grace
# period. The detector ticks every second and finds everything that came meanwhile, so a merely slow one must go on
# judging; `/readyz` fails after the same time.
OUTAGE_AFTER: Final = {EDGE: timedelta(seconds=5), DETECTOR: timedelta(seconds=10)}
# No deadline is older than the longest interval.
REMEMBERED: Final = timedelta(days=8)
# An outage that ends further in the future came from a clock that was set back since; others may tick just after us.
MAX_AHEAD: Final = timedelta(minutes=1)


def tick(part: str, now: datetime) -> None:
    """Record that a part runs; a gap since its last tick becomes an outage. Call it before reviewing any agent."""
    with transaction.atomic():
        pulse, fresh = Pulse.objects.select_for_update().get_or_create(name=part, defaults={"at": now})
        if fresh:
            return
        if now - pulse.at > OUTAGE_AFTER[part]:
            Outage.objects.create(part=part, started_at=pulse.at, ended_at=now)
        pulse.at = now
        pulse.save(update_fields=["at"])


def outages(now: datetime) -> list[Span]:
    """Watchdog outages, oldest first and without overlaps; the edge's may be ongoing."""
    known = Outage.objects.filter(ended_at__gt=now - REMEMBERED, ended_at__lte=now + MAX_AHEAD)
    spans = [Span(start, end) for start, end in known.values_list("started_at", "ended_at")]
    edge = Pulse.objects.filter(name=EDGE, at__lt=now - OUTAGE_AFTER[EDGE]).first()
    if edge is not None:
        spans.append(Span(edge.at, now))
    return merged(spans)


def merged(spans: Iterable[Span]) -> list[Span]:
    """Ordered spans, with overlapping ones merged."""
    result: list[Span] = []
    for span in sorted(spans, key=lambda span: span.start):
        if result and span.start <= result[-1].end:
            result[-1] = Span(result[-1].start, max(result[-1].end, span.end))
        else:
            result.append(span)
    return result
