"""OTLP in JSON: the message's tree with lowerCamelCase keys, hex ids and enums as numbers. Pure.

It is not the JSON of protobuf, and clients differ: 64-bit integers come as text or as numbers, ids sometimes as base64,
enums sometimes by name.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

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
MAX_TIME: Final = 2**63
MAX_DEPTH: Final = 8
# Digits beyond every 64-bit number. Python would take long for millions of them.
MAX_DIGITS: Final = 30
TRACE_DIGITS, SPAN_DIGITS = 32, 16
_HEX: Final = re.compile(r"[0-9a-fA-F]+")
_ERROR: Final = (2, "2", "STATUS_CODE_ERROR")
_DELTA: Final = (1, "1", "AGGREGATION_TEMPORALITY_DELTA")


def traces(body: bytes) -> Export:
    """The spans of an ExportTraceServiceRequest. Raises MalformedError."""
    export = Export()
    for resource, scope, span in _leaves(_parsed(body), "resourceSpans", "scopeSpans", "spans"):
        try:
            export.items.append(_span(resource, scope, span))
        except MalformedError as error:
            export.reject(str(error))
    return export


def logs(body: bytes) -> Export:
    """The records of an ExportLogsServiceRequest. Raises MalformedError."""
    leaves = _leaves(_parsed(body), "resourceLogs", "scopeLogs", "logRecords")
    return Export([_log(resource, scope, record) for resource, scope, record in leaves])


def metrics(body: bytes) -> Export:
    """The points of an ExportMetricsServiceRequest that have a sum. Raises MalformedError."""
    leaves = _leaves(_parsed(body), "resourceMetrics", "scopeMetrics", "metrics")
    return Export([point for resource, scope, metric in leaves for point in _points(resource, scope, metric)])


def _parsed(body: bytes) -> Mapping[str, Any]:
    """An empty body is an empty request, as in protobuf."""
    try:
        tree = json.loads(body.decode().lstrip("\ufeff"), parse_int=_integer) if body.strip() else {}
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"The body is not valid JSON ({error}).") from None
    if not isinstance(tree, dict):
        raise MalformedError("The body is not a JSON object.")
    return tree


def _integer(digits: str) -> float | int:
    return int(digits) if len(digits) <= MAX_DIGITS else math.inf


def _leaves(tree: Mapping[str, Any], *keys: str) -> Iterator[tuple[Resource, str, Mapping[str, Any]]]:
    groups, scoped, leaves = keys
    for group in _list(tree, groups):
        resource = Resource(_attributes(_object(group.get("resource")).get("attributes")))
        for part in _list(group, scoped):
            scope = _text(_object(part.get("scope")).get("name"))
            for leaf in _list(part, leaves):
                yield resource, scope, leaf


def _list(tree: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    value = tree.get(key)
    value = tree.get(_snake(key)) if value is None else value
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise MalformedError(f"“{key}” is not a list of objects.")
    return value


def _snake(key: str) -> str:
    """A name as in the .proto file, which readers of protobuf's JSON accept, too."""
    return re.sub(r"[A-Z]", lambda letter: f"_{letter[0].lower()}", key)


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return _storable(value) if isinstance(value, str) else ""


def _storable(text: str) -> str:
    """Halves of characters have no UTF-8."""
    return storable(text if text.isascii() else text.encode("utf-8", "replace").decode())


def _span(resource: Resource, scope: str, span: Mapping[str, Any]) -> Span:
    status = _object(span.get("status"))
    return Span(
        resource=resource,
        scope=scope,
        trace=_id(_get(span, "traceId"), TRACE_DIGITS),
        id=_id(_get(span, "spanId"), SPAN_DIGITS),
        parent=_optional_id(_get(span, "parentSpanId"), SPAN_DIGITS),
        name=_text(span.get("name")),
        start=_micros(_get(span, "startTimeUnixNano")),
        end=_micros(_get(span, "endTimeUnixNano")),
        failed=status.get("code") in _ERROR,
        message=_text(status.get("message")),
        attributes=_attributes(span.get("attributes")),
        events=tuple(_event(event) for event in _list(span, "events")),
    )


def _get(item: Mapping[str, Any], key: str) -> Any:
    value = item.get(key)
    return item.get(_snake(key)) if value is None else value


def _event(event: Mapping[str, Any]) -> Event:
    return Event(_text(event.get("name")), _attributes(event.get("attributes")))


