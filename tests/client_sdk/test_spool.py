"""What could not be sent is stored privately, and delivered by another process of the same user and key."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from clevagent.client import Client
from clevagent.outbox import Heartbeat
from clevagent.recorder import Recorder
from clevagent.reporter import ADOPT_EVERY, MAX_AGE, Reporter
from clevagent.runner import unsent
from clevagent.spool import MAX_BYTES, MAX_DETAILED_BYTES, Place, Spool, place_of
from clevagent.testing import FakeServer

from tests.client_sdk.conftest import Program
from tests.client_sdk.wire import EPOCH, Agent, Server

KEY = "cv_test"


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def place() -> Place:
    found = place_of(None, KEY)
    assert found
    return found


def files(place: Place) -> list[Path]:
    return sorted(place.path.parent.glob(f"{place.path.name}.*"))


def end(agent: Agent) -> None:
    """As at the end of a process."""
    agent.client.recorder.report("shutdown", is_final=True)
    agent.reporter.finish(agent.now, EPOCH + agent.now, is_last=True)
    agent.reporter.close()


def test_nothing_is_stored_while_all_is_well(server: Server, place: Place) -> None:
    agent = Agent(server, spool=place)
    agent.client.log_cost(1, 0.5)
    agent.let_pass(100)
    assert files(place) == []
    end(agent)
    assert files(place) == []


def test_goodbye_in_an_outage_is_delivered(server: Server, place: Place) -> None:
    agent = Agent(server, spool=place)
    agent.let_pass(1)
    server.away = True
    agent.client.log_cost(1, 0.5)
    end(agent)
    (file,) = files(place)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    server.away = False
    other = Agent(server, agent="other", spool=place)
    other.now += 300
    other.let_pass(1)
    assert [(beat["agent"], beat["status"]) for beat in server.order] == [
        ("bot", "ok"),
        ("bot", "shutdown"),
        ("other", "ok"),
    ]
    assert (server.order[1]["cost_usd"], server.order[1]["progress"]) == (0.5, False)
    assert server.order[1]["age"] == pytest.approx(300, abs=2)
    assert files(place) == []


def test_goodbye_is_stored_once(server: Server, place: Place) -> None:
    agent = Agent(server, spool=place)
    agent.let_pass(1)
    server.away = True
    end(agent)
    agent.reporter.store_rest(agent.now, EPOCH + agent.now)
    assert len(files(place)) == 1


def test_running_process_delivers_for_others(server: Server, place: Place) -> None:
    living, ended = Agent(server, agent="living", spool=place), Agent(server, spool=place)
    living.let_pass(1)
    server.away = True
    end(ended)
    server.away = False
    living.let_pass(ADOPT_EVERY + 31)
    assert ("bot", "shutdown") in [(beat["agent"], beat["status"]) for beat in server.order]
    assert files(place) == []


def test_runner_delivers(server: Server, place: Place) -> None:
    agent = Agent(server, spool=place)
    server.away = True
    end(agent)
    server.away = False
    courier = unsent.courier(place, "http://127.0.0.1:8000", KEY)
    courier._transport = server
    look_at = courier.step(10.0, EPOCH + 1000)
    assert [beat["status"] for beat in server.order] == ["shutdown"]
    assert files(place) == []
    assert courier.step(look_at, EPOCH + 1060) > look_at
    assert len(server.order) == 1


def test_outage_is_stored_as_it_goes(server: Server, place: Place) -> None:
    """A process that is killed during an outage leaves everything up to then."""
    agent = Agent(server, spool=place)
    agent.let_pass(1)
    server.away = True
    for _ in range(5):
        agent.client.log_cost(1, 0.5)
        agent.let_pass(60)
    agent.reporter.spool.leave()  # type: ignore[union-attr]
    server.away = False
    Agent(server, agent="other", spool=place).let_pass(1)
    assert float(server.cost()) == 2.5
    assert files(place) == []


def test_stuck_request_loses_no_goodbye(place: Place) -> None:
    """The sending thread waits for an answer while the program ends."""
    hangs, begun = threading.Event(), threading.Event()

    class Stuck(Server):
        def request(self, method: str, path: str, body: Any = None) -> Any:
            begun.set()
            hangs.wait(30)
            return super().request(method, path, body)

    agent = Agent(Stuck(), spool=place)
    client: Client = agent.client
    client._worker.end = lambda seconds: False  # type: ignore[method-assign]
    sending = threading.Thread(target=agent.step, daemon=True)
    sending.start()
    assert begun.wait(30)
    client.close()
    stored = [json.loads(line) for file in files(place) for line in file.read_bytes().splitlines()]
    assert [beat["status"] for beat in stored][-1] == "shutdown"
    hangs.set()
    sending.join()


def test_too_old_heartbeats_are_dropped(server: Server, place: Place) -> None:
    spool = Spool(place, "old")
    old, young = ("1970-01-02T00:00:00+00:00", "2025-06-15T00:00:00+00:00")
    for beat_id, sent_at in (("1", old), ("2", young)):
        spool.keep({"agent": "bot", "beat_id": beat_id, "sent_at": sent_at})
    spool.leave()
    assert EPOCH + 1000 - MAX_AGE < 1_749_945_600
    Agent(server, spool=place).let_pass(1)
    assert [beat["beat_id"] for beat in server.order[:-1]] == ["2"]
    assert files(place) == []


def test_size_is_bounded(place: Place) -> None:
    spool = Spool(place, "x")
    beat = {"agent": "bot", "status": "ok", "beat_id": "1", "tokens_used": 1, "message": "m" * 100_000}
    for _ in range(MAX_DETAILED_BYTES // 100_000 + 5):
        spool.keep(beat)
    last = json.loads(spool.path.read_bytes().splitlines()[-1])
    assert last == {"agent": "bot", "status": "ok", "beat_id": "1", "tokens_used": 1}
    spool._size = MAX_BYTES
    spool.keep(beat)
    assert spool.path.stat().st_size < MAX_DETAILED_BYTES + 200_000


def test_other_users_files_are_left_alone(place: Place, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_text('{"agent": "bot", "beat_id": "1"}\n')
    link = place.path.with_name(place.path.name + ".link")
    link.symlink_to(target)
    assert Spool(place, "x").adopt() == []
    assert link.is_symlink()


def test_replaced_file_is_not_taken(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner rewrites it between our look and our lock."""
    owner = Spool(place, "owner")
    owner.keep({"agent": "bot", "beat_id": "1"})
    beat = Heartbeat({"agent": "bot", "beat_id": "2"}, 0, 0)
    real = os.open

    def opened(path: Any, flags: int, mode: int = 0o777) -> int:
        found = real(path, flags, mode)
        if Path(path) == owner.path:
            monkeypatch.setattr(os, "open", real)
            owner._file = owner._rewritten(owner._file or 0, [beat])
        return found

    monkeypatch.setattr(os, "open", opened)
    assert Spool(place, "other").adopt() == []
    assert owner.path.exists()


