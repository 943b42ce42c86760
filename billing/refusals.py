"""Agents whose heartbeats were rejected because of the plan's agent limit.

They are listed on the plan page, the fleet shows a banner, and the team's owners get an e-mail.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Exists, F, OuterRef, QuerySet

from billing import limits
from billing.models import Refusal
from teams.mail import notify_owners
from teams.models import Team

# A rejected client keeps sending, so its rejections are recorded at most this often.
RECORDED_EVERY: Final = timedelta(seconds=30)
MAX_NAMES: Final = 100
KEPT: Final = timedelta(days=30)
MAILED_EVERY: Final = timedelta(days=1)
# An agent rejected within this time counts as still reporting.
RECENT: Final = timedelta(hours=1)
MAX_NAMES_MAILED: Final = 20
_TEXT: Final = """\
These agents of {team} report but are not monitored, because the {plan} plan's limit of {limit} agents is reached:

{names}

Delete agents you no longer use, or move to a larger plan. The agents above then reconnect automatically:
{url}
"""


def record(*, team_id: int, project_id: int, name: str, now: datetime) -> None:
    """Record that a heartbeat with this agent name was rejected. At most 100 names are kept per team."""
    known = Refusal.objects.filter(team_id=team_id, project_id=project_id, name=name)
    if known.filter(last_at__gt=now - RECORDED_EVERY).exists():
        return
    if known.update(last_at=now, times=F("times") + 1):
        return
    if Refusal.objects.filter(team_id=team_id).count() < MAX_NAMES:
        Refusal.objects.create(team_id=team_id, project_id=project_id, name=name, first_at=now, last_at=now)


def mail_owners(now: datetime) -> None:
    """E-mail the owners of teams with rejected agents: once per name, and at most once a day per team."""
    mailed_recently = Refusal.objects.filter(team=OuterRef("pk"), told_at__gt=now - MAILED_EVERY)
    for team in Team.objects.filter(Exists(_unmailed(OuterRef("pk"))) & ~Exists(mailed_recently)):
        names = list(_unmailed(team.pk).order_by("first_at").values_list("name", flat=True))
        # Of two concurrent workers, only one updates the rows and sends the mail.
        if _unmailed(team.pk).update(told_at=now):
            notify_owners(
                team, f"{team}: agents are not monitored, the plan's agent limit is reached", _text(team, names)
            )


def _unmailed(team: Any) -> QuerySet[Refusal]:
    return Refusal.objects.filter(team=team, told_at=None)


def _text(team: Team, names: list[str]) -> str:
    plan, more = limits.plan_of(team.pk), len(names) - MAX_NAMES_MAILED
    lines = [f"- {name}" for name in names[:MAX_NAMES_MAILED]] + ([f"- and {more} more"] if more > 0 else [])
    url = limits.usage_url()
    return _TEXT.format(team=team, limit=plan.agents, plan=plan.label, names="\n".join(lines), url=url)


def with_rejected_agents(teams: QuerySet[Team], now: datetime) -> list[Team]:
    """The teams among these whose agents are being rejected: there were rejections, and there is still no room."""
    rejected = list(teams.filter(Exists(Refusal.objects.filter(team=OuterRef("pk"), last_at__gt=now - RECENT))))
    return [team for team in rejected if limits.usage_of([team.pk])[team.pk].is_full("agents")]


def forget(team_id: int) -> None:
    """The plan changed or an agent was deleted: whoever is still rejected is recorded again with its next heartbeat."""
    Refusal.objects.filter(team=team_id).delete()


def forget_old(now: datetime) -> None:
    """Delete records of agents that have not been rejected for a month."""
    Refusal.objects.filter(last_at__lt=now - KEPT).delete()
