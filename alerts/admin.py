"""Channels and their health, alert routing, and the notification log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final, NamedTuple

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Model, Q, QuerySet, prefetch_related_objects
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.views.decorators.http import require_safe

from agents.admin.live import LiveList, LivePage
from agents.models import Agent, naming_signals
from alerts import channels, coverage, first_alert, policy_pages, routing, services
from alerts.forms import ChannelForm, field_name, settings_of
from alerts.models import Channel, Delivery
from alerts.routing import Subscriber
from teams.access import allowed, teams_of
from teams.admin.projects import actor
from teams.changelists import Empty
from teams.errors import ApiError
from teams.models import Project
from teams.roles import Action
from teams.site import Site
from teams.sorting import Sort
from teams.tenant_admin import action, refusals_as_messages

LATEST: Final = 20
DAY: Final = timedelta(hours=24)
ROUTE: Final = ("severity", "labels")

Site.pages.extend(first_alert.urls() + policy_pages.urls())


class StateFilter(admin.SimpleListFilter):
    title = parameter_name = "state"
    QUERIES: Final = {
        "failing": Q(enabled=True, failing_since__isnull=False),
        "refused": Q(enabled=True, failing_since=None) & ~Q(refused={}),
        "off": Q(enabled=False),
        "works": Q(enabled=True, failing_since=None, last_sent_at__isnull=False, refused={}),
        "new": Q(enabled=True, failing_since=None, last_sent_at=None),
    }
    # The values are in people's bookmarks; the texts match the badges in the table.
    TEXTS: Final = {
        "failing": "failing",
        "refused": "refused by some",
        "off": "disabled",
        "works": "OK",
        "new": "not used yet",
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(self.TEXTS.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Channel]) -> QuerySet[Channel]:
        return queryset.filter(self.QUERIES.get(self.value() or "", Q()))


class ChannelRow(NamedTuple):
    """A channel as pages show it, with its notifications of the last 24 hours."""

    channel: Channel
    sent: int
    failed: int

    @property
    def pk(self) -> int:
        return self.channel.pk

    @property
    def address(self) -> str:
        """Where it sends to, without secrets."""
        return _address(self.channel)

    @property
    def route(self) -> str:
        return routing.describe_route(self.channel.severity, self.channel.labels)

    @property
    def subscriber(self) -> Subscriber:
        return Subscriber(self.channel.pk, severity=self.channel.severity, labels=self.channel.labels)

    def __str__(self) -> str:
        return str(self.channel)


def _address(channel: Channel) -> str:
    public = channels.BY_KIND[channel.kind].public(channel.config)
    return ", ".join(", ".join(value) if isinstance(value, list) else str(value) for value in public.values())


def _rows(found: Sequence[Channel], now: datetime) -> list[ChannelRow]:
    recent = Delivery.objects.filter(channel__in=found, created_at__gte=now - DAY).order_by()
    counts = recent.values("channel").annotate(
        sent=Count("pk", filter=Q(state=Delivery.State.SENT)), failed=Count("pk", filter=Q(state=Delivery.State.FAILED))
    )
    by_channel = {row["channel"]: (row["sent"], row["failed"]) for row in counts}
    return [ChannelRow(channel, *by_channel.get(channel.pk, (0, 0))) for channel in found]


def _with_named_incidents(deliveries: Iterable[Delivery]) -> list[Delivery]:
    """Deliveries whose incidents can be named without a query each."""
    rows = list(deliveries)
    prefetch_related_objects([row.event.incident for row in rows if row.event], naming_signals())
    return rows


@admin.register(Channel)
class ChannelPage(LivePage):
    form = ChannelForm
    table_template = "alerts/channels_table.html"
    live_parts = {"now": "alerts/channel_now.html"}
    change_form_template = "alerts/channel.html"
    list_display = ["name", "project"]  # for search results; the table shows more
    list_filter = ["project", "kind", StateFilter]
    sorts = (
        Sort("name", "Channel", "name"),
        Sort("project", "Project", "project__name"),
        Sort("sent", "Last sent", "last_sent_at", newest_first=True),
    )
    search_fields = ["name"]
    search_help_text = "Search names"
    actions = ["test_selected"]
    actions_detail: Any = ("send_test", "switch", "new_secret")
    conditional_fields = {
        field_name(kind.KIND, name): f"kind == '{kind.KIND}'" for kind in channels.ALL for name in settings_of(kind)
    }
    explains_deletion = "It receives no more alerts. This cannot be undone; to pause it, disable it instead."
    empty = Empty(
        "No channels yet",
        "A channel is where your team is notified: e-mail, a chat or a webhook. Add one and send a test to check "
        "that it arrives.",
        "Add a channel",
        "Only members and above can add channels.",
    )

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(require_safe(self.routes))
        return [path("routes/", view, name="alerts_channel_routes"), *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("project__team")

    def table(self, request: HttpRequest, found: ChangeList, now: datetime) -> dict[str, Any]:
        return {"rows": _rows(list(found.result_list), now)}

    # The page

    @admin.display(description="Address")
    def address(self, obj: Channel) -> str:
        return _address(obj)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        config: list[str] = list(self.conditional_fields)
        if obj is not None:
            config = [field_name(obj.kind, name) for name in settings_of(channels.BY_KIND[obj.kind])]
        if not self.has_change_permission(request, obj):
            config = ["address"]
        return [("Channel", {"fields": ["project", "kind", "name", *config]}), ("Filters", {"fields": list(ROUTE)})]

    def get_readonly_fields(self, request: HttpRequest, obj: Channel | None = None) -> list[str]:
        return ["address"] if obj else []

    def get_actions_detail(self, request: HttpRequest, object_id: int) -> list[Any]:
        """None in the header: the buttons are on the page itself."""
        return []

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        channel: Channel | None = kwargs.get("obj")
        if channel is not None:
            context |= self.live_context(request, channel, "now") | {"title": channel.name, "subtitle": None}
        return super().render_change_form(request, context, *args, **kwargs)

    def live_context(self, request: HttpRequest, row: Channel, part: str) -> dict[str, Any]:
        now = timezone.now()
        deliveries = row.deliveries.select_related("event__incident__agent", "channel")
        return {
            "now": now,
            "channel": row,
            "row": _rows([row], now)[0],
            "deliveries": _with_named_incidents(deliveries[:LATEST]),
            "last_test": row.deliveries.filter(event=None).first(),
            "waiting": row.deliveries.pending().count(),
            "may_test": self.has_operate_permission(request, row),
            "may_change": self.has_change_permission(request, row),
            "has_secret": "secret" in row.config,
        }

    # Writes

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        settings = {name: form.cleaned_data[name] for name in ("name", "config", *ROUTE)}
        if change:
            services.change_channel(channel=obj, actor=actor(request), now=timezone.now(), **settings)
            return
        created, request._secret = services.create_channel(  # type: ignore[attr-defined]
            project=obj.project, kind=obj.kind, actor=actor(request), **settings
        )
        obj.pk = created.pk

    def delete_model(self, request: HttpRequest, obj: Channel) -> None:
        services.delete_channel(channel=obj, actor=actor(request))

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        for channel in queryset:
            self.delete_model(request, channel)

    def get_deleted_objects(
        self, objs: Iterable[Model], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        rows = list(objs)
        names, counts, forbidden, protected = super().get_deleted_objects(rows, request)
        deliveries = Delivery.objects.filter(channel__in=[row.pk for row in rows]).count()
        if deliveries:
            counts["notification" if deliveries == 1 else "notifications"] = deliveries
        return names, counts, forbidden, protected

    def response_add(self, request: HttpRequest, obj: Channel, post_url_continue: str | None = None) -> HttpResponse:
        secret = getattr(request, "_secret", None)
        if secret:
            return self._page(request, obj, f"{obj.name} was created", "alerts/channel_secret.html", secret=secret)
        messages.success(request, f"{obj.name} was created. Send a test to check that it works.")
        return redirect("admin:alerts_channel_change", obj.pk)

    def _page(
        self, request: HttpRequest, channel: Channel, title: str, template: str, **extra: Any
    ) -> TemplateResponse:
        context = {**self.admin_site.each_context(request), "title": title, "opts": self.opts, "channel": channel}
        return TemplateResponse(request, template, {**context, **extra})

    @action(description="Send test", permissions=["operate"], icon="send")
    def send_test(self, request: HttpRequest, object_id: str) -> HttpResponse:
        channel: Channel = self.get_object(request, object_id)
        if request.method != "POST":
            return self._page(request, channel, f"Send a test to {channel.name}?", "alerts/channel_test.html")
        is_fragment = getattr(request, "htmx", False)
        try:
            delivery = services.send_test(channel=channel, actor=actor(request), now=timezone.now())
        except ApiError as refusal:
            messages.error(request, refusal.message)
            page = reverse("admin:alerts_channel_change", args=[channel.pk])
            return HttpResponse(headers={"HX-Redirect": page}) if is_fragment else redirect(page)
        if is_fragment:
            channel.refresh_from_db()
            return TemplateResponse(request, self.live_parts["now"], self.live_context(request, channel, "now"))
        self._show_result(request, channel, delivery)
        return redirect("admin:alerts_channel_change", channel.pk)

    @action(description="Enable or disable", permissions=["configure"], icon="power_settings_new")
    def switch(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Enable or disable: `to` says which, so that a second press changes nothing."""
        channel: Channel = self.get_object(request, object_id)
        if request.method == "POST":
            on = request.POST.get("to") == "on"
            services.change_channel(channel=channel, actor=actor(request), now=timezone.now(), enabled=on)
            result = "enabled. It receives alerts from now on" if on else "disabled. It receives no more alerts"
            messages.success(request, f"{channel.name} is {result}.")
        return redirect("admin:alerts_channel_change", channel.pk)

    @action(description="Rotate secret", permissions=["configure"], icon="autorenew")
    def new_secret(self, request: HttpRequest, object_id: str) -> HttpResponse:
        response: HttpResponse = refusals_as_messages(request, self._rotate_secret, self.get_object(request, object_id))
        return response

    def _rotate_secret(self, request: HttpRequest, channel: Channel) -> HttpResponse:
        if request.method != "POST":
            title = f"Rotate the secret of {channel.name}?"
            return self._page(request, channel, title, "alerts/channel_rotate_secret.html")
        secret = services.rotate_secret(channel=channel, actor=actor(request))
        title = f"{channel.name} has a new secret"
        return self._page(request, channel, title, "alerts/channel_secret.html", secret=secret)

    @admin.action(description="Send test", permissions=["operate"])
    def test_selected(self, request: HttpRequest, queryset: Any) -> None:
        for channel in queryset.select_related("project__team"):
            delivery = services.send_test(channel=channel, actor=actor(request), now=timezone.now())
            self._show_result(request, channel, delivery)

    def _show_result(self, request: HttpRequest, channel: Channel, delivery: Delivery) -> None:
        if delivery.state == Delivery.State.SENT:
            messages.success(request, f"Test sent to {channel.name}. Check that it arrived.")
        else:
            messages.error(request, f"The test to {channel.name} failed. {delivery.last_error}")

    # Alert routing

    def routes(self, request: HttpRequest) -> HttpResponse:
        """A project's channels, its agents by the channels that cover them, and who is notified about one agent."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        visible = Project.objects.filter(team__in=teams_of(request.user)).select_related("team").order_by("name", "pk")
        wanted = request.GET.get("project", "")
        project = get_object_or_404(visible, pk=wanted) if wanted.isdecimal() else visible.first()
        context = {
            **self.admin_site.each_context(request),
            **(_coverage_of(project, request.GET) if project else {}),
            "title": "Alert routing",
            "now": timezone.now(),
            "projects": visible,
            "project": project,
            "may_add": project is not None and allowed(request, Action.CONFIGURE, project.team_id),
        }
        return TemplateResponse(request, "alerts/routes.html", context)


def _coverage_of(project: Project, query: Mapping[str, str]) -> dict[str, Any]:
    rows = _rows(list(project.channels.all()), timezone.now())
    agents = dict(Agent.objects.filter(project=project).order_by("name").values_list("name", "labels"))
    name, severity = query.get("agent", ""), query.get("severity", "critical")
    labels = agents.get(name)
    return {
        "rows": rows,
        "groups": _groups(rows, agents),
        "agents": list(agents),
        "severities": coverage.SEVERITIES,
        "query": {"agent": name, "severity": severity, "is_known": labels is not None},
        "results": [] if labels is None else [(row.channel, _mismatch(row, severity, labels)) for row in rows],
    }


def _groups(rows: Sequence[ChannelRow], agents: Mapping[str, Mapping[str, str]]) -> list[dict[str, Any]]:
    subscribers = [row.subscriber for row in rows if row.channel.enabled]
    by_id = {row.pk: row.channel for row in rows}
    return [
        {"of": group, **{severity: [by_id[pk] for pk in group.channels[severity]] for severity in coverage.SEVERITIES}}
        for group in coverage.group_by_coverage(subscribers, agents.items())
    ]


def _mismatch(row: ChannelRow, severity: str, labels: Mapping[str, str]) -> str:
    if not row.channel.enabled:
        return "is disabled"
    return routing.explain_mismatch(row.subscriber, severity, labels)


@admin.register(Delivery)
class DeliveryPage(LiveList):
    team_path = "channel__project__team"
    add_action = change_action = delete_action = None
    table_template = "alerts/deliveries_table.html"
    list_display = ["what", "channel"]  # for search results; the table shows more
    list_filter = ["channel", "state"]
    list_select_related = ["channel__project__team", "event__incident__agent"]
    sorts = (
        Sort("state", "Result", "state"),
        Sort("channel", "Channel", "channel__name"),
        Sort("created", "Created", "created_at", newest_first=True),
        Sort("attempts", "Attempts", "attempts", newest_first=True),
    )
    export_columns: ClassVar = {
        "Created (UTC)": lambda row: row.created_at,
        "Team": lambda row: row.channel.project.team,
        "Project": lambda row: row.channel.project,
        "Alert": lambda row: row.event.get_kind_display() if row.event else "test",
        "Incident": lambda row: row.event.incident_id if row.event else None,
        "Agent": lambda row: row.event.incident.agent if row.event else None,
        "Channel": lambda row: row.channel,
        "Kind": lambda row: row.channel.kind,
        "Recipient": lambda row: row.recipient,
        "Result": lambda row: row.get_state_display(),
        "Attempts": lambda row: row.attempts,
        "Sent (UTC)": lambda row: row.sent_at,
        "Error": lambda row: row.last_error,
    }
    show_full_result_count = False
    actions = None
    has_history = False
    fields = [
        *("what", "channel", "recipient", "state", "attempts", "created_at", "next_try_at"),
        *("sent_at", "last_error", "message_id"),
    ]
    empty = Empty(
        "No notifications yet",
        "Every notification is listed here with its result. The first one is sent with the first incident, or when you "
        "send a test from a channel’s page.",
    )

    def table(self, request: HttpRequest, found: ChangeList, now: datetime) -> dict[str, Any]:
        return {"rows": _with_named_incidents(found.result_list)}

    def get_fields(self, request: HttpRequest, obj: Delivery | None = None) -> Any:
        is_pending = obj is not None and obj.state == Delivery.State.PENDING
        hidden = {
            *([] if is_pending else ["next_try_at"]),
            *([] if obj is not None and obj.recipient else ["recipient"]),
        }
        return [name for name in self.fields if name not in hidden]

    @admin.display(description="Alert")
    def what(self, obj: Delivery) -> str:
        event = obj.event
        if event is None:
            return "Test"
        url = reverse("admin:agents_incident_change", args=[event.incident_id])
        return format_html('{}: <a class="w-link" href="{}">{}</a>', event.get_kind_display(), url, event.incident)
