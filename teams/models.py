"""Who owns what: people, teams, memberships, invitations, projects, keys, and the audit log."""

from __future__ import annotations

from typing import Any, ClassVar

from axes.models import AccessAttempt
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models
from django.utils import timezone

from teams.roles import Action, Role, roles_with


class UserManager(BaseUserManager["User"]):
    """People are known by e-mail address; there are no user names."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        user = self.model(email=self.normalize_email(email).lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)


class User(AbstractBaseUser, PermissionsMixin):
    """A person. `is_superuser` marks the operator of the installation."""

    email = models.EmailField("e-mail", unique=True)
    name = models.CharField(max_length=100, blank=True)
    time_zone = models.CharField(max_length=50, default="UTC")
    is_staff = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)
    date_joined = models.DateTimeField(default=timezone.now)

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    objects: ClassVar[UserManager] = UserManager()

    class Meta:
        verbose_name = "person"
        verbose_name_plural = "people"

    def __str__(self) -> str:
        return self.name or self.email


class TeamQuerySet(models.QuerySet["Team"]):
    def allowing(self, user: User, action: Action) -> TeamQuerySet:
        """Teams in which a person may do something."""
        return self.filter(memberships__user=user, memberships__role__in=roles_with(action))

    def lasting(self) -> TeamQuerySet:
        """All but those that wait to be cleared away."""
        return self.filter(ended_at=None)


class Team(models.Model):
    """The tenant. Everything else belongs to exactly one."""

    name = models.CharField(max_length=100)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    # It was deleted, or holds a project that was: nobody is in it, and it is cleared away piece by piece.
    ended_at = models.DateTimeField(null=True, editable=False)
    members: models.ManyToManyField[User, Membership] = models.ManyToManyField(
        User, through="Membership", related_name="teams"
    )

    objects = TeamQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    team = models.ForeignKey(Team, models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=[(role.value, role.value.title()) for role in Role])
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["team", "id"]
        verbose_name = "member"
        constraints = [models.UniqueConstraint(fields=["team", "user"], name="one_membership_a_team")]

    def __str__(self) -> str:
        return f"{self.user} ({self.role})"


class Invitation(models.Model):
    """A place in a team, offered to an e-mail address. The link's token is kept only as a hash."""

    team = models.ForeignKey(Team, models.CASCADE, related_name="invitations")
    email = models.EmailField("e-mail")
    role = models.CharField(
        max_length=10, choices=[(role.value, role.value.title()) for role in Role], default=Role.MEMBER.value
    )
    token_hash = models.CharField(max_length=64, unique=True, editable=False)
    invited_by = models.ForeignKey(User, models.SET_NULL, null=True, editable=False, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(editable=False)
    accepted_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.email} ({self.role})"


class Project(models.Model):
    """Holds agents, API keys and channels."""

    class StatusPage(models.TextChoices):
        OFF = "off", "nobody sees it"
        SECRET = "secret", "for who knows its address, which nobody can guess"
        NAMED = "named", "for everybody, under a name"

    team = models.ForeignKey(Team, models.CASCADE, related_name="projects")
    name = models.CharField(max_length=100)
    strict = models.BooleanField(
        "strict mode", default=False, help_text="Refuse heartbeats of agents that were not created beforehand."
    )
    default_grace = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="Seconds past the interval before an agent counts as down. Empty: one interval.",
    )
    time_zone = models.CharField(
        max_length=50, default="UTC", help_text="Days of budgets and reports begin at midnight here."
    )
    monthly_budget_usd = models.DecimalField(
        "monthly budget ($)",
        max_digits=12,
        decimal_places=2,
        null=True,
        blank=True,
        help_text="All agents together in a calendar month: a warning at 80 %, and at 100 % all are on hold.",
    )
    prices = models.JSONField(
        default=list,
        blank=True,
        help_text="Dollars a million tokens where the price list is wrong or silent, by model.",
    )
    rules = models.JSONField(
        default=dict, blank=True, help_text="Per rule a switch and thresholds, for agents that set none of their own."
    )
    status_page = models.CharField(
        max_length=10,
        choices=StatusPage.choices,
        default=StatusPage.OFF,
        help_text="Names and statuses of all agents, and badges; no reasons, no money.",
    )
    status_address = models.CharField(
        max_length=64,
        unique=True,
        null=True,
        blank=True,
        help_text="The page’s name: small letters, digits and hyphens. An address nobody can guess is made by itself.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["team", "name"]
        constraints = [models.UniqueConstraint(fields=["team", "name"], name="project_name_once_a_team")]

    def __str__(self) -> str:
        return self.name


class Scope(models.TextChoices):
    AGENT = "agent", "agent: sends heartbeats, takes commands, reads statuses"
    READ = "read", "read: looks at everything and changes nothing"
    FULL = "full", "full: everything the API can do"


class ApiKey(models.Model):
    """A project's key. Only `prefix` (to tell it by) and the SHA-256 of the whole key are stored.

    The key holds 190 random bits, so a fast hash is as good as a slow one and costs a heartbeat nothing.
    """

    project = models.ForeignKey(Project, models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=100, default="default")
    scope = models.CharField(max_length=10, choices=Scope.choices, default=Scope.AGENT)
    prefix = models.CharField(max_length=16, editable=False)
    hash = models.CharField(max_length=64, unique=True, editable=False)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, editable=False, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    last_used_at = models.DateTimeField(null=True, editable=False)
    expires_at = models.DateTimeField(
        null=True, editable=False, help_text="Set by a rotation: the old key works until then."
    )
    revoked_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["project", "-created_at"]
        verbose_name = "API key"

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class AuditEntry(models.Model):
    """Who did what. Written by services, never changed."""

    team = models.ForeignKey(Team, models.CASCADE, related_name="audit")
    actor = models.CharField(max_length=255, help_text="A person's e-mail, `key:PREFIX`, `runner:…` or `watchdog`.")
    action = models.CharField(max_length=50)
    target = models.CharField(max_length=300)
    of = models.CharField(max_length=60, default="", help_text="The row it was done to: `alerts.channel:5`.")
    data = models.JSONField(default=dict)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-at", "-id"]
        verbose_name = "audit entry"
        verbose_name_plural = "audit log"
        indexes = [models.Index(fields=["team", "-at"], name="audit_newest_first")]

    def __str__(self) -> str:
        return f"{self.actor} {self.action} {self.target}"


class FailedSignIn(AccessAttempt):
    """Wrong passwords for one account from one host, which soon has to wait; counted by django-axes."""

    class Meta:
        proxy = True
        verbose_name = "failed sign-in"
