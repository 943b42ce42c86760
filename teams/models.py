"""Tenancy: people, teams, memberships, invitations, projects, API keys, and the audit log."""

from __future__ import annotations

from typing import Any, ClassVar

from allauth.mfa.models import Authenticator
from axes.models import AccessAttempt
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import models
from django.utils import timezone

from teams.roles import Action, Role, roles_with


class UserManager(BaseUserManager["User"]):
    """People sign in with an e-mail address; there are no user names."""

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


def second_factors(user: Any) -> models.QuerySet[Authenticator]:
    """The second factors of a person (or of an outer query's). Recovery codes alone are none."""
    return Authenticator.objects.filter(user=user).exclude(type=Authenticator.Type.RECOVERY_CODES)


class Session(AbstractBaseSession):
    """A browser that is signed in, or about to be (`user` None). `session_key` is the hash of the cookie's key."""

    user = models.ForeignKey(User, models.CASCADE, null=True, related_name="sessions")
    address = models.GenericIPAddressField(null=True)
    browser = models.CharField(max_length=80, default="")
    started_at = models.DateTimeField(default=timezone.now)
    seen_at = models.DateTimeField(default=timezone.now)

    @classmethod
    def get_session_store_class(cls) -> Any:
        from teams.sessions import SessionStore  # that module imports this one

        return SessionStore


class KnownBrowser(models.Model):
    """Where a person signed in before; a sign-in from anywhere else is told by e-mail."""

    user = models.ForeignKey(User, models.CASCADE, related_name="known_browsers")
    network = models.CharField(max_length=60, blank=True)
    browser = models.CharField(max_length=80, blank=True)
    last_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "network", "browser"], name="known_browser_once")]


class TeamQuerySet(models.QuerySet["Team"]):
    def allowing(self, user: User, action: Action) -> TeamQuerySet:
        """Teams in which a person can do something."""
        own = self.filter(memberships__user=user, memberships__role__in=roles_with(action))
        return own.filter(models.Q(require_second_factor=False) | models.Exists(second_factors(user.pk)))

    def active(self) -> TeamQuerySet:
        """All teams but those that are deleted and wait to be purged."""
        return self.filter(ended_at=None)


class Team(models.Model):
    """The tenant. Everything else belongs to exactly one team."""

    name = models.CharField(max_length=100)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    # Set once the team, or the project that it holds, was deleted. It has no members and is purged in batches.
    ended_at = models.DateTimeField(null=True, editable=False)
    require_second_factor = models.BooleanField(
        "require two-factor authentication",
        default=False,
        help_text="Members without a second factor cannot open anything of the team until they set one up.",
    )
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
    """An e-mail address invited to join a team. The token of the link is stored only as a hash."""

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
        OFF = "off", "Off"
        SECRET = "secret", "Unlisted: anyone with the link"
        NAMED = "named", "Public, under a name"

    team = models.ForeignKey(Team, models.CASCADE, related_name="projects")
    name = models.CharField(max_length=100)
    strict = models.BooleanField(
        "strict mode", default=False, help_text="Reject heartbeats from agents that were not created beforehand."
    )
    default_grace = models.PositiveIntegerField(
        "default grace period (seconds)",
        null=True,
        blank=True,
        help_text="Extra time after the interval before an agent is down. Default: one interval.",
    )
    time_zone = models.CharField(
        max_length=50, default="UTC", help_text="Budget and report days start at midnight in this zone."
    )
    monthly_budget_usd = models.DecimalField(
        "monthly budget ($)",
        max_digits=12,
        decimal_places=2,
        null=True,
        blank=True,
        help_text="For all agents together, per calendar month. Warns at 80 %; at 100 %, all agents are on hold.",
    )
    prices = models.JSONField(
        default=list,
        blank=True,
        help_text="USD per million tokens by model, overriding the price list.",
    )
    rules = models.JSONField(
        default=dict, blank=True, help_text="Per rule: whether it is on, and its thresholds. Agents can override them."
    )
    status_page = models.CharField(
        max_length=10,
        choices=StatusPage.choices,
        default=StatusPage.OFF,
        help_text="Shows names and statuses of all agents, and badges. No reasons, no spend.",
    )
    status_address = models.CharField(
        "page name",
        max_length=64,
        unique=True,
        null=True,
        blank=True,
        help_text="Name in the URL: lowercase letters, digits and hyphens. Unlisted pages get a random one.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["team", "name"]
        constraints = [models.UniqueConstraint(fields=["team", "name"], name="project_name_once_a_team")]

    def __str__(self) -> str:
        return self.name


class Scope(models.TextChoices):
    AGENT = "agent", "agent: send heartbeats, fetch commands, read statuses"
    READ = "read", "read: read everything, change nothing"
    FULL = "full", "full: full API access"


class ApiKey(models.Model):
    """A project's key. Only `prefix`, which identifies it, and the SHA-256 of the whole key are stored.

    A key has 190 random bits, so a fast hash is as safe as a slow one, and heartbeats stay cheap.
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
        null=True, editable=False, help_text="Set by a rotation: until when the old key works."
    )
    revoked_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["project", "-created_at"]
        verbose_name = "API key"

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class AuditEntry(models.Model):
    """Who did what. Written by services, never updated."""

    team = models.ForeignKey(Team, models.CASCADE, related_name="audit")
    actor = models.CharField(max_length=255, help_text="A person's e-mail, `key:PREFIX`, `runner:…` or `watchdog`.")
    action = models.CharField(max_length=50)
    target = models.CharField(max_length=300)
    of = models.CharField(max_length=60, default="", help_text="The affected row: `alerts.channel:5`.")
    data = models.JSONField(default=dict)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-at", "-id"]
        verbose_name = "audit entry"
        verbose_name_plural = "audit log"
        indexes = [models.Index(fields=["team", "-at"], name="audit_newest_first")]

    def __str__(self) -> str:
        return f"{self.actor} {self.action} {self.target}"


class AuditPosition(models.Model):
    """How far the audit log was streamed; one row."""

    sent_up_to = models.BigIntegerField(default=0)


class FailedSignIn(AccessAttempt):
    """Failed sign-ins to one account from one IP address, counted by django-axes, which locks that address out."""

    class Meta:
        proxy = True
        verbose_name = "failed sign-in"
