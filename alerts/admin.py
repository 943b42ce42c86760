"""Channels and how they do, who hears what, and what was delivered."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.views.decorators.http import require_safe

from agents.admin.live import LiveList, LivePage
from agents.models import Agent
from alerts import channels, coverage, first_alert, routing, services
from alerts.forms import ChannelForm, field_name, settings_of
from alerts.models import Channel, Delivery
from alerts.routing import Listener
from teams.admin.projects import actor
from teams.changelists import Empty
from teams.models import Project
from teams.roles import Action
from teams.site import Site
from teams.tenant_admin import action, allowed, refusals_as_messages, teams_of

LATEST: Final = 20
DAY: Final = timedelta(hours=24)
ROUTE: Final = ("severity", "labels")

Site.pages.extend(first_alert.urls())


class StateFilter(admin.SimpleListFilter):
    title = parameter_name = "state"
    QUERIES: Final = {
        "failing": Q(enabled=True, failing_since__isnull=False),
        "off": Q(enabled=False),
        "works": Q(enabled=True, failing_since=None, last_sent_at__isnull=False),
        "new": Q(enabled=True, failing_since=None, last_sent_at=None),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, "not used yet" if name == "new" else name) for name in self.QUERIES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Channel]) -> QuerySet[Channel]:
        return queryset.filter(self.QUERIES.get(self.value() or "", Q()))


def _address(channel: Channel) -> str:
    """Where it goes, without what is secret of it."""
    shown = channels.BY_KIND[channel.kind].public(channel.config)
    return ", ".join(", ".join(value) if isinstance(value, list) else str(value) for value in shown.values())


def _tell_apart(found: list[Channel], now: datetime) -> list[Channel]:
    """Note on channels what their rows do not hold: address, route in words, and the last day's deliveries."""
    lately = Delivery.objects.filter(channel__in=found, created_at__gte=now - DAY).order_by()
    sums = lately.values("channel").annotate(
        sent=Count("pk", filter=Q(state=Delivery.State.SENT)), failed=Count("pk", filter=Q(state=Delivery.State.FAILED))
    )
    counts = {row["channel"]: row for row in sums}
    for channel in found:
        told = {
            "address": _address(channel),
            "hears": routing.in_words(channel.severity, channel.labels),
            "day": counts.get(channel.pk, {"sent": 0, "failed": 0}),
        }
        channel.told = told  # type: ignore[attr-defined]
    return found


