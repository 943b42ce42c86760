"""Where an API key may be used, until when, and where it was used last."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import time_machine
from asgiref.sync import async_to_sync
from django.test import Client
from django.utils import timezone

from agents.api import heartbeat_lane
from teams import auth, networks, services
from teams.errors import ApiError
from teams.models import ApiKey, Project, User
from teams.services import KeyLimits
from tests.agents.api import lane
from tests.agents.api.conftest import caller
from watchdog_project.forwarding import client_address
from watchdog_project.forwarding import networks as proxies

PROXY = "10.9.9.9"


@pytest.mark.parametrize(
    ("allowed", "address", "is_inside"),
    [
        (["10.0.0.0/8"], "10.1.2.3", True),
        (["10.0.0.0/8"], "11.1.2.3", False),
        (["10.0.0.0/8"], "::ffff:10.1.2.3", True),
        (["::ffff:10.0.0.0/104"], "10.1.2.3", True),
        (["10.1.2.3"], "10.1.2.3", True),
        (["10.1.2.3"], "10.1.2.4", False),
        (["10.1.2.3/8"], "10.200.0.1", True),
        (["2001:db8::/32"], "2001:db8:ffff::1", True),
        (["2001:db8::/32"], "2001:db9::1", False),
        (["fe80::/10"], "fe80::1%eth0", True),
        (["::/0"], "10.1.2.3", False),
        (["0.0.0.0/0", "::/0"], "2001:db8::1", True),
        (["10.0.0.0/8"], "", False),
        (["10.0.0.0/8"], "unix:", False),
        (["10.0.0.0/8"], "10.1.2.3.example.com", False),
    ],
)
def test_address_lies_in_the_networks(allowed: list[str], address: str, is_inside: bool) -> None:
    assert networks.contain(networks.compiled(networks.checked(allowed)), address) is is_inside


@pytest.mark.parametrize("text", ["10.0.0.0/33", "example.com", "10.0.0", "2001:db8::/129", "10.0.0.0-10.0.0.9", "/8"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither an address nor a network"):
        networks.parse(f"10.0.0.1\n{text}")


def test_networks_are_kept_in_their_usual_form() -> None:
    assert networks.parse("10.1.2.3/8, 10.0.0.0/8\n 2001:DB8::/32") == ["10.0.0.0/8", "2001:db8::/32"]


@pytest.fixture
def limited(project: Project) -> str:
    limits = KeyLimits(allowed_networks=["127.0.0.0/8", "2001:db8::/32"])
    return services.issue_key(project=project, name="k", actor="test", limits=limits)[1]


@pytest.mark.parametrize("path", ["status", "commands"])
@pytest.mark.django_db
def test_view_refuses_other_addresses(limited: str, path: str) -> None:
    def status(address: str) -> int:
        answer = Client(headers={"X-API-Key": limited}, REMOTE_ADDR=address).get(f"/api/v1/{path}")
        return answer.status_code

    for _ in range(2):  # also from the cache
        assert (status("127.0.0.1"), status("2001:db8::7"), status("203.0.113.9")) == (200, 200, 403)


@pytest.mark.django_db
def test_refusal_names_code_and_address(limited: str) -> None:
    with pytest.raises(ApiError) as refused:
        auth.authenticate_key(limited, "203.0.113.9")
    assert (refused.value.http_status, refused.value.code) == (403, "address_not_allowed")
    assert "203.0.113.9" in refused.value.message


@pytest.mark.parametrize(
    ("peer", "forwarded", "status"),
    [
        (PROXY, "127.0.0.5", 200),
        (PROXY, "203.0.113.9", 403),
        (PROXY, "127.0.0.5, 203.0.113.9", 403),
        (PROXY, "", 403),
        ("203.0.113.9", "127.0.0.5", 403),
        ("127.0.0.1", "203.0.113.9", 200),
    ],
)
@pytest.mark.django_db
def test_lane_asks_trusted_proxies_only(
    limited: str, monkeypatch: pytest.MonkeyPatch, peer: str, forwarded: str, status: int
) -> None:
    lane.use(monkeypatch)
    body = b'{"agent": "bot", "status": "ok"}'
    headers = {
        "x-api-key": limited,
        "content-type": "application/json",
        "x-forwarded-for": forwarded,
        "content-length": str(len(body)),
    }
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/v1/heartbeat",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": (peer, 4711),
    }
    seen: list[int] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        seen.extend([message["status"]] if "status" in message else [])

    app = heartbeat_lane.heartbeat_lane(lane._nobody, partial(client_address, trusted=proxies([PROXY])))
    async_to_sync(app)(scope, receive, send)
    assert seen == [status]


@pytest.mark.django_db
def test_last_address_is_noted_once_a_minute(project: Project) -> None:
    key, raw = services.issue_key(project=project, name="k", actor="test")
    start = timezone.now()
    for seconds, address, noted in [(0, "10.0.0.1", "10.0.0.1"), (30, "10.0.0.2", "10.0.0.1"), (90, "::1", "::1")]:
        with time_machine.travel(start + timedelta(seconds=seconds), tick=False):
            auth._cache.clear()
            auth.authenticate_key(raw, address)
        key.refresh_from_db()
        assert key.last_used_address == noted


@pytest.mark.django_db
def test_refused_address_is_no_use_of_the_key(limited: str) -> None:
    with pytest.raises(ApiError):
        auth.authenticate_key(limited, "203.0.113.9")
    key = ApiKey.objects.get()
    assert (key.last_used_at, key.last_used_address) == (None, "")


@pytest.mark.django_db
def test_expired_key_is_refused(project: Project) -> None:
    soon = timezone.now() + timedelta(days=1)
    _, raw = services.issue_key(project=project, name="k", actor="test", limits=KeyLimits(expires_at=soon))
    auth.authenticate_key(raw)
    auth._cache.clear()
    with time_machine.travel(soon, tick=False), pytest.raises(ApiError) as refused:
        auth.authenticate_key(raw)
    assert refused.value.code == "expired_key"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"allowed_networks": ["10.0.0.0/99"]}, "allowed_networks"),
        ({"allowed_networks": "10.0.0.0/8"}, "allowed_networks"),
        ({"new_agents_per_hour": -1}, "new_agents_per_hour"),
    ],
)
@pytest.mark.django_db
def test_api_names_the_wrong_limit(full_key: str, body: dict[str, Any], field: str) -> None:
    key = ApiKey.objects.get()
    for answer in (caller(full_key)("POST", "keys", body), caller(full_key)("PATCH", f"keys/{key.pk}", body)):
        assert answer.status_code == 422
        assert set(answer.json()["error"]["fields"]) == {field}
    assert ApiKey.objects.count() == 1


@pytest.mark.django_db
def test_api_sets_and_changes_limits(full_key: str) -> None:
    call = caller(full_key)
    made = call("POST", "keys", {"agent": "bot", "allowed_networks": ["10.1.1.1/8"], "new_agents_per_hour": 5}).json()
    assert (made["agent"], made["allowed_networks"], made["new_agents_per_hour"]) == ("bot", ["10.0.0.0/8"], 5)
    changed = call("PATCH", f"keys/{made['id']}", {"allowed_networks": ["192.0.2.0/24"], "agent": "x", "scope": "full"})
    row = changed.json()
    assert (row["allowed_networks"], row["agent"], row["scope"]) == (["192.0.2.0/24"], "bot", "agent")
    with pytest.raises(ApiError):
        auth.authenticate_key(made["api_key"], "10.1.1.1")
    assert auth.authenticate_key(made["api_key"], "192.0.2.1")


@pytest.mark.django_db
def test_admin_sets_and_changes_limits(project: Project, owner: User, client_of: Any) -> None:
    browser = client_of(owner)
    data = {
        "project": project.pk,
        "name": "k",
        "scope": "agent",
        "agent": "bot",
        "expires": "30",
        "allowed_networks": "10.1.2.3/8\n2001:db8::/32",
        "new_agents_per_hour": "3",
    }
    browser.post("/admin/teams/apikey/add/", data)
    key = ApiKey.objects.get()
    assert (key.agent, key.allowed_networks, key.new_agents_per_hour) == ("bot", ["10.0.0.0/8", "2001:db8::/32"], 3)
    assert key.expires_at is not None
    page = f"/admin/teams/apikey/{key.pk}/change/"
    browser.post(page, {"name": "k2", "allowed_networks": "", "new_agents_per_hour": "4", "agent": "other"})
    key.refresh_from_db()
    assert (key.name, key.agent, key.allowed_networks, key.new_agents_per_hour) == ("k2", "bot", [], 4)
    assert key.expires_at is not None


# Every door that takes a key, with what it answers to a key that must not be used from there.
DOORS = [
    ("GET", "/metrics"),
    ("POST", "/mcp"),
    ("POST", "/v1/traces"),
    ("POST", "/hooks/claude-code"),
    ("GET", "/api/v1/status"),
    ("GET", "/api/v1/agents"),
]


@pytest.mark.parametrize(("method", "path"), DOORS)
@pytest.mark.django_db
def test_every_door_asks_for_the_address(project: Project, method: str, path: str) -> None:
    limits = KeyLimits(allowed_networks=["127.0.0.0/8"])
    raw = services.issue_key(project=project, name="k", scope="full", actor="test", limits=limits)[1]

    def answer(address: str) -> tuple[int, bool]:
        client = Client(headers={"X-API-Key": raw}, REMOTE_ADDR=address, raise_request_exception=False)
        given = client.generic(method, path, b"{}", "application/json")
        return given.status_code, b"address_not_allowed" in given.content

    assert answer("203.0.113.9")[0] == 403 or answer("203.0.113.9")[1]
    status, is_refused = answer("127.0.0.1")
    assert status < 500
    assert not is_refused
