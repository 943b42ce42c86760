"""What a team's plan leaves room for. Asked by every app; the numbers are in `plans.py`."""

from django.conf import settings

from billing import plans
from billing.models import Subscription


def plan_of(team_id: int) -> plans.Plan:
    """The plan a team is on."""
    key = Subscription.objects.filter(team_id=team_id).values_list("plan", flat=True).first()
    return plans.BY_KEY[key or settings.DEFAULT_PLAN]


def has_room(limit: int | None, used: int) -> bool:
    """Whether one more fits; `limit` None means without limit."""
    return limit is None or used < limit
