"""The OpenAPI schema is complete and free of warnings, and no request generated from it causes a server error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from django.test import Client
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from schemathesis import GenerationMode

from agents.models import Agent, Incident
from billing.models import Subscription
from teams import services
from teams.keys import hash_of
from teams.models import ApiKey, Project, Scope
from tests.agents.api.conftest import agent, incident  # noqa: F401 - fixtures
from tests.contracts.test_api_permissions import ACTIONS, FOR_AGENTS, OPERATIONS, READS
from tests.examples import examples

pytestmark = pytest.mark.slow

METHODS = ("get", "post", "patch", "put", "delete")


def _document() -> dict[str, Any]:
    document: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return document


DOCUMENT = _document()
DESCRIBED = {
    (method.upper(), path): entry
    for path, methods in DOCUMENT["paths"].items()
    for method, entry in methods.items()
    if method in METHODS
}
# Of what the body or the query names.
NAME_ONE = {("POST", "/api/v1/commands"), ("POST", "/api/v1/rules/try"), ("GET", "/api/v1/policy/preview")}
ours = pytest.mark.parametrize("operation", DESCRIBED, ids=" ".join)


def test_schema_is_valid_and_free_of_warnings() -> None:
    GENERATOR_STATS.reset()
    document = _document()
    assert not GENERATOR_STATS, [*GENERATOR_STATS._warn_cache, *GENERATOR_STATS._error_cache]
    assert document["openapi"].startswith("3.1")
    validate_schema(document)  # type: ignore[no-untyped-call]


def test_schema_covers_every_path() -> None:
    described = {(method, path.removeprefix("/api/v1/").replace("{key_id}", "{id}")) for method, path in DESCRIBED}
    # By name, agents have the same operations as by id.
    named = {(method, path.replace("on-call/<str:name>", "on-call/{name}")) for method, path in OPERATIONS}
    assert described == {(method, path) for method, path in named if "<" not in path}


@ours
def test_operations_have_summaries_and_errors(operation: tuple[str, str]) -> None:
    entry = DESCRIBED[operation]
    assert entry.get("summary") or entry.get("description")
    assert {"401", "403", "429"} <= set(entry["responses"])
    assert ("404" in entry["responses"]) == ("{" in operation[1] or operation in NAME_ONE)


@ours
def test_operations_have_examples(operation: tuple[str, str]) -> None:
    entry = DESCRIBED[operation]
    done = next(said for code, said in entry["responses"].items() if code.startswith("2"))
    said = [done, entry["requestBody"]] if "requestBody" in entry else [done]
    for part in said:
        assert all(kind.get("examples") for kind in part.get("content", {}).values())


@ours
def test_examples_match_their_schemas(operation: tuple[str, str]) -> None:
    entry = DESCRIBED[operation]
    for part in [*entry["responses"].values(), entry.get("requestBody", {})]:
        for kind in part.get("content", {}).values():
            validator = Draft202012Validator({"components": DOCUMENT["components"], **kind["schema"]})
            for example in kind.get("examples", {}).values():
                validator.validate(json.loads(json.dumps(example["value"])))


def test_schema_and_docs_need_no_key(client: Client) -> None:
    assert client.get("/api/schema").status_code == 200
    page = client.get("/api/docs").content.decode()
    assert "/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js" in page
    assert "https://" not in page


def _body(generated: Any) -> str | bytes:
    if generated is schemathesis.core.NOT_SET:
        return ""
    return generated if isinstance(generated, bytes) else json.dumps(generated, default=repr)


def _fuzzed() -> Iterator[Any]:
    for result in schemathesis.openapi.from_dict(DOCUMENT).get_all_operations():
        operation: Any = result.ok()  # type: ignore[union-attr]
        entry = DESCRIBED[operation.method.upper(), operation.path]
        # Sending a test goes out to whatever address the channel was given.
        if entry["operationId"] == "test_channel":
            continue
        yield pytest.param(operation, GenerationMode.POSITIVE, id=f"{operation.label} right")
        if "requestBody" in entry or any(one["in"] == "query" for one in entry.get("parameters", ())):
            yield pytest.param(operation, GenerationMode.NEGATIVE, id=f"{operation.label} wrong")


@pytest.fixture
def keys(project: Project) -> dict[str, str]:
    """A key of each scope."""
    named = {scope: services.issue_key(project=project, name=scope, scope=scope, actor="test") for scope in Scope}
    return {str(scope): raw for scope, (_, raw) in named.items()}


def _allows(scope: str, method: str, path: str) -> bool:
    operation = (method.upper(), path.removeprefix("/api/v1/"))
    if scope == Scope.AGENT:
        return operation in FOR_AGENTS
    acts = scope == Scope.ACT and operation in ACTIONS
    return acts or scope == Scope.FULL or method.upper() == "GET" or operation in READS


@pytest.mark.django_db
@pytest.mark.parametrize(("operation", "mode"), list(_fuzzed()))
def test_generated_requests_never_get_500(
    operation: Any,
    mode: GenerationMode,
    keys: dict[str, str],
    incident: Incident,  # noqa: F811
    agent: Agent,  # noqa: F811
) -> None:
    Subscription.objects.update_or_create(team=agent.project.team, defaults={"plan": "enterprise"})
    ours = {"agents": agent.pk, "incidents": incident.pk}
    described = DESCRIBED[operation.method.upper(), operation.path]

    @settings(
        max_examples=examples(8),
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), scope=st.sampled_from(Scope.values))
    def attempt(case: Any, scope: str) -> None:
        noun = operation.path.removeprefix("/api/v1/").partition("/")[0]
        path = operation.path.replace("{id}", str(ours.get(noun, 1))).replace("{key_id}", "1")
        client = Client(headers={"X-API-Key": keys[scope]})
        answer = client.generic(
            case.method, path, _body(case.body), "application/json", query_params=case.query or None
        )
        # A health check answers 503 for an agent that is not well, as its description says.
        assert answer.status_code < 500 or str(answer.status_code) in described["responses"]
        if answer.status_code == 401:  # an earlier request deleted this very key
            assert not ApiKey.objects.filter(hash=hash_of(keys[scope]), revoked_at=None).exists()
        elif not _allows(scope, case.method, operation.path):
            assert answer.status_code == 403

    attempt()
