"""Probes: /healthz is cheap and always answers; /readyz says what is wrong, without secrets."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from agents.models import Outage, Pulse
from agents.storage import outage_log
from watchdog_project import health
from watchdog_project.celery import app as celery_app


def detector_ran(seconds_ago: float) -> None:
    at = timezone.now() - timedelta(seconds=seconds_ago)
    Pulse.objects.update_or_create(name=outage_log.DETECTOR, defaults={"at": at})


def ready(client: Client) -> tuple[int, dict[str, str]]:
    answer = client.get("/readyz")
    return answer.status_code, answer.json()


@pytest.mark.parametrize("host", ["10.0.0.7:8000", "anything.example", "localhost"])
def test_healthz_ignores_host_and_database(client: Client, host: str) -> None:
    answer = client.get("/healthz", headers={"host": host})
    assert (answer.status_code, answer.content) == (200, b"ok\n")


def test_ready(db: None, broker: str, client: Client) -> None:
    detector_ran(3)
    assert ready(client) == (200, {"database": "ok", "broker": "ok", "detector": "ok"})


def test_queued_tasks_are_counted(broker: str) -> None:
    with celery_app.connection_for_write() as line, line.SimpleQueue("counted") as queue:
        for _ in range(3):
            queue.put("a task")
        assert health.queued(["counted", "nothing-waits-here"]) == {"counted": 3, "nothing-waits-here": 0}
        queue.clear()


def test_queue_length_unknown_without_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = celery_app.connection_for_write("redis://127.0.0.1:1/0")
    monkeypatch.setattr(celery_app, "connection_for_write", lambda: lost)
    assert health.queued(["celery"]) is None


def test_readiness_probe_is_cheap(
    db: None, broker: str, client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    detector_ran(0)
    with django_assert_max_num_queries(2):
        client.get("/readyz")


def test_not_ready_before_first_detector_run(db: None, broker: str, client: Client) -> None:
    assert ready(client) == (503, {"database": "ok", "broker": "ok", "detector": "has not run yet"})


def test_not_ready_when_detector_stalls(db: None, broker: str, client: Client) -> None:
    with time_machine.travel(timezone.now(), tick=False):
        detector_ran(34)
        status, parts = ready(client)
    assert (status, parts["detector"]) == (503, "last ran 34 s ago")


def test_not_ready_without_a_broker(db: None, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    detector_ran(0)
    lost = celery_app.connection_for_write("redis://user:secret@127.0.0.1:1/0")
    monkeypatch.setattr(celery_app, "connection_for_write", lambda: lost)
    status, parts = ready(client)
    assert status == 503
    assert parts["broker"].startswith("not responding")
    assert "secret" not in str(parts)


def test_not_ready_without_a_database(db: None, broker: str, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise OperationalError("password of watchdog@db is secret")

    with monkeypatch.context() as broken:
        broken.setattr(connection, "cursor", refuse)
        status, parts = ready(client)
    assert status == 503
    assert parts["database"] == parts["detector"] == "not responding (OperationalError)"


def test_edge_pulse_and_its_gaps_are_recorded(db: None) -> None:
    health.record_edge_pulse()
    assert Outage.objects.count() == 0
    Pulse.objects.filter(name=outage_log.EDGE).update(at=timezone.now() - timedelta(seconds=60))
    before = timezone.now()
    health.record_edge_pulse()
    assert before <= Pulse.objects.get(name=outage_log.EDGE).at <= timezone.now()
    assert Outage.objects.get().part == outage_log.EDGE


def test_edge_pulse_survives_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []

    def fail() -> None:
        tries.append(1)
        raise OperationalError("the database is gone")

    def sleep(_: float) -> None:
        if len(tries) == 3:
            raise SystemExit

    monkeypatch.setattr(health, "record_edge_pulse", fail)
    monkeypatch.setattr("watchdog_project.health.time.sleep", sleep)
    monkeypatch.setattr(connection, "close", lambda: None)
    with pytest.raises(SystemExit):
        health._record_pulse_forever()
    assert len(tries) == 3
