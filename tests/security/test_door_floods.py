"""One request of telemetry, whatever is in it, costs in proportion to its length and holds nobody up.

Before, 20,000 spans with equal counts kept the whole server waiting for minutes: each was compared with each, and all
of it happened while the database was locked.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from agents.doors import intake
from agents.doors.dialects import facts_of
from agents.doors.merging import merge
from agents.doors.notes import MAX_NEAR, Recall, Row
from agents.doors.otlp import otlp_json
from agents.models import Agent, AgentName, Heartbeat
from billing.services import set_plan
from teams import services
from teams.errors import ApiError
from teams.models import Project
from teams.services import KeyLimits

SPANS = 1_500


def span(number: int, **attributes: Any) -> dict[str, Any]:
    """A model call with the same counts as every other."""
    told = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-5",
        "gen_ai.usage.input_tokens": 5,
        **attributes,
    }
    pairs = [
        {"key": name, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
        for name, value in told.items()
    ]
    start = 1_700_000_000_000_000_000
    return {
        "traceId": f"{number + 1:032x}", "spanId": f"{number + 1:016x}", "name": "chat", "attributes": pairs,
        "startTimeUnixNano": str(start), "endTimeUnixNano": str(start + 1_000_000_000),
    }  # fmt: skip


def export(spans: list[dict[str, Any]], service: str = "svc", scopes: int = 1) -> bytes:
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]}
    parts = [{"scope": {"name": f"lib-{index}"}, "spans": spans[index::scopes]} for index in range(scopes)]
    return json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": parts}]}).encode()


@pytest.mark.parametrize(
    ("attributes", "scopes"),
    [
        ({"gen_ai.usage.output_tokens": 5}, 1),
        ({"gen_ai.usage.output_tokens": 5}, SPANS),
        ({"gen_ai.usage.output_tokens": 5, "gen_ai.response.id": "always the same"}, 1),
        ({"gen_ai.usage.output_tokens": 5, "gen_ai.response.id": "always the same"}, SPANS),
        ({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"}, 1),
        ({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search", "gen_ai.tool.call.id": "x"}, 1),
    ],
)
def test_equal_calls_are_not_all_compared(
    attributes: dict[str, Any], scopes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = otlp_json.traces(export([span(number, **attributes) for number in range(SPANS)], scopes=scopes))
    facts = [fact for item in exported.items for fact in facts_of(item)]
    assert len(facts) == SPANS
    compared, plain = [0], Row.overlaps

    def overlaps(row: Row, other: Row, slack: int) -> bool:
        compared[0] += 1
        return plain(row, other, slack)

    monkeypatch.setattr(Row, "overlaps", overlaps)
    merge(facts, exported.items, Recall())
    assert compared[0] <= 3 * MAX_NEAR * SPANS


@pytest.mark.django_db
def test_facts_of_a_request_are_limited(api_key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "MAX_FACTS", 10)
    answer = Client(headers={"X-API-Key": api_key}).post(
        "/v1/traces", export([span(number) for number in range(14)]), "application/json"
    )
    assert answer.status_code == 200
    assert answer.json()["partialSuccess"]["rejectedSpans"] in (4, "4")
    assert "Send smaller batches" in answer.json()["partialSuccess"]["errorMessage"]
    assert sum(len((beat.content or {}).get("usage", ())) for beat in Heartbeat.objects.all()) == 10


@pytest.mark.django_db
def test_request_is_stored_in_parts(project: Project, api_key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are served between them, and what is sent again after a failure counts once."""
    set_plan(team=project.team, plan="enterprise", actor="x")
    monkeypatch.setattr(intake, "PART", 10)
    sizes, plain = [], intake._take

    def part(report: intake.Report, now: Any) -> intake.Taken:
        sizes.append(len(report.facts))
        if len(sizes) == 2:
            raise ApiError(503, "busy", "later")
        return plain(report, now)

    monkeypatch.setattr(intake, "_take", part)
    body = export([span(number, **{"gen_ai.agent.name": f"bot-{number}"}) for number in range(14)])
    client = Client(headers={"X-API-Key": api_key})
    statuses = [client.post("/v1/traces", body, "application/json").status_code for _ in range(3)]
    assert (statuses, sizes) == ([503, 200, 200], [10, 4, 10, 4, 10, 4])
    assert Agent.objects.count() == Heartbeat.objects.count() == 14


# Whose agent telemetry may rename


@pytest.mark.django_db
@pytest.mark.parametrize("only", ["", "other"])
def test_other_key_renames_no_agent(project: Project, only: str) -> None:
    """A new agent is named for its service until a span names it: with a key that owns the name."""
    _, mine = services.issue_key(project=project, name="mine", actor="x")
    _, thief = services.issue_key(project=project, name="thief", actor="x", limits=KeyLimits(agent=only))
    set_plan(team=project.team, plan="enterprise", actor="x")

    def send(key: str, number: int, **attributes: Any) -> None:
        body = export([span(number, **attributes)])
        assert Client(headers={"X-API-Key": key}).post("/v1/traces", body, "application/json").status_code == 200

    send(mine, 1)
    assert Agent.objects.get().name == "svc"
    send(thief, 2, **{"gen_ai.agent.name": "evil"})
    assert Agent.objects.get(names__name="svc").name == "svc"
    send(mine, 3)
    send(mine, 4, **{"gen_ai.agent.name": "good"})
    renamed = Agent.objects.get(names__name="svc")
    assert renamed.name == "good"
    bound = set(AgentName.objects.filter(agent=renamed).values_list("bound_to", flat=True))
    assert len(bound) == 1
    assert None not in bound
