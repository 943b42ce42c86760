"""The form of a team's single sign-on."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.conf import settings
from unfold.widgets import (
    UnfoldAdminPasswordWidget,
    UnfoldAdminRadioSelectWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
)

from teams.forms import LinesField
from teams.roles import DESCRIPTIONS, Role
from teams.sso import policy, saml
from teams.sso.models import Protocol, SingleSignOn

# What is stored as it was entered.
SETTINGS = (
    *("name", "protocol", "issuer", "client_id", "extra_scopes"),
    *("role_claim", "roles", "default_role", "is_active", "enforced"),
)


class RolesField(LinesField):
    parse = staticmethod(policy.parse_roles)
    format_lines = staticmethod(policy.format_roles)


class SingleSignOnForm(forms.ModelForm[SingleSignOn]):
    new_secret = forms.CharField(
        label="Client secret",
        required=False,
        max_length=1000,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text="Stored encrypted and never shown again. Leave it empty to keep the stored one.",
    )
    metadata = forms.CharField(
        label="Provider metadata",
        required=False,
        max_length=200_000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 6, "spellcheck": "false"}),
        help_text="The XML that your provider offers for download. Leave it empty to keep the stored settings.",
    )
    roles = RolesField(
        label="Roles",
        rows=4,
        help_text="One value and its role per line, such as engineering = admin. The highest role wins. "
        "Empty: roles are set here, not by the provider.",
    )

    class Meta:
        model = SingleSignOn
        fields = ("team", *SETTINGS)
        widgets = {"protocol": UnfoldAdminRadioSelectWidget, "default_role": UnfoldAdminSelectWidget}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "default_role" in self.fields:
            named = [(role.value, f"{role.value.title()}: {DESCRIPTIONS[role]}") for role in Role]
            self.fields["default_role"].choices = [("", "None: refuse them"), *named]  # type: ignore[attr-defined]

    def clean_issuer(self) -> str:
        issuer: str = self.cleaned_data["issuer"].strip()
        if not issuer:
            return issuer
        try:
            parts = urlsplit(issuer)
            host = parts.hostname
        except ValueError:
            host = None
        schemes = ("https", "http") if settings.ALLOW_PRIVATE_TARGETS else ("https",)
        if not host or parts.scheme not in schemes or parts.query or parts.fragment or parts.username is not None:
            raise forms.ValidationError("Enter an address that starts with https://, without ? and #.")
        return issuer

    def clean_extra_scopes(self) -> str:
        return " ".join(self.cleaned_data["extra_scopes"].replace(",", " ").split())

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if self.instance.pk:  # a new connection has addresses to copy first
            self._require_provider(cleaned)
        if cleaned.get("roles") and not cleaned.get("role_claim"):
            self.add_error("role_claim", "Name the claim or attribute whose values are listed below.")
        return cleaned

    def _require_provider(self, cleaned: dict[str, Any]) -> None:
        protocol = cleaned.get("protocol") or self.instance.protocol
        needed = {"issuer": "issuer", "client_id": "client ID"} if protocol == Protocol.OIDC else {}
        for name, label in needed.items():
            if name in self.fields and not cleaned.get(name) and name not in self.errors:
                self.add_error(name, f"OpenID Connect needs the {label}.")
        if protocol == Protocol.SAML and "metadata" in self.fields and not self._has_metadata(cleaned):
            self.add_error("metadata", "SAML needs your provider’s metadata.")

    def clean_metadata(self) -> dict[str, Any]:
        text = self.cleaned_data["metadata"].strip()
        try:
            return saml.parse_metadata(text) if text else {}
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None

    def _has_metadata(self, cleaned: dict[str, Any]) -> bool:
        return bool(cleaned.get("metadata") or self.instance.saml or "metadata" in self.errors)

    def values(self) -> dict[str, Any]:
        """What the services take. Fields that keep what is stored are left out if they are empty."""
        named = {name: self.cleaned_data[name] for name in SETTINGS if name in self.cleaned_data}
        if secret := self.cleaned_data.get("new_secret"):
            named["client_secret"] = secret
        if metadata := self.cleaned_data.get("metadata"):
            named["saml"] = metadata
        return named
