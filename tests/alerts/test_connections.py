"""Idle connections: few, fresh, and only for their receiver."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from alerts import connections
from alerts.connections import Connection, Pool

HERE, THERE = ("http", "a.example.com", 80), ("http", "b.example.com", 80)


@pytest.fixture
def pool() -> Iterator[Pool]:
    pool = Pool()
    yield pool
    pool.clear()


def connected(receiver: tuple[str, str, int] = HERE) -> tuple[Connection, socket.socket]:
    ours, theirs = socket.socketpair()
    return Connection(receiver, ours, "192.0.2.1"), theirs


def test_connection_is_taken_once(pool: Pool) -> None:
    connection, peer = connected()
    with peer:
        pool.give(connection)
        assert pool.take(THERE) is None
        assert pool.take(HERE) is connection
        assert pool.take(HERE) is None
        connection.close()


def test_connection_with_unread_bytes_is_closed(pool: Pool) -> None:
    connection, peer = connected()
    with peer:
        pool.give(connection)
        peer.send(b"HTTP/1.1 200 OK")
        assert pool.take(HERE) is None
    assert connection.raw.fileno() == -1


def test_connection_closed_by_the_receiver_is_closed(pool: Pool) -> None:
    connection, peer = connected()
    pool.give(connection)
    peer.close()
    assert pool.take(HERE) is None
    assert connection.raw.fileno() == -1


@pytest.mark.parametrize("limit", ["MAX_AGE_SECONDS", "MAX_IDLE_SECONDS"])
def test_old_connection_is_closed(pool: Pool, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    connection, peer = connected()
    with peer:
        pool.give(connection)
        monkeypatch.setattr(connections, limit, 0.0)
        assert pool.take(HERE) is None
    assert connection.raw.fileno() == -1


def test_number_of_idle_connections_is_limited(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_IDLE", 2)
    pairs = [connected() for _ in range(3)]
    for connection, _ in pairs:
        pool.give(connection)
    assert [connection.raw.fileno() == -1 for connection, _ in pairs] == [True, False, False]
    for _, peer in pairs:
        peer.close()
