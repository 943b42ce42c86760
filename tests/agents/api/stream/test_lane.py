"""Streams of the ASGI lane: what is new arrives, and each of them ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.utils import timezone

from agents.api import heartbeat_lane
from agents.api.stream import hub as hubs
from agents.api.stream import lane
from agents.models import Agent
from agents.storage import event_stream
from teams import auth, services
from teams.models import ApiKey, Project, User
from tests.agents.api import lane as heartbeats

pytestmark = pytest.mark.django_db
SECONDS = 60


@pytest.fixture(autouse=True)
def _in_this_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat_lane, "aside", heartbeats._here)
    monkeypatch.setattr(hubs, "INTERVAL", 0.01)
    monkeypatch.setattr(lane, "CHECK_EVERY", 0.05)


@pytest.fixture
def key(project: Project) -> str:
    return services.issue_key(project=project, name="read", scope="read", actor="test")[1]


class Listener:
    """A client of the lane. `reads` is cleared while it reads nothing."""

    def __init__(self, key: str, query: bytes = b"", last: str = "") -> None:
        pairs = [(b"x-api-key", key.encode()), (b"last-event-id", last.encode())]
        self.scope = {"type": "http", "method": "GET", "path": lane.PATH, "query_string": query, "headers": pairs}
        self.status, self.text, self.has_ended = 0, "", False
        self.gone, self.reads = asyncio.Event(), asyncio.Event()
        self.reads.set()
        answer = lane.event_lane(self._nobody, lambda peer, _: peer)
        self.task = asyncio.ensure_future(answer(self.scope, self.receive, self.send))

    async def _nobody(self, *_: Any) -> None:
        raise AssertionError("not for the lane")

    async def receive(self) -> Any:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        await self.reads.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.text += message["body"].decode()
            self.has_ended = not message.get("more_body")

    async def has(self, text: str) -> None:
        async with asyncio.timeout(SECONDS):
            while text not in self.text:
                await asyncio.sleep(0.005)

    async def ended(self) -> None:
        async with asyncio.timeout(SECONDS):
            await self.task


def tell(agent: Agent, **data: Any) -> None:
    event_stream.write([event_stream.event(agent, "agent.status", data, timezone.now())])


telling = sync_to_async(tell)


def run(story: Callable[[], Awaitable[None]]) -> None:
    async_to_sync(story)()


def test_new_events_arrive_once_at_every_listener(key: str, agent: Agent) -> None:
    async def story() -> None:
        listeners = [Listener(key), Listener(key, b"agent=research-agent"), Listener(key)]
        for listener in listeners:
            await listener.has("retry:")
        for step in range(20):
            await telling(agent, step=f"<{step}>")
            await asyncio.sleep(0)
        for listener in listeners:
            await listener.has("<19>")
            assert all(listener.text.count(f"<{step}>") == 1 for step in range(20))
            listener.gone.set()
            await listener.ended()
        assert not hubs.hub().streams

    run(story)


def test_backlog_and_news_have_no_gap(key: str, agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.api.stream.feed.PAGE", 3)
    tell(agent)
    event_stream.number()
    last = str(event_stream.newest())
    for step in range(10):
        tell(agent, step=f"<{step}>")

    async def story() -> None:
        listener = Listener(key, last=last)
        for step in range(10, 20):
            await telling(agent, step=f"<{step}>")
        await listener.has("<19>")
        steps = [listener.text.index(f"<{step}>") for step in range(20)]
        assert steps == sorted(steps)
        assert all(listener.text.count(f"<{step}>") == 1 for step in range(20))
        listener.gone.set()
        await listener.ended()

    run(story)


def test_slow_reader_is_cut_off_and_resumes(key: str, agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubs, "MAX_WAITING", 5)

    async def story() -> None:
        listener = Listener(key)
        await listener.has("retry:")
        listener.reads.clear()
        for step in range(30):
            await telling(agent, step=f"<{step}>")
            await asyncio.sleep(0.01)
        while hubs.hub().streams and not all(stream.has_ended for stream in hubs.hub().streams):
            await asyncio.sleep(0.01)
        listener.reads.set()
        await listener.ended()
        last = listener.text.rsplit("id: ", 1)[-1].splitlines()[0] if "id: " in listener.text else ""
        assert last
        again = Listener(key, last=last)
        await again.has("<29>")
        told = listener.text + again.text
        assert all(told.count(f"<{step}>") == 1 for step in range(30))
        again.gone.set()
        await again.ended()

    run(story)


def test_revoked_key_ends_the_stream(key: str, agent: Agent) -> None:
    async def story() -> None:
        listener = Listener(key)
        await listener.has("retry:")
        await sync_to_async(ApiKey.objects.filter(name="read").update)(revoked_at=timezone.now())
        auth._cache.clear()
        await listener.ended()
        assert listener.has_ended

    run(story)


def test_shutdown_ends_all_streams(key: str, agent: Agent) -> None:
    async def story() -> None:
        listeners = [Listener(key), Listener(key)]
        for listener in listeners:
            await listener.has("retry:")
        hubs.end_all()
        for listener in listeners:
            await listener.ended()
        late = Listener(key)
        await late.ended()
        assert late.status == 503

    run(story)


def test_streams_of_a_key_are_limited(key: str, full_key: str, agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubs, "MAX_PER_KEY", 2)

    async def story() -> None:
        listeners = [Listener(key), Listener(key)]
        for listener in listeners:
            await listener.has("retry:")
        third, other = Listener(key), Listener(full_key)
        await third.ended()
        assert (third.status, "too_many_streams" in third.text) == (429, True)
        await other.has("retry:")
        for listener in (*listeners, other):
            listener.gone.set()
            await listener.ended()

    run(story)


def test_streams_of_a_team_are_limited(
    project: Project, key: str, stranger: User, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many keys it makes, others find room."""
    monkeypatch.setattr(hubs, "MAX_PER_TEAM", 2)
    mine = [key] + [services.issue_key(project=project, name="k", scope="read", actor="x")[1] for _ in range(2)]
    theirs = services.issue_key(project=Project.objects.exclude(pk=project.pk).get(), name="k", scope="read", actor="x")

    async def story() -> None:
        listeners = [Listener(mine[0]), Listener(mine[1])]
        for listener in listeners:
            await listener.has("retry:")
        third, other = Listener(mine[2]), Listener(theirs[1])
        await third.ended()
        assert (third.status, "too_many_streams" in third.text) == (429, True)
        await other.has("retry:")
        for listener in (*listeners, other):
            listener.gone.set()
            await listener.ended()

    run(story)


def test_quiet_streams_get_comments(key: str, agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "COMMENT_EVERY", 0.05)

    async def story() -> None:
        listener = Listener(key)
        await listener.has("\n: still here\n")
        listener.gone.set()
        await listener.ended()

    run(story)


@pytest.mark.parametrize(
    ("scope", "query", "last", "status"),
    [
        ("agent", b"", "", 403),
        ("read", b"agent=nobody", "", 404),
        ("read", b"agent=%00", "", 422),
        ("read", b"", "x", 422),
    ],
)
def test_refusals(project: Project, agent: Agent, scope: str, query: bytes, last: str, status: int) -> None:
    raw = services.issue_key(project=project, name="k", scope=scope, actor="test")[1]

    async def story() -> None:
        listener = Listener(raw, query, last)
        await listener.ended()
        assert listener.status == status

    run(story)
