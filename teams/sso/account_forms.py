"""allauth's forms that ask for a password: addresses that must use single sign-on are led there instead."""

from __future__ import annotations

from typing import Any

from allauth.account.forms import LoginForm, ResetPasswordForm, ResetPasswordKeyForm
from django import forms

from teams.sso import enforcement
from teams.sso.models import SingleSignOn


class SignInForm(LoginForm):
    """Refuses before the password is looked at. The page shows `connection` as the way on."""

    connection: SingleSignOn | None = None

    def clean(self) -> Any:
        address = str(self.cleaned_data.get("login") or "")
        self.connection = enforcement.required_for(address)
        if self.connection is not None:
            raise forms.ValidationError(enforcement.reason(self.connection, address))
        return super().clean()  # type: ignore[no-untyped-call]


class ResetForm(ResetPasswordForm):
    def clean_email(self) -> str:
        address: str = super().clean_email()
        if connection := enforcement.required_for(address):
            raise forms.ValidationError(enforcement.reason(connection, address))
        return address


class NewPasswordForm(ResetPasswordKeyForm):
    """For links that were sent before single sign-on was required."""

    def clean(self) -> Any:
        connection = enforcement.required_for_person(self.user) if self.user else None
        if connection:
            raise forms.ValidationError(enforcement.reason(connection, self.user.email))
        return super().clean()  # type: ignore[no-untyped-call]
