"""The same senders in other versions and settings: what they tell still counts once, for the right agent."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from agents.domain.heartbeat import MAX_COST, MAX_TOKENS
from agents.doors.dialects import codex, facts_of, reading
from agents.doors.facts import Call, Counts, Origin, Step, Tool
from agents.doors.hooks import claude_code as claude_hooks
from agents.doors.identity import agent_of, is_shared
from agents.doors.notes import Recall
from agents.doors.otlp import protobuf
from agents.doors.otlp.telemetry import Item, Log, Point, Resource, Span
from tests.agents.doors.captures import decoded
from tests.agents.doors.test_merging import Door, chat

SECOND = 1_000_000


def span(given: dict[str, Any], **more: Any) -> Span:
    fields: dict[str, Any] = {"scope": "lib", "trace": "a" * 32, "id": "b" * 16, "start": SECOND, "end": 2 * SECOND}
    return Span(resource=Resource({"service.name": "bot"}), attributes=given, **{**fields, **more})


def without_session(item: Item) -> Item:
    given = {key: value for key, value in item.attributes.items() if key != "session.id"}
    return msgspec.structs.replace(item, attributes=given)


@pytest.mark.parametrize("metrics_first", [True, False])
def test_metrics_without_session_beside_logs(metrics_first: bool) -> None:
    """OTEL_METRICS_INCLUDE_SESSION_ID=false."""
    logs = decoded("doors/claude_code_hooks_httpjson.logs.json").items
    points = [without_session(item) for item in decoded("doors/claude_code_hooks_httpjson.metrics.json").items]
    door = Door()
    for items in (points, logs) if metrics_first else (logs, points):
        door.send(items)
    assert door.totals() == (8500, 68, 8000, 2)
    cost = sum(entry.usage.cost_usd or 0.0 for entry in door.entries if entry.usage)
    assert cost == pytest.approx(0.00522, abs=1e-7)


def test_log_without_trace_and_id_repeats_its_span() -> None:
    given = {
        "event.name": "gen_ai.client.inference.operation.details",
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-5",
        "gen_ai.usage.input_tokens": 100,
    }
    sender = Resource({"service.name": "bot"})
    ends = (SECOND + SECOND // 2 + 40, 9 * SECOND + SECOND // 2 + 40)
    records = [Log(resource=sender, scope="lib", name="", at=at, attributes=given) for at in ends]
    door = Door()
    door.send([chat("1"), chat("2", at=9)])
    door.send(records)
    assert door.totals()[0] == 200


def test_id_again_soon_is_another_call() -> None:
    """Some servers number the calls of each answer from 0."""
    answered: Any = {"gen_ai.response.id": "x"}
    first, second = chat("1", **answered), chat("2", **answered)
    second.start, second.end = first.end + 1, first.end + SECOND // 2
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "t", "gen_ai.tool.call.id": "call_0"}
    tools = [span(tool, id=str(n) * 16, start=n * SECOND, end=n * SECOND + 9) for n in (1, 2, 3)]
    door = Door()
    door.send([first, second, *tools])
    assert (door.totals()[0], door.totals()[3]) == (200, 3)


def test_request_id_again_is_another_log() -> None:
    given = {"event.name": "api_request", "session.id": "s", "request_id": "r", "model": "m", "input_tokens": 10}
    sender = Resource({"service.name": "claude-code"})
    records = [
        Log(resource=sender, scope="com.anthropic.claude_code", name="", at=at, attributes=given) for at in (5, 9)
    ]
    door = Door()
    door.send(records)
    door.send(records)
    assert door.totals()[0] == 20


@pytest.mark.parametrize("field", ["attribute", "name", "body"])
def test_event_named_in_any_place(field: str) -> None:
    given = {"conversation.id": "c", "model": "gpt-5", "input_token_count": "210", "output_token_count": "42"}
    name = "codex.sse_event"
    record = Log(
        resource=Resource({"service.name": "mine"}),
        scope="",
        name=name if field == "name" else "",
        at=1,
        body=name if field == "body" else "",
        attributes={**given, "event.name": name} if field == "attribute" else given,
    )
    (call,) = facts_of(record)
    assert isinstance(call, Call)
    assert call.counts == Counts(210, 42)


def test_service_of_a_user_is_not_codex() -> None:
    item = chat("1")
    item.resource = Resource({"service.name": "codex-reviewer"})
    assert not codex.claims(item)
    assert len(facts_of(item)) == 1
    assert not is_shared("codex-reviewer")
    assert all(map(is_shared, ("codex_exec", "codex_tui", "codex-app-server", "unknown_service:node")))


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"openinference.span.kind": "CHAIN", "gen_ai.operation.name": "chat"}, Call),
        ({"openinference.span.kind": "CHAIN", "gen_ai.operation.name": "execute_tool"}, Tool),
        ({"traceloop.workflow.name": "w", "gen_ai.operation.name": "chat"}, Call),
        ({"traceloop.workflow.name": "w", "gen_ai.operation.name": "execute_tool"}, Tool),
        ({"traceloop.workflow.name": "w"}, Step),
        ({"mastra.span.type": "model_generation", "gen_ai.operation.name": "chat"}, Call),
        ({"mastra.span.type": "model_generation", "gen_ai.operation.name": "model_generation"}, Step),
        ({"langfuse.observation.type": "GENERATION"}, Call),
    ],
)
def test_kind_by_any_of_its_marks(given: dict[str, Any], kind: type) -> None:
    assert isinstance(facts_of(span(given, parent="c" * 16))[0], kind)


def test_workflow_names_calls_of_other_libraries() -> None:
    (call,) = facts_of(span({"traceloop.workflow.name": "w", "gen_ai.operation.name": "chat"}))
    assert call.origin.agent == "w"


@pytest.mark.parametrize(
    ("resource", "own", "name"),
    [
        ({"gen_ai.agent.name": "around", "service.name": "svc"}, "", "around"),
        ({"gen_ai.agent.name": "around"}, "own", "own"),
        ({"gen_ai.main_agent.name": "main", "gen_ai.agent.name": "around"}, "own", "main"),
    ],
)
def test_agent_named_by_the_resource(resource: dict[str, str], own: str, name: str) -> None:
    assert agent_of(Origin(resource=Resource(resource), kind="otel", agent=own), Recall()).name == name


def test_total_tells_cache_left_out_of_a_large_input() -> None:
    assert reading.inclusive(3000, 10, 2000, total=5010) == Counts(5000, 10, 2000)
    assert reading.inclusive(3000, 10, 2000, total=3010) == Counts(3000, 10, 2000)


def test_claude_span_with_both_names_keeps_the_cache() -> None:
    both = {"gen_ai.usage.input_tokens": 2125, "gen_ai.usage.output_tokens": 17, "input_tokens": 25}
    cached = {"output_tokens": 17, "cache_read_tokens": 2000, "cache_creation_tokens": 100}
    (call,) = facts_of(span({**both, **cached}, name="claude_code.llm_request"))
    assert isinstance(call, Call)
    assert call.counts == Counts(2125, 17, 2000, 100)


def test_zero_ids_are_none() -> None:
    request = ExportTraceServiceRequest()
    made = request.resource_spans.add().scope_spans.add().spans.add()
    made.trace_id, made.span_id, made.parent_span_id = b"\x01" * 16, b"\x02" * 8, bytes(8)
    (found,) = protobuf.traces(request.SerializeToString()).items
    assert isinstance(found, Span)
    assert found.parent == ""
    logs = ExportLogsServiceRequest()
    record = logs.resource_logs.add().scope_logs.add().log_records.add()
    record.trace_id, record.span_id = bytes(16), bytes(8)
    (log,) = protobuf.logs(logs.SerializeToString()).items
    assert isinstance(log, Log)
    assert (log.trace, log.span) == ("", "")


def test_huge_values_stay_within_limits() -> None:
    told = {"model": "m", "session.id": "s", "type": "input"}
    points = [
        Point(resource=Resource(), scope="x", metric=metric, start=1, at=2, value=1e300, attributes=told)
        for metric in ("claude_code.cost.usage", "claude_code.token.usage")
    ]
    door = Door()
    door.send(points)
    uses = [entry.usage for entry in door.entries if entry.usage]
    assert uses
    assert all(use.input_tokens <= MAX_TOKENS and (use.cost_usd or 0) <= MAX_COST for use in uses)


@pytest.mark.parametrize(
    ("event", "waits"),
    [
        ({"hook_event_name": "PostCompact", "trigger": "manual"}, ["the next prompt"]),
        ({"hook_event_name": "PostCompact", "trigger": "auto"}, [""]),
        ({"hook_event_name": "SubagentStop", "agent_type": ""}, []),
        ({"hook_event_name": "SubagentStop", "agent_type": "general-purpose"}, [""]),
        ({"hook_event_name": "SessionStart", "source": "compact"}, []),
        ({"hook_event_name": "SessionStart", "source": "clear"}, ["the next prompt"]),
    ],
)
def test_compaction_while_idle_is_no_stall(event: dict[str, str], waits: list[str]) -> None:
    found = claude_hooks.facts(event, "a", 1)
    assert [fact.waits_for for fact in found if isinstance(fact, Step)] == waits
