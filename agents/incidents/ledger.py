"""The incidents of all agents in one review: read and locked together, changed in memory, written in sets.

A review holds hot rows, for which heartbeats wait, so it waits for nothing else: agents whose incident another
transaction has locked (a person acknowledges it, another worker resolves it) are `busy`, and left to the next sweep.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from agents.incidents import events, restarts
from agents.models import AgentState, Command, Incident, IncidentEvent, Signal
from agents.storage import bulk, json_rows
from teams.actors import WATCHDOG

# An incident that comes back this soon after its recovery is reopened, so a flapping agent does not page again.
FLAP_WINDOW: Final = timedelta(minutes=5)
# Not `muted_at`: people may mute an incident that is reopened, whose row nobody has locked.
WRITTEN: Final = (
    "severity",
    "reason",
    "together",
    "acknowledged_at",
    "acknowledged_by",
    "resolved_at",
    "resolved_by",
    "outcome",
    "reopened",
    "restarts",
    "restarted_at",
    "recovered_in",
    *Incident.SPEND,
)


class Ledger:
    """What a review knows about incidents, and what it changes. Nothing is stored before `write_…`."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.busy: set[int] = set()
        self.closing: dict[int, tuple[Incident, AgentState]] = {}
        self._locked: dict[int, Incident] = {}
        self._named: dict[int, Incident] = {}
        self._ended: dict[tuple[int, str], Incident] = {}
        self._by_runner: dict[int, list[Command]] = {}
        self._new: list[Incident] = []
        self._changed: dict[int, Incident] = {}
        self._raised: list[Signal] = []
        self._extended: dict[int, Signal] = {}
        self._events: list[IncidentEvent] = []
        self._adopted: list[tuple[Command, Incident]] = []

    # Read

    def open(self, signals: Mapping[int, Sequence[Signal]]) -> None:
        """Lock the open incidents of these agents, given with their open signals.

        They are those of its signals, and the one that bears its name, although its own signal may be cleared.
        """
        if not signals:
            return
        taken = json_rows.having("agents_incident", signals.keys(), "resolved_at IS NULL")
        of_agents = Incident.objects.open().filter(agent__in=taken)
        named = dict(of_agents.values_list("agent_id", "pk")) if taken else {}
        wanted = {pk: {signal.incident_id for signal in of_agent} for pk, of_agent in signals.items()}
        for agent_id, pk in named.items():
            wanted[agent_id].add(pk)
        locked = self.lock({pk for pks in wanted.values() for pk in pks})
        self.busy |= {agent_id for agent_id, pks in wanted.items() if not pks <= locked.keys()}
        self._named = {agent_id: locked[pk] for agent_id, pk in named.items() if pk in locked}
        for signal in (signal for of_agent in signals.values() for signal in of_agent):
            # One object for each incident, so that what several agents change in it adds up.
            signal.incident = locked.get(signal.incident_id, signal.incident)

    def lock(self, pks: Collection[int]) -> Mapping[int, Incident]:
        """Those of these incidents that are open and that nobody else has locked, and all locked before."""
        missing = set(pks) - self._locked.keys()
        if missing:
            rows = Incident.objects.open().filter(pk__in=missing).select_related("agent").order_by("pk")
            free = rows.select_for_update(no_key=True, skip_locked=True, of=("self",))
            self._locked |= {row.pk: row for row in free}
        return self._locked

    def look_back(self, agent_ids: Collection[int]) -> None:
        """Read what new incidents of these agents may continue: incidents that just ended, restarts by a runner."""
        if not agent_ids:
            return
        since = self.now - FLAP_WINDOW
        if had := json_rows.having("agents_incident", agent_ids, "resolved_at > %s", since):
            ended = Incident.objects.filter(agent__in=had, resolved_at__gt=since)
            self._ended = {(last.agent_id, last.kind): last for last in ended.order_by("opened_at", "pk")}
        for command in restarts.unclaimed(agent_ids, self.now):
            self._by_runner.setdefault(command.agent_id, []).append(command)

    def named_after(self, agent_id: int) -> Incident | None:
        """The open incident that bears the agent's name. It has at most one."""
        return self._named.get(agent_id)

    def just_ended(self, agent_id: int, kind: str) -> Incident | None:
        """The agent's last incident of this kind, if it recovered so recently that it counts as flapping."""
        last = self._ended.get((agent_id, kind))
        return last if last is not None and last.resolved_by == WATCHDOG else None

    # Change

    def begin(self, incident: Incident) -> None:
        """Add a new incident, or one that is reopened."""
        self._named[incident.agent_id] = incident
        if incident._state.adding:
            self._new.append(incident)
        self.change(incident)

    def change(self, incident: Incident) -> None:
        if not incident._state.adding:
            self._changed[incident.pk] = incident

    def add(self, signal: Signal) -> None:
        self._raised.append(signal)

    def extend(self, signal: Signal) -> None:
        self._extended[signal.pk] = signal

    def clear(self, signal: Signal, state: AgentState) -> None:
        """Clear a signal. `state` is its agent's; its incident is `closing` if no other signal of it is open."""
        signal.cleared_at = self.now
        self.extend(signal)
        self.closing[signal.incident_id] = signal.incident, state

    def record(
        self,
        incident: Incident,
        kind: str,
        text: str,
        *,
        actor: str = WATCHDOG,
        data: dict[str, Any] | None = None,
    ) -> None:
        self._events.append(events.new(incident=incident, kind=kind, text=text, actor=actor, data=data, now=self.now))

    def adopt_restarts(self, incident: Incident) -> None:
        """Add the restarts to a new incident that its agent's runner made shortly before."""
        for command in self._by_runner.pop(incident.agent_id, ()):
            restarts.add(incident, command.leased_at or self.now)
            self._adopted.append((command, incident))
            data = {"command": command.pk, "state": command.state, "reason": command.reason}
            text, actor = restarts.by_runner(command), command.requested_by
            self.record(incident, IncidentEvent.Kind.COMMAND, text, actor=actor, data=data)

    # Write

    def write_signals(self) -> None:
        """Store new incidents and all signals, and keep in `closing` the incidents that have no open signal left."""
        bulk.insert(self._new)
        bulk.insert(self._raised)
        bulk.update(list(self._extended.values()), ("severity", "reason", "evidence", "cleared_at"))
        if self.closing:
            still_open = Signal.objects.filter(incident__in=list(self.closing), cleared_at__isnull=True)
            for pk in still_open.order_by().values_list("incident_id", flat=True).distinct():
                del self.closing[pk]

    def write_incidents(self) -> None:
        """Store changes of incidents, then the events, whose notifications depend on them."""
        bulk.update(list(self._changed.values()), WRITTEN)
        for command, incident in self._adopted:
            Command.objects.filter(pk=command.pk).update(incident=incident)
        events.write(self._events)
