"""A team's single sign-on connection, and the e-mail domains it speaks for."""

from __future__ import annotations

import secrets
from typing import Any

from django.core.validators import RegexValidator
from django.db import models
from django.utils import timezone

from teams.encryption import EncryptedJSONField
from teams.models import Team
from teams.roles import Role

ROLE_CHOICES = [(role.value, role.value.title()) for role in Role]
# Lowercase labels; international names in their ASCII form.
DOMAIN_PATTERN = r"^(?=.{4,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]\Z"


def new_slug() -> str:
    return f"sso-{secrets.token_hex(8)}"


def new_token() -> str:
    return secrets.token_hex(16)


class Protocol(models.TextChoices):
    OIDC = "oidc", "OpenID Connect"
    SAML = "saml", "SAML 2.0"


class SingleSignOn(models.Model):
    """How the people of a team sign in through their own identity provider. At most one per team."""

    team = models.OneToOneField(Team, models.CASCADE, related_name="single_sign_on")
    # In the URLs that are copied to the provider, and what people's accounts are linked to.
    slug = models.CharField(max_length=40, unique=True, default=new_slug, editable=False)
    name = models.CharField(
        max_length=60, help_text="What people read on the sign-in page: “Continue with Acme”, for example."
    )
    protocol = models.CharField(max_length=10, choices=Protocol.choices, default=Protocol.OIDC)
    issuer = models.CharField(
        max_length=500,
        blank=True,
        help_text="The provider’s address. Below it is /.well-known/openid-configuration.",
    )
    client_id = models.CharField("client ID", max_length=255, blank=True)
    client_secret = EncryptedJSONField(default=str, blank=True)
    extra_scopes = models.CharField(
        max_length=200,
        blank=True,
        help_text="Requested besides openid, profile and email; some providers need “groups”.",
    )
    # `entity_id`, `sso_url` and `certificates`, read from the provider's metadata.
    saml: models.JSONField[Any, Any] = models.JSONField(default=dict, blank=True, editable=False)
    # `private_key` and `certificate`: providers may encrypt their assertions to us. Empty for OpenID Connect.
    saml_key = EncryptedJSONField(default=dict, blank=True, editable=False)
    role_claim = models.CharField(
        "claim or attribute",
        max_length=200,
        blank=True,
        help_text="Which of the provider’s values decides about roles, such as groups or realm_access.roles.",
    )
    # Pairs of a value and the role it gives.
    roles: models.JSONField[Any, Any] = models.JSONField(default=list, blank=True)
    default_role = models.CharField(
        max_length=10,
        choices=ROLE_CHOICES,
        blank=True,
        default=Role.VIEWER.value,
        help_text="For people without one of the values above.",
    )
    is_active = models.BooleanField("active", default=True, help_text="People can sign in through the provider.")
    enforced = models.BooleanField(
        "required for its domains",
        default=False,
        help_text="Addresses of the verified domains can sign in through the provider only.",
    )
    # When an owner last signed in as a test with these settings.
    tested_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["team"]
        verbose_name = "single sign-on"
        verbose_name_plural = "single sign-on"

    def __str__(self) -> str:
        return self.name


class SignInDomain(models.Model):
    """An e-mail domain of a team. Speaks for addresses only once it is verified, and then for one team only."""

    connection = models.ForeignKey(SingleSignOn, models.CASCADE, related_name="domains")
    domain = models.CharField(max_length=253, validators=[RegexValidator(DOMAIN_PATTERN)])
    # In the file that proves the domain. Not a secret: everybody can read that file.
    token = models.CharField(max_length=32, default=new_token, editable=False)
    verified_at = models.DateTimeField(null=True, editable=False)
    verified_by = models.CharField(max_length=255, default="", editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["domain"]
        verbose_name = "sign-in domain"
        constraints = [
            models.UniqueConstraint(fields=["connection", "domain"], name="sign_in_domain_once_a_connection"),
            # Claiming a domain takes nothing from the team that proves it.
            models.UniqueConstraint(
                fields=["domain"], condition=models.Q(verified_at__isnull=False), name="verified_domain_of_one_team"
            ),
        ]

    def __str__(self) -> str:
        return self.domain
