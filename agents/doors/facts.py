"""What a door learned, in our own terms: model calls, tool calls, steps, and sums that a metric tells. Pure.

Dialects make facts from spans, logs and metric points; nothing after them knows a dialect.
"""

from __future__ import annotations

from operator import add, sub
from typing import Any, Final, Literal, NamedTuple

import msgspec

from agents.doors.otlp.telemetry import Resource

# Which of a sender's reports a call or a sum belongs to. A coding agent tells the same tokens as logs, spans and
# metrics: each is a track of its own, and the one that tells most counts. Spans of libraries are matched call by call.
Track = Literal["call", "log", "span", "metric"]
TRACKS: Final[tuple[Track, ...]] = ("call", "log", "span", "metric")


class Counts(NamedTuple):
    """Tokens. Input includes what was read from and written to a cache, output includes reasoning."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0

    def plus(self, other: Counts) -> Counts:
        return Counts(*map(add, self, other))

    def minus(self, other: Counts) -> Counts:
        return Counts(*map(sub, self, other))


NOTHING: Final = Counts()


class Origin(msgspec.Struct, eq=False, kw_only=True):
    """Where and when something was observed. Times are microseconds since 1970, 0 if unknown.

    `agent` is the name that the item itself gives, `kind` the sender's kind for an agent's type. `is_hook`: a coding
    agent asks or tells before and after each of its steps.
    """

    resource: Resource
    kind: str
    scope: str = ""
    trace: str = ""
    span: str = ""
    parent: str = ""
    session: str = ""
    start: int = 0
    end: int = 0
    agent: str = ""
    is_hook: bool = False


class Call(msgspec.Struct, eq=False, kw_only=True):
    """One model call. `counts` is None where the sender told no usage, `cost` (USD) where it told no price.

    `ref` is the provider's id of the call, which two observers share. `asked` is the model that was asked for, `model`
    the one that answered. `is_open`: the answer asks for a tool, so more must follow. `is_first_hand`: the provider's
    own SDK tells it, which knows better than an instrumentation around it.
    """

    origin: Origin
    model: str
    asked: str = ""
    provider: str = ""
    counts: Counts | None = None
    cost: float | None = None
    ref: str = ""
    track: Track = "call"
    failure: str = ""
    is_open: bool = False
    is_first_hand: bool = False


class Tool(msgspec.Struct, eq=False, kw_only=True):
    """One tool call that ended. `ref` is its id, shared by all who observe it; `ms` its duration."""

    origin: Origin
    name: str
    ref: str = ""
    args: str = ""
    args_hash: str | None = None
    result_hash: str | None = None
    ms: float | None = None
    ok: bool | None = None


StepKind = Literal["run", "step", "prompt", "decision", "error", "end"]


class Step(msgspec.Struct, eq=False, kw_only=True):
    """Something else that shows work: the end of a run or of a step of it, a prompt, an error, the end of a session.

    `is_open`: more must follow. `names` is the agent's name for all that happened inside of this span. `waits_for` is
    what the agent waits for from now on, `tool` the tool that it begins to run.
    """

    origin: Origin
    kind: StepKind
    names: str = ""
    message: str = ""
    failed: bool = False
    is_open: bool = False
    waits_for: str = ""
    tool: str = ""


class Sum(msgspec.Struct, eq=False, kw_only=True):
    """Tokens or money that a metric tells: since the last point, or since its start if it is cumulative.

    `stream` identifies the series, `at` the point. `cost` is None in a metric of tokens whose price is not told.
    """

    origin: Origin
    model: str
    stream: tuple[Any, ...]
    at: int
    cumulative: bool
    provider: str = ""
    counts: Counts = NOTHING
    cost: float | None = None


Fact = Call | Tool | Step | Sum
