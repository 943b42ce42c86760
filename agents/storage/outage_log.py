"""Watchdog outages: when each part last ran, when it did not, and when it was too slow.

A stop, a crash, a suspended machine or a clock set forward all look the same: a gap between two ticks. An overload is
reported by the web process whose heartbeats wait or are refused. Deadlines move by both (`clocks.py`), so a watchdog
outage is never blamed on an agent.
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
OVERLOAD: Final = "overload"
# The edge (web processes) ticks every two seconds; heartbeats it misses are lost, so its limit is the smallest grace
# period. The detector ticks every second and finds everything that came meanwhile, so a merely slow one must go on
# judging; `/readyz` fails after the same time.
OUTAGE_AFTER: Final = {EDGE: timedelta(seconds=5), DETECTOR: timedelta(seconds=10)}
# No deadline is older than the longest interval.
REMEMBERED: Final = timedelta(days=8)
# An outage that ends further in the future came from a clock that was set back since; others may tick just after us.
MAX_AHEAD: Final = timedelta(minutes=1)
# An overload is reported with every pulse, by every web process: what is this close is one.
JOINED: Final = timedelta(seconds=10)


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


def record(part: str, span: Span) -> None:
    """Record a time in which one process of a part was no use. One that follows or overlaps the last extends it."""
    with transaction.atomic():
        # Serializes the web processes, which tend to have trouble at the same time.
        Pulse.objects.select_for_update().get_or_create(name=part, defaults={"at": span.end})
        near = Outage.objects.filter(part=part, ended_at__gte=span.start - JOINED, started_at__lte=span.end + JOINED)
        last = near.order_by("-ended_at").first()
        if last is None:
            Outage.objects.create(part=part, started_at=span.start, ended_at=span.end)
            return
        last.started_at, last.ended_at = min(last.started_at, span.start), max(last.ended_at, span.end)
        last.save(update_fields=["started_at", "ended_at"])


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
