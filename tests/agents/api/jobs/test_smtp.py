"""The SMTP listener, over a socket: what it takes, what it refuses, and that nothing crashes it."""

from __future__ import annotations

import asyncio
import smtplib
import socket
import threading
from collections.abc import Iterator
from email.message import EmailMessage
from typing import Any

import pytest
from django.utils import timezone

from agents.api.jobs import mail, pings, smtp
from agents.fleet import services
from agents.ingest import committer
from agents.models import Heartbeat, Job
from teams.errors import ApiError
from teams.models import Project
from tests.flows.installation import wait_until


@pytest.fixture
def job(transactional_db: None, project: Project) -> Iterator[Job]:
    agent = services.add_agent(project=project, name="backup", kind="job", actor="x", now=timezone.now())
    yield agent.job
    committer.close()


@pytest.fixture
def port() -> Iterator[int]:
    loop, ready = asyncio.new_event_loop(), threading.Event()
    handler, found = smtp.Handler(), []

    def run() -> None:
        server = loop.run_until_complete(loop.create_server(lambda: smtp.connection_for(handler), "127.0.0.1", 0))
        found.append((server, server.sockets[0].getsockname()[1]))
        ready.set()
        loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0.05))
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait(60)
    yield found[0][1]
    handler.close()
    loop.call_soon_threadsafe(loop.stop)
    thread.join(60)


def send(port: int, *recipients: str, subject: str = "done", text: str = "rows=7", **headers: str) -> Any:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = subject, "cron@db1", ", ".join(recipients)
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    message.set_content(text)
    with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
        return client.send_message(message, to_addrs=recipients)


def events(job: Job) -> list[tuple[str, str]]:
    rows = Heartbeat.objects.filter(agent=job.agent).order_by("id").values_list("content", flat=True)
    return [(content["job"]["event"], content.get("custom") or "") for content in rows if content]


def test_mail_is_a_ping(job: Job, port: int) -> None:
    send(port, f"{job.ping_id}@pings.example.com", subject="backup started")
    send(port, f"{job.agent.project.ping_key}-backup@pings.example.com", text="42 tables")
    send(port, f"{job.ping_id}+fail@pings.example.com")
    assert [event for event, _ in events(job)] == ["start", "success", "fail"]
    assert "42 tables" in events(job)[1][1]


def test_addresses_are_not_logged(job: Job, port: int, caplog: pytest.LogCaptureFixture) -> None:
    send(port, f"{job.ping_id}@x")
    assert str(job.ping_id) not in caplog.text
    with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
        client.ehlo()
        assert not client.has_extn("auth")


def test_copies_are_stored_once(job: Job, port: int) -> None:
    for _ in range(3):
        send(port, f"{job.ping_id}@x", Message_ID="<7@db1>")
    assert len(events(job)) == 1
    send(port, f"{job.ping_id}@x", Message_ID="<8@db1>")
    assert len(events(job)) == 2


def test_no_other_address_takes_mail(job: Job, port: int) -> None:
    for address in ("root@localhost", "someone@example.com", "00000000-0000-0000-0000-000000000000@x"):
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            send(port, address)
        assert refused.value.recipients[address][0] == 550
    refusals = send(port, f"{job.ping_id}@x", "someone@example.com")
    assert list(refusals) == ["someone@example.com"]
    assert len(events(job)) == 1


def test_refused_pings_are_sent_again(job: Job, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    refusals: list[Exception] = []

    def full(*args: Any, **kwargs: Any) -> None:
        raise refusals[-1]

    monkeypatch.setattr(pings, "store", full)
    for error, code in (
        (ApiError(503, "overloaded", "later"), 451),
        (ApiError(429, "rate_limited", "later"), 451),
        (ApiError(403, "agent_limit_reached", "no"), 550),
        (RuntimeError("a bug"), 451),
    ):
        refusals.append(error)
        with pytest.raises(smtplib.SMTPDataError) as refused:
            send(port, f"{job.ping_id}@x")
        assert refused.value.smtp_code == code


def test_large_mails_are_refused(job: Job, port: int) -> None:
    with pytest.raises((smtplib.SMTPSenderRefused, smtplib.SMTPDataError)) as refused:
        send(port, f"{job.ping_id}@x", text="x" * 70 + "\n" + ("y" * 70 + "\n") * 20_000)
    assert refused.value.smtp_code == 552
    assert events(job) == []


def test_nothing_crashes_it(job: Job, port: int) -> None:
    start = b"HELO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<%s@x>\r\nDATA\r\n" % str(job.ping_id).encode()
    for raw in (b"\0\xff\r\n" * 50, b"HELO\r\nRCPT TO:<\xff\xfe>\r\n", b"A" * 100_000, start + b"\0\xff", b"QUIT\r\n"):
        with socket.create_connection(("127.0.0.1", port), 60) as client:
            client.sendall(raw)
    with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
        client.sendmail("", [f"{job.ping_id}@x"], b"\xff\0no header\r\n\r\n\xfe")
    send(port, f"{job.ping_id}@x")
    assert len(events(job)) == 2


def test_connections_are_limited(job: Job, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp, "MAX_CONNECTIONS", smtp.Listener.open_now.total())
    with socket.create_connection(("127.0.0.1", port), 60) as client:
        assert client.recv(100).startswith(b"421")


def test_nobody_takes_all_connections(job: Job, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp, "MAX_PER_ADDRESS", smtp.Listener.open_now["127.0.0.1"] + 1)
    with socket.create_connection(("127.0.0.1", port), 60) as first:
        assert first.recv(100).startswith(b"220")
        with socket.create_connection(("127.0.0.1", port), 60) as second:
            assert second.recv(100).startswith(b"421")
    wait_until(lambda: not smtp.Listener.open_now["127.0.0.1"], "the connections are forgotten")
    send(port, f"{job.ping_id}@x")


def test_slow_mail_holds_up_no_other(job: Job, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever knows one address could else keep everybody's pings waiting."""
    reading, go_on = threading.Event(), threading.Event()
    plain = mail.read

    def read(raw: bytes) -> mail.Mail:
        if b"slow" in raw:
            reading.set()
            go_on.wait(60)
        return plain(raw)

    monkeypatch.setattr(mail, "read", read)
    slow = threading.Thread(target=send, args=(port, f"{job.ping_id}@x"), kwargs={"subject": "slow"})
    slow.start()
    assert reading.wait(60)
    send(port, f"{job.ping_id}@x", subject="quick")
    assert len(events(job)) == 1
    go_on.set()
    slow.join(60)
    assert len(events(job)) == 2
