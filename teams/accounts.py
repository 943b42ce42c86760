"""Sign-up and sign-in: adapters, the sign-up form and context for allauth."""

import logging
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context
from allauth.mfa.adapter import DefaultMFAAdapter
from django import forms
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

from teams import encryption, lockouts, passkeys, rate_limits, services
from teams.errors import ApiError
from teams.links import on_base_url, on_site
from teams.models import Invitation, Project, User

FIRST_PROJECT = "Production"
# Mails that whoever types an address causes. What happens to an account is told without a limit.
UNASKED = frozenset(
    f"account/email/{name}"
    for name in (
        "account_already_exists", "unknown_account", "password_reset_key", "email_confirmation",
        "email_confirmation_signup",
    )
)  # fmt: skip
GET_STARTED_URL = "/admin/first-steps/"
_SESSION_KEY = "invitation"
log = logging.getLogger(__name__)


def remember_invitation(request: HttpRequest, token: str) -> None:
    """Keep the invitation in the session while the person signs up."""
    request.session[_SESSION_KEY] = token


def remembered_invitation(request: HttpRequest | None) -> Invitation | None:
    """The invitation this browser opened, if it is still open."""
    token = request.session.get(_SESSION_KEY) if request is not None else None
    try:
        return services.find_invitation(token=token, now=timezone.now()) if token else None
    except ApiError:
        return None


class AccountAdapter(DefaultAccountAdapter):
    """Sign-up may be restricted to invited people. New people go to "Get started"."""

    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "email_password_mismatch": "Incorrect e-mail or password.",
        "incorrect_code": "Incorrect code. Check it, or request a new one.",
        "incorrect_password": "Incorrect password.",
        "too_many_login_attempts": "Too many attempts. Wait 5 minutes, or reset your password.",
        "rate_limited": "Too many attempts. Try again in a minute.",
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return settings.SIGNUP_OPEN or remembered_invitation(request) is not None

    def is_email_verified(self, request: HttpRequest, email: str) -> bool:
        """Without a mail server no code arrives, so the link that an admin handed over proves the address.

        With one it does not: admins see the links they send, and could sign up with other people's addresses.
        """
        invitation = None if settings.EMAIL_CONFIGURED else remembered_invitation(request)
        is_invited = invitation is not None and invitation.email == email.lower()
        return is_invited or bool(super().is_email_verified(request, email))

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Count the attempt, which `authenticate` takes back if the password is right."""
        self._login_failed_rl_usage = lockouts.count_attempt(request, _login_of(credentials), client_address(request))

    def _delete_login_attempts_cached_email(self, request: HttpRequest, **credentials: Any) -> None:
        """Called after a password was reset."""
        lockouts.lift(request, _login_of(credentials), client_address(request))

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Name the product in e-mails instead of the host name, and link to `BASE_URL`."""
        if template_prefix in UNASKED and not _may_mail(template_prefix, email):
            log.warning("Too many mails to one address within an hour, this one is not sent: %s", template_prefix)
            return
        site = {"name": "ClevAgent Watchdog", "domain": settings.BASE_URL}
        links = {name: _on_base_url(str(value)) for name, value in context.items() if name.endswith("_url")}
        super().send_mail(
            template_prefix, email, {**context, **links, "current_site": site, "signup_open": settings.SIGNUP_OPEN}
        )

    def get_signup_redirect_url(self, request: HttpRequest) -> str:
        return on_site(GET_STARTED_URL)


def _may_mail(kind: str, email: str) -> bool:
    return rate_limits.take(rate_limits.ACCOUNT_MAILS_TO_ADDRESS, f"{kind} {email.lower()}", timezone.now()) > 0


def _on_base_url(url: str) -> str:
    """Replace the host: allauth takes it from the request's Host header, which anyone can forge."""
    return on_base_url(urlsplit(url)._replace(scheme="", netloc="").geturl())


