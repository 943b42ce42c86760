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
from teams.admin.projects import actor
from teams.changelists import Empty, TableList
from teams.models import Invitation, Membership, User
from teams.roles import EXPLAINED, Action, Role, may_assign
from teams.tenant_admin import action, allowed, refusals_as_messages, roles_of, teams_of


def roles_to_give(request: HttpRequest, team_id: int | None = None) -> list[Role]:
    """The roles a person may give in a team of theirs (None: in any)."""
    if isinstance(request.user, User) and request.user.is_superuser:
        own: list[str] = [Role.OWNER]
    else:
        own = [role for team, role in roles_of(request).items() if team_id in (None, team)]
    return [role for role in Role if any(may_assign(mine, role) for mine in own)]


def as_choices(roles: list[Role]) -> list[tuple[str, str]]:
    """With what each may do, for who chooses."""
    return [(role.value, f"{role.value.title()}: {EXPLAINED[role]}") for role in roles]


class MemberForm(forms.ModelForm[Membership]):
    class Meta:
        model = Membership
        fields = ["role"]
        widgets = {"role": UnfoldAdminRadioSelectWidget}


@admin.register(Membership)
class MemberPage(TableList):
    team_path = "team"
    add_action = None  # by invitation
    change_action = delete_action = Action.MANAGE
    form = MemberForm
    table_template = "teams/admin/members_table.html"
    list_display = ["user", "role"]  # in words; the table shows more
    list_filter = ["team", "role"]
    list_select_related = ["user", "team"]
    search_fields = ["user__email", "user__name"]
    search_help_text = "Search names and addresses"
    fields = ["team", "person", "role"]
    readonly_fields = ["team", "person"]
    deleting = "Remove"
    explains_deletion = "They see nothing of the team any more, at once. What they did stays in the audit log."
    empty = Empty("No member yet", "People become members by invitation.")

    @admin.display(description="Person")
    def person(self, obj: Membership) -> str:
        """Without the link that Django would make: the page behind it is the operator's."""
        return f"{obj.user.name} ({obj.user.email})" if obj.user.name else obj.user.email

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        second = Authenticator.objects.filter(user=OuterRef("user")).exclude(type=Authenticator.Type.RECOVERY_CODES)
        rows: QuerySet[Any] = super().get_queryset(request).annotate(has_second_factor=Exists(second))
        return rows

    def table(self, request: HttpRequest, found: ChangeList, now: datetime) -> dict[str, Any]:
        """With the invitations that are still open: those are members to be."""
        open_ones = Invitation.objects.filter(team__in=teams_of(request.user), accepted_at=None, expires_at__gt=now)
        return {
            **super().table(request, found, now),
            "invited": open_ones.select_related("team", "invited_by"),
            "may_invite": allowed(request, Action.MANAGE),
            # Whose second factor is seen by whom: an owner answers for the team.
            "owned": set(teams_of(request.user, Action.OWN).values_list("pk", flat=True)),
            "explained": [(role.value.title(), EXPLAINED[role]) for role in Role],
        }

    def get_form(self, request: HttpRequest, obj: Membership | None = None, change: bool = False, **kwargs: Any) -> Any:
        form: Any = super().get_form(request, obj, change=change, **kwargs)
        if obj and "role" in form.base_fields:
            kept = [*roles_to_give(request, obj.team_id), Role(obj.role)]
            form.base_fields["role"].choices = as_choices([role for role in Role if role in kept])
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
        help_texts = {"email": "They join with this address, and sign up with it if they have no account yet."}


class StateFilter(admin.SimpleListFilter):
    title = parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("open", "open"), ("accepted", "accepted"), ("expired", "expired")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Invitation]) -> QuerySet[Invitation]:
        waiting, now = queryset.filter(accepted_at=None), timezone.now()
        chosen = {
            "open": waiting.filter(expires_at__gt=now),
            "expired": waiting.filter(expires_at__lte=now),
            "accepted": queryset.filter(accepted_at__isnull=False),
        }
        return chosen.get(self.value() or "", queryset)


