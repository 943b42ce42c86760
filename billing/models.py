"""Each team's plan, and agents rejected because of its limit."""

from django.db import models
from django.utils import timezone

from billing import plans
from teams.models import Project, Team


class Subscription(models.Model):
    """A team's plan. A team without a row is on `settings.DEFAULT_PLAN`."""

    team = models.OneToOneField(Team, models.CASCADE, related_name="subscription", primary_key=True)
    plan = models.CharField(max_length=20, choices=[(plan.key, plan.label) for plan in plans.ALL])
    since = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = "plan"
        verbose_name_plural = "plan and usage"

    def __str__(self) -> str:
        return plans.BY_KEY[self.plan].label


class Refusal(models.Model):
    """An agent rejected because the plan's agent limit was reached; see `refusals.py`."""

    team = models.ForeignKey(Team, models.CASCADE, related_name="refusals")
    project = models.ForeignKey(Project, models.CASCADE, related_name="+")
    name = models.CharField(max_length=200)
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    times = models.PositiveIntegerField(default=1)
    told_at = models.DateTimeField(null=True, help_text="When the team's owners got a mail about it.")

    class Meta:
        ordering = ["-last_at"]
        constraints = [models.UniqueConstraint(fields=["project", "name"], name="refusal_once_a_name")]

    def __str__(self) -> str:
        return self.name
