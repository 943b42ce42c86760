"""Commands for runners, and the runners that poll for them."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from agents.domain import restart_policy
from agents.models.agent import Agent, RestartType
from agents.models.incident import Incident
from teams.models import Project


class Runner(models.Model):
    """A local program that polls for commands, identified by its source (see `ingest/reporter.py`)."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="runners")
    source = models.CharField(max_length=80)
    polled_at = models.DateTimeField(help_text="When it last polled, to within 30 seconds.")

    class Meta:
        ordering = ["project", "source"]
        constraints = [models.UniqueConstraint(fields=["project", "source"], name="runner_once_a_project")]

    def __str__(self) -> str:
        return self.source


class Command(models.Model):
    """A restart or stop for a runner to perform: handed out once, expires after a few minutes."""

    class Action(models.TextChoices):
        RESTART = "restart", "restart"
        STOP = "stop", "stop"

    class State(models.TextChoices):
        PENDING = "pending", "waiting for the runner"
        LEASED = "leased", "handed to the runner"
        COMPLETED = "completed", "completed"
        FAILED = "failed", "failed"
        REJECTED = "rejected", "rejected"
        EXPIRED = "expired", "expired"

    class Origin(models.TextChoices):
        PERSON = restart_policy.PERSON, "a person"
        RUNNER = restart_policy.RUNNER, "the runner"
        WATCHDOG = restart_policy.WATCHDOG, "the watchdog"

    LIVE = (State.PENDING, State.LEASED)

    agent = models.ForeignKey(Agent, models.CASCADE, related_name="commands")
    incident = models.ForeignKey(Incident, models.SET_NULL, null=True, related_name="commands")
    action = models.CharField(max_length=10, choices=Action.choices)
    type = models.CharField(max_length=10, choices=RestartType.choices)
    target = models.CharField(max_length=300)
    runner = models.CharField(max_length=80, blank=True, help_text="The runner that last reported the target.")
    refused_by = models.JSONField(default=list, help_text="Runners that do not manage the target.")
    state = models.CharField(max_length=10, choices=State.choices, default=State.PENDING)
    origin = models.CharField(max_length=10, choices=Origin.choices, default=Origin.PERSON)
    requested_by = models.CharField(max_length=255)
    reason = models.CharField(max_length=300, default="", blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    evidence_at = models.DateTimeField(null=True, help_text="When the reason for it was last confirmed.")
    expires_at = models.DateTimeField()
    leased_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    result = models.CharField(max_length=500, default="", blank=True)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "restarts & stops"
        constraints = [
            models.UniqueConstraint(
                fields=["agent"], name="one_live_command_an_agent", condition=models.Q(state__in=["pending", "leased"])
            )
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.type}:{self.target}"
