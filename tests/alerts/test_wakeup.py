"""Waking workers is only a hint: it must never delay or break the caller."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import pytest
from celery import current_app

from alerts import wakeup
from alerts.wakeup import wake


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wakeup, "_backoff_until", 0.0)


@pytest.fixture
def broker_at() -> Iterator[Callable[[str], None]]:
    before = current_app.conf.broker_url, current_app.conf.broker_write_url
    yield lambda url: current_app.conf.update(broker_url=url, broker_write_url=url)
    current_app.conf.update(broker_url=before[0], broker_write_url=before[1])


def seconds(work: Callable[[], None]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


def test_dead_broker_is_logged_and_ignored(broker_at: Callable[[str], None], caplog: pytest.LogCaptureFixture) -> None:
    broker_at("redis://127.0.0.1:1/0")
    assert seconds(lambda: wake([1, 2, 3])) < 2
    assert len([record for record in caplog.records if record.name == "alerts.wakeup"]) == 1


def test_silent_broker_delays_at_most_two_seconds(broker_at: Callable[[str], None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        broker_at(f"redis://127.0.0.1:{mute.getsockname()[1]}/0")
        assert seconds(lambda: wake([1, 2, 3])) < 2


def test_first_failure_stops_further_attempts(
    broker_at: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[object] = []

    def refuse(*args: object, **kwargs: object) -> None:
        tries.append(args)
        raise OSError

    broker_at("memory://")
    monkeypatch.setattr(current_app, "send_task", refuse)
    wake([1, 2, 3])
    wake([4])
    assert len(tries) == 1


def test_broker_is_retried_after_the_backoff(broker_at: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    broker_at("memory://")
    monkeypatch.setattr(current_app, "send_task", lambda name, args, **options: sent.extend(args))
    monkeypatch.setattr(wakeup, "_backoff_until", time.monotonic() + 60)
    wake([1])
    assert sent == []
    monkeypatch.setattr(wakeup, "_backoff_until", time.monotonic() - 1)
    wake([2])
    assert sent == [2]
