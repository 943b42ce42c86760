"""API keys. The plain text of a new key is in one response and stored nowhere."""

from datetime import datetime, timedelta
from typing import Any, Final

from django import forms
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminRadioSelectWidget, UnfoldAdminSelectWidget

from teams import services
from teams.admin.projects import actor
from teams.changelists import Empty, TeamTableAdmin
from teams.forms import NetworksField
from teams.models import NEW_AGENTS_PER_HOUR, ApiKey, Scope
from teams.roles import Action
from teams.sorting import Sort
from teams.tenant_admin import action, refusals_as_messages

OVERLAPS = [("0", "Not at all: stop now"), ("1", "1 hour"), ("24", "24 hours"), ("168", "7 days")]
LIFETIMES = [("", "Never"), ("7", "In 7 days"), ("30", "In 30 days"), ("90", "In 90 days"), ("365", "In a year")]
# Agents that reported with a key this recently are affected by its revocation.
RECENTLY: Final = timedelta(hours=1)


class KeyForm(forms.ModelForm[ApiKey]):
    expires = forms.ChoiceField(
        label="Expires",
        choices=LIFETIMES,
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text="Its successor too.",
    )
    allowed_networks = NetworksField(
        label="Allowed networks",
        help_text="Where the key may be used, one address or network per line: 10.0.0.0/8 or 2001:db8::/32. "
        "Empty: everywhere.",
    )
    new_agents_per_hour = forms.IntegerField(
        label="New agents per hour",
        min_value=0,
        max_value=services.MAX_NEW_AGENTS,
        required=False,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text=f"How many agents it may create with their first heartbeats. Default: {NEW_AGENTS_PER_HOUR:,}.",
    )

    class Meta:
        model = ApiKey
        fields = ["project", "name", "scope", "agent", "allowed_networks", "new_agents_per_hour"]
        widgets = {"scope": UnfoldAdminRadioSelectWidget}
        help_texts = {
            "name": "Where the key is used, so you know what is affected if you revoke it.",
            "scope": "Choose the smallest scope that works, to limit the damage if the key leaks.",
        }

    def clean_new_agents_per_hour(self) -> int:
        chosen: int | None = self.cleaned_data["new_agents_per_hour"]
        return NEW_AGENTS_PER_HOUR if chosen is None else chosen

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("agent") and cleaned.get("scope", Scope.AGENT) != Scope.AGENT:
            self.add_error("agent", "A key for one agent needs the scope agent: other scopes reach every agent.")
        return cleaned

    def limits(self, now: datetime) -> services.KeyLimits:
        """Of a new key."""
        days = self.cleaned_data["expires"]
        return services.KeyLimits(
            agent=self.cleaned_data["agent"],
            allowed_networks=self.cleaned_data["allowed_networks"],
            new_agents_per_hour=self.cleaned_data["new_agents_per_hour"],
            expires_at=now + timedelta(days=int(days)) if days else None,
        )


class RotateForm(forms.Form):
    overlap = forms.ChoiceField(
        label="Old key keeps working for", choices=OVERLAPS, initial="24", widget=UnfoldAdminRadioSelectWidget
    )

    @property
    def duration(self) -> timedelta:
        return timedelta(hours=int(self.cleaned_data["overlap"]))


class StateFilter(admin.SimpleListFilter):
    title = parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("works", "active"), ("ended", "revoked or expired")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> QuerySet[ApiKey]:
        ended = Q(revoked_at__isnull=False) | Q(expires_at__lte=timezone.now())
        return queryset.filter({"works": ~ended, "ended": ended}.get(self.value() or "", Q()))


def agents_using(key: ApiKey, now: datetime) -> list[str]:
    """Names of the agents that reported with this key within the last hour.

    Queried through the reverse relation, because `teams` must not import `agents`.
    """
    recent = Q(agents__state__source__startswith=f"{key.pk}/", agents__state__last_beat_at__gte=now - RECENTLY)
    projects = type(key.project).objects.filter(recent, pk=key.project_id)
    return list(projects.order_by("agents__name").values_list("agents__name", flat=True))


def names_bound_to(key: ApiKey) -> list[str]:
    """Names that only this key and its successors may report as."""
    projects = type(key.project).objects.filter(agents__names__bound_to=key.line, pk=key.project_id)
    return list(projects.order_by("agents__names__name").values_list("agents__names__name", flat=True))


