"""Which plan a team is on."""

from django.db import models
from django.utils import timezone

from billing import plans
from teams.models import Team


class Subscription(models.Model):
    """A team's plan. A team without a row is on `settings.DEFAULT_PLAN`."""

    team = models.OneToOneField(Team, models.CASCADE, related_name="subscription", primary_key=True)
    plan = models.CharField(max_length=20, choices=[(plan.key, plan.label) for plan in plans.ALL])
    since = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = "plan"

    def __str__(self) -> str:
        return plans.BY_KEY[self.plan].label
