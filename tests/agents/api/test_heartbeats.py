"""The heartbeat endpoint: what it answers, and what it refuses without storing anything.

Every case runs against the documented view and against the lane that answers before Django.
"""

from __future__ import annotations

import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.test import RequestFactory
from django.utils import timezone

from agents.api import heartbeats
from agents.api.heartbeats import MAX_BODY, HeartbeatView
from agents.domain.heartbeat import Beat
from agents.domain.wire.decoding import decode
from agents.ingest import rate_limit
from agents.ingest.rate_limit import Meter, count_beats
from agents.models import Agent, AgentState, Heartbeat
from teams import auth, services
from teams.auth import authenticate_key
from teams.errors import ApiError
from teams.models import ApiKey, Project
from tests.agents.api import lane
from tests.agents.api.conftest import Call, caller
from watchdog_project.wsgi import read_chunked

pytestmark = pytest.mark.django_db
BEAT = {"agent": "research-agent", "status": "ok"}


@pytest.fixture(autouse=True, params=["view", "lane"])
def edge(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    edge: str = request.param
    if edge == "lane":
        lane.use(monkeypatch)
    return edge


only_view = pytest.mark.parametrize("edge", ["view"], indirect=True)
only_lane = pytest.mark.parametrize("edge", ["lane"], indirect=True)


def nothing_is_stored() -> bool:
    return not Agent.objects.exists() and not Heartbeat.objects.exists()


def test_first_heartbeat_creates_the_agent(as_agent: Call) -> None:
    answer = as_agent("POST", "heartbeat", BEAT)
    agent = Agent.objects.get()
    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/json"
    plain = {"status": "ok", "warning": None, "reason": None, "incident": None, "hold": False}
    assert answer.json() == {"agent_id": agent.pk, **plain}
    assert Heartbeat.objects.get().agent == agent


def test_unknown_fields_are_ignored(as_agent: Call) -> None:
    assert as_agent("POST", "heartbeat", {**BEAT, "mood": {"deep": [1]}}).status_code == 200


def test_charset_is_accepted(api_key: str) -> None:
    answer = caller(api_key)("POST", "heartbeat", json.dumps(BEAT), kind="application/json; charset=utf-8")
    assert answer.status_code == 200


BAD_BODIES: dict[str, tuple[bytes, int]] = {
    "empty": (b"", 400),
    "not json": (b"status=ok", 400),
    "cut off": (b'{"agent": "a", "status": "ok"', 400),
    "cut off deep inside": (b'{"agent": "a", "x": ' + b"[" * 100_000, 400),
    "a list": (b"[]", 422),
    "no agent": (b'{"status": "ok"}', 422),
    "empty name": (b'{"agent": "  ", "status": "ok"}', 422),
    "too large": (b'{"agent": "a", "status": "ok", "message": "' + b"m" * MAX_BODY + b'"}', 413),
    "10 MB": (b" " * 10_000_000, 413),
}


@pytest.mark.parametrize(("body", "status"), BAD_BODIES.values(), ids=BAD_BODIES.keys())
def test_invalid_input_is_refused_and_not_stored(as_agent: Call, body: bytes, status: int) -> None:
    answer = as_agent("POST", "heartbeat", body)
    assert answer.status_code == status
    assert set(answer.json()["error"]) >= {"code", "message"}
    assert nothing_is_stored()


# What follows `{"agent": "a", "tokens_used": 7, ` -> the fields that are left out of it
PARTLY_BAD: dict[str, tuple[bytes, list[str]]] = {
    "NaN": (b'"cost_usd": NaN', ["cost_usd"]),
    "minus infinity": (b'"memory_mb": -Infinity', ["memory_mb"]),
    "a number past the largest float": (b'"cost_usd": 1e999', ["cost_usd"]),
    "half a character": (b'"message": "x\\ud83d"', ["message"]),
    "not utf-8": (b'"message": "caf\xe9"', ["message"]),
    "deep nesting": (b'"x": ' + b"[" * 100_000 + b"]" * 100_000, []),
    "unknown status": (b'"status": "fine"', ["status"]),
    "NUL": (b'"message": "\\u0000"', ["message"]),
    "negative cost": (b'"cost_usd": -0.01', ["cost_usd"]),
    "absurd iteration": (b'"iteration_count": ' + b"9" * 5_000, ["iteration_count"]),
    "interval of zero": (b'"interval": 0', ["interval"]),
    "tool log of numbers": (b'"tool_call_log": [1]', ["tool_call_log"]),
    "limit of five million": (b'"cost_limit_usd": 5000000', ["cost_limit_usd"]),
}


@pytest.mark.parametrize(("rest", "left_out"), PARTLY_BAD.values(), ids=PARTLY_BAD.keys())
def test_bad_detail_costs_only_itself(as_agent: Call, rest: bytes, left_out: list[str]) -> None:
    answer = as_agent("POST", "heartbeat", b'{"agent": "a", "tokens_used": 7, ' + rest + b"}")
    assert answer.status_code == 200
    assert list(answer.json().get("left_out", {})) == left_out
    assert (Agent.objects.get().name, Heartbeat.objects.get().tokens) == ("a", 7)
    assert AgentState.objects.get().last_beat_at is not None


def test_good_heartbeat_answers_without_left_out(as_agent: Call) -> None:
    assert "left_out" not in as_agent("POST", "heartbeat", BEAT).json()


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
def test_other_content_types_are_refused(api_key: str, kind: str) -> None:
    answer = caller(api_key)("POST", "heartbeat", json.dumps(BEAT), kind=kind)
    assert answer.status_code == 415
    assert "application/json" in answer.json()["error"]["message"]
    assert nothing_is_stored()


@only_view
def test_missing_content_type_is_refused(api_key: str) -> None:
    request = RequestFactory().post(
        "/api/v1/heartbeat", json.dumps(BEAT), "application/json", headers={"X-API-Key": api_key}
    )
    del request.META["CONTENT_TYPE"]
    assert HeartbeatView.as_view()(request).status_code == 415


@only_view
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
def test_other_methods_are_refused(as_full: Call, method: str) -> None:
    assert as_full(method, "heartbeat").status_code == 405


@pytest.mark.parametrize("key", [None, "", "nonsense", "cv_" + "a" * 40])
def test_unknown_key_stores_nothing(db: None, key: str | None) -> None:
    answer = caller(key)("POST", "heartbeat", BEAT)
    assert answer.status_code == 401
    assert nothing_is_stored()


def test_revoked_key_is_refused(api_key: str) -> None:
    services.revoke_key(key=ApiKey.objects.get(), actor="test", now=timezone.now())
    assert caller(api_key)("POST", "heartbeat", BEAT).status_code == 401
    assert nothing_is_stored()


def test_read_key_may_not_report(as_reader: Call) -> None:
    assert as_reader("POST", "heartbeat", BEAT).status_code == 403
    assert nothing_is_stored()


def chunked(key: str, body: bytes) -> Any:
    """A request as a WSGI server hands on a chunked one: no length, a stream that ends by itself."""
    environ = RequestFactory().generic("POST", "/api/v1/heartbeat", b"", headers={"X-API-Key": key}).environ
    environ.pop("CONTENT_LENGTH", None)
    environ |= {"CONTENT_TYPE": "application/json", "wsgi.input": io.BytesIO(body), "wsgi.input_terminated": True}
    seen: dict[str, Any] = {}

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        from django.core.handlers.wsgi import WSGIRequest

        seen["answer"] = HeartbeatView.as_view()(WSGIRequest(environ))
        return []

    read_chunked(application)(environ, None)
    return seen["answer"]


@only_view
def test_chunked_body_is_read(api_key: str) -> None:
    assert chunked(api_key, json.dumps(BEAT).encode()).status_code == 200
    assert Heartbeat.objects.count() == 1


@only_view
@pytest.mark.parametrize("size", [MAX_BODY + 1, 10_000_000])
def test_large_chunked_body_is_refused(api_key: str, size: int) -> None:
    assert chunked(api_key, b" " * size).status_code == 413


def piece(body: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def post_in_pieces(key: str, *pieces: dict[str, Any]) -> lane.Response:
    headers = {"X-API-Key": key, "Content-Type": "application/json"}
    return lane.post("/api/v1/heartbeat", b"", headers, pieces)


@only_lane
def test_body_in_pieces_is_read(api_key: str) -> None:
    body = json.dumps(BEAT).encode()
    answer = post_in_pieces(api_key, piece(body[:9], more=True), piece(body[9:], more=True), piece(b"", more=False))
    assert answer.status_code == 200
    assert Heartbeat.objects.count() == 1


@only_lane
def test_large_body_in_pieces_is_refused(api_key: str) -> None:
    endless = [piece(b" " * 100_000, more=True)] * 3
    assert post_in_pieces(api_key, *endless).status_code == 413


@only_lane
def test_client_that_hangs_up_stores_nothing(api_key: str) -> None:
    half = piece(json.dumps(BEAT).encode()[:9], more=True)
    assert post_in_pieces(api_key, half, {"type": "http.disconnect"}).status_code == 400
    assert nothing_is_stored()


@only_lane
def test_slow_body_is_refused(api_key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.api.heartbeat_lane.BODY_TIMEOUT", 0.01)
    assert post_in_pieces(api_key, piece(b"{", more=True)).status_code == 400


@only_lane
def test_responses_carry_a_request_id(api_key: str) -> None:
    headers = {"X-API-Key": api_key, "Content-Type": "application/json", "X-Request-ID": "mine-4711"}
    assert lane.post("/api/v1/heartbeat", json.dumps(BEAT), headers)["X-Request-ID"] == "mine-4711"
    assert len(lane.post("/api/v1/heartbeat", b"{", {**headers, "X-Request-ID": "\tx"})["X-Request-ID"]) == 32


def test_database_that_is_away_is_503(as_agent: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when already the key cannot be looked up; the client learns when to try again."""

    def away(*_: Any) -> Any:
        raise OperationalError("connection refused")

    monkeypatch.setattr(auth, "_look_up", away)
    answer = as_agent("POST", "heartbeat", BEAT)
    assert (answer.status_code, answer.json()["error"]["code"], answer["Retry-After"]) == (503, "busy", "2")


@only_lane
def test_minute_that_begins_meanwhile_asks_nobody(api_key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan is looked up before the body has arrived; the event loop must not ask the database after that."""
    meter = Meter()

    def next_minute(body: bytes) -> Beat:
        meter._start_minute(0)
        return decode(body)

    monkeypatch.setattr(rate_limit, "of_this_process", meter)
    monkeypatch.setattr(heartbeats, "decode", next_minute)
    assert post_in_pieces(api_key, piece(json.dumps(BEAT).encode(), more=False)).status_code == 200


def test_plan_that_cannot_be_read_is_503(as_agent: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> Any:
        raise OperationalError("connection refused")

    monkeypatch.setattr(rate_limit, "of_this_process", Meter())
    monkeypatch.setattr("agents.ingest.rate_limit.plan_of", away)
    assert as_agent("POST", "heartbeat", BEAT).status_code == 503


def test_batch_results_are_in_order(as_agent: Call) -> None:
    beats = [{**BEAT, "agent": "one"}, {"agent": "two", "interval": "soon"}, {**BEAT, "agent": ""}, BEAT]
    answer = as_agent("POST", "heartbeat/batch", {"heartbeats": beats})
    first, second, third, fourth = answer.json()["results"]
    assert answer.status_code == 200
    assert first["agent_id"] == Agent.objects.get(name="one").pk
    assert list(second["left_out"]) == ["interval"]
    assert third["error"]["code"] == "invalid"
    assert fourth["agent_id"] == Agent.objects.get(name="research-agent").pk
    assert Heartbeat.objects.count() == 3


def test_unreadable_character_costs_no_batch(as_agent: Call) -> None:
    body = rb'{"heartbeats": [{"agent": "b1"}, {"agent": "b2", "message": "x\ud83d"}, {"agent": ""}, {"agent": "b3"}]}'
    results = as_agent("POST", "heartbeat/batch", body).json()["results"]
    assert ["error" in result for result in results] == [False, False, True, False]
    assert list(results[1]["left_out"]) == ["message"]
    assert sorted(Agent.objects.values_list("name", flat=True)) == ["b1", "b2", "b3"]


def test_agent_over_the_plan_is_refused_alone(as_agent: Call) -> None:
    answer = as_agent("POST", "heartbeat/batch", {"heartbeats": [{**BEAT, "agent": name} for name in "abcd"]})
    assert [result.get("error", {}).get("code") for result in answer.json()["results"]] == [None] * 3 + [
        "agent_limit_reached"
    ]
    assert as_agent("POST", "heartbeat", {**BEAT, "agent": "e"}).status_code == 403


def test_batch_limit_is_500(as_agent: Call) -> None:
    assert len(as_agent("POST", "heartbeat/batch", {"heartbeats": [BEAT] * 500}).json()["results"]) == 500
    assert as_agent("POST", "heartbeat/batch", {"heartbeats": [BEAT] * 501}).status_code == 422
    assert Heartbeat.objects.count() == 500


@pytest.mark.parametrize("body", ["[]", '{"heartbeats": 5}', "{}"])
def test_empty_batch_is_refused(as_agent: Call, body: str) -> None:
    assert as_agent("POST", "heartbeat/batch", body).status_code == 422


def test_batch_over_one_mebibyte_is_refused(as_agent: Call) -> None:
    assert as_agent("POST", "heartbeat/batch", b" " * (1024 * 1024 + 1)).status_code == 413


def test_other_teams_agent_is_untouched(as_agent: Call, as_stranger: Call, agent: Agent) -> None:
    answer = as_stranger("POST", "heartbeat", BEAT)
    assert answer.json()["agent_id"] != agent.pk
    assert not Heartbeat.objects.filter(agent=agent).exists()


def test_runners_on_one_key_are_distinguished(api_key: str, project: Project) -> None:
    runner = {**BEAT, "restart_type": "systemd", "restart_target": "a.service"}
    caller(api_key)("POST", "heartbeat", runner, headers={"X-ClevAgent-Runner": "host-1"})
    key_id = ApiKey.objects.get().pk
    assert AgentState.objects.get().runner == f"{key_id}/127.0.0.1/host-1"


def test_forwarded_address_is_not_trusted(api_key: str) -> None:
    caller(api_key)("POST", "heartbeat", BEAT, headers={"X-Forwarded-For": "203.0.113.9"})
    assert "203.0.113.9" not in AgentState.objects.get().source


def test_over_the_rate_only_sums_are_stored(api_key: str) -> None:
    meter, now, key = Meter(), timezone.now(), authenticate_key(api_key)
    plan = meter.plan(key, now)
    assert count_beats(key, plan, 200, now, meter)
    assert not count_beats(key, plan, 1, now, meter)


def test_heartbeat_over_the_rate_succeeds(as_agent: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.api.heartbeats.count_beats", lambda *_: False)
    assert as_agent("POST", "heartbeat", {**BEAT, "message": "hello", "tokens_used": 7}).status_code == 200
    stored = Heartbeat.objects.get()
    assert (stored.tokens, stored.content) == (7, None)


def test_flood_is_refused_until_the_next_minute(api_key: str) -> None:
    meter, key = Meter(), authenticate_key(api_key)
    now = timezone.now().replace(second=45, microsecond=0)
    plan = meter.plan(key, now)
    count_beats(key, plan, 2000, now, meter)
    with pytest.raises(ApiError) as refused:
        count_beats(key, plan, 1, now, meter)
    assert (refused.value.http_status, refused.value.retry_after) == (429, 15)
    assert count_beats(key, plan, 1, now.replace(second=0) + timedelta(minutes=1), meter)


def test_only_the_name_is_required(as_agent: Call) -> None:
    assert as_agent("POST", "heartbeat", {"agent": "a"}).status_code == 200
    assert Heartbeat.objects.get().status == "ok"
