"""The OTLP endpoints from the request to the stored heartbeats: true totals, statuses, and what must not happen."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from agents.ingest.registration import create_agent
from agents.models import Agent, DoorNote, Heartbeat
from billing.services import set_plan
from teams.models import Project
from tests.agents.doors.captures import SAME_RUN, TRUTHS, Truth, content_type, raw, signal_of
from tests.agents.doors.totals import counted, hot_tokens

pytestmark = pytest.mark.django_db
GENAI = "otlp/genai_openai.traces.bin"
Send = Callable[..., Any]


@pytest.fixture
def send(api_key: str) -> Send:
    """`send(capture)` posts it as its client did; everything about the request can be replaced."""
    client = Client(raise_request_exception=False)

    def post(name: str = GENAI, body: bytes | None = None, *, prefix: str = "/", kind: str = "", **headers: str) -> Any:
        given = {"authorization": f"Bearer {api_key}", **{key.replace("_", "-"): text for key, text in headers.items()}}
        return client.generic(
            "POST",
            f"{prefix}v1/{signal_of(name)}",
            raw(name) if body is None else body,
            # Django's client names no type for an empty body.
            CONTENT_TYPE=kind or content_type(name),
            headers={key: text for key, text in given.items() if text},
        )

    return post


def agrees(truth: Truth) -> None:
    found = counted(with_usd=truth.usd is not None)
    assert found == truth
    assert hot_tokens() == truth.input + truth.output


@pytest.mark.parametrize("name", TRUTHS)
def test_capture_has_its_true_totals(send: Send, name: str) -> None:
    answer = send(name)
    assert (answer.status_code, answer["Content-Type"]) == (200, content_type(name))
    assert answer.content == (b"" if name.endswith(".bin") else b"{}")
    agrees(TRUTHS[name])


@pytest.mark.parametrize("name", TRUTHS)
def test_capture_sent_again_changes_nothing(send: Send, name: str) -> None:
    for _ in range(3):
        assert send(name).status_code == 200
    agrees(TRUTHS[name])


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("names", SAME_RUN, ids=lambda names: names[0])
def test_one_run_told_by_several_signals(send: Send, names: tuple[str, ...], backwards: bool) -> None:
    for name in reversed(names) if backwards else names:
        send(name)
    found, truth = counted(with_usd=False), SAME_RUN[names]
    assert found[:5] == truth[:5]
    # What a metric told first, before anything named the agent, keeps the service's agent.
    assert set(found.agents) >= set(truth.agents) or backwards


def test_agent_named_late_gets_what_came_before(send: Send) -> None:
    """The span that names the agent comes after its children."""
    send("otlp/openinference_openai_agents.part1.traces.bin")
    assert [agent.name for agent in Agent.objects.all()] == ["demo-openai-agents-oi"]
    send("otlp/openinference_openai_agents.part2.traces.bin")
    assert [agent.name for agent in Agent.objects.all()] == ["weather_bot"]
    assert set(Agent.objects.get().names.values_list("name", flat=True)) == {"demo-openai-agents-oi", "weather_bot"}


def test_captures_of_one_service_do_not_mix(send: Send) -> None:
    """They have the same test server's ids, seconds apart."""
    names = [name for name, truth in TRUTHS.items() if truth.agents == ("invoice-bot",)]
    for name in names:
        send(name)
    found = counted(with_usd=False)
    assert found.input == sum(TRUTHS[name].input for name in names)
    assert found.output == sum(TRUTHS[name].output for name in names)


@pytest.mark.parametrize("prefix", ["/", "/otlp/", "/api/public/otel/"])
def test_each_address_takes_it(send: Send, prefix: str) -> None:
    assert send(prefix=prefix).status_code == 200
    agrees(TRUTHS[GENAI])


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity", "GZIP"])
def test_compressed_bodies(send: Send, encoding: str) -> None:
    packs: dict[str, Any] = {"gzip": gzip.compress, "deflate": zlib.compress}
    pack = packs.get(encoding.lower(), bytes)
    assert send(body=pack(raw(GENAI)), content_encoding=encoding).status_code == 200
    agrees(TRUTHS[GENAI])


def test_basic_with_our_key_as_secret(send: Send, api_key: str) -> None:
    credentials = base64.b64encode(f"pk-lf-any:{api_key}".encode()).decode()
    assert send(authorization=f"Basic {credentials}").status_code == 200


def test_key_in_its_own_header(send: Send, api_key: str) -> None:
    assert send(authorization="", x_api_key=api_key).status_code == 200


@pytest.mark.parametrize("authorization", ["", "Bearer nonsense", "Basic !!", "Basic cGs6c2s=", "Bearer"])
def test_bad_key_is_refused(send: Send, authorization: str) -> None:
    answer = send("otlp/claude_code_httpjson.traces.json", authorization=authorization)
    assert answer.status_code == 401
    assert answer.json()["code"] == 16
    assert not Heartbeat.objects.exists()


