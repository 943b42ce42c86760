"""`/metrics`: a project's numbers for Prometheus. The key of a scrape is a project's key with the scope `read`.

No label names an agent, so the number of series depends on nothing that a client sends: statuses and kinds are fixed.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from django.db.models import Count, Q, Sum
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from agents.domain.money import MICRO
from agents.ingest.rate_limit import count_call
from agents.models import AgentState, Incident, Pulse, Severity, Signal, SignalKind, Status
from agents.storage import outage_log
from teams.auth import Caller, authenticate_key, key_from, require_scope
from teams.errors import ApiError
from teams.models import Scope

PREFIX: Final = "clevagent"


@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    try:
        key = key_from(request.headers.get("X-API-Key", ""), request.headers.get("Authorization", ""))
        caller = authenticate_key(key, request.META.get("REMOTE_ADDR", ""))
        require_scope(caller, Scope.READ, reading=True)
        count_call(caller, timezone.now())
    except ApiError as refusal:
        headers = refusal.headers()
        return HttpResponse(
            refusal.encoded(), status=refusal.http_status, content_type="application/json", headers=headers
        )
    return HttpResponse(exposed(caller, timezone.now()), content_type=CONTENT_TYPE_LATEST)


def exposed(caller: Caller, now: datetime) -> bytes:
    """The project's metrics in the text format of Prometheus."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ProjectCollector(caller, now))
    return generate_latest(registry)


class ProjectCollector(Collector):
    """Reads a project's numbers in four queries, however many agents it has."""

    def __init__(self, caller: Caller, now: datetime) -> None:
        self._caller, self._now = caller, now

    def collect(self) -> Iterator[Metric]:
        yield self._agents()
        yield self._incidents()
        yield self._signals()
        yield from self._sums()
        yield self._detector()

    def _states(self) -> Any:
        return AgentState.objects.filter(agent__project=self._caller.project_id).order_by()

    def _agents(self) -> Metric:
        counts = dict(self._states().values_list("status").annotate(n=Count("pk")))
        family = GaugeMetricFamily(f"{PREFIX}_agents", "Agents by status.", labels=["status"])
        for status in Status.values:
            family.add_metric([status], counts.get(status, 0))
        return family

    def _incidents(self) -> Metric:
        rows = Incident.objects.open().filter(project=self._caller.project_id).order_by()
        counts = dict(rows.values_list("severity").annotate(n=Count("pk")))
        family = GaugeMetricFamily(f"{PREFIX}_open_incidents", "Open incidents by severity.", labels=["severity"])
        for severity in Severity.values:
            family.add_metric([severity], counts.get(severity, 0))
        return family

    def _signals(self) -> Metric:
        rows = Signal.objects.filter(agent__project=self._caller.project_id, cleared_at__isnull=True).order_by()
        counts = dict(rows.values_list("kind").annotate(n=Count("pk")))
        family = GaugeMetricFamily(f"{PREFIX}_open_signals", "Open signals by kind.", labels=["kind"])
        for kind in SignalKind.values:
            family.add_metric([kind], counts.get(kind, 0))
        return family

    def _sums(self) -> Iterator[Metric]:
        is_today = Q(day=self._now.astimezone(ZoneInfo(self._caller.time_zone)).date())
        sums = self._states().aggregate(
            beats=Sum("beats"),
            tokens=Sum("tokens_today", filter=is_today),
            cost=Sum("cost_today", filter=is_today),
            on_hold=Count("pk", filter=Q(hold=True)),
        )
        yield CounterMetricFamily(f"{PREFIX}_heartbeats", "Heartbeats of existing agents.", sums["beats"] or 0)
        yield GaugeMetricFamily(f"{PREFIX}_tokens_today", "Tokens since midnight in the project.", sums["tokens"] or 0)
        cost = (sums["cost"] or 0) / MICRO
        yield GaugeMetricFamily(f"{PREFIX}_cost_today_dollars", "Spend since midnight in the project.", cost)
        yield GaugeMetricFamily(f"{PREFIX}_agents_on_hold", "Agents that are told to stop.", sums["on_hold"])

    def _detector(self) -> Metric:
        at = Pulse.objects.filter(name=outage_log.DETECTOR).values_list("at", flat=True).first()
        age = (self._now - at).total_seconds() if at else float("nan")
        return GaugeMetricFamily(f"{PREFIX}_detector_age_seconds", "Seconds since the detector last ran.", age)
