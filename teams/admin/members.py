"""Members, and invitations to become one."""

from datetime import datetime
from typing import Any

from allauth.mfa.models import Authenticator
from django import forms
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from unfold.widgets import UnfoldAdminRadioSelectWidget

from teams import mail, plan_gate, services
from teams.access import allowed, roles_of, teams_of
from teams.admin.projects import actor
from teams.changelists import Empty, TeamTableAdmin
from teams.models import Invitation, Membership, User
from teams.roles import DESCRIPTIONS, Action, Role, may_assign
from teams.sorting import Sort
from teams.tenant_admin import action, refusals_as_messages


def assignable_roles(request: HttpRequest, team_id: int | None = None) -> list[Role]:
    """The roles the person can assign in a team, or (None) in any of their teams."""
    if isinstance(request.user, User) and request.user.is_superuser:
        own: list[str] = [Role.OWNER]
    else:
        own = [role for team, role in roles_of(request).items() if team_id in (None, team)]
    return [role for role in Role if any(may_assign(mine, role) for mine in own)]


def role_choices(roles: list[Role]) -> list[tuple[str, str]]:
    """Form choices that explain each role."""
    return [(role.value, f"{role.value.title()}: {DESCRIPTIONS[role]}") for role in roles]


class MemberForm(forms.ModelForm[Membership]):
    class Meta:
        model = Membership
        fields = ["role"]
        widgets = {"role": UnfoldAdminRadioSelectWidget}


@admin.register(Membership)
class MemberPage(TeamTableAdmin):
    team_path = "team"
    add_action = None  # people join by invitation
    change_action = delete_action = Action.MANAGE
    form = MemberForm
    table_template = "teams/admin/members_table.html"
    list_display = ["user", "role"]  # the table template shows more
    list_filter = ["team", "role"]
    list_select_related = ["user", "team"]
    search_fields = ["user__email", "user__name"]
    search_help_text = "Search names and addresses"
    sorts = (
        Sort("person", "Person", "user__email"),
        Sort("role", "Role", "role"),
        Sort("joined", "Joined", "created_at", newest_first=True),
    )
    fields = ["team", "person", "role"]
    readonly_fields = ["team", "person"]
    delete_label = "Remove"
    explains_deletion = "They lose access to the team immediately. Their entries stay in the audit log."
    empty = Empty("No members yet", "People join a team by invitation.")

    @admin.display(description="Person")
    def person(self, obj: Membership) -> str:
        """As text. Django would link to the person's page, which only the operator can open."""
        return f"{obj.user.name} ({obj.user.email})" if obj.user.name else obj.user.email

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        second = Authenticator.objects.filter(user=OuterRef("user")).exclude(type=Authenticator.Type.RECOVERY_CODES)
        rows: QuerySet[Any] = super().get_queryset(request).annotate(has_second_factor=Exists(second))
        return rows

    def table(self, request: HttpRequest, changelist: ChangeList, now: datetime) -> dict[str, Any]:
        """Also lists pending invitations."""
        invitations = Invitation.objects.filter(team__in=teams_of(request.user), accepted_at=None, expires_at__gt=now)
        return {
            **super().table(request, changelist, now),
            "pending_invitations": invitations.select_related("team", "invited_by"),
            "may_invite": allowed(request, Action.MANAGE),
            # Only owners see who uses two-factor authentication.
            "owned": set(teams_of(request.user, Action.OWN).values_list("pk", flat=True)),
            "role_descriptions": [(role.value.title(), DESCRIPTIONS[role]) for role in Role],
        }

    def get_form(self, request: HttpRequest, obj: Membership | None = None, change: bool = False, **kwargs: Any) -> Any:
        form: Any = super().get_form(request, obj, change=change, **kwargs)
        if obj and "role" in form.base_fields:
            offered = [*assignable_roles(request, obj.team_id), Role(obj.role)]
            form.base_fields["role"].choices = role_choices([role for role in Role if role in offered])
        return form

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if "role" in form.changed_data and isinstance(request.user, User):
            services.change_role(membership=obj, role=obj.role, by=request.user)

    def delete_model(self, request: HttpRequest, obj: Membership) -> None:
        if isinstance(request.user, User):
            services.remove_member(membership=obj, by=request.user)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        for membership in queryset:
            self.delete_model(request, membership)


class InvitationForm(forms.ModelForm[Invitation]):
    class Meta:
        model = Invitation
        fields = ["team", "email", "role"]
        widgets = {"role": UnfoldAdminRadioSelectWidget}
        help_texts = {"email": "They must join with this address. If they have no account yet, they sign up with it."}


