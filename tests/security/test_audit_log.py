"""The audit log says who did what, nobody changes it, and it can be collected elsewhere."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.utils import timezone

from alerts.channels import http
from alerts.channels.base import ChannelError
from teams.models import AuditEntry, AuditPosition, Team, User
from teams.services import audit
from watchdog_project import audit_stream
from watchdog_project.tasks import stream_audit_log

pytestmark = pytest.mark.django_db
URL = "https://logs.example.com/in"


def entry(team: Team, number: int) -> AuditEntry:
    return audit(team=team, actor="ops@example.com", action="key.created", target=f"key {number}", data={"n": number})


def test_nobody_changes_an_entry(team: Team) -> None:
    written = entry(team, 1)
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        AuditEntry.objects.filter(pk=written.pk).update(actor="somebody else")
    written.actor = "somebody else"
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        written.save()
    assert AuditEntry.objects.get(pk=written.pk).actor == "ops@example.com"


@pytest.mark.postgres
def test_nobody_deletes_an_entry_of_a_living_team(team: Team) -> None:
    written = entry(team, 1)
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        written.delete()
    Team.objects.filter(pk=team.pk).update(ended_at=timezone.now())
    Team.objects.get(pk=team.pk).delete()
    assert not AuditEntry.objects.filter(pk=written.pk).exists()


def test_operator_changes_are_logged_with_before_and_after(
    operator: User, viewer: User, team: Team, client_of: Any
) -> None:
    inline = {"memberships-TOTAL_FORMS": 0, "memberships-INITIAL_FORMS": 0}
    data = {"name": "Vi", "time_zone": "UTC", "is_superuser": "on", **inline}
    answer = client_of(operator).post(f"/admin/teams/user/{viewer.pk}/change/", data)
    assert answer.status_code == 302, answer.content.decode()
    logged = AuditEntry.objects.get(team=team, action="account.changed_by_operator")
    assert (logged.actor, logged.target) == (operator.email, viewer.email)
    assert logged.data["is_active"] == {"from": True, "to": False}
    assert logged.data["is_superuser"] == {"from": False, "to": True}
    assert logged.data["name"] == {"from": "", "to": "Vi"}


def test_own_changes_are_logged_with_before_and_after(owner: User, team: Team, client_of: Any) -> None:
    browser: Client = client_of(owner)
    browser.post("/accounts/profile/", {"name": "Ona", "time_zone": "Europe/Berlin"})
    browser.post("/accounts/profile/", {"name": "Ona", "time_zone": "Europe/Berlin"})
    logged = AuditEntry.objects.get(team=team, action="account.profile_changed")
    assert logged.data == {"name": {"from": "", "to": "Ona"}, "time_zone": {"from": "UTC", "to": "Europe/Berlin"}}


def test_log_is_downloaded_as_json_lines(owner: User, viewer: User, stranger: User, team: Team, client_of: Any) -> None:
    for number in range(3):
        entry(team, number)
    answer = client_of(viewer).get("/admin/teams/auditentry/export/?what=key")
    lines = [json.loads(line) for line in b"".join(answer.streaming_content).decode().splitlines()]
    assert [line["data"]["n"] for line in lines] == [0, 1, 2]
    assert {line["team"]["name"] for line in lines} == {team.name}
    theirs = client_of(stranger).get("/admin/teams/auditentry/export/")
    assert team.name not in b"".join(theirs.streaming_content).decode()


@pytest.fixture
def received(settings: Any, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What a webhook got; it refuses the first request."""
    settings.AUDIT_STREAM_URL = URL
    lines: list[dict[str, Any]] = []
    refusals = [1]

    class Reply:
        status = 200

    def post(url: str, body: bytes, headers: Any, *, seconds: float) -> Any:
        assert (url, headers["Content-Type"]) == (URL, "application/x-ndjson")
        if refusals:
            refusals.pop()
            raise ChannelError("down")
        lines.extend(json.loads(line) for line in body.decode().splitlines())
        return Reply()

    monkeypatch.setattr(http, "post", post)
    return lines


def later() -> datetime:
    return timezone.now() + audit_stream.SETTLED_AFTER + timedelta(seconds=1)


def test_stream_loses_and_repeats_nothing(team: Team, received: list[dict[str, Any]]) -> None:
    before = AuditEntry.objects.count()
    for number in range(audit_stream.BATCH + 5):
        entry(team, number)
    assert audit_stream.send_new(timezone.now()) == 0
    assert audit_stream.send_new(later()) == 0  # refused
    sent = [audit_stream.send_new(later()) for _ in range(3)]
    assert sent == [audit_stream.BATCH, 5 + before, 0]
    numbers = [line["data"]["n"] for line in received if line["action"] == "key.created"]
    assert numbers == list(range(audit_stream.BATCH + 5))
    assert AuditPosition.objects.get().sent_up_to == AuditEntry.objects.order_by("-pk")[0].pk


def test_nothing_is_streamed_unasked(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_stream, "_sent", lambda entries: pytest.fail("sent"))
    entry(team, 1)
    stream_audit_log()
    assert not AuditPosition.objects.exists()


@pytest.fixture
def syslog() -> Iterator[tuple[int, threading.Thread, list[bytes]]]:
    """A syslog server for one connection: its port, its thread, and what arrived."""
    arrived: list[bytes] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            arrived.append(self.rfile.read())

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        worker = threading.Thread(target=server.handle_request)
        worker.start()
        yield server.server_address[1], worker, arrived
        worker.join(5)


def test_syslog_gets_framed_messages(
    team: Team, settings: Any, syslog: tuple[int, threading.Thread, list[bytes]]
) -> None:
    port, worker, arrived = syslog
    settings.AUDIT_STREAM_URL = f"syslog://127.0.0.1:{port}"
    entry(team, 7)
    sent = audit_stream.send_new(later())
    assert sent == AuditEntry.objects.count()
    worker.join(5)
    (stream,) = arrived
    assert stream.count(b"<110>1 ") == sent
    size, _, message = stream.partition(b" ")
    assert message[: int(size)].endswith(b"}")
    assert b"clevagent-watchdog - audit - {" in message


def test_triggers_exist() -> None:
    query = (
        "SELECT tgname FROM pg_trigger WHERE tgname = 'audit_log_is_append_only'"
        if connection.vendor == "postgresql"
        else "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name = 'audit_log_is_append_only'"
    )
    with connection.cursor() as cursor:
        cursor.execute(query)
        assert cursor.fetchall() == [("audit_log_is_append_only",)]