@admin.register(Invitation)
class InvitationPage(TableList):
    team_path = "team"
    add_action = delete_action = Action.MANAGE
    change_action = None
    form = InvitationForm
    table_template = "teams/admin/invitations_table.html"
    change_form_template = "teams/admin/invitation.html"
    list_display = ["email", "role"]  # in words; the table shows more
    list_filter = ["team", StateFilter]
    list_select_related = ["team", "invited_by"]
    search_fields = ["email"]
    search_help_text = "Search addresses"
    actions_detail = ["send_again"]
    fields = ["team", "email", "role"]
    deleting = "Withdraw"
    explains_deletion = "Its link leads nowhere any more."
    empty = Empty(
        "No invitation yet",
        "People join a team by a link that is sent to their address, with the role you choose.",
        "Invite somebody",
        "An admin or an owner of the team invites people.",
    )

    def get_form(self, request: HttpRequest, obj: Invitation | None = None, change: bool = False, **kwargs: Any) -> Any:
        form: Any = super().get_form(request, obj, change=change, **kwargs)
        if "role" in form.base_fields:
            form.base_fields["role"].choices = as_choices(roles_to_give(request))
        return form

    def get_actions_detail(self, request: HttpRequest, object_id: int) -> list[Any]:
        """They are on the page itself."""
        return []

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        invitation: Invitation | None = kwargs.get("obj")
        if invitation is not None:
            context |= {"invitation": invitation, "now": timezone.now(), "title": invitation.email}
            context["may_manage"] = self.has_manage_permission(request, invitation)
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        plan_gate.require_room(team_id=obj.team_id, what="invitations")
        made = self._invite(request, obj)
        obj.pk = made[0].pk
        request._invited = made  # type: ignore[attr-defined]

    def _invite(self, request: HttpRequest, as_in: Invitation) -> tuple[Invitation, str]:
        if not isinstance(request.user, User):
            raise PermissionDenied
        by, now = request.user, timezone.now()
        return services.invite(team=as_in.team, email=as_in.email, role=as_in.role, invited_by=by, now=now)

    @action(description="Send again", permissions=["manage"], icon="forward_to_inbox")
    def send_again(self, request: HttpRequest, object_id: str) -> HttpResponse:
        answer: HttpResponse = refusals_as_messages(request, self._send_again, self.get_object(request, object_id))
        return answer

    def _send_again(self, request: HttpRequest, invitation: Invitation) -> HttpResponse:
        """A new link, for the old one's token is kept nowhere; the old one ends."""
        now = timezone.now()
        if request.method != "POST":
            shown = {"title": f"Invite {invitation.email} again", "opts": self.opts, "invitation": invitation}
            context = {**self.admin_site.each_context(request), **shown, "now": now}
            return TemplateResponse(request, "teams/admin/invite_again.html", context)
        if invitation.accepted_at or invitation.expires_at <= now:  # else it has its place already
            plan_gate.require_room(team_id=invitation.team_id, what="invitations")
        return self._show(request, *self._invite(request, invitation))

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """After the transaction the mail goes out, and the page shows the link, whose token is kept nowhere."""
        answer = super().changeform_view(request, *args, **kwargs)
        made: tuple[Invitation, str] | None = getattr(request, "_invited", None)
        return self._show(request, *made) if made and answer.status_code == 302 else answer

    def _show(self, request: HttpRequest, invitation: Invitation, token: str) -> TemplateResponse:
        url = mail.invitation_url(token)
        context = {
            **self.admin_site.each_context(request),
            "title": f"{invitation.email} is invited",
            "opts": self.opts,
            "invitation": invitation,
            "now": timezone.now(),
            "url": url,
            "sent": mail.send_invitation(invitation, url),
        }
        return TemplateResponse(request, "teams/admin/invited.html", context)

    def response_add(self, request: HttpRequest, obj: Invitation, post_url_continue: str | None = None) -> Any:
        return self.response_post_save_add(request, obj)

    def delete_model(self, request: HttpRequest, obj: Invitation) -> None:
        services.audit(team=obj.team, actor=actor(request), action="invitation.withdrawn", target=obj.email)
        obj.delete()

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        for invitation in queryset:
            self.delete_model(request, invitation)
