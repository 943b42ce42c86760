"""Waking workers is a hint: it must never hold up or break the one who knocks."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
from celery import current_app

from alerts import wakeup as door
from alerts.wakeup import knock


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "_silent_until", 0.0)


@pytest.fixture
def broker_at() -> Iterator[object]:
    before = current_app.conf.broker_url, current_app.conf.broker_write_url
    yield lambda url: current_app.conf.update(broker_url=url, broker_write_url=url)
    current_app.conf.update(broker_url=before[0], broker_write_url=before[1])


def seconds(work: object) -> float:
    started = time.monotonic()
    work()  # type: ignore[operator]
    return time.monotonic() - started


def test_a_dead_broker_is_noted_and_swallowed(broker_at: object, caplog: pytest.LogCaptureFixture) -> None:
    broker_at("redis://127.0.0.1:1/0")  # type: ignore[operator]
    assert seconds(lambda: knock([1, 2, 3])) < 2
    assert len([record for record in caplog.records if record.name == "alerts.wakeup"]) == 1


def test_a_broker_that_never_answers_holds_up_for_less_than_two_seconds(broker_at: object) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        broker_at(f"redis://127.0.0.1:{mute.getsockname()[1]}/0")  # type: ignore[operator]
        assert seconds(lambda: knock([1, 2, 3])) < 2


def test_after_one_failure_the_others_are_not_tried(broker_at: object, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[object] = []

    def refuse(*args: object, **kwargs: object) -> None:
        tries.append(args)
        raise OSError

    broker_at("memory://")  # type: ignore[operator]
    monkeypatch.setattr(current_app, "send_task", refuse)
    knock([1, 2, 3])
    knock([4])
    assert len(tries) == 1


def test_after_a_while_it_is_tried_again(broker_at: object, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    broker_at("memory://")  # type: ignore[operator]
    monkeypatch.setattr(current_app, "send_task", lambda name, args, **options: sent.extend(args))
    monkeypatch.setattr(door, "_silent_until", time.monotonic() + 60)
    knock([1])
    assert sent == []
    monkeypatch.setattr(door, "_silent_until", time.monotonic() - 1)
    knock([2])
    assert sent == [2]
