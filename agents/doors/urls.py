"""The addresses of the doors. Clients append `/v1/…` to the base URL that they are given."""

from __future__ import annotations

from django.urls import path

from agents.doors import hook_views, litellm_views, otlp_views, plugin_views, webhook_views

SIGNALS = ("traces", "metrics", "logs")
# LangFuse's SDK appends `/api/public/otel` to its host by itself.
PREFIXES = ("", "otlp/", "api/public/otel/")

urlpatterns = [
    *(path(f"{prefix}v1/{signal}", otlp_views.export, {"signal": signal}) for prefix in PREFIXES for signal in SIGNALS),
    *(path(f"hooks/{program}", hook_views.hook, {"program": program}) for program in hook_views.PROGRAMS),
    path("hooks/litellm", litellm_views.spend),
    *(path(f"hooks/{kind}/<str:address>", webhook_views.receive, {"kind": kind}) for kind in webhook_views.SENDERS),
    # LiteLLM appends this path to the base URL that it is given.
    path("beta/litellm_basic_guardrail_api", litellm_views.guardrail),
    path("opencode/clevagent.js", plugin_views.opencode),
]
