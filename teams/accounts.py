from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from django import forms


class AccountAdapter(DefaultAccountAdapter):
    pass


class SignupForm(forms.Form):
    def signup(self, request: Any, user: Any) -> None:
        pass
