"""The form of the sign-up page. In a module of its own: allauth builds it from the fields in `accounts.py`."""

from __future__ import annotations

from typing import Any

from allauth.account.forms import SignupForm
from django import forms
from django.contrib.auth.hashers import make_password
from django.http import HttpRequest

from teams.sso import enforcement


class EvenSignupForm(SignupForm):
    """Takes as long for an address that has an account as for a new one: else the time tells who has one."""

    def clean_email(self) -> str:
        address: str = super().clean_email()
        if connection := enforcement.required_for(address):
            raise forms.ValidationError(enforcement.reason(connection, address))
        return address

    def try_save(self, request: HttpRequest) -> Any:
        if self.account_already_exists:
            make_password(self.cleaned_data["password1"])
        return super().try_save(request)
