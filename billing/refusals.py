"""Agents that were refused because the plan had no room: kept so that the team sees whom it does not watch."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from django.db.models import F

from billing.models import Refusal

# A client that is refused goes on; it is noted so often.
NOTED_EVERY: Final = timedelta(seconds=30)
NAMES_MOST: Final = 100
KEPT: Final = timedelta(days=30)


def note(*, team_id: int, project_id: int, name: str, now: datetime) -> None:
    """A heartbeat of this name was refused. At most 100 names of a team are kept."""
    known = Refusal.objects.filter(team_id=team_id, project_id=project_id, name=name)
    if known.filter(last_at__gt=now - NOTED_EVERY).exists():
        return
    if known.update(last_at=now, times=F("times") + 1):
        return
    if Refusal.objects.filter(team_id=team_id).count() < NAMES_MOST:
        Refusal.objects.create(team_id=team_id, project_id=project_id, name=name, first_at=now, last_at=now)


def forget(now: datetime) -> None:
    """What has not been refused for a month."""
    Refusal.objects.filter(last_at__lt=now - KEPT).delete()
