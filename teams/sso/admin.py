"""The page on which owners set up single sign-on."""

from __future__ import annotations

import re
from typing import Any, ClassVar
from urllib.parse import urlencode

from allauth.account.adapter import get_adapter
from allauth.account.internal.flows.reauthentication import is_reauthentication_required
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone

from teams.access import is_operator
from teams.changelists import Empty, TeamTableAdmin
from teams.errors import ApiError
from teams.links import absolute
from teams.models import User
from teams.roles import Action
from teams.sorting import Sort
from teams.sso import saml, services
from teams.sso.forms import SingleSignOnForm
from teams.sso.models import DOMAIN_PATTERN, Protocol, SignInDomain, SingleSignOn
from teams.tenant_admin import action


def _person(request: HttpRequest) -> User:
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user


@admin.register(SingleSignOn)
class SingleSignOnPage(TeamTableAdmin):
    team_path = "team"
    add_action = change_action = delete_action = Action.OWN
    actions = None  # at most one per team
    form = SingleSignOnForm
    table_template = "sso/admin/table.html"
    change_form_template = "sso/admin/connection.html"
    list_display = ["name"]  # the table template shows more
    list_select_related = ["team"]
    search_fields = ["name"]
    search_help_text = "Search names"
    sorts = (Sort("name", "Name", "name"), Sort("team", "Team", "team__name"))
    actions_detail = ["domains"]
    sections: ClassVar[dict[str, tuple[str, ...]]] = {
        "General": ("team", "name", "protocol"),
        "OpenID Connect": ("issuer", "client_id", "new_secret", "extra_scopes"),
        "SAML": ("metadata",),
        "Roles": ("role_claim", "roles", "default_role"),
        "State": ("is_active", "enforced"),
    }
    delete_label = "Remove"
    explains_deletion = (
        "People keep their accounts and roles, and sign in with a password again. Those who have none reset it first."
    )
    empty = Empty(
        "No single sign-on yet",
        "Your team can sign in through its own identity provider: Okta, Entra ID, Google, Keycloak or any other that "
        "speaks OpenID Connect or SAML. You can take roles from its groups, and require it for your e-mail domain.",
        "Set up single sign-on",
        "Only owners can set up single sign-on.",
    )

    def has_own_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.allows(request, Action.OWN, obj)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """What is required is chosen after a test, so a new connection cannot be."""
        hidden = {"enforced"} if obj is None else set()
        if not self.has_change_permission(request, obj):
            hidden |= {"new_secret", "metadata"}
        shown = {title: [name for name in names if name not in hidden] for title, names in self.sections.items()}
        return [(title, {"fields": names}) for title, names in shown.items()]

    def get_readonly_fields(self, request: HttpRequest, obj: SingleSignOn | None = None) -> list[str]:
        return ["team"] if obj else []

    def get_actions_detail(self, request: HttpRequest, object_id: int) -> list[Any]:
        """None in the header: the page has its own buttons."""
        return []

    def table(self, request: HttpRequest, changelist: Any, now: Any) -> dict[str, Any]:
        return {"rows": list(changelist.result_list.prefetch_related("domains"))}

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        connection: SingleSignOn | None = kwargs.get("obj")
        if connection is not None:
            # From the database: the form may have rejected what `connection` holds.
            stored = SingleSignOn.objects.prefetch_related("domains").get(pk=connection.pk)
            context |= {"connection": stored, "title": stored.name, "subtitle": None, **_addresses(stored)}
            context["domains"] = [
                (row, services.proof_url(row), services.proof_text(row)) for row in stored.domains.all()
            ]
            context["now"] = timezone.now()
            context["may_own"] = self.has_own_permission(request, connection)
            context["may_approve"] = is_operator(request)
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        by = _person(request)
        if change:
            services.change(connection=obj, values=form.values(), by=by, current=request.session.session_key)
        else:
            obj.pk = services.create(team=obj.team, values=form.values(), by=by, now=timezone.now()).pk

    def response_add(self, request: HttpRequest, obj: SingleSignOn, post_url_continue: str | None = None) -> Any:
        """The URLs to copy are on the page of the connection."""
        return redirect("admin:sso_singlesignon_change", obj.pk)

    def delete_model(self, request: HttpRequest, obj: SingleSignOn) -> None:
        services.delete(connection=obj, actor=_person(request).email)

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return self._ask_again(request) or super().changeform_view(request, *args, **kwargs)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return self._ask_again(request) or super().delete_view(request, *args, **kwargs)

    def _ask_again(self, request: HttpRequest) -> HttpResponse | None:
        """For the password, unless it was given just now: who decides here who vouches for people becomes all of them.

        Not as allauth does it, which keeps what was sent, and so a client secret, in the session.
        """
        if not self.has_own_permission(request) or not is_reauthentication_required(request, app="allauth.account"):
            return None
        method = get_adapter(request).get_reauthentication_methods(_person(request))[0]
        return redirect(f"{method['url']}?{urlencode({'next': request.get_full_path()})}")

    @action(description="Domains", permissions=["own"], icon="language")
    def domains(self, request: HttpRequest, object_id: str) -> HttpResponse:
        if asked := self._ask_again(request):
            return asked
        connection: SingleSignOn = self.get_object(request, object_id)
        if request.method == "POST":
            try:
                messages.success(request, _change_domains(connection, request.POST, _person(request)))
            except ApiError as error:
                messages.error(request, error.message)
        return redirect("admin:sso_singlesignon_change", connection.pk)


def _addresses(connection: SingleSignOn) -> dict[str, str]:
    """What is copied to the provider."""
    if connection.protocol == Protocol.SAML:
        return {
            "acs_url": saml.acs_url(connection),
            "entity_id": saml.entity_id(connection),
            "certificate": connection.saml_key.get("certificate", ""),
        }
    return {"callback_url": absolute("sso:callback", connection.slug)}


def _change_domains(connection: SingleSignOn, sent: Any, by: User) -> str:
    """Do what a button asks for, and say what was done."""
    now, do = timezone.now(), sent.get("do")
    if do == "add":
        domain = sent.get("domain", "").strip().lower().removeprefix("@")
        if not re.match(DOMAIN_PATTERN, domain):
            raise ApiError(422, "invalid", "Enter a domain such as example.com.")
        services.add_domain(connection=connection, domain=domain, by=by, now=now)
        return f"{domain} was added. Verify it next."
    row = _domain(connection, sent.get("row", ""))
    if do == "check":
        services.prove_domain(row=row, by=by, now=now)
        return f"{row} is verified."
    if do == "approve":
        services.approve_domain(row=row, by=by, now=now)
        return f"{row} is approved."
    if do == "remove":
        services.remove_domain(row=row, by=by)
        return f"{row} was removed."
    raise ApiError(422, "invalid", "Use one of the buttons.")


def _domain(connection: SingleSignOn, pk: str) -> SignInDomain:
    row = connection.domains.filter(pk=pk).first() if pk.isascii() and pk.isdigit() and len(pk) < 19 else None
    if row is None:
        raise ApiError(404, "not_found", "This domain is no longer on the list.")
    return row
