"""OTLP in protobuf. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from agents.doors.otlp.telemetry import (
    NO_ATTRIBUTES,
    Event,
    Export,
    Log,
    MalformedError,
    Point,
    Resource,
    Span,
    storable,
)

NANOS: Final = 1_000
ERROR: Final = 2
DELTA: Final = 1
TRACE_LENGTH, SPAN_LENGTH = 16, 8
# Levels of nested attribute values to read.
MAX_DEPTH: Final = 8


def traces(body: bytes) -> Export:
    """The spans of an ExportTraceServiceRequest. Raises MalformedError."""
    export = Export()
    for group in _parsed(ExportTraceServiceRequest(), body).resource_spans:
        resource = _resource(group.resource)
        for scoped in group.scope_spans:
            for span in scoped.spans:
                _read(export, _span, resource, scoped.scope.name, span)
    return export


def logs(body: bytes) -> Export:
    """The records of an ExportLogsServiceRequest. Raises MalformedError."""
    export = Export()
    for group in _parsed(ExportLogsServiceRequest(), body).resource_logs:
        resource = _resource(group.resource)
        for scoped in group.scope_logs:
            for record in scoped.log_records:
                _read(export, _log, resource, scoped.scope.name, record)
    return export


def metrics(body: bytes) -> Export:
    """The points of an ExportMetricsServiceRequest that have a sum. Raises MalformedError."""
    export = Export()
    for group in _parsed(ExportMetricsServiceRequest(), body).resource_metrics:
        resource = _resource(group.resource)
        for scoped in group.scope_metrics:
            for metric in scoped.metrics:
                _read_points(export, resource, scoped.scope.name, metric)
    return export


def _parsed(message: Any, body: bytes) -> Any:
    try:
        message.ParseFromString(body)
    except (DecodeError, RecursionError) as error:
        raise MalformedError(f"The body is not an {type(message).__name__} in protobuf ({error}).") from None
    return message


def _read(export: Export, read: Callable[..., Any], *parts: Any) -> None:
    try:
        export.items.append(read(*parts))
    except MalformedError as error:
        export.reject(str(error))


def _span(resource: Resource, scope: str, span: Any) -> Span:
    return Span(
        resource=resource,
        scope=storable(scope),
        trace=_id(span.trace_id, TRACE_LENGTH),
        id=_id(span.span_id, SPAN_LENGTH),
        parent=_optional_id(span.parent_span_id, SPAN_LENGTH),
        name=storable(span.name),
        start=span.start_time_unix_nano // NANOS,
        end=span.end_time_unix_nano // NANOS,
        failed=span.status.code == ERROR,
        message=storable(span.status.message),
        attributes=_attributes(span.attributes),
        events=tuple(Event(storable(event.name), _attributes(event.attributes)) for event in span.events)
        if span.events
        else (),
    )


def _event(event: Any) -> Event:
    return Event(storable(event.name), _attributes(event.attributes))


def _id(raw: bytes, length: int) -> str:
    if len(raw) != length or not any(raw):
        raise MalformedError(f"An id has {len(raw)} bytes instead of {length}, or only zeros.")
    return raw.hex()


def _optional_id(raw: bytes, length: int) -> str:
    """Some clients write zeros where there is none."""
    return raw.hex() if len(raw) == length and any(raw) else ""


def _log(resource: Resource, scope: str, record: Any) -> Log:
    return Log(
        resource=resource,
        scope=storable(scope),
        name=storable(record.event_name),
        at=(record.time_unix_nano or record.observed_time_unix_nano) // NANOS,
        trace=_optional_id(record.trace_id, TRACE_LENGTH),
        span=_optional_id(record.span_id, SPAN_LENGTH),
        body=storable(record.body.string_value),
        attributes=_attributes(record.attributes),
    )


def _read_points(export: Export, resource: Resource, scope: str, metric: Any) -> None:
    kind = metric.WhichOneof("data")
    if kind not in ("sum", "histogram", "exponential_histogram"):
        return
    data = getattr(metric, kind)
    cumulative = data.aggregation_temporality != DELTA
    for point in data.data_points:
        value = point.sum if kind != "sum" else point.as_double or point.as_int
        export.items.append(
            Point(
                resource=resource,
                scope=storable(scope),
                metric=storable(metric.name),
                start=point.start_time_unix_nano // NANOS,
                at=point.time_unix_nano // NANOS,
                value=float(value),
                cumulative=cumulative,
                attributes=_attributes(point.attributes),
            )
        )


def _resource(message: Message) -> Resource:
    return Resource(_attributes(message.attributes))  # type: ignore[attr-defined]


def _attributes(pairs: Iterable[Any]) -> Mapping[str, Any]:
    return {storable(pair.key): _value(pair.value, MAX_DEPTH) for pair in pairs} if pairs else NO_ATTRIBUTES


def _value(value: Any, depth: int) -> Any:
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return storable(value.string_value)
    if kind == "array_value":
        return [_value(each, depth - 1) for each in value.array_value.values] if depth else None
    if kind == "kvlist_value":
        return (
            {storable(each.key): _value(each.value, depth - 1) for each in value.kvlist_value.values} if depth else None
        )
    return getattr(value, kind) if kind else None
