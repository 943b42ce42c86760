"""Which channels are notified of an event, and when. Pure: no Django, no clock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from teams.labels import format_phrase

WARNING: Final = "warning"
# Events that report a problem. Only channels notified of one of these are notified of the recovery.
FAILURES: Final = frozenset({"opened", "updated", "reopened", "reminder", "escalated"})
NOTIFIED_EVENTS: Final = FAILURES | {"acknowledged", "resolved"}
# A flapping incident may come back again soon, so its recovery is announced only after this long.
FLAP_DELAY: Final = timedelta(minutes=5)


# "channel" and a channel's name, or "person" and an e-mail address; in lower case.
Address = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Subscriber:
    """A channel as seen by routing, or one of its recipients.

    The route: `severity` is the lowest it receives, `labels` are required of an agent. `sends_acknowledgements` comes
    from the kind of channel. About one incident: `was_notified` of a failure; `missed_recovery` means that its readers
    never saw the last recovery, so for them the incident never ended.
    """

    channel_id: int
    recipient: str = ""
    sends_acknowledgements: bool = False
    was_notified: bool = False
    missed_recovery: bool = False
    severity: str = WARNING
    labels: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    # Whether a policy addresses it with the event; None: no policy applies, so its route decides.
    is_addressed: bool | None = None
    # The event is a step of a policy, for those whom it addresses alone.
    is_step: bool = False

    @property
    def addresses(self) -> frozenset[Address]:
        """How policies call it: as a channel, or as the person behind an address."""
        return frozenset({("channel", self.name.lower()), ("person", self.recipient.lower())})


def is_notified(event: str, subscriber: Subscriber, severity: str, agents: Sequence[Mapping[str, str]]) -> bool:
    """Whether a subscriber receives an event of an incident. `agents` holds the labels of each affected agent.

    A channel that was notified of an incident also receives its updates, even if its route has changed since.
    """
    if subscriber.is_step:
        return bool(subscriber.is_addressed)
    if event in FAILURES and not (subscriber.was_notified or _is_routed(subscriber, severity, agents)):
        return False
    if event == "reopened":
        return not subscriber.missed_recovery
    if event == "acknowledged":
        return subscriber.was_notified and subscriber.sends_acknowledgements
    if event == "resolved":
        return subscriber.was_notified
    return event in FAILURES


def _is_routed(subscriber: Subscriber, severity: str, agents: Sequence[Mapping[str, str]]) -> bool:
    if subscriber.is_addressed is not None:
        return subscriber.is_addressed
    # Without agents, only channels without a label filter match.
    return any(not explain_mismatch(subscriber, severity, labels) for labels in agents or [{}])


def explain_mismatch(subscriber: Subscriber, severity: str, labels: Mapping[str, str]) -> str:
    """Why a subscriber is not notified of a problem of an agent, as shown to people; empty if it is notified."""
    if subscriber.severity != WARNING and severity != subscriber.severity:
        return f"receives only {subscriber.severity} alerts"
    if not subscriber.labels.items() <= labels.items():
        return f"receives only alerts for agents with {format_phrase(subscriber.labels)}"
    return ""


def describe_route(severity: str, labels: Mapping[str, str]) -> str:
    """A route as shown to people: `only critical alerts for agents with env=prod`."""
    alerts = "all alerts" if severity == WARNING else f"only {severity} alerts"
    return f"{alerts} for agents with {format_phrase(labels)}" if labels else f"{alerts} for all agents"


def describe_reach(severity: str, labels: Mapping[str, str], *, is_enabled: bool, has_policy: bool) -> str:
    """What a channel is going to receive, as a sentence that holds whatever else decides about it."""
    if not is_enabled:
        return "This channel is disabled: it receives no alerts until somebody enables it."
    if has_policy:
        return "The project’s notification policy decides which alerts it receives."
    return f"This channel receives {describe_route(severity, labels)} of the project."


def is_held_back(event: str, snoozed_until: datetime | None, at: datetime, *, rose: bool = False) -> bool:
    """Whether a snooze swallows an event: the reminder at its end reports how things stand by then.

    A warning that becomes critical (`rose`) is more than what was snoozed.
    """
    return snoozed_until is not None and at < snoozed_until and event != "resolved" and not rose


def send_at(event: str, reopened: int, at: datetime, snoozed_until: datetime | None = None) -> datetime:
    """When to send an event at the earliest; `reopened` counts how often the incident came back so far.

    The recovery of a snoozed incident waits for the end of the snooze.
    """
    if event != "resolved":
        return at
    return max(at + FLAP_DELAY if reopened else at, snoozed_until or at)