BAD: dict[str, tuple[bytes, str, int]] = {
    "garbage as protobuf": (b"\xff\xfe\x00garbage", "application/x-protobuf", 400),
    "json as protobuf": (b'{"resourceSpans": []}', "application/x-protobuf", 400),
    "protobuf as json": (raw(GENAI), "application/json", 400),
    "a list": (b"[]", "application/json", 400),
    "spans that are no list": (b'{"resourceSpans": 5}', "application/json", 400),
    "deep": (b"[" * 100_000, "application/json", 400),
    "text": (b"hello", "text/plain", 415),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_body_is_refused_with_a_status(send: Send, case: str) -> None:
    body, kind, status = BAD[case]
    answer = send(body=body, kind=kind)
    assert answer.status_code == status
    if kind == "application/x-protobuf":
        assert answer["Content-Type"] == kind
        assert answer.content[:3] == b"\x08\x03\x12"
    else:
        assert answer.json()["message"]
    assert not Heartbeat.objects.exists()
    assert not DoorNote.objects.exists()


# A fixed time of compression: every worker must collect the same tests.
@pytest.mark.parametrize(
    "body", [b"", b"not gzip", gzip.compress(b"x" * 1000, mtime=0)[:-9]], ids=["empty", "text", "cut"]
)
def test_broken_compression_is_refused(send: Send, body: bytes) -> None:
    assert send(body=body, content_encoding="gzip").status_code == (400 if body else 200)


def test_bomb_is_refused(send: Send) -> None:
    bomb = gzip.compress(bytes(65 * 1024 * 1024))
    assert len(bomb) < 100_000
    assert send(body=bomb, content_encoding="gzip").status_code == 413


def test_large_body_is_taken(send: Send) -> None:
    """Django's own limit is smaller."""
    body = json.dumps({"resourceSpans": [], "padding": "x" * 3_000_000}).encode()
    assert send(body=body, kind="application/json").status_code == 200


def test_unknown_encoding_is_refused(send: Send) -> None:
    assert send(content_encoding="br").status_code == 415


@pytest.mark.parametrize("kind", ["application/x-protobuf", "application/json"])
def test_empty_request_is_accepted(send: Send, kind: str) -> None:
    answer = send(body=b"", kind=kind)
    assert (answer.status_code, answer.content) == (200, b"" if "proto" in kind else b"{}")
    assert not Agent.objects.exists()


def test_span_without_an_id_is_rejected_alone(send: Send) -> None:
    tree = json.loads(raw("otlp/claude_code_httpjson.traces.json"))
    spans = tree["resourceSpans"][0]["scopeSpans"][0]["spans"]
    next(span for span in spans if span["name"] == "claude_code.tool.blocked_on_user")["spanId"] = "zz"
    answer = send(body=json.dumps(tree).encode(), kind="application/json")
    assert answer.status_code == 200
    assert answer.json()["partialSuccess"]["rejectedSpans"] == "1"
    assert counted(with_usd=False).input == 4250


def test_agents_over_the_plan_are_rejected(send: Send, project: Project) -> None:
    set_plan(team=project.team, plan="free", actor="test")
    for name in ("one", "two", "three"):
        create_agent(project=project, name=name, now=timezone.now())
    answer = send()
    response = ExportTraceServiceResponse.FromString(answer.content)
    assert answer.status_code == 200
    assert response.partial_success.rejected_spans > 0
    assert "plan" in response.partial_success.error_message
    assert not Agent.objects.filter(name="invoice-bot").exists()


def test_other_methods_are_refused(api_key: str) -> None:
    assert Client().get("/v1/traces", headers={"x-api-key": api_key}).status_code == 405


def test_base64_ids_are_ids(send: Send) -> None:
    """Some libraries write protobuf's own JSON."""
    tree = json.loads(raw("otlp/claude_code_httpjson.traces.json"))
    for span in tree["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        for key in ("traceId", "spanId", "parentSpanId"):
            if span.get(key):
                span[key] = base64.b64encode(bytes.fromhex(span[key])).decode()
    send("otlp/claude_code_httpjson.traces.json")
    assert send(body=json.dumps(tree).encode(), kind="application/json").json() == {}
    agrees(TRUTHS["otlp/claude_code_httpjson.traces.json"])


@pytest.mark.parametrize(
    ("rule", "name"), [("", "bot"), ("{service} on {host}", "bot on h1"), ("{service} {session}", "bot")]
)
def test_rule_of_the_project_names_agents(project: Project, api_key: str, rule: str, name: str) -> None:
    Project.objects.filter(pk=project.pk).update(agent_rule=rule)
    told = {"service.name": "bot", "host.name": "h1"}
    given = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5"}
    as_pairs = [
        [{"key": key, "value": {"stringValue": value}} for key, value in each.items()] for each in (told, given)
    ]
    span = {"traceId": "a" * 32, "spanId": "b" * 16, "attributes": as_pairs[1]}
    body = {"resourceSpans": [{"resource": {"attributes": as_pairs[0]}, "scopeSpans": [{"spans": [span]}]}]}
    headers = {"authorization": f"Bearer {api_key}"}
    answer = Client().post("/v1/traces", json.dumps(body), content_type="application/json", headers=headers)
    assert answer.status_code == 200
    assert [agent.name for agent in Agent.objects.all()] == [name]


@pytest.mark.parametrize(("rule", "is_valid"), [("{service} on {host}", True), ("{who}", False), ("{service", False)])
def test_rule_with_unknown_parts_is_refused(project: Project, rule: str, is_valid: bool) -> None:
    project.agent_rule = rule
    if is_valid:
        project.full_clean()
    else:
        with pytest.raises(ValidationError, match="in braces"):
            project.full_clean()
