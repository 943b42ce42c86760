"""The fleet's load, in a process of its own: reads its task from standard input, writes a line per heartbeat.

Open loop: each heartbeat leaves at its scheduled time, however late earlier answers are. As published clients do, it
waits 5 s for an answer and does not send the heartbeat again. Connections are kept and shared by a host's agents.

A line of the file: agent, number, scheduled at, sent after, answered after (seconds since then), outcome. The outcome
is the HTTP status, `!` after it when a refusal names no time to come back; or `timeout`, `refused` or `broken`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from bench.fleet_plan import Plan

CLIENT_TIMEOUT = 5.0
REFUSALS = ("429", "503")
TOKENS = 10
COST = 0.0001
KEYS_PER_PROJECT = 2


@dataclass(frozen=True, slots=True)
class Task:
    """What one process of the generator sends: every `step`-th agent from `first` on. `keys` are by project."""

    plan: Plan
    port: int
    keys: list[list[str]]
    first: int
    step: int
    output: str

    @classmethod
    def parse(cls, text: str) -> Task:
        values = json.loads(text)
        return cls(**{**values, "plan": Plan.parse(values["plan"])})

    def dump(self) -> str:
        values = {"port": self.port, "keys": self.keys, "first": self.first, "step": self.step, "output": self.output}
        return json.dumps({**values, "plan": self.plan.dump()})


@dataclass(slots=True, eq=False)
class Beat:
    """One heartbeat under way."""

    agent: int
    number: int
    due: float
    request: bytes
    sent: float = 0.0
    tries: int = 0
    is_over: bool = False
    timer: asyncio.TimerHandle | None = None
    connection: Connection | None = None


class Connection(asyncio.Protocol):
    """A kept connection of one host; it carries one heartbeat at a time."""

    def __init__(self, load: Load, address: str) -> None:
        self.load, self.address = load, address
        self.transport: asyncio.Transport | None = None
        self.beat: Beat | None = None
        self.answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def carry(self, beat: Beat) -> None:
        assert self.transport is not None
        self.beat, self.answer, beat.connection = beat, b"", self
        beat.tries += 1
        self.transport.write(beat.request)

    def data_received(self, data: bytes) -> None:
        self.answer += data
        head, end, body = self.answer.partition(b"\r\n\r\n")
        if not end or self.beat is None or len(body) < length_of(head):
            return
        beat, self.beat = self.beat, None
        self.load.finish(beat, outcome_of(head))
        if b"connection: close" in head.lower():
            self.close()
        else:
            self.load.idle[self.address].append(self)

    def connection_lost(self, error: Exception | None) -> None:
        with contextlib.suppress(ValueError):
            self.load.idle[self.address].remove(self)
        beat, self.beat = self.beat, None
        if beat is None or beat.is_over:
            return
        if beat.tries == 1 and not self.answer:  # an idle connection that the server had closed meanwhile
            self.load.connect(beat)
        else:
            self.load.finish(beat, "broken")

    def close(self) -> None:
        self.beat = None
        if self.transport is not None:
            self.transport.abort()


def outcome_of(head: bytes) -> str:
    status = head[9:12].decode()
    names_no_time = status in REFUSALS and b"\r\nretry-after:" not in head.lower()
    return f"{status}!" if names_no_time else status


def length_of(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"content-length:")
    return int(rest.split(b"\r\n", 1)[0]) if found else 0


@dataclass
class Load:
    """Sends the heartbeats of a task and writes down what became of each."""

    task: Task
    output: TextIO
    idle: dict[str, list[Connection]] = field(default_factory=lambda: defaultdict(list))
    under_way: int = 0
    running: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.ahead = time.time() - self.loop.time()
        for agent, schedule in enumerate(self.task.plan.schedules()):
            if agent % self.task.step == self.task.first:
                self.running += 1
                self.schedule_next(agent, 1, schedule)  # 0 created it
        while self.running or self.under_way:
            await asyncio.sleep(0.1)

    def schedule_next(self, agent: int, number: int, schedule: Iterator[float]) -> None:
        due = next(schedule, None)
        if due is None:
            self.running -= 1
            return
        self.loop.call_at(due - self.ahead, self.send, agent, number, due, schedule)

    def send(self, agent: int, number: int, due: float, schedule: Iterator[float]) -> None:
        self.schedule_next(agent, number + 1, schedule)
        beat = Beat(agent, number, due, self.request(agent, number), sent=self.now())
        beat.timer = self.loop.call_later(CLIENT_TIMEOUT, self.give_up, beat)
        self.under_way += 1
        idle = self.idle[self.task.plan.address(agent)]
        while idle:
            connection = idle.pop()
            if connection.transport is not None and not connection.transport.is_closing():
                connection.carry(beat)
                return
        beat.tries = 1  # a fresh connection that breaks is the server's doing: no second try
        self.connect(beat)

    def connect(self, beat: Beat) -> None:
        task = self.loop.create_task(self.connect_and_send(beat))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def connect_and_send(self, beat: Beat) -> None:
        address = self.task.plan.address(beat.agent)
        try:
            _, connection = await self.loop.create_connection(
                lambda: Connection(self, address), "127.0.0.1", self.task.port, local_addr=(address, 0)
            )
        except OSError:
            self.finish(beat, "refused")
            return
        if beat.is_over:
            connection.close()
        else:
            connection.carry(beat)

    def give_up(self, beat: Beat) -> None:
        if beat.connection is not None:
            beat.connection.close()
        self.finish(beat, "timeout")

    def finish(self, beat: Beat, outcome: str) -> None:
        if beat.is_over:
            return
        beat.is_over = True
        self.under_way -= 1
        if beat.timer is not None:
            beat.timer.cancel()
        late, took = beat.sent - beat.due, self.now() - beat.due
        self.output.write(f"{beat.agent} {beat.number} {beat.due:.6f} {late:.6f} {took:.6f} {outcome}\n")

    def now(self) -> float:
        return self.loop.time() + self.ahead

    def request(self, agent: int, number: int) -> bytes:
        plan = self.task.plan
        key = self.task.keys[plan.project(agent)][plan.host(agent) % KEYS_PER_PROJECT]
        body = json.dumps(heartbeat(plan, agent, number)).encode()
        head = f"POST /api/v1/heartbeat HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: {key}\r\n"
        return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def heartbeat(plan: Plan, agent: int, number: int) -> dict[str, object]:
    """An agent at work: every call has other arguments and another result, so no rule finds a loop."""
    call = {"name": "search", "args_hash": f"a{number}", "result_hash": f"r{number}", "ms": 120, "ok": True}
    return {
        "agent": agent_name(agent),
        "status": "ok",
        "message": f"step {number}",
        "tokens_used": TOKENS,
        "cost_usd": COST,
        "iteration_count": number,
        "tool_calls": 1,
        "tool_call_log": [call],
        "beat_id": beat_id(agent, number),
        "interval": plan.period,
        "instance": f"{plan.host(agent)}-{agent}",
        "labels": {"host": f"host-{plan.host(agent)}"},
    }


def agent_name(agent: int) -> str:
    return f"agent-{agent}"


def beat_id(agent: int, number: int) -> str:
    return f"{agent}-{number}"


def main() -> None:
    task = Task.parse(sys.stdin.read())
    with Path(task.output).open("w") as output:
        asyncio.run(Load(task, output).run())


if __name__ == "__main__":
    main()