@admin.register(ApiKey)
class KeyPage(TeamTableAdmin):
    add_action = change_action = Action.MANAGE
    delete_action = None  # keys are revoked, and kept for the record
    form = KeyForm
    table_template = "teams/admin/keys_table.html"
    change_form_template = "teams/admin/key.html"
    list_display = ["name", "project"]  # the table template shows more
    list_filter = ["project", "scope", StateFilter]
    search_fields = ["name", "prefix"]
    search_help_text = "Search names and prefixes"
    sorts = (
        Sort("name", "Key", "name"),
        Sort("project", "Project", "project__name"),
        Sort("scope", "Scope", "scope"),
        Sort("used", "Last used", "last_used_at", newest_first=True),
        Sort("created", "Created", "created_at", newest_first=True),
    )
    actions = ["revoke_selected"]
    actions_detail = ["rotate", "revoke"]
    fields = ["project", "name", "scope", "agent", "expires", "allowed_networks", "new_agents_per_hour"]
    empty = Empty(
        "No API keys yet",
        "Agents and runners report with an API key of their project. A key is shown once, when you create it.",
        "Create API key",
        "Only admins and owners can create API keys.",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("project__team", "created_by")

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> list[str]:
        return ["project", "scope", "agent"] if obj else []

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        return [name for name in self.fields or () if obj is None or name != "expires"]

    def get_actions_detail(self, request: HttpRequest, object_id: int) -> list[Any]:
        """None in the header: the page has its own buttons."""
        return []

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        key: ApiKey | None = kwargs.get("obj")
        if key is not None:
            now = timezone.now()
            context |= {"key": key, "now": now, "agents": agents_using(key, now), "title": str(key), "subtitle": None}
            context["names"] = names_bound_to(key)
            context["may_manage"] = self.has_manage_permission(request, key)
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        by, now = actor(request), timezone.now()
        if change:
            changes = {name: form.cleaned_data[name] for name in services.CHANGEABLE if name in form.cleaned_data}
            services.change_key(key=obj, changes=changes, actor=by, now=now)
            return
        key, raw = services.issue_key(
            project=obj.project, name=obj.name, scope=obj.scope, actor=by, limits=form.limits(now)
        )
        obj.pk, obj.prefix = key.pk, key.prefix
        request._raw_key = raw  # type: ignore[attr-defined]

    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None) -> HttpResponse:
        return self._show(request, obj, getattr(request, "_raw_key", ""))

    def _show(self, request: HttpRequest, key: ApiKey, raw: str, until: Any = None) -> TemplateResponse:
        context = self._context(request, key, f"API key {key.prefix}… created") | {"raw": raw, "until": until}
        return TemplateResponse(request, "teams/admin/key_created.html", context)

    def _context(self, request: HttpRequest, key: ApiKey, title: str) -> dict[str, Any]:
        now = timezone.now()
        context = {"title": title, "opts": self.opts, "key": key, "now": now, "scope": Scope(key.scope).label}
        return {**self.admin_site.each_context(request), **context, "agents": agents_using(key, now)}

    @action(description="Rotate", permissions=["manage"], icon="autorenew")
    def rotate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        response: HttpResponse = refusals_as_messages(request, self._rotate, self.get_object(request, object_id))
        return response

    def _rotate(self, request: HttpRequest, key: ApiKey) -> HttpResponse:
        form = RotateForm(request.POST if request.method == "POST" else None)
        if not form.is_valid():
            context = self._context(request, key, f"Rotate {key}") | {"form": form}
            return TemplateResponse(request, "teams/admin/key_rotate.html", context)
        successor, raw = services.rotate_key(key=key, overlap=form.duration, actor=actor(request), now=timezone.now())
        key.refresh_from_db()
        return self._show(request, successor, raw, until=key.expires_at)

    @action(description="Revoke", permissions=["manage"], icon="block")
    def revoke(self, request: HttpRequest, object_id: str) -> HttpResponse:
        key: ApiKey = self.get_object(request, object_id)
        if request.method != "POST":
            context = self._context(request, key, f"Revoke {key}")
            return TemplateResponse(request, "teams/admin/key_revoke.html", context)
        services.revoke_key(key=key, actor=actor(request), now=timezone.now())
        self.message_user(request, f"{key} revoked. It stops working within 2 seconds.")
        return redirect("admin:teams_apikey_change", key.pk)

    @admin.action(description="Revoke selected keys", permissions=["manage"])
    def revoke_selected(self, request: HttpRequest, queryset: Any) -> None:
        keys = list(queryset.select_related("project__team"))
        for key in keys:
            services.revoke_key(key=key, actor=actor(request), now=timezone.now())
        self.message_user(request, f"{len(keys)} API key{'' if len(keys) == 1 else 's'} revoked.")
