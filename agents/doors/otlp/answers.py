"""What OTLP/HTTP answers, in the encoding of the request. Pure."""

from __future__ import annotations

import json
from typing import Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
# Signal -> its response, and how it names what was rejected.
_RESPONSES: Final = {
    "traces": (ExportTraceServiceResponse, "rejected_spans", "rejectedSpans"),
    "metrics": (ExportMetricsServiceResponse, "rejected_data_points", "rejectedDataPoints"),
    "logs": (ExportLogsServiceResponse, "rejected_log_records", "rejectedLogRecords"),
}
# HTTP status -> code of google.rpc.Status.
_CODES: Final = {400: 3, 401: 16, 403: 7, 404: 5, 405: 12, 413: 8, 415: 3, 422: 3, 429: 8, 500: 13, 503: 14}


def accepted(signal: str, kind: str, rejected: int = 0, reason: str = "") -> bytes:
    """The response of a request that was taken; with `rejected` items it is a partial success."""
    response, plain, camel = _RESPONSES[signal]
    if kind == JSON:
        # 64-bit integers are texts in JSON.
        part = {camel: str(rejected), "errorMessage": reason}
        return json.dumps({"partialSuccess": part} if rejected else {}, separators=(",", ":")).encode()
    message = response()
    if rejected:
        setattr(message.partial_success, plain, rejected)
        message.partial_success.error_message = reason
    encoded: bytes = message.SerializeToString()
    return encoded


def status(http_status: int, message: str, kind: str) -> bytes:
    """A google.rpc.Status."""
    code = _CODES.get(http_status, 2)
    if kind == JSON:
        return json.dumps({"code": code, "message": message}, separators=(",", ":")).encode()
    # Two fields do not need the package of Google's common protos: 1 is the code, 2 the message.
    text = message.encode()
    return b"\x08" + _varint(code) + b"\x12" + _varint(len(text)) + text


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
