"""Agents that were refused because the plan had no room: kept so that the team sees whom it does not watch.

They stand on the page of the plan, the fleet names the teams, and the owners get a mail.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Exists, F, OuterRef, QuerySet

from billing import limits
from billing.models import Refusal
from teams.mail import notify_owners
from teams.models import Team

# A client that is refused goes on; it is noted so often.
NOTED_EVERY: Final = timedelta(seconds=30)
MAX_NAMES: Final = 100
KEPT: Final = timedelta(days=30)
TOLD_EVERY: Final = timedelta(days=1)
# What was refused so lately is still there.
LATELY: Final = timedelta(hours=1)
NAMES_TOLD: Final = 20
_TEXT: Final = """\
These agents of {team} report, and are not watched, because all {places} places for agents of its {plan} plan are taken:

{names}

Delete an agent that is gone, or move to a larger plan; they come in by themselves then:
{url}
"""


def note(*, team_id: int, project_id: int, name: str, now: datetime) -> None:
    """A heartbeat of this name was refused. At most 100 names of a team are kept."""
    known = Refusal.objects.filter(team_id=team_id, project_id=project_id, name=name)
    if known.filter(last_at__gt=now - NOTED_EVERY).exists():
        return
    if known.update(last_at=now, times=F("times") + 1):
        return
    if Refusal.objects.filter(team_id=team_id).count() < MAX_NAMES:
        Refusal.objects.create(team_id=team_id, project_id=project_id, name=name, first_at=now, last_at=now)


def tell(now: datetime) -> None:
    """Mail the owners of teams whose agents were refused: about each name once, and a team once a day at most."""
    told_lately = Refusal.objects.filter(team=OuterRef("pk"), told_at__gt=now - TOLD_EVERY)
    for team in Team.objects.filter(Exists(_untold(OuterRef("pk"))) & ~Exists(told_lately)):
        names = list(_untold(team.pk).order_by("first_at").values_list("name", flat=True))
        # Of two workers at once only one finds them untold.
        if _untold(team.pk).update(told_at=now):
            notify_owners(team, f"{team}: agents without a place in the plan", _text(team, names))


def _untold(team: Any) -> QuerySet[Refusal]:
    return Refusal.objects.filter(team=team, told_at=None)


def _text(team: Team, names: list[str]) -> str:
    plan, more = limits.plan_of(team.pk), len(names) - NAMES_TOLD
    lines = [f"- {name}" for name in names[:NAMES_TOLD]] + ([f"- and {more} more"] if more > 0 else [])
    places, url = plan.agents, limits.usage_url()
    return _TEXT.format(team=team, places=places, plan=plan.label, names="\n".join(lines), url=url)


def short_of_places(teams: QuerySet[Team], now: datetime) -> QuerySet[Team]:
    """Of these teams, those whose agents are refused now."""
    return teams.filter(Exists(Refusal.objects.filter(team=OuterRef("pk"), last_at__gt=now - LATELY)))


def forget(now: datetime) -> None:
    """What has not been refused for a month."""
    Refusal.objects.filter(last_at__lt=now - KEPT).delete()
