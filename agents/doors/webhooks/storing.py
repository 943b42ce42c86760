"""Stores what a webhook told: each happening once, by its latest news."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models import Q

from agents.doors.notes import key_of
from agents.doors.webhooks.happenings import Happening
from agents.models import AgentName, IncomingWebhook, OutsideEvent

WRITTEN: Final = ("agent", "tone", "text", "url", "version", "began_at", "ended_at")
# Anybody may send to an address, so refusals are noted this often at most.
REFUSALS: Final = timedelta(seconds=5)


@transaction.atomic
def store(webhook: IncomingWebhook, found: Iterable[Happening], outcome: str, now: datetime) -> int:
    """Returns how many there are; those that are known already change nothing, or only to newer news."""
    # First, because it lets one request of this webhook at a time through.
    IncomingWebhook.objects.filter(pk=webhook.pk).update(received_at=now, refused_at=None, outcome=outcome)
    latest = _latest(found)
    known = dict(webhook.events.filter(key__in=latest).values_list("key", "version"))
    fresh = {key: one for key, one in latest.items() if key not in known or one.version > known[key]}
    agents = _agents(webhook, fresh.values())
    rows = [_row(webhook, key, one, agents) for key, one in fresh.items()]
    OutsideEvent.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["webhook", "key"], update_fields=WRITTEN
    )
    return len(latest)


def _latest(found: Iterable[Happening]) -> dict[int, Happening]:
    latest: dict[int, Happening] = {}
    for one in found:
        key = key_of("outside", one.key)
        if key not in latest or one.version > latest[key].version:
            latest[key] = one
    return latest


def _agents(webhook: IncomingWebhook, found: Iterable[Happening]) -> dict[str, int]:
    """Agents of the project by those names that a happening may mean."""
    names = {name for one in found for name in one.agents}
    known = AgentName.objects.filter(project=webhook.project_id, name__in=names)
    return dict(known.values_list("name", "agent_id")) if names else {}


def _row(webhook: IncomingWebhook, key: int, one: Happening, agents: Mapping[str, int]) -> OutsideEvent:
    return OutsideEvent(
        project_id=webhook.project_id,
        webhook=webhook,
        agent_id=_agent_of(webhook, one.agents, agents),
        key=key,
        kind=one.kind,
        tone=one.tone,
        text=one.text,
        url=one.url,
        version=one.version,
        began_at=one.began,
        ended_at=one.ended,
    )


def _agent_of(webhook: IncomingWebhook, names: Sequence[str], agents: Mapping[str, int]) -> int | None:
    """The agent that it names; else the webhook's, unless that was deleted, which moves it to another project."""
    named = next((agents[name] for name in names if name in agents), None)
    chosen = webhook.agent if webhook.agent and webhook.agent.project_id == webhook.project_id else None
    return named or (chosen.pk if chosen else None)


def note_refusal(webhook: IncomingWebhook, why: str, now: datetime) -> None:
    """For the webhook's page, so that people see what is wrong without the sender's log."""
    quiet = Q(refused_at=None) | Q(refused_at__lt=now - REFUSALS)
    IncomingWebhook.objects.filter(quiet, pk=webhook.pk).update(refused_at=now, outcome=why[:300])
