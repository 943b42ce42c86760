"""Members and invitations."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils import timezone

from teams import mail, room, services
from teams.admin.projects import actor
from teams.models import Invitation, Membership, User
from teams.roles import Action, Role, may_assign
from teams.scoping import TeamAdmin, display, roles_of


def roles_to_give(request: HttpRequest, team_id: int | None = None) -> list[tuple[str, str]]:
    """The roles a person may give in a team of theirs (None: in any)."""
    if isinstance(request.user, User) and request.user.is_superuser:
        own: list[str] = [Role.OWNER]
    else:
        own = [role for team, role in roles_of(request).items() if team_id in (None, team)]
    return [(role.value, role.value.title()) for role in Role if any(may_assign(mine, role) for mine in own)]


@admin.register(Membership)
class MemberPage(TeamAdmin):
    team_path = "team"
    add_action = None  # by invitation
    change_action = delete_action = Action.MANAGE
    list_display = ["person", "role", "team", "created_at"]
    list_filter = ["team", "role"]
    list_select_related = ["user", "team"]
    search_fields = ["user__email", "user__name"]
    fields = ["team", "person", "role", "created_at"]
    readonly_fields = ["team", "person", "created_at"]

    @admin.display(description="Person")
    def person(self, obj: Membership) -> str:
        """Without the link that Django would make: the page behind it is the operator's."""
        return f"{obj.user.name} ({obj.user.email})" if obj.user.name else obj.user.email

    def get_form(self, request: HttpRequest, obj: Membership | None = None, change: bool = False, **kwargs: Any) -> Any:
        form: Any = super().get_form(request, obj, change=change, **kwargs)
        if obj and "role" in form.base_fields:
            kept = (obj.role, obj.get_role_display())
            form.base_fields["role"].choices = list(dict.fromkeys([*roles_to_give(request, obj.team_id), kept]))
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


@admin.register(Invitation)
class InvitationPage(TeamAdmin):
    team_path = "team"
    add_action = delete_action = Action.MANAGE
    change_action = None
    form = InvitationForm
    list_display = ["email", "role", "team", "state", "inviter", "created_at"]
    list_filter = ["team"]
    list_select_related = ["team", "invited_by"]
    search_fields = ["email"]

    @admin.display(description="Invited by")
    def inviter(self, obj: Invitation) -> str:
        return str(obj.invited_by or "")

    @display(description="State", label={"open": "info", "accepted": "success", "expired": "warning"})
    def state(self, obj: Invitation) -> str:
        if obj.accepted_at:
            return "accepted"
        return "expired" if obj.expires_at <= timezone.now() else "open"

    def get_form(self, request: HttpRequest, obj: Invitation | None = None, change: bool = False, **kwargs: Any) -> Any:
        form: Any = super().get_form(request, obj, change=change, **kwargs)
        if "role" in form.base_fields:
            form.base_fields["role"].choices = roles_to_give(request)
        return form

    def get_fields(self, request: HttpRequest, obj: Invitation | None = None) -> list[Any]:
        return ["team", "email", "role", *(["inviter", "created_at", "expires_at", "accepted_at"] if obj else [])]

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if not isinstance(request.user, User):
            return
        room.require_room(team_id=obj.team_id, what="invitations")
        made, token = services.invite(
            team=obj.team, email=obj.email, role=obj.role, invited_by=request.user, now=timezone.now()
        )
        obj.pk = made.pk
        request._invited = (made, token)  # type: ignore[attr-defined]

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
