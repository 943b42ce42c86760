"""Which agent reports when: the fleet's schedule, shared by the load generator and the report. Pure: no clock."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass

# The processes have just started: they import and connect before they are as fast as they will be.
MIN_WARM_UP = 10.0
# The contract's smallest grace; without a setting it is one interval.
SMALLEST_GRACE = 5.0
# How long an event is observed after its last deadline, return or fault, unless an option says so.
OBSERVED = 15.0
# All silenced agents send their last heartbeat, and so fall due, within this time.
SILENCED_WITHIN = 1.0
RETURN_WITHIN = 5.0
# How long more heartbeats come than the server can carry. Longer than it takes to shed detail and then to refuse.
OVERLOAD_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Times are seconds since 1970, durations seconds. Agents are numbered; consecutive ones share a host.

    The first `cut` agents are cut off, by whole hosts; the silenced ones are spread over the other hosts.
    """

    agents: int
    period: float
    seconds: float
    projects: int
    per_host: int
    start: float
    silence: int = 0
    cut: int = 0
    cut_seconds: float = 0
    slow_seconds: float = 0
    # Heartbeats per second during an overload; 0: no overload.
    overload_rate: float = 0
    observed: float = OBSERVED

    @classmethod
    def parse(cls, text: str) -> Plan:
        return cls(**json.loads(text))

    def dump(self) -> str:
        return json.dumps(asdict(self))

    @property
    def warm_up(self) -> float:
        """Whole periods, so that the agents stay evenly spread."""
        return math.ceil(max(MIN_WARM_UP, self.period) / self.period) * self.period

    @property
    def measured_from(self) -> float:
        return self.start + self.warm_up

    @property
    def event_at(self) -> float:
        """When agents are silenced, or the database becomes slow: at half time."""
        return self.measured_from + self.seconds / 2

    @property
    def cut_from(self) -> float:
        return self.measured_from + max(0.0, self.seconds - self.cut_seconds) / 2

    @property
    def cut_until(self) -> float:
        return self.cut_from + self.cut_seconds

    @property
    def deadline_after(self) -> float:
        """Seconds from an agent's last heartbeat to its deadline: interval and grace."""
        return self.period + max(SMALLEST_GRACE, self.period)

    @property
    def until(self) -> float:
        """The end of the load: long enough to observe what the options ask for."""
        ends = [self.measured_from + self.seconds]
        if self.silence:
            ends.append(self.event_at + SILENCED_WITHIN + self.deadline_after + self.observed)
        if self.cut:
            ends.append(self.cut_until + RETURN_WITHIN + self.observed)
        if self.trouble_seconds:
            ends.append(self.trouble_until + self.observed)
        return max(ends)

    @property
    def trouble_seconds(self) -> float:
        """How long the database is slow, or the server overloaded."""
        return OVERLOAD_SECONDS if self.overload_rate else self.slow_seconds

    @property
    def trouble_until(self) -> float:
        return self.event_at + self.trouble_seconds

    @property
    def highest_rate(self) -> float:
        """Heartbeats per second at the most."""
        return max(self.agents / self.period, self.overload_rate)

    @property
    def hosts(self) -> int:
        return math.ceil(self.agents / self.per_host)

    @property
    def stride(self) -> int:
        """Coprime to the number of agents: multiples of it scatter the agents of one host over the period."""
        steps = range(round(self.agents * 0.618) or 1, 2 * self.agents + 2)
        return next(step for step in steps if math.gcd(step, self.agents) == 1)

    def host(self, agent: int) -> int:
        return agent // self.per_host

    def project(self, agent: int) -> int:
        return self.host(agent) % self.projects

    def address(self, agent: int) -> str:
        """The host's own address: the server tells hosts apart by key and address."""
        high, low = divmod(self.host(agent), 250)
        return f"127.1.{high}.{low + 1}"

    def is_cut(self, agent: int) -> bool:
        return agent < self.cut

    def silenced(self) -> list[int]:
        """The agents that stop for good, spread evenly over the hosts that are not cut off."""
        others = self.agents - self.cut
        return [self.cut + number * others // self.silence for number in range(self.silence)]

    def returns_at(self, agent: int) -> float:
        """When a cut-off agent reports again."""
        return self.cut_until + RETURN_WITHIN * (agent * self.stride % self.agents) / self.agents

    def first_at(self, agent: int) -> float:
        return self.start + self.warm_up * (agent * self.stride % self.agents) / self.agents

    def schedules(self) -> Iterator[Iterator[float]]:
        """Per agent the times of its heartbeats."""
        last = {agent: self._silenced_at(number) for number, agent in enumerate(self.silenced())}
        for agent in range(self.agents):
            first = self.first_at(agent)
            if agent in last:
                yield self._until_silenced(first, last[agent])
            elif self.is_cut(agent):
                yield self._around_the_cut(first, self.returns_at(agent))
            elif self.overload_rate:
                yield self._with_overload(agent, first)
            else:
                yield self._regular(first, self.until)

    def _silenced_at(self, number: int) -> float:
        return self.event_at + SILENCED_WITHIN * number / self.silence

    def _regular(self, first: float, until: float) -> Iterator[float]:
        yield from every(self.period, first, until)

    def _with_overload(self, agent: int, first: float) -> Iterator[float]:
        """More often for a while, still evenly spread, then in the old rhythm again."""
        yield from self._regular(first, self.event_at)
        often = self.agents / self.overload_rate
        begins = self.event_at + often * (agent * self.stride % self.agents) / self.agents
        yield from every(often, begins, self.trouble_until)
        missed = math.ceil((self.trouble_until - first) / self.period)
        yield from self._regular(first + missed * self.period, self.until)

    def _until_silenced(self, first: float, last: float) -> Iterator[float]:
        yield from self._regular(first, self.event_at)
        yield last

    def _around_the_cut(self, first: float, returns: float) -> Iterator[float]:
        yield from self._regular(first, self.cut_from)
        yield from self._regular(returns, self.until)


def every(period: float, first: float, until: float) -> Iterator[float]:
    at, number = first, 0
    while at < until:
        yield at
        number += 1
        at = first + number * period
