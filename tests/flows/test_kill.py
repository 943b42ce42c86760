"""50 times `kill -9` under load, at random: no acknowledged heartbeat is lost, every incident is notified once."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.alerts.receiver import Receiver
from tests.flows.installation import PARTS, PATIENCE, ROOT, Installation, children_of, environment, wait_until

# One installation in one worker: several at the same time would starve each other.
pytestmark = [pytest.mark.live, pytest.mark.sqlite, pytest.mark.xdist_group("kill")]
KILLS = 50
PAUSE = (0.8, 2.4)  # seconds between two kills, short enough to hit parts that are starting
STEADY = 8  # agents with 2.5 heartbeats per second each
FALLING = 20  # agents that fall silent one after the other


@dataclass
class Crowd:
    """Agents that keep working and agents that fall silent. Beats answered with 200 are `acknowledged`."""

    installation: Installation
    key: str
    acknowledged: set[str] = field(default_factory=set)
    fallen: set[str] = field(default_factory=set)
    over: threading.Event = field(default_factory=threading.Event)
    # Of the steady agents, in seconds. Long enough not to be missed after the crowd has stopped, while the last
    # deliveries are made.
    interval: int = 300

    def __enter__(self) -> Crowd:
        self.threads = [threading.Thread(target=self.go_on, args=(f"steady-{n}",)) for n in range(STEADY)]
        self.threads.append(threading.Thread(target=self.fall_one_by_one))
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()

    def beat(self, agent: str, number: int, **more: Any) -> None:
        """Like a client, repeat the same beat until it is acknowledged."""
        beat_id = f"{agent}-{number}"
        while not self.over.is_set():
            status, answer = self.installation.beat(self.key, agent=agent, beat_id=beat_id, **more)
            if status == 200:
                self.acknowledged.add(beat_id)
                return
            assert status in (0, 429, 503), answer
            time.sleep(0.2)

    def go_on(self, agent: str) -> None:
        number = 0
        while not self.over.wait(0.4):
            self.beat(agent, number := number + 1, interval=self.interval, message=f"step {number}")

    def fall_one_by_one(self) -> None:
        for agent in (f"falls-{n}" for n in range(FALLING)):
            for number in range(3):
                self.beat(agent, number, interval=1)
                if self.over.wait(0.7):
                    return
            self.fallen.add(agent)


def create(installation: Installation, scope: str) -> str:
    """Create a key with that scope on the command line while the installation runs."""
    argv = [sys.executable, "manage.py", "create_project", "--team", "My team", "--project", "Production"]
    argv += ["--owner", "owner@localhost", "--plan", "enterprise", "--scope", scope, "--json"]
    env = environment(DATA_DIR=str(installation.folder), DJANGO_SETTINGS_MODULE="watchdog_project.settings")
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=PATIENCE, check=True)
    key: str = json.loads(done.stdout)["api_key"]
    return key


def add_webhook(installation: Installation, receiver: Receiver) -> None:
    body = {"kind": "webhook", "name": "kill", "config": {"url": receiver.url("/hook")}}
    headers = {"X-API-Key": create(installation, "full"), "Content-Type": "application/json"}
    url = f"{installation.url}/api/v1/channels"
    status, answer = installation.request(urllib.request.Request(url, json.dumps(body).encode(), headers))
    assert status == 201, answer


def kill_one(installation: Installation, chance: random.Random) -> str:
    """Kill a running part; of the web either a serving process or its parent."""
    part = chance.choice(PARTS)
    pid = wait_until(lambda: installation.pid(part), f"there is a {part} to kill")
    below = children_of(pid) if part == "web" else []
    try:
        os.kill(chance.choice([pid, *below]), signal.SIGKILL)
    except ProcessLookupError:
        return kill_one(installation, chance)
    return part


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    database = sqlite3.connect(f"file:{folder / 'watchdog.sqlite3'}?mode=ro", uri=True, timeout=20)
    try:
        return database.execute(query).fetchall()
    finally:
        database.close()


@dataclass
class Aftermath:
    """What the run left behind: data, acknowledged beats, notifications, silent agents."""

    folder: Path
    acknowledged: set[str]
    fallen: set[str]
    told: list[tuple[str, str, int]]  # webhook-id, type, incident
    killed: Counter[str]


@pytest.fixture(scope="module")
def aftermath(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aftermath]:
    folder, killed, chance = tmp_path_factory.mktemp("kill") / "data", Counter[str](), random.Random(20261123)
    installation = Installation(folder, "--quiet", ALLOW_PRIVATE_TARGETS="true").start()
    try:
        with Receiver() as receiver:
            add_webhook(installation, receiver)
            with Crowd(installation, create(installation, "agent")) as crowd:
                while killed.total() < KILLS:
                    time.sleep(chance.uniform(*PAUSE))
                    killed[kill_one(installation, chance)] += 1
                wait_until(installation.is_ready, "ready again")
                wait_until(lambda: len(crowd.fallen) == FALLING, "all have fallen silent")
                wait_until(lambda: silent(folder) >= crowd.fallen, "all silences were noticed")
            wait_until(lambda: not due(folder), "all deliveries were made")
            told = [
                (
                    request.headers["webhook-id"],
                    (body := json.loads(request.body))["type"],
                    body["data"]["incident"]["id"],
                )
                for request in receiver.requests
            ]
        installation.stop()
        yield Aftermath(folder, crowd.acknowledged, crowd.fallen, told, killed)
    finally:
        installation.stop(signal.SIGKILL)


def silent(folder: Path) -> set[str]:
    query = (
        "SELECT a.name FROM agents_signal s JOIN agents_agent a ON a.id = s.agent_id WHERE s.kind = 'missed_heartbeat'"
    )
    return {name for (name,) in rows(folder, query)}


def due(folder: Path) -> list[tuple[Any, ...]]:
    soon = "strftime('%Y-%m-%d %H:%M:%f', 'now', '+2 seconds')"
    return rows(folder, f"SELECT id FROM alerts_delivery WHERE state = 'pending' AND next_try_at < {soon}")


def test_every_part_was_killed_under_load(aftermath: Aftermath) -> None:
    assert aftermath.killed.total() == KILLS
    assert min(aftermath.killed[part] for part in PARTS) >= 5
    assert len(aftermath.acknowledged) > 500


def test_acknowledged_heartbeats_are_stored_once(aftermath: Aftermath) -> None:
    stored = Counter(beat_id for (beat_id,) in rows(aftermath.folder, "SELECT beat_id FROM agents_heartbeat"))
    assert aftermath.acknowledged - set(stored) == set()
    assert {beat_id for beat_id, times in stored.items() if times > 1} == set()


def test_only_silent_agents_have_incidents(aftermath: Aftermath) -> None:
    assert silent(aftermath.folder) == aftermath.fallen
    kinds = rows(aftermath.folder, "SELECT DISTINCT kind FROM agents_signal")
    assert kinds == [("missed_heartbeat",)]


def test_incidents_are_notified_exactly_once(aftermath: Aftermath) -> None:
    incidents = {number for (number,) in rows(aftermath.folder, "SELECT id FROM agents_incident")}
    opened = {(message, incident) for message, kind, incident in aftermath.told if kind == "incident.opened"}
    assert len(incidents) >= FALLING / 2
    assert Counter(incident for _, incident in opened) == Counter(incidents)


def test_each_message_is_one_delivery(aftermath: Aftermath) -> None:
    query = "SELECT message_id, state FROM alerts_delivery"
    deliveries = dict(rows(aftermath.folder, query))
    told = {message for message, _, _ in aftermath.told}
    assert told <= set(deliveries)
    assert {message for message, state in deliveries.items() if state == "sent"} <= told
    assert set(deliveries.values()) <= {"sent", "skipped", "pending"}
