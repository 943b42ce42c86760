from django import forms
from allauth.account.adapter import DefaultAccountAdapter


class AccountAdapter(DefaultAccountAdapter):
    pass


class SignupForm(forms.Form):
    def signup(self, request, user):
        pass
