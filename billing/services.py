"""Changing a team's plan."""

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from billing import plans, refusals
from billing.models import Subscription
from teams import services
from teams.models import Membership, Team, User
from teams.roles import Role


@transaction.atomic
def set_plan(*, team: Team, plan: str, actor: str) -> Subscription:
    """Put a team on a plan (a key of `plans.BY_KEY`, else KeyError). Limits apply at once; nothing is deleted.

    Agents over the new limit are paused by the functions in `settings.PLAN_SINKS`.
    """
    label, now = plans.BY_KEY[plan].label, timezone.now()
    before = Subscription.objects.filter(team=team).values_list("plan", flat=True).first()
    since = {} if before == plan else {"since": now}
    subscription, _ = Subscription.objects.update_or_create(team=team, defaults={"plan": plan, **since})
    for sink in settings.PLAN_SINKS:
        import_string(sink)(team.pk, now)
    refusals.forget(team.pk)
    if before != plan:
        data = {"from": before, "to": plan}
        services.audit(team=team, actor=actor, action="plan.changed", target=label, of=subscription, data=data)
    return subscription


def lift_limits(*, operator: User, actor: str) -> None:
    """Put the first team of whoever runs the installation on the unlimited plan, unless a plan was ever chosen for it.

    The other plans are for those who sign up.
    """
    owned = Membership.objects.filter(user=operator, role=Role.OWNER.value, team__ended_at=None)
    first = owned.select_related("team").order_by("team__created_at", "team_id").first()
    if first is not None and not Subscription.objects.filter(team=first.team_id).exists():
        set_plan(team=first.team, plan=plans.UNLIMITED, actor=actor)