class StateFilter(admin.SimpleListFilter):
    title = parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("open", "pending"), ("accepted", "accepted"), ("expired", "expired")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Invitation]) -> QuerySet[Invitation]:
        pending, now = queryset.filter(accepted_at=None), timezone.now()
        by_state = {
            "open": pending.filter(expires_at__gt=now),
            "expired": pending.filter(expires_at__lte=now),
            "accepted": queryset.filter(accepted_at__isnull=False),
        }
        return by_state.get(self.value() or "", queryset)


@admin.register(Invitation)
class InvitationPage(TeamTableAdmin):
    team_path = "team"
    add_action = delete_action = Action.MANAGE
    change_action = None
    form = InvitationForm
    table_template = "teams/admin/invitations_table.html"
    change_form_template = "teams/admin/invitation.html"
    list_display = ["email", "role"]  # the table template shows more
    list_filter = ["team", StateFilter]
    list_select_related = ["team", "invited_by"]
    search_fields = ["email"]
    search_help_text = "Search addresses"
    sorts = (
        Sort("email", "E-mail", "email"),
        Sort("role", "Role", "role"),
        Sort("sent", "Sent", "created_at", newest_first=True),
        Sort("expires", "Expires", "expires_at"),
    )
    actions_detail = ["send_again"]
    fields = ["team", "email", "role"]
    delete_label = "Withdraw"
    explains_deletion = "The link stops working."
    empty = Empty(
        "No invitations yet",
        "Invite people by e-mail and choose their role. They join the team by opening the link.",
        "Invite someone",
        "Only admins and owners can invite people.",
    )

    def get_form(self, request: HttpRequest, obj: Invitation | None = None, change: bool = False, **kwargs: Any) -> Any:
        form: Any = super().get_form(request, obj, change=change, **kwargs)
        if "role" in form.base_fields:
            form.base_fields["role"].choices = role_choices(assignable_roles(request))
        return form

    def get_actions_detail(self, request: HttpRequest, object_id: int) -> list[Any]:
        """None in the header: the page has its own buttons."""
        return []

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        invitation: Invitation | None = kwargs.get("obj")
        if invitation is not None:
            context |= {"invitation": invitation, "now": timezone.now(), "title": invitation.email, "subtitle": None}
            context["may_manage"] = self.has_manage_permission(request, invitation)
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        plan_gate.require_room(team_id=obj.team_id, what="invitations")
        invitation, token = self._invite(request, obj)
        obj.pk = invitation.pk
        request._invited = invitation, token  # type: ignore[attr-defined]

    def _invite(self, request: HttpRequest, draft: Invitation) -> tuple[Invitation, str]:
        if not isinstance(request.user, User):
            raise PermissionDenied
        by, now = request.user, timezone.now()
        return services.invite(team=draft.team, email=draft.email, role=draft.role, invited_by=by, now=now)

    @action(description="Resend", permissions=["manage"], icon="forward_to_inbox")
    def send_again(self, request: HttpRequest, object_id: str) -> HttpResponse:
        response: HttpResponse = refusals_as_messages(request, self._send_again, self.get_object(request, object_id))
        return response

    def _send_again(self, request: HttpRequest, invitation: Invitation) -> HttpResponse:
        """Send a new link: the token of the old one is not stored. The old link stops working."""
        now = timezone.now()
        if request.method != "POST":
            page = {"title": f"Resend invitation to {invitation.email}", "opts": self.opts, "invitation": invitation}
            context = {**self.admin_site.each_context(request), **page, "now": now}
            return TemplateResponse(request, "teams/admin/invitation_resend.html", context)
        if invitation.accepted_at or invitation.expires_at <= now:  # an open invitation already counts as a member
            plan_gate.require_room(team_id=invitation.team_id, what="invitations")
        return self._show(request, *self._invite(request, invitation))

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """After the transaction, send the e-mail and show the link, the only time: its token is not stored."""
        response = super().changeform_view(request, *args, **kwargs)
        invited: tuple[Invitation, str] | None = getattr(request, "_invited", None)
        return self._show(request, *invited) if invited and response.status_code == 302 else response

    def _show(self, request: HttpRequest, invitation: Invitation, token: str) -> TemplateResponse:
        url = mail.invitation_url(token)
        context = {
            **self.admin_site.each_context(request),
            "title": f"{invitation.email} invited",
            "opts": self.opts,
            "invitation": invitation,
            "now": timezone.now(),
            "url": url,
            "sent": mail.send_invitation(invitation, url),
        }
        return TemplateResponse(request, "teams/admin/invitation_sent.html", context)

    def response_add(self, request: HttpRequest, obj: Invitation, post_url_continue: str | None = None) -> Any:
        return self.response_post_save_add(request, obj)

    def delete_model(self, request: HttpRequest, obj: Invitation) -> None:
        services.audit(team=obj.team, actor=actor(request), action="invitation.withdrawn", target=obj.email)
        obj.delete()

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        for invitation in queryset:
            self.delete_model(request, invitation)
