"""Incoming webhooks: what to paste at the sender, a light that turns green, and what they told."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django import forms
from django.conf import settings
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from unfold.widgets import UnfoldAdminPasswordWidget

from agents.admin.live import LivePage
from agents.doors.webhooks import setup
from agents.fleet import webhooks
from agents.models import IncomingWebhook
from teams.admin.projects import actor
from teams.changelists import Empty
from teams.sorting import Sort
from teams.tenant_admin import action, refusals_as_messages

# Events on a webhook's page.
LATEST: Final = 20


class SecretField(forms.CharField):
    """A secret that a person chose. Never shown again, not even after an error."""

    def __init__(self, help_text: str) -> None:
        widget = UnfoldAdminPasswordWidget(attrs={"autocomplete": "off"})
        super().__init__(label="Secret", required=False, widget=widget, help_text=help_text)


class WebhookForm(forms.ModelForm[IncomingWebhook]):
    chosen_secret = SecretField(
        "For Sentry, the client secret of your internal integration. For the others, leave it empty and one is made."
    )

    class Meta:
        model = IncomingWebhook
        fields = ("project", "kind", "name", "agent")

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        project, agent = cleaned.get("project"), cleaned.get("agent")
        project_id = project.pk if project else self.instance.project_id
        if agent is not None and agent.project_id != project_id:
            self.add_error("agent", "Choose an agent of the same project.")
        chosen = cleaned.get("chosen_secret", "")
        if self.instance._state.adding and (error := webhooks.secret_error(cleaned.get("kind", ""), chosen)):
            self.add_error("chosen_secret", error)
        return cleaned


class ReplaceSecretForm(forms.Form):
    secret = SecretField("For Sentry, the new client secret. For the others, leave it empty and one is made.")


@admin.register(IncomingWebhook)
class WebhookPage(LivePage):
    form = WebhookForm
    table_template = "agents/webhooks_table.html"
    change_form_template = "agents/webhook.html"
    live_parts: ClassVar[dict[str, str]] = {"now": "agents/webhook_now.html"}
    list_display = ["name", "project"]  # the table template shows more
    list_filter = ["project", "kind"]
    list_select_related = ["project__team", "agent"]
    search_fields = ["name"]
    search_help_text = "Search names"
    sorts = (
        Sort("name", "Webhook", "name"),
        Sort("project", "Project", "project__name"),
        Sort("received", "Last received", "received_at", newest_first=True),
    )
    actions_detail: Any = ("new_secret",)
    explains_deletion = "Its address stops working, and what it told disappears from the timelines."
    empty = Empty(
        "No incoming webhooks yet",
        "GitHub and GitLab tell what was deployed, Alertmanager and Sentry which alerts fire. You see it on the "
        "agents’ timelines, beside their incidents.",
        "Add an incoming webhook",
        "Only members and above can add incoming webhooks.",
    )

    def get_fields(self, request: HttpRequest, obj: IncomingWebhook | None = None) -> Any:
        return ["project", "kind", "name", "agent", *([] if obj else ["chosen_secret"])]

    def get_readonly_fields(self, request: HttpRequest, obj: IncomingWebhook | None = None) -> list[str]:
        return ["project", "kind"] if obj else []

    def get_actions_detail(self, request: HttpRequest, object_id: int) -> list[Any]:
        """None in the header: the page has its own button."""
        return []

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        webhook: IncomingWebhook | None = kwargs.get("obj")
        if webhook is not None:
            context |= self.live_context(request, webhook, "now") | {"title": str(webhook), "subtitle": None}
            context["paste"] = setup.paste(webhook.kind, url_of(webhook), setup.PLACEHOLDER)
        return super().render_change_form(request, context, *args, **kwargs)

    def live_context(self, request: HttpRequest, row: IncomingWebhook, part: str) -> dict[str, Any]:
        events = row.events.select_related("agent").order_by("-began_at", "-pk")[:LATEST]
        may_change = self.has_change_permission(request, row)
        return {"now": timezone.now(), "webhook": row, "events": events, "may_change": may_change}

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        values = {name: form.cleaned_data[name] for name in ("name", "agent")}
        if change:
            webhooks.change(webhook=obj, actor=actor(request), **values)
            return
        created, secret = webhooks.create(
            project=obj.project,
            kind=obj.kind,
            secret=form.cleaned_data["chosen_secret"],
            actor=actor(request),
            now=timezone.now(),
            **values,
        )
        # For the page that shows the secret once.
        obj.pk, obj.address, obj.secret = created.pk, created.address, secret

    def delete_model(self, request: HttpRequest, obj: IncomingWebhook) -> None:
        webhooks.delete(webhook=obj, actor=actor(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[IncomingWebhook]) -> None:
        for webhook in queryset:
            self.delete_model(request, webhook)

    def response_add(
        self, request: HttpRequest, obj: IncomingWebhook, post_url_continue: str | None = None
    ) -> HttpResponse:
        return self._created(request, obj, f"{obj.name} was created", str(obj.secret))

    def _created(self, request: HttpRequest, webhook: IncomingWebhook, title: str, secret: str) -> TemplateResponse:
        paste = setup.paste(webhook.kind, url_of(webhook), secret)
        context = {
            **self.admin_site.each_context(request),
            **self.live_context(request, webhook, "now"),
            "title": title,
            "opts": self.opts,
            "original": webhook,
            "paste": paste,
            "secret": secret,
            "url": url_of(webhook),
            "is_ours": webhook.kind != IncomingWebhook.Kind.SENTRY,
        }
        return TemplateResponse(request, "agents/webhook_created.html", context)

    @action(description="Replace secret", permissions=["configure"], icon="autorenew")
    def new_secret(self, request: HttpRequest, object_id: str) -> HttpResponse:
        webhook: IncomingWebhook = self.get_object(request, object_id)
        response: HttpResponse = refusals_as_messages(request, self._replace_secret, webhook)
        return response

    def _replace_secret(self, request: HttpRequest, webhook: IncomingWebhook) -> HttpResponse:
        form = ReplaceSecretForm(request.POST if request.method == "POST" else None)
        if not form.is_valid():
            title = f"Replace the secret of {webhook.name}?"
            context = {"title": title, "opts": self.opts, "original": webhook, "form": form}
            context = {**self.admin_site.each_context(request), **context}
            return TemplateResponse(request, "agents/webhook_secret.html", context)
        given = form.cleaned_data["secret"]
        secret = webhooks.replace_secret(webhook=webhook, secret=given, actor=actor(request))
        return self._created(request, webhook, f"{webhook.name} has a new secret", secret)


def url_of(webhook: IncomingWebhook) -> str:
    """Its address at this server."""
    return f"{settings.BASE_URL}/hooks/{webhook.kind}/{webhook.address}"
