"""Overload: what is taken, by how long heartbeats wait, and what the others are answered."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from agents.ingest import committer, load, overload, write
from agents.ingest.committer import Committer, Job
from agents.ingest.load import Load
from agents.ingest.overload import OverloadError, Stage
from agents.models import Heartbeat
from tests.agents.conftest import World
from tests.agents.ingest.test_committer import received
from tests.flows.installation import wait_until

SHED_AFTER, REFUSE_AFTER = overload.SHED_AFTER, overload.REFUSE_AFTER


@pytest.fixture(autouse=True)
def _impatient_server(_patient_server: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overload, "SHED_AFTER", SHED_AFTER)
    monkeypatch.setattr(overload, "REFUSE_AFTER", REFUSE_AFTER)


@pytest.mark.parametrize(
    ("waited", "stage"),
    [(0, Stage.ALL), (0.6, Stage.ALL), (1, Stage.SUMS), (2.4, Stage.SUMS), (2.5, Stage.NOTHING), (60, Stage.NOTHING)],
)
def test_detail_goes_first(waited: float, stage: Stage) -> None:
    assert overload.stage(waited) is stage


def test_a_refusal_says_when_to_come_back() -> None:
    error = overload.refusal(0)
    assert (error.http_status, error.headers()["Retry-After"]) == (429, "5")
    assert error.body()["interval"] == 5
    assert error.body()["error"]["code"] == "overloaded"


def test_refused_clients_come_back_one_by_one() -> None:
    assert {overload.refusal(number).retry_after for number in range(60)} == {5, 6, 7, 8, 9, 10}


@pytest.fixture
def process(live_world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Process]:
    monkeypatch.setattr(load, "of_this_process", Load())
    live_world.beat(0)
    with Process(live_world, monkeypatch) as process:
        yield process


class Process:
    """A web process whose only lane waits, and whose clock goes on when it is told to."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world, self.committer = world, world.process()
        self.inside, self.go_on = threading.Event(), threading.Event()
        self.at, self.really = 0.0, write.commit
        self.jobs: list[Job] = []
        monkeypatch.setattr(committer, "_clock", lambda: self.at)
        monkeypatch.setattr(committer, "_lanes", lambda: 1)
        monkeypatch.setattr(committer, "commit", self.commit)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        self.committer.close()

    def commit(self, received: Any) -> Any:
        self.inside.set()
        assert self.go_on.wait(60)
        return self.really(received)

    def send(self, agent: str = "bot") -> Job:
        beats = received(self.world, agent, message="step", tokens_used=5)
        self.jobs.append(self.committer.start(beats, lambda job: None))
        return self.jobs[-1]

    def recover(self) -> None:
        self.go_on.set()
        taken = [job for job in self.jobs if not isinstance(job.outcomes[0], OverloadError)]
        wait_until(lambda: not any(job.missing for job in taken), "all that was taken is answered")


def test_sums_are_kept_before_anything_is_refused(process: Process) -> None:
    jobs = [process.send()]
    assert process.inside.wait(60)
    for at in (0.1, 1.2, 2.4):
        jobs.append(process.send())
        process.at = at
    refused = process.send()
    process.at = 2.7
    refused = process.send()
    process.recover()
    assert isinstance(refused.outcomes[0], OverloadError)
    assert not any(isinstance(outcome, Exception) for job in jobs for outcome in job.outcomes)
    kept = [beat.content is not None for beat in Heartbeat.objects.order_by("id")][1:]
    assert kept == [True, True, True, False, False]
    assert process.world.state().tokens_today == 25


def test_an_overload_ends_with_its_cause(process: Process) -> None:
    process.send()
    assert process.inside.wait(60)
    process.send()
    process.at = 3
    assert isinstance(process.send().outcomes[0], OverloadError)
    process.recover()
    last = process.send()
    process.recover()
    assert not isinstance(last.outcomes[0], Exception)
    assert Heartbeat.objects.latest("id").content == {"message": "step"}


def test_an_unseen_queue_counts_as_waiting(live_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop is behind: its requests have not reached the committer yet."""
    monkeypatch.setattr(load, "of_this_process", Load())
    process: Committer = live_world.process()
    assert process.require_room() is Stage.ALL
    load.of_this_process.behind = lambda: 3.0
    with pytest.raises(OverloadError):
        process.require_room()