def live_file(place: Place, host: str, pid: int) -> Path:
    """As a TypeScript process keeps it, which cannot lock it."""
    file = place.path.with_name(f"{place.path.name}.ts-{host}-{pid}-a1b2c3.live")
    file.write_text('{"agent": "bot", "beat_id": "1"}\n')
    return file


def test_running_typescript_keeps_its_file(place: Place) -> None:
    here = socket.gethostname()[:30]
    running, elsewhere = live_file(place, here, os.getppid()), live_file(place, "other-host", 1)
    assert Spool(place, "x").adopt() == []
    for file in (running, elsewhere):
        os.utime(file, (0, 0))  # nothing was written to it for an hour
    assert len(Spool(place, "x").adopt()) == 2


def test_killed_typescript_leaves_its_file(place: Place) -> None:
    here = socket.gethostname()[:30]
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    # The second had the number of this process, before a restart of the container.
    files = [live_file(place, here, ended.pid), live_file(place, here, os.getpid())]
    assert len(Spool(place, "x").adopt()) == 2
    assert not any(file.exists() for file in files)


def test_newest_stay_where_room_is_short(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    old = Spool(place, "old")
    for hour in range(9):
        old.keep({"agent": "bot", "beat_id": f"{hour}", "sent_at": f"2026-11-30T0{hour}:00:00+00:00"})
    old.leave()
    monkeypatch.setattr("clevagent.spool.MAX_BYTES", old.path.stat().st_size // 3)
    heir = Spool(place, "heir")
    assert len(heir.adopt(lambda beat: beat["beat_id"] != "8")) == 8
    kept = [json.loads(line)["beat_id"] for line in heir.path.read_text().splitlines()]
    assert kept == ["7", "6", "5"]
    heir.leave()


@pytest.mark.parametrize("off", [False, "off", "OFF", "0", "none"])
def test_spool_can_be_switched_off(off: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert place_of(off, KEY) is None
    monkeypatch.setenv("CLEVAGENT_SPOOL", str(off) if off else "off")
    assert place_of(None, KEY) is None


def test_named_spool_stores_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert place_of(tmp_path / "spool", KEY) == Place(tmp_path / "spool", stores_at_once=True)
    monkeypatch.setenv("CLEVAGENT_SPOOL", str(tmp_path / "named"))
    assert place_of(None, KEY) == Place(tmp_path / "named", stores_at_once=True)


def test_other_keys_are_other_files() -> None:
    assert place_of(None, KEY) != place_of(None, "cv_other")
    assert KEY not in str(place_of(None, KEY))


@pytest.mark.parametrize("kind", ["file in its place", "writable by others"])
def test_folder_that_is_not_private_is_not_used(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    blocked = tmp_path / "state" / "clevagent"
    blocked.parent.mkdir(exist_ok=True)
    if kind == "file in its place":
        blocked.touch()
    else:
        blocked.mkdir()
        blocked.chmod(0o777)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    found = place_of(None, KEY)
    assert found
    assert found.path.parent == tmp_path / f"clevagent-{os.geteuid()}"
    monkeypatch.setenv("TMPDIR", "/proc/none")  # where not even root can write
    assert place_of(None, KEY) is None
    agent = Agent(server, spool=None)
    server.away = True
    end(agent)


def test_full_disk_stops_nothing(server: Server, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = Agent(server, spool=place)

    def full(file: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    server.away = True
    agent.let_pass(60)
    server.away = False
    agent.let_pass(120)
    assert server.order


def test_courier_makes_no_heartbeats_of_its_own(server: Server, place: Place) -> None:
    courier: Reporter = unsent.courier(place, "http://127.0.0.1:8000", KEY)
    assert isinstance(courier._recorder, Recorder)
    courier._transport = server
    for now in (0.0, 61.0, 7200.0):
        courier.step(now, EPOCH + now)
    assert server.requests == 0


@pytest.mark.live
class TestPrograms:
    """Whole processes."""

    @pytest.fixture
    def server(self) -> Any:
        with FakeServer() as running:
            yield running

    def test_script_that_ends_in_an_outage_is_not_lost(self, program: Program, server: FakeServer) -> None:
        server.status = 503
        ended = program.run("import clevagent; clevagent.init(); clevagent.log_cost(1, 0.5); print('fine')")
        assert (ended.stdout, ended.stderr) == ("fine\n", "")
        assert server.beats == []
        server.status = 200
        program.run("import clevagent; clevagent.init(agent='next'); clevagent.flush(10)")
        assert [beat["status"] for beat in server.beats_of("bot")][-1] == "shutdown"
        assert float(server.spent()) == 0.5
        assert not [path for path in (program._folder / "state").rglob("*") if path.is_file()]

    @pytest.mark.parametrize("moment", range(6))
    def test_sigterm_in_the_first_moments_is_a_goodbye(self, program: Program, server: FakeServer, moment: int) -> None:
        """Wherever it arrives, an agent that was heard of says goodbye, if need be through the next process."""
        server.hang = 0.05
        code = "print('ready', flush=True); clevagent.init(handle_signals=True); time.sleep(60)"
        process = program.start(f"import clevagent, time; {code}")
        assert process.stdout
        process.stdout.readline()
        time.sleep(moment * 0.02)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == -signal.SIGTERM
        process.communicate()
        program.run("import clevagent; clevagent.init(agent='next'); clevagent.flush(10)")
        told = [beat["status"] for beat in server.beats_of("bot")]
        assert told == [] or told[-1] == "shutdown"

    def test_many_processes_share_the_folder(self, program: Program, server: FakeServer) -> None:
        server.status = 503
        code = "import clevagent, sys; clevagent.init(agent=sys.argv[1]); clevagent.log_cost(1, 0.25)"
        env = {**program.environment}
        many = [subprocess.Popen([sys.executable, "-c", code, f"a{number}"], env=env) for number in range(6)]
        assert [process.wait(60) for process in many] == [0] * 6
        server.status = 200
        again = [subprocess.Popen([sys.executable, "-c", code, f"b{number}"], env=env) for number in range(3)]
        assert [process.wait(60) for process in again] == [0] * 3
        program.run("import clevagent; clevagent.init(agent='last'); clevagent.flush(10)")
        ended = {beat["agent"] for beat in server.beats if beat["status"] == "shutdown"}
        assert ended >= {f"a{number}" for number in range(6)} | {f"b{number}" for number in range(3)}
        assert float(server.spent()) == 2.25
