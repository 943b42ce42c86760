"""Permissions of every path and method of the API, read from the URL registry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from agents.ingest.registration import create_agent
from agents.models import AgentState, Command, Incident, Maintenance, Runner, Signal
from alerts.models import Channel, OnCall
from teams import services
from teams.auth import authenticate_key
from teams.models import ApiKey, AuditEntry, Project, User

pytestmark = pytest.mark.django_db
CANARY = "canary-7f3a"
LONG = timedelta(hours=1)
# What the contract lets an `agent` key do, and nothing else.
FOR_AGENTS = {
    ("POST", "heartbeat"),
    ("POST", "heartbeat/batch"),
    ("GET", "status"),
    ("GET", "agents/{id}/health"),
    ("GET", "agents/<str:name>/health"),
    ("GET", "agents/by-name/<path:name>/health"),
    ("GET", "commands"),
    ("POST", "commands"),
    ("POST", "commands/{id}/result"),
}
ACTS = ("hold", "restart", "stop")
BODIES: dict[str, dict[str, Any]] = {
    "commands": {"agent": CANARY, "type": "systemd", "target": CANARY, "cause": "down"},
    "heartbeat": {"agent": CANARY, "status": "ok"},
    "heartbeat/batch": {"heartbeats": []},
    "maintenance": {"reason": "x", "ends_at": "2199-01-01T00:00:00Z"},
    "commands/{id}/result": {"status": "completed"},
    "rules": {"rules": {"loop": {"repeats": 5}}},
    "rules/try": {"rule": "loop", "agent": CANARY},
}
# What a key with the scope `act` may do besides reading.
ACTIONS = {
    *(("POST", f"agents/{agent}/{action}") for agent in ("{id}", "by-name/<path:name>") for action in ACTS),
    *(("DELETE", f"agents/{agent}/hold") for agent in ("{id}", "by-name/<path:name>")),
    ("POST", "incidents/{id}/acknowledge"),
    ("POST", "incidents/{id}/resolve"),
    ("POST", "incidents/{id}/snooze"),
    ("DELETE", "incidents/{id}/snooze"),
}
# Looks at much and writes nothing.
READS = {("POST", "rules/try")}
Operation = tuple[str, str]


def _patterns(under: Any, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for entry in under.url_patterns:
        path = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from _patterns(entry, path)
        elif path.startswith("api/v1/"):
            yield path.removeprefix("api/v1/"), entry


def _operations() -> Iterator[Operation]:
    for path, entry in _patterns(get_resolver()):
        view: Any = getattr(entry.callback, "cls")  # noqa: B009 - the view class, as DRF leaves it on its functions
        named = path.replace("<int:pk>", "{id}").replace("<int:key_id>", "{id}")
        for method in view.http_method_names:
            if hasattr(view, method) and method not in ("head", "options", "trace"):
                yield method.upper(), named


OPERATIONS = sorted(_operations(), key=lambda operation: operation[::-1])
ON_ONE_THING = [operation for operation in OPERATIONS if "{id}" in operation[1]]
every_operation = pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=[" ".join(one) for one in OPERATIONS])


@pytest.fixture
def ids(project: Project, api_key: str) -> dict[str, int]:
    """One row per resource, each containing the canary, by the first part of its path."""
    now = timezone.now()
    agent = create_agent(project=project, name=CANARY, now=now)
    caller = authenticate_key(api_key)
    target = {"runner": f"{caller.key_id}/127.0.0.1", "restart_type": "systemd", "restart_target": CANARY}
    AgentState.objects.update(last_beat_at=now, beats=1, **target)
    Runner.objects.create(project=project, source=target["runner"], polled_at=now)
    facts = {"kind": "stalled", "severity": "critical", "reason": CANARY, "started_at": now, "opened_at": now}
    incident = Incident.objects.create(project=project, agent=agent, **facts)
    Signal.objects.create(incident=incident, agent=agent, **facts)
    command = Command.objects.create(
        agent=agent, action="stop", type="systemd", target=CANARY, state="leased", leased_at=now, expires_at=now
    )
    channel = Channel.objects.create(project=project, kind="email", name=CANARY, config={"to": ["ops@example.com"]})
    layers = [{"people": [CANARY], "first": "2026-11-02"}]
    OnCall.objects.create(project=project, name=CANARY, rotation={"zone": "UTC", "layers": layers})
    key = ApiKey.objects.get(pk=caller.key_id)
    ApiKey.objects.filter(pk=key.pk).update(name=CANARY)
    later = now + timedelta(hours=1)
    window = Maintenance.objects.create(project=project, reason=CANARY, starts_at=later, ends_at=later + LONG)
    things = {
        "maintenance": window,
        "agents": agent,
        "incidents": incident,
        "commands": command,
        "channels": channel,
        "keys": key,
    }
    return {noun: thing.pk for noun, thing in things.items()}


def call(key: str | None, method: str, path: str, ids: dict[str, int]) -> Any:
    client = Client(headers={"X-API-Key": key} if key else {})
    address = path.replace("{id}", str(ids[path.partition("/")[0]])) if "{id}" in path else path
    address = address.replace("<path:name>", CANARY).replace("<str:name>", CANARY)
    body = json.dumps(BODIES.get(path, {})) if method in ("POST", "PATCH") else ""
    return client.generic(method, f"/api/v1/{address}", body, "application/json")


def key_of(project: Project, scope: str) -> str:
    return services.issue_key(project=project, name=f"{scope} key", scope=scope, actor="test")[1]


@pytest.fixture
def strange_key(stranger: User) -> str:
    return key_of(Project.objects.get(team__members=stranger), "full")


def test_registry_is_not_empty() -> None:
    assert set(OPERATIONS) > FOR_AGENTS
    assert len(OPERATIONS) > 25


@every_operation
def test_requests_without_a_key_get_401(ids: dict[str, int], method: str, path: str) -> None:
    before = AuditEntry.objects.count()
    assert call(None, method, path, ids).status_code == 401
    assert AuditEntry.objects.count() == before


@pytest.mark.parametrize(("method", "path"), ON_ONE_THING, ids=[" ".join(one) for one in ON_ONE_THING])
def test_rows_of_other_teams_get_404(ids: dict[str, int], strange_key: str, method: str, path: str) -> None:
    before = AuditEntry.objects.count()
    answer = call(strange_key, method, path, ids)
    assert answer.status_code == 404
    assert CANARY not in answer.content.decode()
    assert AuditEntry.objects.count() == before


@every_operation
def test_stranger_sees_no_other_team(ids: dict[str, int], strange_key: str, method: str, path: str) -> None:
    text = call(strange_key, method, path, ids).content.decode()
    assert CANARY not in text.replace(f"named “{CANARY}”", "")  # an answer may repeat what was asked for


def test_owner_sees_the_canary(ids: dict[str, int], full_key: str) -> None:
    for path in ("status", "agents", "incidents", "channels", "keys", "agents/{id}", "incidents/{id}", "channels/{id}"):
        assert CANARY in call(full_key, "GET", path, ids).content.decode(), path


@pytest.mark.parametrize("scope", ["agent", "read", "act", "full"])
@every_operation
def test_keys_are_limited_to_their_scope(
    project: Project, ids: dict[str, int], scope: str, method: str, path: str
) -> None:
    reads = method == "GET" or (method, path) in READS
    acts = reads or (method, path) in ACTIONS
    may = {"agent": (method, path) in FOR_AGENTS, "read": reads, "act": acts, "full": True}
    before = AuditEntry.objects.count()
    answer = call(key_of(project, scope), method, path, ids)
    if may[scope]:
        assert answer.status_code < 500
        assert answer.status_code not in (401, 403, 404, 405)
    else:
        assert answer.status_code == 403
        assert AuditEntry.objects.count() == before + 1  # the key that was just made