@admin.register(Channel)
class ChannelPage(LivePage):
    form = ChannelForm
    table_template = "alerts/channels_table.html"
    live_parts = {"now": "alerts/channel_now.html"}
    change_form_template = "alerts/channel.html"
    list_display = ["name", "project"]  # in words; the table shows more
    list_filter = ["project", "kind", StateFilter]
    search_fields = ["name"]
    search_help_text = "Search names"
    actions = ["test_selected"]
    actions_detail: Any = ("send_test", "switch", "new_secret")
    conditional_fields = {
        field_name(kind.KIND, name): f"kind == '{kind.KIND}'" for kind in channels.ALL for name in settings_of(kind)
    }
    destroys = ("deliveries",)
    explains_deletion = "Alerts no longer go there. This cannot be undone; to pause it, switch it off instead."
    empty = Empty(
        "Nobody is told yet",
        "A channel is where your team hears that an agent needs it: e-mail, Slack, or a webhook of your own. Add one, "
        "and send a test to see it arrive.",
        "Add a channel",
        "Members of the team and above add channels.",
    )

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(require_safe(self.routes))
        return [path("routes/", view, name="alerts_channel_routes"), *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("project__team")

    def table(self, request: HttpRequest, found: ChangeList, now: datetime) -> dict[str, Any]:
        return {"rows": _tell_apart(list(found.result_list), now)}

    # The page

    @admin.display(description="Address")
    def address(self, obj: Channel) -> str:
        return _address(obj)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        own: list[str] = list(self.conditional_fields)
        if obj is not None:
            own = [field_name(obj.kind, name) for name in settings_of(channels.BY_KIND[obj.kind])]
        if not self.has_change_permission(request, obj):
            own = ["address"]
        where = {"fields": ["project", "kind", "name", *own]}
        return [("Where", where), ("What it hears of", {"fields": list(ROUTE)})]

    def get_readonly_fields(self, request: HttpRequest, obj: Channel | None = None) -> list[str]:
        return ["address"] if obj else []

    def get_actions_detail(self, request: HttpRequest, object_id: int) -> list[Any]:
        """They are on the page itself."""
        return []

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        channel: Channel | None = kwargs.get("obj")
        if channel is not None:
            context |= self.live_context(request, channel, "now") | {"title": channel.name}
        return super().render_change_form(request, context, *args, **kwargs)

    def live_context(self, request: HttpRequest, row: Channel, part: str) -> dict[str, Any]:
        now = timezone.now()
        sent = row.deliveries.select_related("event__incident__agent", "channel")
        return {
            "now": now,
            "channel": _tell_apart([row], now)[0],
            "deliveries": sent[:LATEST],
            "last_test": row.deliveries.filter(event=None).first(),
            "waiting": row.deliveries.pending().count(),
            "may_test": self.has_operate_permission(request, row),
            "may_change": self.has_change_permission(request, row),
            "has_secret": "secret" in row.config,
        }

    # Writes

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        entered, who = form.cleaned_data, actor(request)
        given = {name: entered[name] for name in ("name", "config", *ROUTE)}
        if change:
            services.change_channel(channel=obj, actor=who, now=timezone.now(), **given)
            return
        made, request._secret = services.create_channel(  # type: ignore[attr-defined]
            project=obj.project, kind=obj.kind, actor=who, **given
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
        delivery = services.send_test(channel=channel, actor=actor(request), now=timezone.now())
        if getattr(request, "htmx", False):
            channel.refresh_from_db()
            return TemplateResponse(request, self.live_parts["now"], self.live_context(request, channel, "now"))
        self._say(request, channel, delivery)
        return redirect("admin:alerts_channel_change", channel.pk)

    @action(description="Switch on or off", permissions=["configure"], icon="power_settings_new")
    def switch(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """On if it was off, and the other way round; `to` says which, so that a second press changes nothing."""
        channel: Channel = self.get_object(request, object_id)
        if request.method == "POST":
            on = request.POST.get("to") == "on"
            services.change_channel(channel=channel, actor=actor(request), now=timezone.now(), enabled=on)
            said = "on: alerts go there from now on" if on else "off: no alerts go there until somebody switches it on"
            messages.success(request, f"{channel.name} is {said}.")
        return redirect("admin:alerts_channel_change", channel.pk)

    @action(description="New secret", permissions=["configure"], icon="autorenew")
    def new_secret(self, request: HttpRequest, object_id: str) -> HttpResponse:
        answer: HttpResponse = refusals_as_messages(request, self._new_secret, self.get_object(request, object_id))
        return answer

    def _new_secret(self, request: HttpRequest, channel: Channel) -> HttpResponse:
        if request.method != "POST":
            return self._page(request, channel, f"A new secret for {channel.name}", "alerts/channel_secret.html")
        secret = services.rotate_secret(channel=channel, actor=actor(request))
        title = f"{channel.name} has a new secret"
        return self._page(request, channel, title, "alerts/channel_made.html", secret=secret)

    @admin.action(description="Send a test", permissions=["operate"])
    def test_selected(self, request: HttpRequest, queryset: Any) -> None:
        for channel in queryset.select_related("project__team"):
            delivery = services.send_test(channel=channel, actor=actor(request), now=timezone.now())
            self._say(request, channel, delivery)

    def _say(self, request: HttpRequest, channel: Channel, delivery: Delivery) -> None:
        if delivery.state == Delivery.State.SENT:
            messages.success(request, f"The test to {channel.name} was sent. Look whether it arrived.")
        else:
            messages.error(request, f"The test to {channel.name} failed. {delivery.last_error}")

    # Who hears what

    def routes(self, request: HttpRequest) -> HttpResponse:
        """Of one project: its channels, its agents by who hears of them, and a question of one's own."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        mine = Project.objects.filter(team__in=teams_of(request.user)).select_related("team").order_by("name", "pk")
        asked = request.GET.get("project", "")
        project = get_object_or_404(mine, pk=asked) if asked.isdecimal() else mine.first()
        context = {
            **self.admin_site.each_context(request),
            **(_routes_of(project, request.GET) if project else {}),
            "title": "Who hears what",
            "now": timezone.now(),
            "projects": mine,
            "project": project,
            "may_add": project is not None and allowed(request, Action.CONFIGURE, project.team_id),
        }
        return TemplateResponse(request, "alerts/routes.html", context)


def _routes_of(project: Project, asked: Any) -> dict[str, Any]:
    found = _tell_apart(list(project.channels.all()), timezone.now())
    listeners = [Listener(one.pk, severity=one.severity, labels=one.labels) for one in found if one.enabled]
    agents = list(Agent.objects.filter(project=project).order_by("name").values_list("name", "labels"))
    by_id = {one.pk: one for one in found}
    groups = [
        {"of": one, **{name: [by_id[pk] for pk in one.channels[name]] for name in coverage.SEVERITIES}}
        for one in coverage.audiences(listeners, agents)
    ]
    name, severity = asked.get("agent", ""), asked.get("severity", "critical")
    labels = next((labels for agent, labels in agents if agent == name), None)
    answers = [] if labels is None else [(one, _why_not(one, severity, labels)) for one in found]
    return {
        "channels": found,
        "groups": groups,
        "agents": [agent for agent, _ in agents],
        "severities": coverage.SEVERITIES,
        "asked": {"agent": name, "severity": severity, "known": labels is not None, "labels": labels},
        "answers": answers,
    }


def _why_not(channel: Channel, severity: str, labels: dict[str, str]) -> str:
    if not channel.enabled:
        return "is switched off"
    return routing.why_not(Listener(channel.pk, severity=channel.severity, labels=channel.labels), severity, labels)


@admin.register(Delivery)
class DeliveryPage(LiveList):
    team_path = "channel__project__team"
    add_action = change_action = delete_action = None
    table_template = "alerts/deliveries_table.html"
    list_display = ["what", "channel"]  # in words; the table shows more
    list_filter = ["channel", "state"]
    list_select_related = ["channel", "event__incident__agent"]
    show_full_result_count = False
    actions = None
    has_history = False
    fields = [
        *("what", "channel", "state", "attempts", "created_at", "next_try_at"),
        *("sent_at", "last_error", "message_id"),
    ]
    empty = Empty(
        "Nothing was told yet",
        "Each message to each channel stands here, with what became of it. The first comes with the first incident, or "
        "with a test from a channel’s page.",
    )

    @admin.display(description="What")
    def what(self, obj: Delivery) -> str:
        event = obj.event
        if event is None:
            return "Test"
        there = reverse("admin:agents_incident_change", args=[event.incident_id])
        return format_html('{}: <a class="w-link" href="{}">{}</a>', event.get_kind_display(), there, event.incident)
