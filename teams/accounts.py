"""What signing up and signing in mean here, in allauth's terms."""

from typing import Any
from urllib.parse import urlsplit

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context
from allauth.mfa.adapter import DefaultMFAAdapter
from django import forms
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

from teams import passkeys, services
from teams.errors import ApiError
from teams.models import Invitation, User

FIRST_PROJECT = "Production"
FIRST_STEPS = "/admin/first-steps/"
_SESSION_KEY = "invitation"


def remember_invitation(request: HttpRequest, token: str) -> None:
    """Keep a newcomer's invitation while they sign up."""
    request.session[_SESSION_KEY] = token


def invitation_kept(request: HttpRequest | None) -> Invitation | None:
    """The still open invitation with which this browser came."""
    token = request.session.get(_SESSION_KEY) if request is not None else None
    try:
        return services.find_invitation(token=token, now=timezone.now()) if token else None
    except ApiError:
        return None


class AccountAdapter(DefaultAccountAdapter):
    """Sign-up may be closed except for the invited; afterwards come the first steps."""

    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "email_password_mismatch": "There is no account with this address and password. Look at both again.",
        "incorrect_code": "This is not the code. Look at it again, or ask for another.",
        "incorrect_password": "This is not your password.",
        "too_many_login_attempts": "Too many tries. Wait five minutes, or reset the password.",
        "rate_limited": "Too many tries. Wait a minute.",
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return settings.SIGNUP_OPEN or invitation_kept(request) is not None

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Mails speak of the product, which few know by the name of its host, and lead to where it is."""
        site = {"name": "ClevAgent Watchdog", "domain": settings.BASE_URL}
        links = {name: _here(str(value)) for name, value in context.items() if name.endswith("_url")}
        super().send_mail(
            template_prefix, email, {**context, **links, "current_site": site, "signup_open": settings.SIGNUP_OPEN}
        )

    def get_signup_redirect_url(self, request: HttpRequest) -> str:
        return FIRST_STEPS


def _here(url: str) -> str:
    """The same place at our own address: allauth takes the host that the request named, and anybody may send one."""
    return settings.BASE_URL + urlsplit(url)._replace(scheme="", netloc="").geturl()


class SecondFactorAdapter(DefaultMFAAdapter):
    """The second factor says what to do about a wrong code."""

    error_messages = {
        **DefaultMFAAdapter.error_messages,
        "incorrect_code": "This is not the code. Take the newest one; the clock of the phone must be right.",
        "add_email_blocked": "Switch the second factor off before you add an address.",
    }


class SignupForm(forms.Form):
    """allauth puts its own fields on top of this one's."""

    field_order = ["email", "password1", "team_name", "project_name"]
    team_name = forms.CharField(
        label="Team name",
        required=False,
        max_length=100,
        help_text="Who looks after the agents. Optional.",
        widget=forms.TextInput(attrs={"autocomplete": "organization"}),
    )
    project_name = forms.CharField(
        label="Project name",
        required=False,
        max_length=100,
        initial=FIRST_PROJECT,
        help_text="Holds agents and their keys. Both names can be changed later.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if invitation_kept(context.request):
            del self.fields["team_name"], self.fields["project_name"]

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        invitation = invitation_kept(context.request)
        if not settings.SIGNUP_OPEN and invitation and cleaned.get("email") != invitation.email:
            self.add_error("email", f"Sign up with {invitation.email}, the address that was invited.")
        return cleaned

    def signup(self, request: HttpRequest, user: User) -> None:
        """Make the newcomer's team and its first project; who was invited comes into a team that is there already."""
        invitation = invitation_kept(request)
        if invitation is None or invitation.email != user.email:
            names = self.cleaned_data
            found_team(user, names.get("team_name") or "", names.get("project_name") or FIRST_PROJECT)


@transaction.atomic
def found_team(user: User, name: str, project: str = FIRST_PROJECT) -> None:
    """A team with its first project; without a name it gets one from the e-mail address."""
    team = services.create_team(owner=user, name=name or f"{user.email.partition('@')[0][:80]}’s team")
    services.create_project(team=team, name=project, actor=user.email)


def username(request: HttpRequest | None, credentials: dict[str, Any] | None) -> str | None:
    """Whose sign-in failed, for the lock-out: allauth says `email` where Django says `username`."""
    said = credentials or {}
    name = said.get("email") or said.get("username") or (request.POST.get("login") if request else None)
    return str(name).lower() if name else None


def installation(request: HttpRequest) -> dict[str, Any]:
    """Context of every page: how this installation is set up, and whether passkeys work where it was asked."""
    return {
        "email_configured": settings.EMAIL_CONFIGURED,
        "signup_open": settings.SIGNUP_OPEN,
        "passkeys": lambda: _passkeys(request),
    }


def _passkeys(request: HttpRequest) -> passkeys.Passkeys:
    found = passkeys.at(request.build_absolute_uri())
    return found if "localhost" in settings.ALLOWED_HOSTS else found._replace(instead="")