def client_address(request: HttpRequest) -> str:
    """The client's address, for counting failed sign-ins."""
    return str(request.META.get("REMOTE_ADDR", ""))


def _login_of(credentials: dict[str, Any]) -> str:
    return str(credentials.get("email") or credentials.get("username") or "").lower()


class SecondFactorAdapter(DefaultMFAAdapter):
    """Encrypts seeds, and says how to fix a wrong code."""

    def encrypt(self, text: str) -> str:
        return encryption.encrypt(text)

    def decrypt(self, encrypted_text: str) -> str:
        return encryption.decrypt(encrypted_text)

    error_messages = {
        **DefaultMFAAdapter.error_messages,
        "incorrect_code": "Incorrect code. Enter the newest one, and check that your phone’s clock is correct.",
        "add_email_blocked": "Turn off two-factor authentication before you add an address.",
    }


class SignupForm(forms.Form):
    """Extra sign-up fields; allauth adds its own above these."""

    field_order = ["email", "password1", "team_name", "project_name"]
    team_name = forms.CharField(
        label="Team name",
        required=False,
        max_length=100,
        help_text="The people who run the agents. Optional.",
        widget=forms.TextInput(attrs={"autocomplete": "organization"}),
    )
    project_name = forms.CharField(
        label="Project name",
        required=False,
        max_length=100,
        initial=FIRST_PROJECT,
        help_text="A project has its own agents and API keys. You can change both names later.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    # Filled in by the browser.
    time_zone = forms.CharField(required=False, max_length=50, widget=forms.HiddenInput(attrs={"data-time-zone": ""}))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if remembered_invitation(context.request):
            del self.fields["team_name"], self.fields["project_name"]

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        invitation = remembered_invitation(context.request)
        if not settings.SIGNUP_OPEN and invitation and cleaned.get("email") != invitation.email:
            self.add_error("email", f"Sign up with {invitation.email}, the address that was invited.")
        return cleaned

    def signup(self, request: HttpRequest, user: User) -> None:
        """Create a team with a first project, unless the person was invited to an existing team."""
        _adopt_time_zone(user, self.cleaned_data["time_zone"])
        invitation = remembered_invitation(request)
        if invitation is None or invitation.email != user.email:
            names = self.cleaned_data
            create_team_with_project(user, names.get("team_name") or "", names.get("project_name") or FIRST_PROJECT)


def _adopt_time_zone(user: User, name: str) -> None:
    """Use the browser's zone if it is one we know; else the person keeps UTC."""
    if name in available_timezones():
        user.time_zone = name
        user.save(update_fields=["time_zone"])


@transaction.atomic
def create_team_with_project(user: User, name: str, project: str = FIRST_PROJECT) -> None:
    """Create a team with its first project, whose days begin at the person's midnight.

    An empty name is replaced by one made from the e-mail address.
    """
    team = services.create_team(owner=user, name=name or f"{user.email.partition('@')[0][:80]}’s team")
    created = services.create_project(team=team, name=project, actor=user.email)
    Project.objects.filter(pk=created.pk).update(time_zone=user.time_zone)


def username(request: HttpRequest | None, credentials: dict[str, Any] | None) -> str | None:
    """For django-axes: the account a sign-in was for. allauth calls it `email`, Django `username`."""
    given = credentials or {}
    name = given.get("email") or given.get("username") or (request.POST.get("login") if request else None)
    return str(name).lower() if name else None


def installation(request: HttpRequest) -> dict[str, Any]:
    """Context processor: how this installation is set up, and whether passkeys work at the requested address."""
    return {
        "email_configured": settings.EMAIL_CONFIGURED,
        "signup_open": settings.SIGNUP_OPEN,
        "passkeys": lambda: _passkeys(request),
    }


def _passkeys(request: HttpRequest) -> passkeys.PasskeySupport:
    support = passkeys.support_at(request.build_absolute_uri())
    return support if "localhost" in settings.ALLOWED_HOSTS else support._replace(alternative_url="")
