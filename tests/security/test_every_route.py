"""Every path of the server: who may call it, how often, with how much, and who may keep the answer.

A new path without a row fails. `test_limits.py` has the limits of each POST, `test_api_permissions.py` the scopes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from agents.ingest import rate_limit
from agents.ingest.registration import create_agent
from agents.models import Agent, Job
from teams.models import Project, User

pytestmark = [pytest.mark.django_db, pytest.mark.slow]
KIB, MIB = 1024, 1024 * 1024
KEY, PERSON, SECRET, ANYBODY = "who has a key", "who is signed in", "who knows the address", "anybody"
METER, OWN, READS = "requests per minute and key", "test_limits.py", "reads, or costs nobody anything"
PRIVATE, PUBLIC = "no-store", "public"


class Row(NamedTuple):
    """`max_body` in bytes: larger ones get 413. None: Django's limit for pages; of a ping's body, the end is cut."""

    who: str
    limit: str
    max_body: int | None
    cache: str


# The first that matches counts.
ROWS: list[tuple[str, Row]] = [
    (r"api/v1/heartbeat/batch$", Row(KEY, METER, MIB, PRIVATE)),
    (r"api/v1/", Row(KEY, METER, 256 * KIB, PRIVATE)),
    (r"api/schema$", Row(ANYBODY, READS, None, PUBLIC)),
    (r"api/docs$", Row(ANYBODY, READS, None, PRIVATE)),
    (r"(v1|otlp/v1|api/public/otel/v1)/(traces|metrics|logs)$", Row(KEY, METER, 64 * MIB, PRIVATE)),
    (r"hooks/(github|gitlab|alertmanager|sentry)/", Row(SECRET, OWN, MIB, PRIVATE)),
    (r"hooks/[\w-]+$", Row(KEY, METER, 64 * MIB, PRIVATE)),
    (r"beta/litellm_basic_guardrail_api$", Row(KEY, METER, 64 * MIB, PRIVATE)),
    (r"metrics$", Row(KEY, METER, None, PRIVATE)),
    (r"mcp$", Row(KEY, METER, 64 * KIB, PRIVATE)),
    (r"ping/", Row(SECRET, METER, None, PRIVATE)),
    (r"(status|badge)/", Row(SECRET, READS, None, PUBLIC)),
    (r"alerts/(act|leave)/", Row(SECRET, OWN, None, PRIVATE)),
    (r"alerts/on-call/", Row(SECRET, READS, None, PRIVATE)),
    (r"alerts/quiet-hours/", Row(PERSON, OWN, None, PRIVATE)),
    (r"accounts/(invitation|sign-in)/", Row(SECRET, OWN, None, PRIVATE)),
    (r"accounts/\^password/reset/key/", Row(SECRET, OWN, None, PRIVATE)),
    (r"accounts/(login|signup|inactive|confirm-email)/", Row(ANYBODY, OWN, None, PRIVATE)),
    (r"accounts/password/reset/", Row(ANYBODY, OWN, None, PRIVATE)),
    (r"accounts/(sso/|2fa/authenticate/$|2fa/webauthn/login/$)", Row(ANYBODY, OWN, None, PRIVATE)),
    (r"accounts/", Row(PERSON, OWN, None, PRIVATE)),
    (r"admin/(login/|logout/|jsi18n/)?$", Row(PERSON, OWN, None, PRIVATE)),
    (r"admin/", Row(PERSON, OWN, None, PRIVATE)),
    (r"docs/", Row(ANYBODY, READS, None, PUBLIC)),
    (r"(simple|npm|opencode)/", Row(ANYBODY, READS, None, PUBLIC)),
    (r"(robots\.txt|\.well-known/security\.txt|favicon\.ico)$", Row(ANYBODY, READS, None, PUBLIC)),
    (r"$", Row(ANYBODY, READS, None, PRIVATE)),
]
EXAMPLES = {
    "int": "1", "any_uuid": "00000000-0000-4000-8000-000000000000", "ping_key": "k" * 22, "slug_or_name": "job",
    "slug": "some-slug", "str": "text", "path": "some/path",
}  # fmt: skip
SPECIAL = {"form": "svg"}
SIGN_IN = re.compile(r"/accounts/(login|signup)/|/admin/login/|^/(admin/)?$")


def _walk(under: Any, prefix: str = "") -> Iterator[str]:
    for entry in under.url_patterns:
        path = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from _walk(entry, path)
        elif isinstance(entry, URLPattern):
            yield path


ROUTES = sorted(set(_walk(get_resolver())))


def row_of(route: str) -> Row | None:
    return next((row for pattern, row in ROWS if re.match(pattern, route)), None)


def address_of(route: str) -> str:
    """An address that the route answers."""
    if "^password/reset/key/" in route:
        return "/accounts/password/reset/key/1-abc/"
    if "(?P<url>" in route:
        return "/admin/nowhere/"
    return "/" + re.sub(r"<(?:(\w+):)?(\w+)>", lambda m: SPECIAL.get(m[2]) or EXAMPLES[m[1] or "str"], route)


def routes(**wanted: str) -> list[tuple[str, Row]]:
    rows = [(route, row) for route in ROUTES if (row := row_of(route))]
    return [(route, row) for route, row in rows if all(getattr(row, name) == value for name, value in wanted.items())]


@pytest.fixture
def caller(full_key: str) -> Client:
    return _patient(Client(headers={"X-API-Key": full_key}))


@pytest.fixture
def agent_job(project: Project) -> Job:
    agent = create_agent(project=project, name="nightly", now=timezone.now(), kind=Agent.Kind.JOB)
    return Job.objects.get(agent=agent)


def _patient(client: Client) -> Client:
    client.raise_request_exception = False
    return client


def send(client: Client, method: str, address: str, body: bytes = b"", content_type: str = "application/json") -> Any:
    return client.generic(method, address, body, content_type)


def method_of(client: Client, address: str) -> str:
    """POST where it is understood: it has a body."""
    return "GET" if send(client, "POST", address, b"{}").status_code == 405 else "POST"


def test_every_route_has_a_row() -> None:
    assert len(ROUTES) > 250
    assert [route for route in ROUTES if row_of(route) is None] == []


def test_nobody_else_may_call() -> None:
    wrong = []
    for route, row in routes():
        address, client = address_of(route), _patient(Client())
        answers = [send(client, method, address) for method in ("GET", "POST")]
        allowed = {
            # 415: some look at the type of the body first.
            KEY: {401, 405, 415},
            # 302: to the page to sign in.
            PERSON: {302, 403, 404, 405},
            SECRET: {200, 302, 404, 405, 400},
            ANYBODY: {200, 302, 301, 404, 403, 405, 400},
        }[row.who]
        wrong += [(route, answer.status_code) for answer in answers if answer.status_code not in allowed]
        if row.who == PERSON:
            to = [answer.headers["Location"] for answer in answers if answer.status_code == 302]
            wrong += [(route, where) for where in to if not SIGN_IN.search(where)]
    assert wrong == []


def test_unknown_secrets_show_nothing() -> None:
    seen = {route: _patient(Client()).get(address_of(route)).status_code for route, _ in routes(who=SECRET)}
    pages = {route for route in seen if route.startswith("accounts/")}
    assert {route: status for route, status in seen.items() if status != 404 and route not in pages} == {}


def test_keys_are_counted(caller: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a request writes nothing: reading it costs time."""
    found = [(route, method_of(caller, address_of(route))) for route, _ in routes(who=KEY)]
    monkeypatch.setattr(rate_limit.Meter, "add", lambda *_: 10**9)
    body = b'{"agent": "bot", "heartbeats": [], "resourceSpans": [], "jsonrpc": "2.0", "id": 1, "method": "ping"}'
    answers = {route: send(caller, method, address_of(route), body) for route, method in found}
    assert {route: answer.status_code for route, answer in answers.items() if answer.status_code != 429} == {}
    assert all(int(answer.headers["Retry-After"]) <= 60 for answer in answers.values())


