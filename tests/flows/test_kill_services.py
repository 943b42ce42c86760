"""`kill -9` of every process, and of PostgreSQL and Redis, at random under load, each restarted as a supervisor would.

No acknowledged heartbeat is lost, nobody is blamed, and every incident is notified. KILLS=200 is the long form.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest

from bench.fleet_parts import ALL_PARTS, ROOT, Parts, Services, create_projects, load_script
from tests.alerts.receiver import Receiver
from tests.flows.installation import PATIENCE, Installation, children_of, free_port, wait_until
from tests.flows.test_kill import FALLING, Crowd

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.postgres, pytest.mark.xdist_group("kill-services")]
KILLS: Final = int(os.environ.get("KILLS", "20"))
PAUSE: Final = (1.0, 5.0)  # seconds between two kills, short enough to hit parts that are starting
INTERVAL: Final = 10  # seconds: what the steady agents declare, who report every half second
SERVERS: Final = ("postgres", "redis")
EVERYTHING: Final = (*ALL_PARTS, *SERVERS)
MISSED: Final = """
SELECT DISTINCT a.name FROM agents_signal s JOIN agents_agent a ON a.id = s.agent_id WHERE s.kind = 'missed_heartbeat'
"""
WAITING: Final = "SELECT id FROM alerts_delivery WHERE state = 'pending' AND next_try_at < now() + interval '2 s'"


@dataclass
class Server:
    """A database server of the test's own, which may be killed and started again with the same data."""

    argv: list[str]
    user: str | None
    log: Path
    how: signal.Signals
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.argv, user=self.user, stdout=log, stderr=log, cwd="/", start_new_session=True
            )

    def kill(self) -> None:
        assert self.process
        self.process.send_signal(self.how)
        self.process.wait(PATIENCE)


