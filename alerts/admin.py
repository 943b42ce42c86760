"""Channels, with a button that sends a test, and what was delivered."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone

from alerts import channels, first_alert, services
from alerts.forms import ChannelForm, field_name, settings_of
from alerts.models import Channel, Delivery
from teams.admin.projects import actor
from teams.models import Project
from teams.roles import Action
from teams.scoping import TeamAdmin, TeamTabularInline, action, display, teams_of
from teams.site import Site

_COLOURS = {"works": "success", "new": "info", "failing": "danger", "off": "warning"}
_STATES = {"sent": "success", "pending": "info", "failed": "danger", "skipped": "default"}
LATEST = 20
ROUTE = ("severity", "labels")

Site.pages.extend(first_alert.urls())


def _what(delivery: Delivery) -> str:
    """What it tells, for a person: the event and its incident."""
    event = delivery.event
    return f"{event.get_kind_display().capitalize()}: {event.incident}" if event else "Test"


class LatestDeliveries(TeamTabularInline):
    model = Delivery
    team_path = "channel__project__team"
    hide_title = True
    verbose_name_plural = f"the latest {LATEST} deliveries"
    add_action = change_action = delete_action = None
    fields = ("what", "state", "attempts", "created_at", "sent_at", "last_error")
    readonly_fields = fields

    @admin.display(description="What")
    def what(self, obj: Delivery) -> str:
        return _what(obj)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request).select_related("channel", "event__incident__agent")
        match = request.resolver_match
        channel = match.kwargs.get("object_id") if match else None
        latest = rows.filter(channel=channel) if str(channel).isdecimal() else rows.none()
        return rows.filter(pk__in=list(latest.values_list("pk", flat=True)[:LATEST]))


@admin.register(Channel)
class ChannelPage(TeamAdmin):
    form = ChannelForm
    list_display = ["name", "kind", "address", "project", "state", "last_sent_at", "last_error"]
    list_filter = ["project", "kind", "enabled"]
    list_select_related = ["project"]
    search_fields = ["name"]
    actions = ["test_selected"]
    actions_detail = ["send_test"]
    conditional_fields = {
        field_name(kind.KIND, name): f"kind == '{kind.KIND}'" for kind in channels.ALL for name in settings_of(kind)
    }

    @display(description="State", label=_COLOURS)
    def state(self, obj: Channel) -> tuple[str, str]:
        """For the list: which colour, and the words in it."""
        return self._colour(obj), self.standing(obj)

    def _colour(self, obj: Channel) -> str:
        if not obj.enabled:
            return "off"
        if obj.failing_since:
            return "failing"
        return "works" if obj.last_sent_at else "new"

    @admin.display(description="State")
    def standing(self, obj: Channel) -> str:
        if not obj.enabled and obj.disabled_reason:
            return f"switched off: {obj.disabled_reason}"
        words = {"off": "off", "failing": "failing", "works": "works", "new": "not used yet: send a test"}
        return words[self._colour(obj)]

    @admin.display(description="Address")
    def address(self, obj: Channel) -> str:
        shown = channels.BY_KIND[obj.kind].public(obj.config)
        return ", ".join(", ".join(value) if isinstance(value, list) else str(value) for value in shown.values())

    def get_fields(self, request: HttpRequest, obj: Channel | None = None) -> list[Any]:
        first = ["project", "kind", "name"]
        if obj is None:
            return [*first, *self.conditional_fields, *ROUTE]
        entered = [field_name(obj.kind, name) for name in settings_of(channels.BY_KIND[obj.kind])]
        own = entered if self.has_change_permission(request, obj) else ["address"]
        return [*first, *own, "enabled", *ROUTE, *self.get_readonly_fields(request, obj)]

    def get_readonly_fields(self, request: HttpRequest, obj: Channel | None = None) -> list[str]:
        if obj is None:
            return []
        trouble = ["failing_since", "last_error"] if obj.failing_since or obj.last_error else []
        return ["standing", *trouble, "last_sent_at", "created_at"]

    def get_inlines(self, request: HttpRequest, obj: Channel | None = None) -> list[Any]:
        return [LatestDeliveries] if obj else []

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Who may configure one project only need not choose it."""
        mine = Project.objects.filter(team__in=teams_of(request.user, Action.CONFIGURE)).values_list("pk", flat=True)[
            :2
        ]
        only = {"project": str(mine[0])} if len(mine) == 1 else {}
        return {**only, **super().get_changeform_initial_data(request)}

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        entered, who = form.cleaned_data, actor(request)
        if change:
            services.change_channel(
                channel=obj,
                actor=who,
                now=timezone.now(),
                name=entered["name"],
                config=entered["config"],
                enabled=entered["enabled"],
                severity=entered["severity"],
                labels=entered["labels"],
            )
            return
        route = {name: entered[name] for name in ROUTE}
        made, request._secret = services.create_channel(  # type: ignore[attr-defined]
            project=obj.project, kind=obj.kind, name=obj.name, config=entered["config"], actor=who, **route
        )
        obj.pk = made.pk

    def delete_model(self, request: HttpRequest, obj: Channel) -> None:
        services.delete_channel(channel=obj, actor=actor(request))

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        for channel in queryset:
            self.delete_model(request, channel)

    def response_add(self, request: HttpRequest, obj: Channel, post_url_continue: str | None = None) -> HttpResponse:
        secret = getattr(request, "_secret", None)
        if secret:
            return self._page(request, obj, f"{obj.name} is made", "alerts/channel_made.html", secret=secret)
        messages.success(request, f"{obj.name} is made. Send a test to see that it works.")
        return redirect("admin:alerts_channel_change", obj.pk)

    def _page(self, request: HttpRequest, channel: Channel, title: str, template: str, **more: Any) -> TemplateResponse:
        shared = {**self.admin_site.each_context(request), "title": title, "opts": self.opts, "channel": channel}
        return TemplateResponse(request, template, {**shared, **more})

    @action(description="Send a test", permissions=["operate"], icon="send")
    def send_test(self, request: HttpRequest, object_id: str) -> HttpResponse:
        channel: Channel = self.get_object(request, object_id)
        if request.method != "POST":
            return self._page(request, channel, f"Send a test to {channel.name}", "alerts/channel_test.html")
        self._test(request, channel)
        return redirect("admin:alerts_channel_change", channel.pk)

    @admin.action(description="Send a test", permissions=["operate"])
    def test_selected(self, request: HttpRequest, queryset: Any) -> None:
        for channel in queryset.select_related("project__team"):
            self._test(request, channel)

    def _test(self, request: HttpRequest, channel: Channel) -> None:
        delivery = services.send_test(channel=channel, actor=actor(request), now=timezone.now())
        if delivery.state == Delivery.State.SENT:
            messages.success(request, f"The test to {channel.name} was sent. Look whether it arrived.")
        else:
            messages.error(request, f"The test to {channel.name} failed. {delivery.last_error}")


@admin.register(Delivery)
class DeliveryPage(TeamAdmin):
    team_path = "channel__project__team"
    add_action = change_action = delete_action = None
    list_display = ["what", "channel", "shown_state", "attempts", "created_at", "sent_at", "last_error"]
    list_filter = ["state", "channel"]
    list_select_related = ["channel", "event__incident__agent"]
    show_full_result_count = False
    actions = None
    fields = [
        "what",
        "channel",
        "state",
        "attempts",
        "created_at",
        "next_try_at",
        "sent_at",
        "last_error",
        "message_id",
    ]

    @admin.display(description="What")
    def what(self, obj: Delivery) -> str:
        return _what(obj)

    @display(description="State", label=_STATES)
    def shown_state(self, obj: Delivery) -> tuple[str, str]:
        return obj.state, obj.get_state_display()
