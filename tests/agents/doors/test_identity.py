"""Who the agent is: a person's choice, the item's word, its trace, the project's rule, the service."""

from __future__ import annotations

from typing import Any

import pytest

from agents.doors.facts import Origin
from agents.doors.identity import Named, agent_of, instance_of
from agents.doors.notes import Recall
from agents.doors.otlp.telemetry import Resource


def origin(resource: dict[str, str], **more: Any) -> Origin:
    return Origin(resource=Resource(resource), kind="otel", **more)


@pytest.mark.parametrize(
    ("resource", "own", "name"),
    [
        ({"agent.name": "set", "service.name": "svc"}, "own", "set"),
        ({"gen_ai.main_agent.name": "main", "service.name": "svc"}, "own", "main"),
        ({"service.name": "svc"}, "own", "own"),
        ({"service.name": "svc"}, "", "svc"),
        ({}, "", "unknown_service"),
    ],
)
def test_first_that_is_there(resource: dict[str, str], own: str, name: str) -> None:
    assert agent_of(origin(resource, agent=own), Recall()).name == name


def test_nearest_name_around_it() -> None:
    recall = Recall()
    recall.plant("t", "root", "", "outer")
    recall.plant("t", "run", "root", "inner")
    recall.plant("t", "step", "run", "")
    assert agent_of(origin({}, trace="t", span="call", parent="step"), recall).name == "unknown_service"
    recall.plant("t", "call", "step", "")
    assert agent_of(origin({}, trace="t", span="call", parent="step"), recall) == Named("inner", is_fallback=False)


@pytest.mark.parametrize(
    ("resource", "name"),
    [({"service.name": "svc", "host.name": "h1"}, "svc on h1"), ({"service.name": "svc"}, "svc")],
)
def test_rule_needs_all_its_parts(resource: dict[str, str], name: str) -> None:
    assert agent_of(origin(resource), Recall(), "{service} on {host}") == Named(name, is_fallback=True)


def test_session_is_the_run() -> None:
    resource = {"service.instance.id": "worker-1"}
    assert instance_of(origin(resource, session="s1")) == "s1"
    assert instance_of(origin(resource)) == "worker-1"