def _id(value: Any, digits: int) -> str:
    """Hex of either case; base64, as protobuf's own JSON has it, is told by its length."""
    text = value if isinstance(value, str) else ""
    if len(text) != digits or not _HEX.fullmatch(text):
        text = _from_base64(text)
    if len(text) != digits or not text.strip("0"):
        raise MalformedError(f"“{str(value)[:40]}” is not an id of {digits} hex digits.")
    return text.lower()


def _from_base64(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).hex()
    except (binascii.Error, ValueError):
        return ""


def _optional_id(value: Any, digits: int) -> str:
    try:
        return _id(value, digits) if value else ""
    except MalformedError:
        return ""


def _log(resource: Resource, scope: str, record: Mapping[str, Any]) -> Log:
    return Log(
        resource=resource,
        scope=scope,
        name=_text(_get(record, "eventName")),
        at=_micros(_get(record, "timeUnixNano")) or _micros(_get(record, "observedTimeUnixNano")),
        trace=_optional_id(_get(record, "traceId"), TRACE_DIGITS),
        span=_optional_id(_get(record, "spanId"), SPAN_DIGITS),
        body=_text(_object(record.get("body")).get("stringValue")),
        attributes=_attributes(record.get("attributes")),
    )


def _points(resource: Resource, scope: str, metric: Mapping[str, Any]) -> Iterator[Point]:
    for kind in ("sum", "histogram", "exponentialHistogram"):
        data = _object(_get(metric, kind))
        cumulative = _get(data, "aggregationTemporality") not in _DELTA
        for point in _list(data, "dataPoints"):
            yield Point(
                resource=resource,
                scope=scope,
                metric=_text(metric.get("name")),
                start=_micros(_get(point, "startTimeUnixNano")),
                at=_micros(_get(point, "timeUnixNano")),
                value=_amount(point),
                cumulative=cumulative,
                attributes=_attributes(point.get("attributes")),
            )


def _amount(point: Mapping[str, Any]) -> float:
    values = (_number(_get(point, name)) for name in ("asDouble", "asInt", "sum"))
    return next((value for value in values if value is not None), 0.0)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _micros(value: Any) -> int:
    """Unix nanoseconds, as text or as a number; 0 if they cannot be read."""
    if isinstance(value, str):
        value = int(value) if value.isascii() and value.isdecimal() and len(value) <= MAX_DIGITS else 0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < MAX_TIME:
        return 0
    return int(value) // NANOS


def _attributes(pairs: Any) -> Mapping[str, Any]:
    if not pairs:
        return NO_ATTRIBUTES
    if not isinstance(pairs, list):
        raise MalformedError("“attributes” is not a list.")
    return {
        _storable(pair["key"]): _value(pair.get("value"), MAX_DEPTH)
        for pair in pairs
        if isinstance(pair, dict) and isinstance(pair.get("key"), str)
    }


def _value(value: Any, depth: int) -> Any:
    """An AnyValue; null and `{}` are None."""
    if not isinstance(value, dict) or not depth:
        return None
    for key, read in _READERS.items():
        if key in value:
            return read(value[key], depth - 1)
    return None


def _whole(value: Any, depth: int) -> int | None:
    number = _number(value)
    if number is None or not math.isfinite(number):
        return None
    # Through the text: a float has no 64 exact bits.
    return int(value) if isinstance(value, str) and re.fullmatch(r"-?\d{1,19}", value) else int(number)


def _array(value: Any, depth: int) -> list[Any]:
    values = _object(value).get("values")
    return [_value(each, depth) for each in values] if isinstance(values, list) else []


def _pairs(value: Any, depth: int) -> dict[str, Any]:
    values = _object(value).get("values")
    pairs = values if isinstance(values, list) else []
    return {
        _storable(each["key"]): _value(each.get("value"), depth)
        for each in pairs
        if isinstance(each, dict) and isinstance(each.get("key"), str)
    }


def _plain(value: Any, depth: int) -> str:
    return _text(value)


def _decimal(value: Any, depth: int) -> float | None:
    return _number(value)


def _flag(value: Any, depth: int) -> bool | None:
    return value if isinstance(value, bool) else None


_READERS: Final[dict[str, Callable[[Any, int], Any]]] = {
    "stringValue": _plain,
    "intValue": _whole,
    "doubleValue": _decimal,
    "boolValue": _flag,
    "arrayValue": _array,
    "kvlistValue": _pairs,
}