def test_pings_are_counted(agent_job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit.Meter, "add", lambda *_: 10**9)
    for end in ("", "/start", "/fail", "/log", "/3"):
        assert Client().post(f"/ping/{agent_job.ping_id}{end}").status_code == 429, end


def test_bodies_are_limited(caller: Client) -> None:
    wrong = []
    for route, row in routes(who=KEY):
        if row.max_body is None or row.max_body > MIB:
            continue
        if method_of(caller, address_of(route)) == "POST":
            body = b'{"agent": "' + b"x" * row.max_body + b'"}'
            answer = send(caller, "POST", address_of(route), body)
            wrong += [(route, answer.status_code)] if answer.status_code not in (413, 404) else []
    assert wrong == []


def test_declared_length_is_believed_early(caller: Client) -> None:
    """A body of 64 MiB is refused before it is read."""
    for route, row in routes(who=KEY):
        if row.max_body is not None and row.max_body > MIB:
            answer = caller.generic(
                "POST", address_of(route), b"{}", "application/json", CONTENT_LENGTH=str(row.max_body + 1)
            )
            assert answer.status_code == 413, route


def test_private_answers_are_not_kept(caller: Client, operator: User, client_of: Any) -> None:
    wrong = []
    for route, row in routes():
        person = _patient(client_of(operator))
        for client in (caller, person) if row.who != PERSON else (person,):
            answer = client.get(address_of(route))
            kept = answer.headers.get("Cache-Control", "")
            if row.cache == PRIVATE and "no-store" not in kept:
                wrong.append((route, kept))
            if row.cache == PUBLIC and answer.status_code == 200 and "no-store" in kept:
                wrong.append((route, kept))
    assert wrong == []


NONSENSE = [b"\x00\xff{", b"[" * 5_000, b'{"agent":', b"null", b'{"a": 1e999}', b"\xed\xa0\x80"]


def test_nothing_absurd_breaks_a_door(full_key: str, operator: User, client_of: Any) -> None:
    """Pages and the API have tests of their own: `test_absurd_ids.py`, `test_hostile_forms.py`, `test_openapi.py`."""
    client = _patient(client_of(operator))
    client.defaults["HTTP_X_API_KEY"] = full_key
    broken = []
    for number, (route, _) in enumerate(routes()):
        if route.startswith(("accounts/", "admin/", "api/v1/")):
            continue
        address, body = address_of(route), NONSENSE[number % len(NONSENSE)]
        answers = [send(client, method, address, body) for method in ("PUT", "DELETE", "OPTIONS", "BREW", "HEAD")]
        kinds = ("application/json", "application/x-protobuf", "multipart/form-data; boundary=", "\xff")
        answers += [send(client, "POST", address, body, kind) for kind in kinds]
        broken += [(route, answer.status_code) for answer in answers if answer.status_code >= 500]
    assert broken == []