@dataclass
class World:
    """Everything that can be killed."""

    servers: dict[str, Server]
    parts: Parts
    env: dict[str, str]
    chance: random.Random
    killed: Counter[str] = field(default_factory=Counter)
    next: list[str] = field(default_factory=list)

    def kill_one(self) -> None:
        # In random order, but none much more often than the others.
        if not self.next:
            self.next = self.chance.sample(EVERYTHING, len(EVERYTHING))
        name = self.next.pop()
        if name in SERVERS:
            self.servers[name].kill()
            time.sleep(self.chance.uniform(0, 2))
            self.servers[name].start()
        else:
            self._kill_part(name)
        self.killed[name] += 1

    def _kill_part(self, name: str) -> None:
        """All of it, or of the web only the process that serves."""
        (process,) = self.parts.processes[name]
        below = children_of(process.pid) if name == "web" else []
        with contextlib.suppress(ProcessLookupError):
            if below and self.chance.random() < 0.5:
                os.kill(self.chance.choice(below), signal.SIGKILL)
            else:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(PATIENCE)

    def restart_ended(self) -> None:
        """As systemd does."""
        for name, (process,) in list(self.parts.processes.items()):
            if process.poll() is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                self.parts.start(self.env, [name])

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.parts.services.database) as connection:
            return connection.execute(sql.encode()).fetchall()


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[tuple[dict[str, Server], Services]]:
    programs = load_script(ROOT / "bin/services")
    postgres, redis = programs.find_postgres(), programs.find_redis()
    if postgres is None or redis is None:
        pytest.skip("PostgreSQL or Redis is not installed.")
    user = "postgres" if os.geteuid() == 0 else None
    folder.chmod(0o755)
    programs.create_cluster(postgres, folder / "data", user)
    ports = {name: free_port() for name in SERVERS}
    options = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200"]
    serve = [str(postgres / "postgres"), "-D", str(folder / "data"), "-p", str(ports["postgres"])]
    serve += [word for option in options for word in ("-c", option)]
    keep = [redis, "--port", str(ports["redis"]), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    made = {
        # Its immediate stop: as a kill -9, but without processes that are left over.
        "postgres": Server(serve, user, folder / "postgres.log", signal.SIGQUIT),
        "redis": Server(keep, None, folder / "redis.log", signal.SIGKILL),
    }
    url = f"postgres://postgres@127.0.0.1:{ports['postgres']}/postgres"
    try:
        for server in made.values():
            server.start()
        wait_until(lambda: is_up(url), "PostgreSQL is up")
        yield made, Services(url, url, f"redis://127.0.0.1:{ports['redis']}/0")
    finally:
        for server in made.values():
            server.kill()


def is_up(url: str) -> bool:
    with contextlib.suppress(psycopg.OperationalError), psycopg.connect(url):
        return True
    return False


@contextlib.contextmanager
def supervised(world: World) -> Iterator[None]:
    over = threading.Event()

    def supervise() -> None:
        while not over.wait(0.2):
            world.restart_ended()

    thread = threading.Thread(target=supervise)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(PATIENCE)


@dataclass
class Aftermath:
    """What the run left behind. `told` are webhook-id, type and incident of every message."""

    killed: Counter[str]
    acknowledged: set[str]
    fallen: set[str]
    missed: set[str]
    stored: Counter[str]
    incidents: set[int]
    told: list[tuple[str, str, int]]


@pytest.fixture(scope="module")
def aftermath(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aftermath]:
    folder = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else tmp_path_factory.mktemp("kill")
    folder = folder / f"watchdog-kill-{os.getpid()}"
    folder.mkdir()
    try:
        with servers(folder) as (made, services), Receiver() as receiver:
            parts = Parts(services, folder, {"web": 2, "worker": 1, "sender": 1}, free_port())
            yield run(World(made, parts, parts.env(str(folder)), random.Random(20261130)), receiver)
    finally:
        subprocess.run(["rm", "-rf", str(folder)], check=True)


def run(world: World, receiver: Receiver) -> Aftermath:
    parts = world.parts
    parts.prepare(world.env)
    ((key,),) = create_projects(world.env, 1, 1, receiver.url("/hook"))
    try:
        parts.start(world.env)
        parts.wait_until_ready()
        site = Installation(parts.logs, port=parts.port)
        with Crowd(site, key, interval=INTERVAL) as crowd, supervised(world):
            while world.killed.total() < KILLS:
                time.sleep(world.chance.uniform(*PAUSE))
                world.kill_one()
            settle(world, crowd, site.is_ready)
            missed = names(world)
        told = [told_of(request.headers, request.body) for request in receiver.requests]
        stored = Counter(beat_id for (beat_id,) in world.query("SELECT beat_id FROM agents_heartbeat"))
        incidents = {number for (number,) in world.query("SELECT id FROM agents_incident")}
        return Aftermath(world.killed, crowd.acknowledged, crowd.fallen, missed, stored, incidents, told)
    finally:
        parts.stop()


def settle(world: World, crowd: Crowd, is_ready: Callable[[], bool]) -> None:
    """Until everything runs again, every silence was noticed, and all messages have been sent."""
    wait_until(is_ready, "ready again")
    wait_until(lambda: len(crowd.fallen) == FALLING, "all have fallen silent")
    wait_until(lambda: names(world) >= crowd.fallen, "all silences were noticed")
    wait_until(lambda: not world.query(WAITING), "all deliveries were made")


def names(world: World) -> set[str]:
    return {name for (name,) in world.query(MISSED)}


def told_of(headers: dict[str, str], body: bytes) -> tuple[str, str, int]:
    content = json.loads(body)
    return headers["webhook-id"], content["type"], content["data"]["incident"]["id"]


def test_everything_was_killed_under_load(aftermath: Aftermath) -> None:
    assert aftermath.killed.total() == KILLS
    assert aftermath.killed.keys() == set(EVERYTHING)
    assert len(aftermath.acknowledged) > KILLS


def test_acknowledged_heartbeats_are_stored_once(aftermath: Aftermath) -> None:
    assert aftermath.acknowledged - set(aftermath.stored) == set()
    assert {beat_id for beat_id, times in aftermath.stored.items() if times > 1} == set()


def test_only_silent_agents_have_incidents(aftermath: Aftermath) -> None:
    assert aftermath.missed == aftermath.fallen


def test_every_incident_is_notified(aftermath: Aftermath) -> None:
    opened = {incident for _, kind, incident in aftermath.told if kind == "incident.opened"}
    assert opened == aftermath.incidents


def test_no_event_is_repeated_more_than_once(aftermath: Aftermath) -> None:
    """A sender that is killed after sending cannot know that it has."""
    assert max(Counter(message for message, _, _ in aftermath.told).values()) <= 2
