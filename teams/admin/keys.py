"""API keys. A new key's plain text stands in one response and nowhere else."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.formats import date_format
from unfold.widgets import UnfoldAdminRadioSelectWidget

from teams import services
from teams.admin.projects import actor
from teams.models import ApiKey
from teams.roles import Action
from teams.scoping import TeamAdmin, action, display, says_why

OVERLAPS = [("0", "Stop it now"), ("1", "1 hour"), ("24", "24 hours"), ("168", "7 days")]


_COLOURS = {"works": "success", "ends": "warning", "revoked": "danger", "expired": "danger"}


def _moment(at: Any) -> str:
    """A time as a person reads it: in their own zone, which is named."""
    return date_format(timezone.localtime(at), "j M Y, H:i T")


class KeyForm(forms.ModelForm[ApiKey]):
    class Meta:
        model = ApiKey
        fields = ["project", "name", "scope"]


class RotateForm(forms.Form):
    overlap = forms.ChoiceField(
        label="The old key keeps working for", choices=OVERLAPS, initial="24", widget=UnfoldAdminRadioSelectWidget
    )

    @property
    def lasts(self) -> timedelta:
        return timedelta(hours=int(self.cleaned_data["overlap"]))


@admin.register(ApiKey)
class KeyPage(TeamAdmin):
    add_action = change_action = Action.MANAGE
    delete_action = None  # revoked, and kept for the record
    form = KeyForm
    list_display = ["name", "prefix", "project", "scope", "state", "last_used_at", "maker"]
    list_filter = ["project", "scope"]
    list_select_related = ["project", "created_by"]
    search_fields = ["name", "prefix"]
    actions = ["revoke_selected"]
    actions_detail = ["rotate", "revoke"]

    @display(description="State", label=_COLOURS)
    def state(self, obj: ApiKey) -> tuple[str, str]:
        """For the list: which colour, and the words in it."""
        return self._colour(obj), self.standing(obj)

    def _colour(self, obj: ApiKey) -> str:
        if obj.revoked_at:
            return "revoked"
        if obj.expires_at is None:
            return "works"
        return "expired" if obj.expires_at <= timezone.now() else "ends"

    @admin.display(description="State")
    def standing(self, obj: ApiKey) -> str:
        colour = self._colour(obj)
        return f"works until {_moment(obj.expires_at)}" if colour == "ends" else colour

    @admin.display(description="Created by")
    def maker(self, obj: ApiKey) -> str:
        return str(obj.created_by or "")

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> list[Any]:
        made = ["prefix", "standing", "maker", "created_at", "last_used_at", "expires_at", "revoked_at"]
        return ["project", "name", "scope", *(made if obj else [])]

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> list[str]:
        return [name for name in self.get_fields(request, obj) if name != "name"] if obj else []

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change:
            obj.save(update_fields=["name"])
            services.audit(team=obj.project.team, actor=actor(request), action="key.renamed", target=str(obj))
            return
        made, raw = services.issue_key(project=obj.project, name=obj.name, scope=obj.scope, actor=actor(request))
        obj.pk, obj.prefix = made.pk, made.prefix
        request._raw_key = raw  # type: ignore[attr-defined]

    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None) -> HttpResponse:
        return self._show(request, obj, getattr(request, "_raw_key", ""))

    def _show(self, request: HttpRequest, key: ApiKey, raw: str, until: Any = None) -> TemplateResponse:
        context = self._context(request, key, f"Key {key.prefix}… is made") | {"raw": raw, "until": until}
        return TemplateResponse(request, "teams/admin/key_made.html", context)

    def _context(self, request: HttpRequest, key: ApiKey, title: str) -> dict[str, Any]:
        return {**self.admin_site.each_context(request), "title": title, "opts": self.opts, "key": key}

    @action(description="Rotate", permissions=["manage"], icon="autorenew")
    def rotate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        answer: HttpResponse = says_why(request, self._rotate, self.get_object(request, object_id))
        return answer

    def _rotate(self, request: HttpRequest, key: ApiKey) -> HttpResponse:
        form = RotateForm(request.POST if request.method == "POST" else None)
        if not form.is_valid():
            context = self._context(request, key, f"Rotate {key}") | {"form": form}
            return TemplateResponse(request, "teams/admin/key_rotate.html", context)
        made, raw = services.rotate_key(key=key, overlap=form.lasts, actor=actor(request), now=timezone.now())
        key.refresh_from_db()
        return self._show(request, made, raw, until=key.expires_at)

    @action(description="Revoke", permissions=["manage"], icon="block")
    def revoke(self, request: HttpRequest, object_id: str) -> HttpResponse:
        key: ApiKey = self.get_object(request, object_id)
        if request.method != "POST":
            return TemplateResponse(
                request, "teams/admin/key_revoke.html", self._context(request, key, f"Revoke {key}")
            )
        services.revoke_key(key=key, actor=actor(request), now=timezone.now())
        self.message_user(request, f"{key} is revoked. Every process refuses it within two seconds.")
        return redirect("admin:teams_apikey_change", key.pk)

    @admin.action(description="Revoke the selected keys", permissions=["manage"])
    def revoke_selected(self, request: HttpRequest, queryset: Any) -> None:
        keys = list(queryset.select_related("project__team"))
        for key in keys:
            services.revoke_key(key=key, actor=actor(request), now=timezone.now())
        self.message_user(request, f"{len(keys)} revoked.")
