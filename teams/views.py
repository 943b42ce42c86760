"""Pages outside the admin: landing page, your teams and profile, invitations, one-time sign-in."""

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from allauth.account.internal.flows.login import perform_login
from allauth.account.models import Login
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.forms import model_to_dict
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from teams import account_log, accounts, plan_gate, rate_limits, services, sessions, sign_in_links, times
from teams.access import closed_teams
from teams.errors import ApiError
from teams.forms import ProfileForm, TeamForm
from teams.links import on_site
from teams.models import Membership, User
from teams.sso.enforcement import Passed

View = Callable[..., HttpResponse]


def refusals_as_page(view: View) -> View:
    """Decorate a view: a refusal of a service becomes a page with its message."""

    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except ApiError as error:
            return render(request, "teams/refused.html", {"message": error.message}, status=error.http_status)

    return wrapped


def _person(request: HttpRequest) -> User:
    """The signed-in person, on a page that requires sign-in."""
    if not isinstance(request.user, User):
        raise ApiError(401, "signed_out", "Sign in first.")
    return request.user


@require_safe
def landing(request: HttpRequest) -> HttpResponse:
    return render(request, "teams/landing.html")


@login_required
@refusals_as_page
@require_http_methods(["GET", "POST"])
def teams(request: HttpRequest) -> HttpResponse:
    """Your teams, and a form to create one."""
    user = _person(request)
    form = TeamForm(request.POST or None)
    if form.is_valid():
        rate_limits.spend(rate_limits.TEAMS, user.pk, timezone.now())
        accounts.create_team_with_project(user, form.cleaned_data["name"])
        return redirect("admin:index")
    memberships = Membership.objects.filter(user=user).select_related("team").order_by("team__name")
    context = {"form": form, "memberships": memberships, "closed": closed_teams(user)}
    return render(request, "teams/teams.html", context)


@login_required
@require_http_methods(["GET", "POST"])
def leave(request: HttpRequest, membership_id: int) -> HttpResponse:
    """GET asks for confirmation: only an invitation leads back."""
    user = _person(request)
    membership = get_object_or_404(Membership.objects.select_related("team"), pk=membership_id, user=user)
    if request.method == "GET":
        return render(request, "teams/leave.html", {"membership": membership, **services.left_behind(membership)})
    try:
        services.remove_member(membership=membership, by=user)
        messages.success(request, f"You left {membership.team}.")
    except ApiError as error:
        messages.error(request, error.message)
    return redirect("teams:teams")


@login_required
@require_http_methods(["GET", "POST"])
def profile(request: HttpRequest) -> HttpResponse:
    user = _person(request)
    before = model_to_dict(user, ProfileForm.Meta.fields)
    form = ProfileForm(request.POST or None, instance=user)
    if form.is_valid():
        form.save()
        if changed := account_log.changes(before, form.cleaned_data):
            account_log.record(user, "account.profile_changed", changed)
        messages.success(request, "Saved.")
        return redirect("teams:profile")
    return render(request, "teams/profile.html", {"form": form})


@login_required
@require_safe
def session_list(request: HttpRequest) -> HttpResponse:
    """Where the person is signed in."""
    context = {
        "sessions": sessions.of_person(_person(request), timezone.now()),
        "current": sessions.hash_of(request.session.session_key),
        "idle": times.duration(settings.SESSION_IDLE_HOURS * 3600),
        "longest": times.duration(settings.SESSION_COOKIE_AGE),
    }
    return render(request, "teams/sessions.html", context)


@login_required
@require_POST
def end_session(request: HttpRequest) -> HttpResponse:
    user = _person(request)
    if sessions.end(user, request.POST.get("session", "")):
        account_log.record(user, "account.sessions_ended", {"sessions": 1})
        messages.success(request, "Signed out.")
    return redirect("teams:sessions")


@login_required
@require_POST
def end_other_sessions(request: HttpRequest) -> HttpResponse:
    user = _person(request)
    ended = sessions.end_others(user, request.session.session_key)
    if ended:
        account_log.record(user, "account.sessions_ended", {"sessions": ended})
    messages.success(request, "You are signed out everywhere else.")
    return redirect("teams:sessions")


@never_cache
@refusals_as_page
@require_http_methods(["GET", "POST"])
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Show an invitation; POST accepts it. Without an account, sign-up comes first and leads back here."""
    offer = services.find_invitation(token=token, now=timezone.now())
    if request.method == "POST":
        return _accept(request, token, offer.team_id)
    if not request.user.is_authenticated:
        accounts.remember_invitation(request, token)
    query = urlencode({"email": offer.email, "next": request.path})
    return render(request, "teams/invitation.html", {"offer": offer, "query": query})


def _accept(request: HttpRequest, token: str, team_id: int) -> HttpResponse:
    user = _person(request)
    with transaction.atomic():
        if not Membership.objects.filter(team_id=team_id, user=user).exists():
            plan_gate.require_room(team_id=team_id, what="members")
        membership = services.accept_invitation(token=token, user=user, now=timezone.now())
    messages.success(request, f"Welcome to {membership.team}.")
    return redirect("admin:index")


@never_cache
@refusals_as_page
@require_http_methods(["GET", "POST"])
def sign_in(request: HttpRequest, token: str) -> HttpResponse:
    """GET only shows a button, so that a mail scanner does not use up the link. POST signs in; MFA still applies."""
    person = sign_in_links.find_person(token)
    if request.method == "GET":
        return render(request, "teams/sign_in.html", {"person": person})
    if sign_in_links.breaks_glass(token):
        request.sign_on = Passed(team=None)  # type: ignore[attr-defined]
    is_first = person.last_login is None
    user = sign_in_links.redeem(token, now=timezone.now())
    start = on_site(accounts.GET_STARTED_URL) if is_first else reverse("admin:index")
    response: HttpResponse = perform_login(request, Login(user=user, redirect_url=start))
    return response
