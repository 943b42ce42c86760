"""Tenancy: people, teams, memberships, invitations, projects, API keys, and the audit log."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from allauth.mfa.models import Authenticator
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.contrib.sessions.base_session import AbstractBaseSession
from django.core.validators import RegexValidator
from django.db import models
from django.utils import timezone
from django.utils.module_loading import import_string

from teams import keys
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
    compact_rows = models.BooleanField(default=False, db_default=False, help_text="Lists show more rows at once.")
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
        return import_string(f"{settings.SESSION_ENGINE}.SessionStore")  # that module imports this one


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
    # The day's storage of the plan is used up: until then, heartbeats are stored without details.
    details_off_until = models.DateTimeField(null=True, editable=False)
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
    bind_names = models.BooleanField(
        "names belong to keys",
        default=True,
        help_text="The API key that first reports as a name owns it: other keys cannot report as that agent.",
    )
    agent_rule = models.CharField(
        "names from telemetry",
        max_length=200,
        blank=True,
        default="",
        validators=[
            RegexValidator(
                r"^([^{}]|\{(service|session|host|instance)\})*\Z",
                "Use only {service}, {session}, {host} and {instance} in braces.",
            )
        ],
        help_text="Where OpenTelemetry names no agent: “{service} on {host}”, for example. Default: its service.",
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
    # In the addresses of pings. It creates and reports jobs and reads nothing, so members may see it.
    ping_key = models.CharField(max_length=22, unique=True, default=keys.generate_ping_key, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["team", "name"]
        constraints = [models.UniqueConstraint(fields=["team", "name"], name="project_name_once_a_team")]

    def __str__(self) -> str:
        return self.name


class SavedView(models.Model):
    """The filter and order of a list under a name. Belongs to a person or to a team, never to both."""

    user = models.ForeignKey(User, models.CASCADE, null=True, related_name="saved_views")
    team = models.ForeignKey(Team, models.CASCADE, null=True, related_name="saved_views")
    page = models.CharField(max_length=60, help_text="`fleet`, or the model of the list: `agents.agent`.")
    name = models.CharField(max_length=60)
    query = models.CharField(max_length=1000, blank=True, help_text="A query string: `status=down&o=name`.")

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(user=None, team__isnull=False) | models.Q(user__isnull=False, team=None),
                name="saved_view_has_one_owner",
            ),
            models.UniqueConstraint(fields=["user", "page", "name"], name="one_view_per_person_and_name"),
            models.UniqueConstraint(fields=["team", "page", "name"], name="one_view_per_team_and_name"),
        ]

    def __str__(self) -> str:
        return self.name


# A fleet of this size comes up within an hour; a stolen key creates no more either.
NEW_AGENTS_PER_HOUR: Final = 2_000


class Scope(models.TextChoices):
    AGENT = "agent", "agent: send heartbeats, fetch commands, read statuses"
    READ = "read", "read: read everything, change nothing"
    ACT = "act", "act: read everything, restart, stop and hold agents, work on incidents"
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
    # Names of agents stay bound to a key through its rotations: to the first key of the line, which is empty here.
    first = models.ForeignKey("self", models.SET_NULL, null=True, editable=False, related_name="successors")
    agent = models.CharField(
        "only for agent",
        max_length=200,
        default="",
        blank=True,
        help_text="The one name that the key may report as. Empty: any name. Needs the scope agent.",
    )
    allowed_networks: models.JSONField[Any, Any] = models.JSONField(
        default=list,
        blank=True,
        help_text="Addresses or networks that may use the key, such as 10.0.0.0/8 or 2001:db8::/32. Empty: all.",
    )
    new_agents_per_hour = models.PositiveIntegerField(
        default=NEW_AGENTS_PER_HOUR,
        help_text="How many agents the key may create per hour with their first heartbeats.",
    )
    last_used_at = models.DateTimeField(null=True, editable=False)
    last_used_address = models.CharField(max_length=45, default="", editable=False)
    expires_at = models.DateTimeField(
        null=True, blank=True, help_text="Until when the key works. Empty: until revoked."
    )
    # How long its successor works, if the key was created with an expiry.
    lifetime = models.DurationField(null=True, editable=False)
    revoked_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["project", "-created_at"]
        verbose_name = "API key"

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @property
    def line(self) -> int:
        """What names are bound to: the first key of its rotations."""
        return self.first_id or self.pk


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


class RateCount(models.Model):
    """How often something happened in one window of time. Written by `rate_limits.py`."""

    key = models.CharField(max_length=100, primary_key=True)
    used = models.BigIntegerField()
    ends_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"{self.key}: {self.used}"


class FailedSignIn(AccessAttempt):
    """Failed sign-ins to one account from one IP address, counted by django-axes, which locks that address out."""

    class Meta:
        proxy = True
        verbose_name = "failed sign-in"
